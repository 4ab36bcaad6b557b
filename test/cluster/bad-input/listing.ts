/** Query parameters: of lists and watches, selectors, pages, and of writes. */
import { badRequest, configMap, core, del, get, notAllowed, options, patch, post, put, unsupported } from './case.ts';
import type { Case } from './case.ts';

const configMaps = `${core}/configmaps`;
const list = (name: string, query: string, expect: Case['expect']): Case => ({
  name,
  send: get(`${configMaps}?${query}`),
  expect,
});
const token = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const match = 'resourceVersionMatch';
const encode = encodeURIComponent;

export const listing: readonly Case[] = [
  list('a limit that is no number', 'limit=abc', badRequest('strconv.ParseInt: parsing "abc": invalid syntax')),
  list(
    'a limit beyond 64 bits',
    'limit=99999999999999999999',
    badRequest('strconv.ParseInt: parsing "99999999999999999999": value out of range'),
  ),
  list(
    'a timeout that is no number',
    'timeoutSeconds=soon',
    badRequest('strconv.ParseInt: parsing "soon": invalid syntax'),
  ),
  list(
    'a resource version that is no number',
    'resourceVersion=abc',
    badRequest(
      'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    ),
  ),
  list(
    'a match without a resource version',
    'resourceVersionMatch=Exact',
    options('ListOptions', notAllowed(match, 'resourceVersionMatch is forbidden unless resourceVersion is provided')),
  ),
  list(
    'an exact match of 0',
    'resourceVersion=0&resourceVersionMatch=Exact',
    options('ListOptions', notAllowed(match, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')),
  ),
  list(
    'a match that there is not',
    'resourceVersion=1&resourceVersionMatch=Near',
    options('ListOptions', unsupported(match, '"Near"', 'Exact', 'NotOlderThan', '')),
  ),
  list(
    'a match with a continue token',
    `resourceVersion=1&resourceVersionMatch=Exact&continue=${token({ v: 'meta.k8s.io/v1', rv: 1, start: 'a' })}`,
    options('ListOptions', notAllowed(match, 'resourceVersionMatch is forbidden when continue is provided')),
  ),
  list(
    'initial events of a list',
    'sendInitialEvents=true',
    options('ListOptions', notAllowed('sendInitialEvents', 'sendInitialEvents is forbidden for list')),
  ),
  list(
    'initial events of a watch without a match',
    'watch=1&sendInitialEvents=true',
    options(
      'ListOptions',
      notAllowed(match, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'),
    ),
  ),
  list(
    'a watch with a match but no initial events',
    'watch=1&resourceVersion=5&resourceVersionMatch=NotOlderThan',
    options(
      'ListOptions',
      notAllowed(match, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'),
    ),
  ),
  list(
    'a watch with an exact match',
    'watch=1&resourceVersion=5&sendInitialEvents=true&resourceVersionMatch=Exact',
    options(
      'ListOptions',
      notAllowed(match, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'),
      unsupported(match, '"Exact"', 'NotOlderThan'),
    ),
  ),
  list(
    'a continue token that is no base64',
    'continue=%25%25',
    badRequest('invalid continue token: continue key is not valid: illegal base64 data at input byte 0'),
  ),
  list(
    'a continue token that is no JSON',
    `continue=${Buffer.from('nope').toString('base64url')}`,
    badRequest(
      "invalid continue token: continue key is not valid: invalid character 'o' in literal null (expecting 'u')",
    ),
  ),
  list(
    'a continue token of another version',
    `continue=${token({ v: 'v9', rv: 1, start: 'a' })}`,
    badRequest('invalid continue token: continue key is not valid: server does not recognize this encoded version v9'),
  ),
  list(
    'a continue token without a resource version',
    `continue=${token({ v: 'meta.k8s.io/v1', start: 'a' })}`,
    badRequest(
      'invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)',
    ),
  ),
  list(
    'a continue token without a start',
    `continue=${token({ v: 'meta.k8s.io/v1', rv: 1 })}`,
    badRequest('invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)'),
  ),
  list(
    'a continue token that climbs',
    `continue=${token({ v: 'meta.k8s.io/v1', rv: 1, start: '../secrets/x' })}`,
    badRequest('invalid continue token: continue key is not valid: ../secrets/x'),
  ),
  list(
    'a continue token with a resource version',
    `resourceVersion=7&continue=${token({ v: 'meta.k8s.io/v1', rv: 1, start: 'a' })}`,
    badRequest('specifying resource version is not allowed when using continue'),
  ),
  list(
    'a label selector without a value list',
    `labelSelector=${encode('a in')}`,
    badRequest("unable to parse requirement: found '' expected: '('"),
  ),
  list(
    'a label selector with a strange operator',
    `labelSelector=${encode('a ~ b')}`,
    badRequest("unable to parse requirement: found '~', expected: in, notin, =, ==, !=, gt, lt"),
  ),
  list(
    'a label selector that ends in a comma',
    `labelSelector=${encode('a=b,')}`,
    badRequest("found '', expected: identifier after ','"),
  ),
  list(
    'a label key with two slashes',
    `labelSelector=${encode('a/b/c=d')}`,
    badRequest(
      `unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ),
  ),
  list(
    'a label value that is none',
    `labelSelector=${encode('a=b c')}`,
    badRequest("found 'c', expected: ',' or 'end of string'"),
  ),
  list(
    'a label compared with a word',
    `labelSelector=${encode('a>b')}`,
    badRequest(
      "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
    ),
  ),
  list(
    'a field selector that is none',
    `fieldSelector=${encode('metadata.name')}`,
    badRequest("invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
  ),
  list(
    'a field that cannot be selected by',
    `fieldSelector=${encode('data.a=b')}`,
    badRequest('"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"'),
  ),
  {
    name: 'a field of pods that cannot be selected by',
    send: get(`${core}/pods?fieldSelector=${encode('spec.containers=x')}`),
    expect: badRequest('field label not supported: spec.containers'),
  },
  {
    name: 'a watch of one name with the selector of another',
    send: get(`/api/v1/watch/namespaces/bad/configmaps/a?fieldSelector=${encode('metadata.name=b')}`),
    expect: badRequest("fieldSelector metadata.name doesn't match requested name"),
  },
  {
    name: 'a get at a resource version that is no number',
    send: get(`${configMaps}/kube-root-ca.crt?resourceVersion=x`),
    // Upstream lets the error through as it is, which makes a 500 of it.
    expect: {
      code: 500,
      message: 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
    },
  },
  {
    name: 'dry run of something else than all',
    send: post(`${configMaps}?dryRun=Some`, configMap('x')),
    expect: options('CreateOptions', unsupported('dryRun', '["Some"]', 'All')),
  },
  {
    name: 'dry run stores nothing',
    given: [post(`${configMaps}?dryRun=All`, configMap('dry'))],
    send: get(`${configMaps}/dry`),
    expect: {
      code: 404,
      reason: 'NotFound',
      message: 'configmaps "dry" not found',
      details: { name: 'dry', kind: 'configmaps' },
    },
  },
  {
    name: 'a field manager that is too long',
    send: post(`${configMaps}?fieldManager=${'m'.repeat(129)}`, configMap('x')),
    expect: options('CreateOptions', ['FieldValueTooLong', 'Too long: may not be more than 128 bytes', 'fieldManager']),
  },
  {
    name: 'a field manager with a control character',
    send: put(`${configMaps}/x?fieldManager=a%07b`, configMap('x')),
    expect: options('UpdateOptions', [
      'FieldValueInvalid',
      'Invalid value: "a\\ab": invalid character U+0007 (at position 1)',
      'fieldManager',
    ]),
  },
  {
    name: 'force without apply',
    send: patch('merge', `${configMaps}/x?force=true`, {}),
    expect: options('PatchOptions', notAllowed('force', 'may not be specified for non-apply patch')),
  },
  {
    name: 'a grace period in the query that is no number',
    send: del(`${configMaps}/x?gracePeriodSeconds=now`),
    expect: badRequest('strconv.ParseInt: parsing "now": invalid syntax'),
  },
  {
    name: 'a propagation policy in the query that there is not',
    send: del(`${configMaps}/x?propagationPolicy=Maybe`),
    expect: options(
      'DeleteOptions',
      unsupported('propagationPolicy', '"Maybe"', 'Foreground', 'Background', 'Orphan', 'nil'),
    ),
  },
];
