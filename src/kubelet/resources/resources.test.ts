/** The CPU, memory and topology managers on made-up machines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import { formatCpuSet, parseCpuSet } from '../cpu-set.ts';
import { formatCpuState, formatMemoryState, parseCpuState, parseMemoryState } from './checkpoint.ts';
import { takeDistributed, takePacked } from './cpu-assignment.ts';
import { cpuOptions, StaticCpuPolicy } from './cpu-policy.ts';
import type { CpuPlace, MachineTopology } from './machine-topology.ts';
import { reservedByNode, StaticMemoryPolicy } from './memory-policy.ts';
import { maskOf } from './numa-mask.ts';
import { AdmissionError, HintMerger, TopologyManager, topologyOptions } from './topology-hints.ts';

const gib = 2 ** 30;

/** Threads of a core are numbered as Intel does: the second ones after all first ones. */
function machine(sockets: number, numaPerSocket: number, cores: number, threads = 2): MachineTopology {
  const cpus = new Map<number, CpuPlace>();
  const perSocket = numaPerSocket * cores;
  for (let t = 0; t < threads; t++)
    for (let s = 0; s < sockets; s++)
      for (let c = 0; c < perSocket; c++) {
        const core = s * perSocket + c;
        const numa = s * numaPerSocket + Math.trunc(c / cores);
        cpus.set(t * sockets * perSocket + core, { core, socket: s, numa, uncore: numa });
      }
  const nodes = sockets * numaPerSocket;
  return {
    cpus,
    numaNodes: Array.from({ length: nodes }, (_, id) => ({
      id,
      memoryBytes: 8 * gib,
      distances: Array.from({ length: nodes }, (__, to) => (to === id ? 10 : Math.abs(to - id) === 1 ? 11 : 20)),
      hugepages: [],
    })),
  };
}

const all = (m: MachineTopology): ReadonlySet<number> => new Set(m.cpus.keys());
const noOptions = cpuOptions({}, () => true);

function pod(uid: string, ...containers: readonly [name: string, cpu: string, memory?: string][]): Pod {
  return {
    metadata: { name: uid, namespace: 'default', uid },
    spec: {
      containers: containers.map(([name, cpu, memory = '1Gi']) => ({
        name,
        image: 'x',
        resources: { requests: { cpu, memory }, limits: { cpu, memory } },
      })) as unknown as Container[],
    },
  } as Pod;
}

test('whole sockets, then whole cores, then threads; those most used already first', () => {
  const m = machine(2, 1, 4);
  assert.equal(formatCpuSet(takePacked(m, all(m), 8)), '0-3,8-11');
  assert.equal(formatCpuSet(takePacked(m, all(m), 2)), '0,8');
  assert.equal(formatCpuSet(takePacked(m, all(m), 3)), '0-1,8');
  // Socket 1 has a core less, so that it is used up before the untouched one is broken.
  assert.equal(formatCpuSet(takePacked(m, parseCpuSet('0-3,8-11,5-7,13-15'), 2)), '5,13');
  assert.equal(formatCpuSet(takePacked(m, all(m), 4, { spread: true })), '0-3');
  assert.throws(() => takePacked(m, parseCpuSet('0-1'), 3), {
    message: 'not enough cpus available to satisfy request: requested=3, available=2',
  });
  // One cache (a NUMA node here) that holds all of it, although cores of another are free as well.
  const caches = machine(1, 2, 4);
  assert.equal(formatCpuSet(takePacked(caches, parseCpuSet('0,4-7,8,12-15'), 4, { byUncoreCache: true })), '4-5,12-13');
});

test('evenly over NUMA nodes, those with most left over give the rest', () => {
  const m = machine(2, 2, 4);
  assert.equal(formatCpuSet(takeDistributed(m, all(m), 16, 1)), '0-7,16-23');
  assert.equal(formatCpuSet(takeDistributed(m, all(m), 12, 2)), '0-2,4-6,16-18,20-22');
  assert.equal(formatCpuSet(takeDistributed(m, parseCpuSet('0-7'), 6, 1)), '0-2,4-6');
  // What fits into one node stays in it.
  assert.equal(formatCpuSet(takeDistributed(m, all(m), 4, 2)), '0-1,16-17');
});

test('exclusive CPUs leave the shared pool and come back; init containers pass theirs on', async () => {
  const m = machine(1, 1, 4);
  const policy = new StaticCpuPolicy({
    topology: m,
    reservedCount: 1,
    reserved: new Set(),
    options: noOptions,
    topologyPolicy: 'none',
  });
  policy.restore({ shared: new Set(), assigned: new Map() });
  const manager = new TopologyManager(m, 'none', 'container', {}, [policy]);
  const a = pod('a', ['one', '2'], ['half', '500m']);
  await manager.admit(a);
  assert.equal(formatCpuSet(policy.exclusive('a', 'one')!), '1,5');
  assert.equal(policy.exclusive('a', 'half'), undefined, 'only whole CPUs are given alone');
  assert.equal(formatCpuSet(policy.state.shared), '0,2-4,6-7');

  const b = pod('b', ['app', '3']);
  b.spec!.initContainers = pod('x', ['init', '4']).spec!.containers;
  await manager.admit(b);
  const init = policy.exclusive('b', 'init')!;
  assert.equal(init.size, 4);
  assert.ok([...policy.exclusive('b', 'app')!].some((c) => init.has(c)));
  await assert.rejects(manager.admit(pod('c', ['big', '4'])), {
    message: 'not enough cpus available to satisfy request: requested=4, available=0',
  });
  policy.release('b', 'init');
  policy.release('b', 'app');
  policy.release('a', 'one');
  assert.equal(formatCpuSet(policy.state.shared), '0-7');

  const burstable = pod('d', ['x', '2']);
  (burstable.spec!.containers[0]!.resources!.requests as Record<string, string>)['memory'] = '1Mi';
  await manager.admit(burstable);
  assert.equal(policy.exclusive('d', 'x'), undefined);
});

test('full-pcpus-only and strict-cpu-reservation; options that do not go together', async () => {
  const m = machine(1, 1, 4);
  const options = cpuOptions({ 'full-pcpus-only': 'true', 'strict-cpu-reservation': 'true' }, () => false);
  const policy = new StaticCpuPolicy({
    topology: m,
    reservedCount: 1,
    reserved: new Set([0]),
    options,
    topologyPolicy: 'none',
  });
  policy.restore({ shared: new Set(), assigned: new Map() });
  assert.equal(formatCpuSet(policy.state.shared), '1-7');
  const manager = new TopologyManager(m, 'none', 'container', {}, [policy]);
  await assert.rejects(
    manager.admit(pod('a', ['x', '3'])),
    (e: unknown) =>
      e instanceof AdmissionError &&
      e.reason === 'SMTAlignmentError' &&
      e.message === 'SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2',
  );
  await assert.rejects(manager.admit(pod('a', ['x', '8'])), {
    message:
      'SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2',
  });
  await manager.admit(pod('a', ['x', '6']));
  assert.equal(formatCpuSet(policy.state.shared), '4');

  assert.throws(() => cpuOptions({ 'full-pcpus-only': 'true', 'distribute-cpus-across-cores': 'true' }, () => true), {
    message: 'static policy options full-pcpus-only and distribute-cpus-across-cores can not be used at the same time',
  });
  assert.throws(() => cpuOptions({ 'align-by-socket': 'true' }, () => false), {
    message: 'CPU Manager Policy Alpha-level Options not enabled, but option "align-by-socket" provided',
  });
  assert.throws(() => cpuOptions({ nope: 'true' }, () => true), {
    message: 'unknown CPU Manager Policy option: "nope"',
  });
});

test('hints of several resources become one affinity, as each policy wants it', () => {
  const m = machine(2, 1, 4);
  const both = maskOf([0, 1]);
  const cpu = new Map([
    [
      'cpu',
      [0, 1].map((n) => ({ affinity: maskOf([n]), preferred: true })).concat({ affinity: both, preferred: false }),
    ],
  ]);
  const memoryOn1 = new Map([
    [
      'memory',
      [
        { affinity: 2n, preferred: true },
        { affinity: both, preferred: false },
      ],
    ],
  ]);
  const merge = (policy: 'best-effort' | 'restricted' | 'single-numa-node', ...hints: (typeof cpu | undefined)[]) =>
    new HintMerger(m, policy, topologyOptions({})).merge(hints);
  assert.deepEqual(merge('restricted', cpu, memoryOn1), { hint: { affinity: 2n, preferred: true }, admit: true });
  assert.deepEqual(merge('single-numa-node', cpu, undefined), { hint: { affinity: 1n, preferred: true }, admit: true });
  const wide = new Map([['device', [{ affinity: both, preferred: true }]]]);
  assert.equal(merge('best-effort', cpu, wide).admit, true);
  assert.equal(merge('best-effort', cpu, wide).hint.preferred, false);
  assert.equal(merge('restricted', cpu, wide).admit, false);
  assert.equal(merge('restricted', wide).admit, true);
  assert.equal(merge('single-numa-node', wide).admit, false);
  assert.equal(merge('restricted', new Map([['device', []]])).admit, false, 'no node will do');
  assert.deepEqual(merge('single-numa-node', undefined), {
    hint: { affinity: undefined, preferred: true },
    admit: true,
  });

  const four = machine(1, 4, 1);
  const pairs = new Map([['x', [maskOf([0, 3]), maskOf([2, 3])].map((affinity) => ({ affinity, preferred: true }))]]);
  const pick = (options: Record<string, string>): bigint | undefined =>
    new HintMerger(four, 'best-effort', topologyOptions(options)).merge([pairs]).hint.affinity;
  assert.equal(pick({}), maskOf([0, 3]), 'the lower numbers');
  assert.equal(pick({ 'prefer-closest-numa-nodes': 'true' }), maskOf([2, 3]), 'the nearer ones');
});

test('a Guaranteed pod gets CPUs and memory of one NUMA node, or is turned away', async () => {
  const m = machine(2, 1, 4);
  const make = (scope: string, policy: 'single-numa-node' | 'best-effort') => {
    const cpu = new StaticCpuPolicy({
      topology: m,
      reservedCount: 2,
      reserved: parseCpuSet('0,8'),
      options: noOptions,
      topologyPolicy: policy,
    });
    cpu.restore({ shared: new Set(), assigned: new Map() });
    const limits = [{ numaNode: 0, limits: { memory: '1Gi' } }];
    const memory = new StaticMemoryPolicy(m, reservedByNode(m, limits, new Map([['memory', gib]])));
    memory.restore({ machine: new Map(), assigned: new Map() });
    return { cpu, memory, manager: new TopologyManager(m, policy, scope, {}, [cpu, memory]) };
  };
  const one = make('container', 'single-numa-node');
  await one.manager.admit(pod('a', ['x', '4', '8Gi']));
  assert.equal(
    formatCpuSet(one.cpu.exclusive('a', 'x')!),
    '4-5,12-13',
    'node 0 has 7 Gi, so the CPUs follow the memory',
  );
  assert.deepEqual(one.memory.nodes('a', 'x'), [1]);
  await assert.rejects(
    one.manager.admit(pod('b', ['x', '7', '1Gi'])),
    (e: unknown) =>
      e instanceof AdmissionError &&
      e.reason === 'TopologyAffinityError' &&
      e.message === 'Resources cannot be allocated with Topology locality',
  );
  one.cpu.release('a', 'x');
  one.memory.release('a', 'x');
  assert.equal(one.memory.state.machine.get(1)!.memoryMap['memory']!.free, 8 * gib);

  // Together the two containers need more than a node has, one by one they do not.
  const two = pod('c', ['x', '4', '1Gi'], ['y', '6', '1Gi']);
  await make('container', 'single-numa-node').manager.admit(two);
  await assert.rejects(make('pod', 'single-numa-node').manager.admit(two), AdmissionError);

  // Memory that only two nodes together have makes a group of them: what comes later uses it as a whole.
  const wide = make('container', 'best-effort');
  await wide.manager.admit(pod('d', ['x', '2', '10Gi']));
  assert.deepEqual(wide.memory.nodes('d', 'x'), [0, 1]);
  await wide.manager.admit(pod('e', ['x', '2', '1Gi']));
  assert.deepEqual(wide.memory.nodes('e', 'x'), [0, 1]);

  assert.throws(() => reservedByNode(m, [], new Map([['memory', 100]])), {
    message:
      'the total amount "0" of type "memory" is not equal to the value "100" determined by Node Allocatable feature',
  });
});

test("state files have upstream's form and checksum", () => {
  const empty = formatCpuState('static', { shared: new Set([0]), assigned: new Map() });
  assert.equal(empty, '{"policyName":"static","defaultCpuSet":"0","checksum":838766648}');
  const text =
    '{"policyName":"static","defaultCpuSet":"0","entries":{"uid-0":{"z":"4"},"uid-1":{"a":"1","b":"2-3"}},"checksum":1284644219}';
  const state = parseCpuState('static', text);
  assert.equal(formatCpuSet(state.assigned.get('uid-1')!.get('b')!), '2-3');
  assert.equal(formatCpuState('static', state), text);
  assert.throws(() => parseCpuState('static', text.replace('"4"', '"5"')), { message: 'checkpoint is corrupted' });
  assert.throws(() => parseCpuState('none', text), {
    message: 'configured policy "none" differs from state checkpoint policy "static"',
  });

  const memory =
    '{"policyName":"Static","machineState":{"0":{"numberOfAssignments":1,"memoryMap":{"hugepages-2Mi":{"total":0,"systemReserved":0,"allocatable":0,"reserved":0,"free":0},"memory":{"total":100,"systemReserved":10,"allocatable":90,"reserved":50,"free":40}},"cells":[0]},"1":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":100,"systemReserved":10,"allocatable":90,"reserved":0,"free":90}},"cells":[1]}},"entries":{"uid-1":{"a":[{"numaAffinity":[0],"type":"memory","size":50}],"b":[{"numaAffinity":[0,1],"type":"memory","size":5},{"numaAffinity":[0,1],"type":"hugepages-2Mi","size":7}]}},"checksum":271653240}';
  assert.equal(formatMemoryState('Static', parseMemoryState('Static', memory)), memory);
});

test('a state that does not fit the machine is refused', () => {
  const policy = (reserved: number) =>
    new StaticCpuPolicy({
      topology: machine(1, 1, 2),
      reservedCount: reserved,
      reserved: new Set(),
      options: noOptions,
      topologyPolicy: 'none',
    });
  const state = (shared: string, own: string) => ({
    shared: parseCpuSet(shared),
    assigned: new Map([['u', new Map([['c', parseCpuSet(own)]])]]),
  });
  policy(1).restore(state('0,2-3', '1'));
  assert.throws(() => policy(1).restore(state('0-1', '1')), {
    message: 'pod: u, container: c cpuset: "1" overlaps with default cpuset "0-1"',
  });
  assert.throws(() => policy(1).restore(state('1-3', '0')), {
    message: 'not all reserved cpus: "0" are present in defaultCpuSet: "1-3"',
  });
  assert.throws(() => policy(1).restore(state('0,2', '1')), {
    message: `current set of available CPUs "0-3" doesn't match with CPUs in state "0-2"`,
  });
});
