/** CPUs and memory of their own for Guaranteed pods on a real machine: what the kernel says, and what outlives the kubelet. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatCpuSet, parseCpuSet } from '../../src/kubelet/cpu-set.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { kubeletPage } from './support/kubelet-page.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();
const few = skip === false && availableParallelism() < 2 ? 'one CPU alone cannot be given away' : skip;

describe('the CPU and memory managers of a real node', { skip: few }, () => {
  let node: RealNode;
  const configuration = {
    cpuManagerPolicy: 'static',
    cpuManagerReconcilePeriod: '1s',
    reservedSystemCPUs: '0',
    memoryManagerPolicy: 'Static',
    kubeReserved: { memory: '100Mi' },
    evictionHard: { 'memory.available': '28Mi' },
    reservedMemory: [{ numaNode: 0, limits: { memory: '128Mi' } }],
    topologyManagerPolicy: 'single-numa-node',
  };
  before(async () => {
    node = await RealNode.start({ configuration });
  });
  after(() => node?.stop());

  const guaranteed = (cpu: string, memory = '32Mi') => ({
    containers: [shell(sleeper, { resources: { requests: { cpu, memory }, limits: { cpu, memory } } })],
  });
  /** What the kernel lets a pod's first process run on. */
  const allowed = async (pod: string, what = 'Cpus_allowed_list'): Promise<string> =>
    new RegExp(`^${what}:\\s+(\\S+)`, 'm').exec(await node.exec(pod, 'cat', '/proc/1/status'))![1]!;
  const state = (): { defaultCpuSet: string; entries?: Record<string, Record<string, string>> } =>
    JSON.parse(fs.readFileSync(join(node.rootDir, 'cpu_manager_state'), 'utf8'));

  test('a whole CPU is one container’s alone; the others are moved off it, and back on', async () => {
    const all = formatCpuSet(parseCpuSet(fs.readFileSync('/sys/devices/system/cpu/online', 'utf8').trim()));
    await node.create('shares', { containers: [shell(sleeper)] });
    await node.phase('shares', 'Running');
    assert.equal(await allowed('shares'), all);

    await node.create('own', guaranteed('1'));
    const { uid } = (await node.phase('own', 'Running')).metadata;
    const own = await allowed('own');
    assert.match(own, /^[1-9]\d*$/, 'one CPU, and not the reserved one');
    assert.equal(await allowed('own', 'Mems_allowed_list'), '0');
    const rest = formatCpuSet([...parseCpuSet(all)].filter((c) => c !== Number(own)));
    await node.until(async () => (await allowed('shares')) === rest, 'the other container to leave it');
    assert.deepEqual(state().entries, { [uid!]: { main: own } });
    assert.equal(state().defaultCpuSet, rest);
    assert.equal((await node.host.cgroups!.limits(`/kubepods/pod${uid}`))?.cpuQuota, undefined, 'it needs no quota');
    const counted = await kubeletPage(node, '/metrics');
    for (const line of [
      'kubelet_cpu_manager_pinning_requests_total 1',
      'kubelet_cpu_manager_exclusive_cpu_allocation_count 1',
      `kubelet_cpu_manager_shared_pool_size_millicores ${1000 * ([...parseCpuSet(all)].length - 2)}`,
      'kubelet_cpu_manager_allocation_per_numa{numa_node="0"} 1',
      'kubelet_memory_manager_pinning_requests_total 1',
      'resource_manager_container_assignments{assignment_type="node_exclusive",resource_name="cpu"} 1',
      'resource_manager_allocations_total{resource_name="memory",source="node"} 1',
      'kubelet_container_aligned_compute_resources_count{boundary="numa_node",scope="container"} 2',
    ])
      assert.ok(counted.includes(`\n${line}\n`), `${line} in\n${counted}`);

    // Another kubelet process finds it as it was.
    await node.stopKubelet();
    await node.startKubelet();
    assert.equal(await allowed('own'), own);
    assert.deepEqual(state().entries, { [uid!]: { main: own } });

    await node.delete('own');
    await node.until(async () => (await allowed('shares')) === all, 'the CPU to be everybody’s again');
    await node.until(async () => state().entries === undefined, 'the state to say so');
    await node.delete('shares');
  });

  test('more than can be given is refused with the reason', async () => {
    const n = availableParallelism();
    await node.create('greedy', guaranteed(String(n)));
    const pod = await node.phase('greedy', 'Failed');
    assert.equal(pod.status?.reason, 'TopologyAffinityError');
    assert.equal(pod.status?.message, 'Pod was rejected: Resources cannot be allocated with Topology locality');
    await node.delete('greedy');
  });

  test('another policy does not start on what this one left', async () => {
    await node.stopKubelet();
    await assert.rejects(
      node.startKubelet({
        configuration: { ...configuration, topologyManagerPolicy: 'none', memoryManagerPolicy: 'None' },
      }),
      /configured policy "None" differs from state checkpoint policy "Static", please drain this node and delete the memory manager checkpoint file/,
    );
    await node.stopKubelet();
    await assert.rejects(
      node.startKubelet({ configuration: { ...configuration, reservedSystemCPUs: '' } }),
      /the static policy requires systemreserved.cpu \+ kubereserved.cpu to be greater than zero/,
    );
    await node.stopKubelet();
    fs.rmSync(join(node.rootDir, 'cpu_manager_state'));
    await node.startKubelet({
      configuration: { ...configuration, topologyManagerPolicy: 'none' },
    });
    await node.create('greedy2', guaranteed(String(availableParallelism())));
    const pod = await node.phase('greedy2', 'Failed');
    assert.equal(pod.status?.reason, 'UnexpectedAdmissionError');
    assert.match(
      pod.status?.message ?? '',
      /Allocate failed due to not enough cpus available to satisfy request: requested=\d+, available=\d+, which is unexpected/,
    );
    await node.delete('greedy2');
  });
});
