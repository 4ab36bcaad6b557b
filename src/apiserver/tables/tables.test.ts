import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import type { KubeObjectLike } from '../request.ts';
import { customCells } from './custom.ts';
import { JsonPathError, parseJsonPath } from './json-path.ts';
import { printers } from './printers.ts';
import type { Cell, PrintedRow } from './table.ts';

const now = Date.parse('2026-01-01T12:00:00Z');
const ago = (seconds: number): string => `${new Date(now - seconds * 1000).toISOString().slice(0, 19)}Z`;

function cells(key: string, object: Record<string, unknown>): readonly Cell[] {
  const metadata = { name: 'x', creationTimestamp: ago(300), ...(object['metadata'] as object | undefined) };
  const row = printers[key]!({ ...object, metadata } as KubeObjectLike, { now });
  return 'cells' in row ? (row as PrintedRow).cells : (row as readonly Cell[]);
}

const container = (name: string, state: object, more: object = {}): object => ({
  name,
  state,
  restartCount: 0,
  ...more,
});

test('the status of a pod sums up its containers, phases and deletion', () => {
  const pod = (spec: object, status: object, metadata: object = {}): readonly Cell[] =>
    cells('/Pod', { spec: { containers: [{ name: 'a' }], ...spec }, status, metadata }).slice(1, 4);
  const running = { running: {} };
  assert.deepEqual(pod({}, { phase: 'Pending' }), ['0/1', 'Pending', '0']);
  assert.deepEqual(pod({}, { phase: 'Running', containerStatuses: [container('a', running, { ready: true })] }), [
    '1/1',
    'Running',
    '0',
  ]);
  assert.deepEqual(
    pod(
      {},
      {
        phase: 'Running',
        containerStatuses: [
          container(
            'a',
            { waiting: { reason: 'CrashLoopBackOff' } },
            {
              restartCount: 3,
              lastState: { terminated: { finishedAt: ago(125) } },
            },
          ),
        ],
      },
    ),
    ['0/1', 'CrashLoopBackOff', '3 (2m5s ago)'],
  );
  assert.deepEqual(
    pod({}, { phase: 'Failed', containerStatuses: [container('a', { terminated: { exitCode: 137, signal: 9 } })] }),
    ['0/1', 'Signal:9', '0'],
  );
  assert.deepEqual(
    pod(
      {},
      { phase: 'Running', containerStatuses: [container('a', running, { ready: true })] },
      { deletionTimestamp: ago(1) },
    ),
    ['1/1', 'Terminating', '0'],
  );
  assert.deepEqual(pod({}, { phase: 'Running', reason: 'NodeLost' }, { deletionTimestamp: ago(1) }), [
    '0/1',
    'Unknown',
    '0',
  ]);
  assert.deepEqual(
    pod({}, { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] }),
    ['0/1', 'SchedulingGated', '0'],
  );
});

test('init containers and sidecars have their own states', () => {
  const initContainers = [{ name: 'i1' }, { name: 'side', restartPolicy: 'Always' }, { name: 'i2' }];
  const pod = (init: object[], containers: object[] = [], conditions: object[] = []): readonly Cell[] =>
    cells('/Pod', {
      spec: { containers: [{ name: 'a' }], initContainers },
      status: { phase: 'Pending', initContainerStatuses: init, containerStatuses: containers, conditions },
    }).slice(1, 4);
  const done = container('i1', { terminated: { exitCode: 0 } });
  const side = container('side', { running: {} }, { started: true, ready: true });
  assert.deepEqual(pod([container('i1', { running: {} })]), ['0/2', 'Init:0/3', '0']);
  assert.deepEqual(pod([done, side, container('i2', { running: {} })]), ['1/2', 'Init:2/3', '0']);
  assert.deepEqual(pod([container('i1', { terminated: { exitCode: 2 } })]), ['0/2', 'Init:ExitCode:2', '0']);
  assert.deepEqual(pod([container('i1', { waiting: { reason: 'ErrImagePull' } })]), ['0/2', 'Init:ErrImagePull', '0']);
  const ready = [{ type: 'Initialized', status: 'True' }];
  assert.deepEqual(
    pod(
      [done, side, container('i2', { terminated: { exitCode: 0 } })],
      [container('a', { running: {} }, { ready: true })],
      ready,
    ),
    ['2/2', 'Pending', '0'],
  );
});

test('rows of common kinds', () => {
  assert.deepEqual(
    cells('/Service', {
      spec: {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.5'],
        ports: [
          { port: 80, nodePort: 30080, protocol: 'TCP' },
          { port: 53, protocol: 'UDP' },
        ],
        selector: { b: '2', a: '1' },
      },
      status: { loadBalancer: {} },
    }),
    ['x', 'LoadBalancer', '10.96.0.5', '<pending>', '80:30080/TCP,53/UDP', '5m', 'a=1,b=2'],
  );
  assert.deepEqual(
    cells('/Node', {
      metadata: { labels: { 'node-role.kubernetes.io/control-plane': '' } },
      spec: { unschedulable: true },
      status: {
        conditions: [{ type: 'Ready', status: 'True' }],
        addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
        nodeInfo: { kubeletVersion: 'v1.36.4', kernelVersion: '6.1', architecture: 'amd64' },
      },
    }),
    [
      'x',
      'Ready,SchedulingDisabled',
      'control-plane',
      '5m',
      'v1.36.4',
      '10.0.0.1',
      '<none>',
      '<unknown>',
      '6.1 (amd64)',
      '<unknown>',
    ],
  );
  assert.deepEqual(
    cells('apps/Deployment', {
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: 'x' } },
        template: { spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
      status: { readyReplicas: 1, updatedReplicas: 3 },
    }),
    ['x', '1/3', 3, 0, '5m', 'c', 'i', 'app=x'],
  );
  assert.deepEqual(
    cells('batch/Job', { spec: { completions: 5 }, status: { succeeded: 2, startTime: ago(90) } }).slice(1, 4),
    ['Running', '2/5', '90s'],
  );
  assert.deepEqual(
    cells('/Endpoints', {
      subsets: [{ addresses: ['1', '2', '3', '4'].map((n) => ({ ip: `10.0.0.${n}` })), ports: [{ port: 80 }] }],
    })[1],
    '10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...',
  );
});

test('every printer makes as many cells as its kind has columns', () => {
  const catalog = loadCatalog();
  for (const r of catalog.resources) {
    const printer = printers[`${r.group}/${r.kind}`];
    if (printer === undefined || r.columns.length === 0) continue;
    const row = printer({ metadata: { name: 'x' } }, { now });
    const made = 'cells' in row ? row.cells.length : row.length;
    // Upstream prints an age behind the declared columns of IPAddress, and adds columns of CSIDriver later.
    const more = r.kind === 'IPAddress' ? 1 : r.kind === 'CSIDriver' ? 8 - r.columns.length : 0;
    assert.equal(made, r.columns.length + more, r.kind);
  }
});

test('custom columns follow their JSON paths and types', () => {
  const columns = [
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'N', type: 'integer', jsonPath: '.spec.n' },
    { name: 'First', type: 'string', jsonPath: '.spec.list[0].name' },
    { name: 'Key', type: 'string', jsonPath: '.metadata.annotations.example\\.com/a' },
    { name: 'Map', type: 'string', jsonPath: '.spec.map' },
    { name: 'On', type: 'boolean', jsonPath: '.spec.on' },
    { name: 'Gone', type: 'string', jsonPath: '.spec.gone' },
    { name: 'Since', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Bad', type: 'date', jsonPath: '.spec.list[0].name' },
  ].map((c) => ({ format: '', priority: 0, ...c }));
  const object = {
    metadata: { name: 'w', creationTimestamp: ago(3600), annotations: { 'example.com/a': 'v' } },
    spec: { n: 4, list: [{ name: 'one' }], map: { a: 1 }, on: true },
    status: {
      conditions: [
        { type: 'Other', status: 'x' },
        { type: 'Ready', status: 'True' },
      ],
    },
  };
  assert.deepEqual(customCells(columns)(object, { now }), [
    'w',
    'True',
    4,
    'one',
    'v',
    '{"a":1}',
    true,
    null,
    '60m',
    '<invalid>',
  ]);
});

test('JSON paths: wildcards, slices, unions, descent, filters', () => {
  const root = { a: [{ n: 1, k: 'x' }, { n: 2, k: 'y' }, { n: 3 }], 'd.e': 5 };
  const find = (path: string): unknown[] => parseJsonPath(path)(root);
  assert.deepEqual(find('.a[*].n'), [1, 2, 3]);
  assert.deepEqual(find('.a[-1].n'), [3]);
  assert.deepEqual(find('.a[0:2].k'), ['x', 'y']);
  assert.deepEqual(find('.a[0,2].n'), [1, 3]);
  assert.deepEqual(find("['d.e']"), [5]);
  assert.deepEqual(find('..k'), ['x', 'y']);
  assert.deepEqual(find('.a[?(@.n>1)].n'), [2, 3]);
  assert.deepEqual(find('.a[?(@.k)].n'), [1, 2]);
  assert.throws(() => parseJsonPath('.a[?('), JsonPathError);
});
