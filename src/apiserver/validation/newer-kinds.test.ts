import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceSelectorCompiler } from '../../api/cel/device-selector.ts';
import { formatFieldError, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { DeviceRules } from './devices.ts';
import { validateFlowSchema, validatePriorityLevelConfiguration } from './flow-control.ts';
import { storageVersionName, validateLeaseCandidate, validateStorageVersionMigrationStatus } from './internal-kinds.ts';
import {
  validateDeviceClass,
  validateResourceClaim,
  validateResourceClaimStatusUpdate,
  validateResourceClaimTemplate,
} from './resource-claim.ts';
import { validateDeviceTaintRule, validateResourceSlice } from './resource-slice.ts';
import { validateClusterTrustBundle, validatePodCertificateRequest } from './trust.ts';
import { validatePodGroup, validateWorkload } from './workloads-alpha.ts';

const rules: DeviceRules = {
  selectors: new DeviceSelectorCompiler({ consumableCapacity: true, listAttributes: false }),
  consumableCapacity: true,
};

const object = (spec: unknown, rest: object = {}): KubeObject =>
  ({ apiVersion: '', kind: '', metadata: { name: 'n' }, spec, ...rest }) as unknown as KubeObject;
const told = (errors: readonly FieldError[]): string[] => errors.map(formatFieldError);

const exactly = { deviceClassName: 'gpu.example.com', allocationMode: 'ExactCount', count: 1 };

function claim(request: object, rest: object = {}): string[] {
  return told(validateResourceClaim(rules, object({ devices: { requests: [{ name: 'r', ...request }], ...rest } })));
}

test('requests of claims', () => {
  assert.deepEqual(claim({ exactly }), []);
  assert.deepEqual(claim({}), [
    'spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required',
  ]);
  assert.deepEqual(claim({ exactly: { ...exactly, deviceClassName: '', allocationMode: 'Some' } }), [
    'spec.devices.requests[0].exactly.deviceClassName: Required value',
    'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"',
  ]);
  assert.deepEqual(claim({ exactly: { ...exactly, allocationMode: 'All', count: 2 } }), [
    "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
  ]);
  assert.deepEqual(claim({ exactly }, { constraints: [{ requests: ['none'], matchAttribute: 'a' }] }), [
    'spec.devices.constraints[0].requests[0]: Invalid value: "none": must be the name of a request in the claim or the name of a request and a subrequest separated by \'/\'',
    'spec.devices.constraints[0].matchAttribute: Invalid value: "a": a fully qualified name must be a domain and a name separated by a slash',
  ]);
  assert.deepEqual(claim({ exactly }, { config: [{ opaque: { driver: 'a.example.com', parameters: [1] } }] }), [
    'spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object',
  ]);
  const many = Array.from({ length: 33 }, (_, i) => ({ name: `r${i}`, exactly }));
  assert.deepEqual(told(validateResourceClaim(rules, object({ devices: { requests: many } }))), [
    'spec.devices.requests: Too many: 33: must have at most 32 items',
  ]);
  const twice = [
    { name: 'r', exactly },
    { name: 'r', exactly },
  ];
  assert.deepEqual(
    told(
      validateResourceClaimTemplate(rules, object({ metadata: { name: 'x' }, spec: { devices: { requests: twice } } })),
    ),
    ['spec.metadata.name: Forbidden: cannot be set', 'spec.spec.devices.requests[1]: Duplicate value: "r"'],
  );
});

test('selectors of devices', () => {
  const selected = (expression: string): string[] =>
    told(validateDeviceClass(rules, object({ selectors: [{ cel: { expression } }] }), undefined));
  assert.deepEqual(selected("device.driver == 'a' && device.attributes['a.example.com'].model == 'x'"), []);
  assert.deepEqual(
    selected("device.capacity['a'].memory.isGreaterThan(quantity('1Gi')) && device.allowMultipleAllocations"),
    [],
  );
  assert.match(selected('device.driver')[0]!, /must evaluate to bool or the unknown type, not string$/);
  assert.match(
    selected('noSuch')[0]!,
    /^spec\.selectors\[0\]\.cel\.expression: Invalid value: "noSuch": compilation failed: /,
  );
  const costly =
    'device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a == b + c + d))))';
  assert.deepEqual(selected(costly), ['spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit']);
  assert.deepEqual(told(validateDeviceClass(rules, object({ extendedResourceName: 'cpu' }), undefined)), [
    'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name',
  ]);
});

test('status of claims', () => {
  const spec = { devices: { requests: [{ name: 'r', exactly }] } };
  const result = { request: 'r', driver: 'a.example.com', pool: 'p', device: 'd' };
  const allocation = { devices: { results: [result] } };
  const update = (status: object, old: object = {}): string[] =>
    told(validateResourceClaimStatusUpdate(object(spec, { status }), object(spec, { status: old })));
  assert.deepEqual(update({ allocation, reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }] }), []);
  assert.deepEqual(update({ reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }] }), [
    'status.reservedFor: Forbidden: may not be specified when `allocated` is not set',
  ]);
  assert.match(
    update({ allocation: { devices: {} } }, { allocation })[0]!,
    /^status\.allocation: Invalid value: .*: field is immutable$/,
  );
  assert.deepEqual(
    update({ allocation, devices: [{ driver: 'a.example.com', pool: 'p', device: 'other', conditions: null }] }),
    [
      'status.devices[0]: Invalid value: {"Driver":"a.example.com","Pool":"p","Device":"other","ShareID":""}: must be an allocated device in the claim',
    ],
  );
});

test('slices', () => {
  const pool = { name: 'p', generation: 1, resourceSliceCount: 1 };
  const slice = (spec: object): string[] =>
    told(validateResourceSlice(object({ driver: 'a.example.com', pool, nodeName: 'n', ...spec }), undefined));
  assert.deepEqual(slice({ devices: [{ name: 'd', attributes: { a: { int: 1 } } }] }), []);
  assert.deepEqual(slice({ nodeName: undefined }), [
    'spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required',
  ]);
  assert.deepEqual(slice({ allNodes: true }), [
    'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set',
  ]);
  assert.deepEqual(
    slice({ devices: [{ name: 'd', attributes: { 'a-b': { int: 1, bool: true }, v: { version: 'x' } } }] }),
    [
      "spec.devices[0].attributes: Invalid value: \"a-b\": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
      'spec.devices[0].attributes[a-b]: Invalid value: {"int":1,"bool":true}: exactly one value must be specified',
      'spec.devices[0].attributes[v].version: Invalid value: "x": must be a string compatible with semver.org spec 2.0.0',
    ],
  );
  assert.deepEqual(
    slice({ devices: [{ name: 'd', capacity: { m: { value: '1', requestPolicy: { default: '1' } } } }] }),
    ['spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true'],
  );
  assert.deepEqual(
    slice({
      devices: [
        {
          name: 'd',
          allowMultipleAllocations: true,
          capacity: {
            m: { value: '10', requestPolicy: { default: '4', validRange: { min: '1', max: '9', step: '2' } } },
          },
        },
      ],
    }),
    [
      'spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "4": value is not a multiple of a given step (2) from (1)',
    ],
  );
  assert.deepEqual(told(validateDeviceTaintRule(object({ taint: { key: 'a', effect: 'Never' } }), undefined)), [
    'spec.taint.effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"',
  ]);
});

test('flow control', () => {
  const schema = (spec: object, name = 'n'): string[] =>
    told(
      validateFlowSchema(
        object({ matchingPrecedence: 5, priorityLevelConfiguration: { name: 'x' }, ...spec }, { metadata: { name } }),
      ),
    );
  assert.deepEqual(schema({}), []);
  assert.deepEqual(schema({ matchingPrecedence: 1 }), [
    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
  ]);
  assert.deepEqual(schema({ rules: [{ subjects: null }] }), [
    'spec.rules[0].subjects: Required value: subjects must contain at least one value',
    'spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty',
  ]);
  const subjects = [{ kind: 'User', user: { name: 'u' }, group: { name: 'g' } }];
  assert.deepEqual(schema({ rules: [{ subjects, nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['a'] }] }] }), [
    "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
    'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "a": must start with slash',
  ]);
  const level = (spec: object, name = 'n'): string[] =>
    told(validatePriorityLevelConfiguration(object(spec, { metadata: { name } })));
  const queuing = { queues: 8, handSize: 9, queueLengthLimit: 1 };
  assert.deepEqual(
    level({ type: 'Limited', limited: { nominalConcurrencyShares: 1, limitResponse: { type: 'Queue', queuing } } }),
    ['spec.limited.limitResponse.queuing.handSize: Invalid value: 9: should not be greater than queues (8)'],
  );
  assert.deepEqual(level({ type: 'Exempt' }), [
    "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
  ]);
  assert.match(
    level(
      { type: 'Limited', limited: { nominalConcurrencyShares: 9, limitResponse: { type: 'Reject' } } },
      'catch-all',
    )[0]!,
    /spec of 'catch-all' must equal the fixed value$/,
  );
});

test('kinds that --runtime-config serves', async () => {
  const lease = {
    leaseName: 'l',
    binaryVersion: '1.35.0',
    emulationVersion: '1.36.0',
    strategy: 'OldestEmulationVersion',
  };
  assert.deepEqual(told(validateLeaseCandidate(object(lease))), [
    'spec.binaryVersion: Invalid value: "1.35.0": must be greater than or equal to `emulationVersion`',
  ]);
  assert.deepEqual(storageVersionName('pods'), ['name must be in the form of <group>.<resource>']);
  const conditions = ['Succeeded', 'Failed'].map((type) => ({
    type,
    status: 'True',
    reason: 'R',
    message: '',
    lastTransitionTime: '2026-01-01T00:00:00Z',
  }));
  assert.match(
    told(validateStorageVersionMigrationStatus(object({}, { status: { conditions } }), object({})))[0]!,
    /Both success and failed conditions cannot be true at the same time$/,
  );
  assert.deepEqual(
    told(validateClusterTrustBundle(object({ signerName: 'a.example.com/s', trustBundle: '' }), undefined)),
    [
      'metadata.name: Invalid value: "n": ClusterTrustBundle for signerName a.example.com/s must be named with prefix a.example.com:s:',
      'spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided',
    ],
  );
  assert.ok(
    told(await validatePodCertificateRequest(object({ signerName: 'x', maxExpirationSeconds: 1 }))).includes(
      'spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set',
    ),
  );
  const gates = { topology: false, claims: false, preemption: false };
  assert.deepEqual(
    told(validateWorkload(object({ podGroupTemplates: [{ name: 'a', schedulingPolicy: {} }] }), undefined, gates)),
    ['spec.podGroupTemplates[0].schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`'],
  );
  assert.deepEqual(
    told(validatePodGroup(object({ schedulingPolicy: { gang: { minCount: 0 } }, priority: 1 }), undefined, gates)),
    ['spec.schedulingPolicy.gang.minCount: Required value', 'spec.priority: Forbidden'],
  );
});
