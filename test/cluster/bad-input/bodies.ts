/** Bodies that are no object, or not the object that was wanted; formats; strictness about fields. */
import {
  apps,
  badRequest,
  configMap,
  core,
  deployment,
  invalid,
  options,
  pod,
  post,
  put,
  required,
  service,
  unsupported,
} from './case.ts';
import type { Case, Expected } from './case.ts';

const configMaps = `${core}/configmaps`;
const typeMeta =
  'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }';

const unrecognized = (why: string, data: string): Expected =>
  badRequest(`the object provided is unrecognized (must be of type ConfigMap): ${why} (${data})`);
const notJson = (why: string, data: string): Expected =>
  unrecognized(`couldn't get version/kind; json parse error: ${why}`, data);
const cannot = (kind: string, why: string, as = kind, version = 'v1'): Expected =>
  badRequest(`${kind} in version "${version}" cannot be handled as a ${as}: ${why}`);

const mediaTypes = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';
const unknownFormat = (accepted: string): Expected => ({
  code: 415,
  reason: 'UnsupportedMediaType',
  message: `the body of the request was in an unknown format - accepted media types include: ${accepted}`,
});
const tooLarge = (why: string): Expected => ({
  code: 413,
  reason: 'RequestEntityTooLarge',
  message: `Request entity too large: ${why}`,
});

const hex = (text: string): string => Buffer.from(text).toString('hex');

export const bodies: readonly Case[] = [
  {
    name: 'no body',
    send: post(configMaps),
    expect: notJson('unexpected end of JSON input', '<empty>'),
  },
  {
    name: 'JSON that ends early',
    send: post(configMaps, '{"kind":"ConfigMap"'),
    expect: notJson('unexpected end of JSON input', '{"kind":"ConfigMap"'),
  },
  {
    name: 'long JSON that ends early is told by its start',
    send: post(configMaps, '{"kind":"ConfigMap","apiVersion":"v1","metadata":{'),
    expect: notJson('unexpected end of JSON input', '{"kind":"ConfigMap","apiVersio ...'),
  },
  {
    name: 'a word instead of JSON',
    send: post(configMaps, 'hello'),
    expect: notJson("invalid character 'h' looking for beginning of value", hex('hello')),
  },
  {
    name: 'a bad literal',
    send: post(configMaps, '{"kind":nope}'),
    expect: notJson("invalid character 'o' in literal null (expecting 'u')", '{"kind":nope}'),
  },
  {
    name: 'a comma too many',
    send: post(configMaps, '{"a":1,}'),
    expect: notJson("invalid character '}' looking for beginning of object key string", '{"a":1,}'),
  },
  {
    name: 'a control character in a string',
    send: post(configMaps, '{"a":"\n"}'),
    expect: notJson("invalid character '\\n' in string literal", '{"a":"\n"}'),
  },
  {
    name: 'two documents',
    send: post(configMaps, '{} {}'),
    expect: notJson("invalid character '{' after top-level value", '{} {}'),
  },
  {
    name: 'an array',
    send: post(configMaps, '[]'),
    expect: notJson(`json: cannot unmarshal array into Go value of type ${typeMeta}`, hex('[]')),
  },
  {
    name: 'a kind that is a number',
    send: post(configMaps, '{"kind":1}'),
    expect: notJson('json: cannot unmarshal number into Go struct field .kind of type string', '{"kind":1}'),
  },
  {
    name: 'null',
    send: post(configMaps, 'null'),
    expect: invalid('ConfigMap', '', required('metadata.name', 'name or generateName is required')),
  },
  {
    name: 'nesting beyond what Go reads',
    send: post(configMaps, `{"data":${'['.repeat(10_001)}${']'.repeat(10_001)}}`),
    expect: notJson("invalid character '[' exceeded max depth", '{"data":[[[[[[[[[[[[[[[[[[[[[[ ...'),
  },
  {
    name: 'broken YAML',
    send: post(configMaps, 'a: [', { type: 'application/yaml' }),
    expect: unrecognized('yaml: line 1: did not find expected node content', hex('a: [')),
  },
  {
    name: 'YAML with a tab',
    send: post(configMaps, 'a:\n\tb: 1\n', { type: 'application/yaml' }),
    expect: unrecognized('yaml: line 2: found character that cannot start any token', hex('a:\n\tb: 1\n')),
  },
  {
    name: 'data with a number',
    send: post(configMaps, configMap('x', { data: { a: 1 } })),
    expect: cannot('ConfigMap', 'json: cannot unmarshal number into Go struct field ConfigMap.data of type string'),
  },
  {
    name: 'metadata that is a string',
    send: post(configMaps, { metadata: 'x' }),
    expect: cannot(
      'ConfigMap',
      'json: cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta',
    ),
  },
  {
    name: 'a label that is a number',
    send: post(configMaps, { metadata: { name: 'x', labels: { a: 1 } } }),
    expect: cannot(
      'ConfigMap',
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
    ),
  },
  {
    name: 'containers that are an object',
    send: post(`${core}/pods`, pod('x', { containers: {} })),
    expect: cannot(
      'Pod',
      'json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container',
    ),
  },
  {
    name: 'replicas that are a string',
    send: post(`${apps}/deployments`, deployment('x', { replicas: '3' })),
    expect: cannot(
      'Deployment',
      'json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32',
    ),
  },
  {
    name: 'replicas with a fraction',
    send: post(`${apps}/deployments`, deployment('x', { replicas: 1.5 })),
    expect: cannot(
      'Deployment',
      'json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32',
    ),
  },
  {
    name: 'replicas beyond 32 bits',
    send: post(`${apps}/deployments`, deployment('x', { replicas: 3_000_000_000 })),
    expect: cannot(
      'Deployment',
      'json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32',
    ),
  },
  {
    name: 'hostNetwork that is a string',
    send: post(`${core}/pods`, pod('x', { hostNetwork: 'true' })),
    expect: cannot('Pod', 'json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool'),
  },
  {
    name: 'a quantity that is none',
    send: post(`${core}/pods`, pod('x', {}, { resources: { requests: { cpu: 'lots' } } })),
    expect: cannot(
      'Pod',
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
  },
  {
    name: 'a time that is none',
    send: post(configMaps, { metadata: { name: 'x', creationTimestamp: 'yesterday' } }),
    expect: cannot(
      'ConfigMap',
      'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
    ),
  },
  {
    name: 'a target port that is a truth value',
    send: post(`${core}/services`, service('x', { ports: [{ port: 80, targetPort: true }] })),
    expect: cannot(
      'Service',
      'json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32',
    ),
  },
  {
    name: 'base64 that is none',
    send: post(`${core}/secrets`, { metadata: { name: 'x' }, data: { a: 'abc*' } }),
    expect: cannot('Secret', 'illegal base64 data at input byte 3'),
  },
  {
    name: 'another kind',
    send: post(configMaps, pod('x')),
    expect: cannot('Pod', 'converting (v1.Pod) to (core.ConfigMap): unknown conversion', 'ConfigMap'),
  },
  {
    name: 'a kind that there is not',
    send: post(configMaps, { apiVersion: 'v1', kind: 'Nonsense' }),
    expect: cannot(
      'Nonsense',
      'no kind "Nonsense" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
      'ConfigMap',
    ),
  },
  {
    name: 'a group that there is not',
    send: post(configMaps, { apiVersion: 'example.com/v7', kind: 'ConfigMap' }),
    expect: cannot(
      'ConfigMap',
      'no kind "ConfigMap" is registered for version "example.com/v7" in scheme "pkg/api/legacyscheme/scheme.go:30"',
      'ConfigMap',
      'v7',
    ),
  },
  {
    name: 'the kind in another version',
    send: post('/apis/autoscaling/v2/namespaces/bad/horizontalpodautoscalers', {
      apiVersion: 'autoscaling/v1',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'x' },
      spec: { scaleTargetRef: { kind: 'Deployment', name: 'x' }, maxReplicas: 2 },
    }),
    expect: badRequest(
      'the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)',
    ),
  },
  {
    name: 'an apiVersion that is none',
    send: post(configMaps, { apiVersion: 'a/b/c', kind: 'ConfigMap' }),
    expect: unrecognized('unexpected GroupVersion string: a/b/c', '{"apiVersion":"a/b/c","kind":" ...'),
  },
  {
    name: 'plain text',
    send: post(configMaps, configMap('x'), { type: 'text/plain' }),
    expect: unknownFormat(mediaTypes),
  },
  {
    name: 'a content type that is none',
    send: post(configMaps, configMap('x'), { type: 'json' }),
    expect: unknownFormat(mediaTypes),
  },
  {
    name: 'a patch type on POST',
    send: post(configMaps, configMap('x'), { type: 'application/merge-patch+json' }),
    expect: unknownFormat(mediaTypes),
  },
  {
    name: 'protobuf that is none',
    send: post(configMaps, configMap('x'), { type: 'application/vnd.kubernetes.protobuf' }),
    expect: unrecognized(
      'provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]',
      '{"apiVersion":"v1","kind":"Con ...',
    ),
  },
  {
    name: 'protobuf whose envelope is broken',
    send: post(configMaps, Buffer.from([0x6b, 0x38, 0x73, 0, 0xff, 0xff]), {
      type: 'application/vnd.kubernetes.protobuf',
    }),
    expect: unrecognized('unexpected EOF', '6b387300ffff'),
  },
  {
    name: 'more than three MiB',
    send: post(configMaps, configMap('x', { data: { a: 'x'.repeat(3 * 1024 * 1024) } })),
    expect: tooLarge('limit is 3145728'),
  },
  {
    name: 'an object over one MiB',
    send: post(configMaps, configMap('x', { data: { a: 'x'.repeat(1024 * 1024 + 1) } })),
    expect: invalid('ConfigMap', 'x', ['FieldValueTooLong', 'Too long: may not be more than 1048576 bytes', '[]']),
  },
  {
    name: 'Strict: an unknown field',
    send: post(`${configMaps}?fieldValidation=Strict`, configMap('x', { datum: {} })),
    expect: cannot('ConfigMap', 'strict decoding error: unknown field "datum"'),
  },
  {
    name: 'Strict: the case of a field name',
    send: post(`${configMaps}?fieldValidation=Strict`, configMap('x', { Data: {} })),
    expect: cannot('ConfigMap', 'strict decoding error: unknown field "Data"'),
  },
  {
    name: 'Strict: unknown fields within',
    send: post(`${core}/pods?fieldValidation=Strict`, pod('x', { restart: 'Never' }, { imagee: 'x' })),
    expect: cannot(
      'Pod',
      'strict decoding error: unknown field "spec.containers[0].imagee", unknown field "spec.restart"',
    ),
  },
  {
    name: 'Strict: a field twice',
    send: post(
      `${configMaps}?fieldValidation=Strict`,
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","name":"y"},"data":{"a":"1","a":"2"}}',
    ),
    expect: cannot('ConfigMap', 'strict decoding error: duplicate field "metadata.name", duplicate field "data.a"'),
  },
  {
    name: 'Strict: a YAML key twice',
    send: post(
      `${configMaps}?fieldValidation=Strict`,
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: "1"\n  a: "2"\n',
      { type: 'application/yaml' },
    ),
    expect: cannot('ConfigMap', 'strict decoding error: yaml: unmarshal errors:\n  line 7: key "a" already set in map'),
  },
  {
    name: 'Warn: an unknown field and one twice',
    send: post(
      `${configMaps}?fieldValidation=Warn`,
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"warned"},"data":{"a":"1","a":"2"},"datum":{}}',
    ),
    expect: {
      code: 201,
      warnings: ['duplicate field "data.a"', 'unknown field "datum"'],
      object: { data: { a: '2' } },
    },
  },
  {
    name: 'Warn is what nothing means',
    send: post(configMaps, configMap('warned-by-default', { datum: {} })),
    expect: { code: 201, warnings: ['unknown field "datum"'] },
  },
  {
    name: 'Warn: a YAML key twice',
    send: post(configMaps, 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: warned-yaml\n  name: warned-yaml\n', {
      type: 'application/yaml',
    }),
    expect: { code: 201, warnings: ['line 5: key "name" already set in map'] },
  },
  {
    name: 'Ignore: an unknown field',
    send: post(`${configMaps}?fieldValidation=Ignore`, configMap('ignored', { datum: {} })),
    expect: { code: 201, warnings: [] },
  },
  {
    name: 'a directive that is none',
    send: post(`${configMaps}?fieldValidation=Loose`, configMap('x')),
    expect: options('CreateOptions', unsupported('fieldValidation', '"Loose"', '', 'Ignore', 'Strict', 'Warn')),
  },
  {
    name: 'PUT of another kind',
    given: [post(configMaps, configMap('put-kind'))],
    send: put(`${configMaps}/put-kind`, { ...pod('put-kind') }),
    expect: cannot('Pod', 'converting (v1.Pod) to (core.ConfigMap): unknown conversion', 'ConfigMap'),
  },
];
