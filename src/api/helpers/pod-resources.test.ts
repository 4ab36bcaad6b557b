/** Effective requests, limits and QoS classes of Pods. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatQuantity } from '../quantity.ts';
import { podQOSClass } from './pod-qos.ts';
import type { PodResourcesLike, ResourceQuantities } from './pod-resources.ts';
import { podLimits, podRequests } from './pod-resources.ts';

const text = (list: ResourceQuantities): Record<string, string> =>
  Object.fromEntries([...list].map(([name, q]) => [name, formatQuantity(q)]));
const cpu = (name: string, request: string, restartPolicy?: string): { name: string; restartPolicy?: string } =>
  ({
    name,
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
    resources: { requests: { cpu: request } },
  }) as { name: string };

test('requests', () => {
  const table: [PodResourcesLike['spec'], Record<string, string>][] = [
    [{ containers: [cpu('a', '1'), cpu('b', '500m')] }, { cpu: '1500m' }],
    [{ containers: [cpu('a', '1')], initContainers: [cpu('i', '2')] }, { cpu: '2' }],
    [{ containers: [cpu('a', '1')], initContainers: [cpu('s', '1', 'Always'), cpu('i', '2')] }, { cpu: '3' }],
    [{ containers: [cpu('a', '3')], initContainers: [cpu('i', '2'), cpu('s', '1', 'Always')] }, { cpu: '4' }],
    [{ containers: [cpu('a', '1')], overhead: { cpu: '250m' } }, { cpu: '1250m' }],
    [{ containers: [cpu('a', '1')], resources: { requests: { cpu: '5', 'example.com/x': '1' } } }, { cpu: '5' }],
  ];
  for (const [spec, expected] of table) assert.deepEqual(text(podRequests({ spec })), expected);
});

test('a resize in flight counts with the greatest amount', () => {
  const spec = { containers: [cpu('a', '2')] };
  const containerStatuses = [{ name: 'a', resources: { requests: { cpu: '1' } }, allocatedResources: { cpu: '1' } }];
  assert.deepEqual(text(podRequests({ spec, status: { containerStatuses } })), { cpu: '2' });
  const conditions = [{ type: 'PodResizePending', reason: 'Infeasible' }];
  assert.deepEqual(text(podRequests({ spec, status: { containerStatuses, conditions } })), { cpu: '1' });
  assert.deepEqual(text(podRequests({ spec, status: { containerStatuses, conditions } }, { useStatus: false })), {
    cpu: '2',
  });
});

test('limits take overhead only where there is one', () => {
  const spec = {
    containers: [{ name: 'a', resources: { limits: { cpu: '1' } } }],
    overhead: { cpu: '1', memory: '1Gi' },
  };
  assert.deepEqual(text(podLimits({ spec })), { cpu: '2' });
});

test('quality of service', () => {
  const both = { cpu: '1', memory: '1Gi' };
  const qos = (...resources: object[]): string =>
    podQOSClass({ spec: { containers: resources.map((r, i) => ({ name: String(i), resources: r })) } });
  assert.equal(qos({}), 'BestEffort');
  assert.equal(qos({ requests: both, limits: both }), 'Guaranteed');
  assert.equal(qos({ requests: { cpu: '1000m', memory: '1024Mi' }, limits: both }), 'Guaranteed');
  assert.equal(qos({ requests: both, limits: both }, {}), 'Burstable');
  assert.equal(qos({ requests: { cpu: '1' } }), 'Burstable');
  assert.equal(qos({ requests: { cpu: '0' } }), 'BestEffort');
  assert.equal(
    podQOSClass({ spec: { containers: [{ name: 'a' }], resources: { requests: both, limits: both } } }),
    'Guaranteed',
  );
});
