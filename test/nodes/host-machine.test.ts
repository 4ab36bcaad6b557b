import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { parseResolvConf } from '../../src/kubelet/host/linux/machine.ts';
import { cgroupFile, ownHost, skipWithoutRoot } from './support/linux.ts';

const skip = skipWithoutRoot;
const run = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' }).trim();

test('the machine as its own tools see it', { skip }, async (t) => {
  const { host } = await ownHost(t);
  const m = await host.machineInfo();
  assert.equal(m.cpuCores, Number(run('nproc', '--all')));
  assert.equal(m.kernelVersion, run('uname', '-r'));
  assert.equal(m.memoryBytes, Number(/MemTotal:\s+(\d+)/.exec(fs.readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024);
  assert.ok(m.rootFsBytes > 0 && m.maxPids > 0 && m.bootTime > 0 && m.bootTime < Date.now());
  assert.match(m.bootId, /^[0-9a-f-]{36}$/);
  assert.equal(await host.machineInfo(), m, 'the same object while nothing changes');
  const addresses = await host.addresses();
  assert.equal(addresses[0]?.type, 'InternalIP');
  assert.equal(addresses.at(-1)?.address, 'n1');
  const first = await host.usage();
  assert.ok(first.cpu.usageCoreNanoSeconds > 0 && first.memory.workingSetBytes > 0 && first.processCount > 1);
  assert.ok(first.memory.workingSetBytes + first.memory.availableBytes! <= m.memoryBytes);
});

test('resolv.conf as upstream reads it', () => {
  assert.deepEqual(
    parseResolvConf(
      '# c\nnameserver 10.0.0.1\n nameserver  fd00::1 \nsearch a.\nsearch b. . c\noptions ndots:2 rotate\n',
    ),
    { servers: ['10.0.0.1', 'fd00::1'], searches: ['b', 'c'], options: ['ndots:2', 'rotate'] },
  );
});

test('a pod’s cgroup: limits, usage, and nothing left of it', { skip }, async (t) => {
  const { host, cgroupRoot } = await ownHost(t);
  const c = host.cgroups!;
  const name = '/kubepods/burstable/podx-1';
  await c.ensure('/kubepods/burstable', { cpuShares: 512 });
  await c.ensure(name, {
    cpuShares: 256,
    cpuQuota: 50_000,
    cpuPeriod: 100_000,
    memoryLimitInBytes: 64 * 2 ** 20,
    pidsLimit: 100,
  });
  assert.equal(c.parentName(name), cgroupRoot + name);
  const limits = await c.limits(name);
  assert.deepEqual([limits?.cpuQuota, limits?.cpuPeriod, limits?.memoryLimitInBytes], [50_000, 100_000, 64 * 2 ** 20]);
  assert.ok(Math.abs((limits?.cpuShares ?? 0) - 256) < 30, 'cgroup v2 knows shares only roughly');
  assert.deepEqual(await c.list('/kubepods/burstable'), ['podx-1']);
  // A process in a child of the pod's cgroup, where a runtime puts its containers.
  await c.ensure(`${name}/container`, {});
  const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  const gone = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
  for (const controller of ['cpu', 'cpuacct', 'memory', 'pids']) {
    const procs = cgroupFile(controller, `${cgroupRoot}${name}/container`, 'cgroup.procs');
    if (procs !== undefined) fs.writeFileSync(procs, String(child.pid));
  }
  await c.stats(name);
  await new Promise((resolve) => setTimeout(resolve, 700));
  const stats = await c.stats(name);
  assert.equal(stats?.processCount, 1);
  assert.ok(stats.cpu.usageCoreNanoSeconds > 0);
  const cores = stats.cpu.usageNanoCores / 1e9;
  assert.ok(cores > 0.2 && cores < 0.8, `half a core is its quota, it used ${cores}`);
  // More, then less.
  await c.ensure(name, { cpuQuota: 200_000, cpuPeriod: 100_000, memoryLimitInBytes: 128 * 2 ** 20 });
  await c.ensure(name, { cpuQuota: 0, memoryLimitInBytes: 32 * 2 ** 20 });
  assert.deepEqual((await c.limits(name))?.cpuQuota, undefined);
  assert.deepEqual((await c.limits(name))?.memoryLimitInBytes, 32 * 2 ** 20);
  await c.remove(name);
  assert.equal(await gone, 'SIGKILL');
  await c.remove(name);
  assert.equal(await c.stats(name), undefined);
  assert.deepEqual(await c.list('/kubepods/burstable'), []);
  await c.remove('/');
  const left = run('find', '/sys/fs/cgroup', '-maxdepth', '2', '-name', `${cgroupRoot.slice(1)}*`);
  assert.equal(left, '');
  await assert.rejects(c.remove('/../..'), /invalid cgroup name/);
});

test('dialling, and ports that are held', { skip }, async (t) => {
  const { host } = await ownHost(t);
  const server = createServer((s) => s.end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const stream = await host.dialTcp('127.0.0.1', port, { timeoutMs: 1000 });
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  assert.equal(text, 'hello');
  assert.equal(await host.portFree('TCP', '0.0.0.0', port), false);
  assert.equal(await host.portFree('TCP', '127.0.0.1', port), false);
  assert.equal(await host.portFree('TCP', '192.0.2.7', port), true);
  assert.equal(await host.portFree('UDP', '', port), true);
  await assert.rejects(host.dialTcp('127.0.0.1', 1), { code: 'ECONNREFUSED' });
  const abort = new AbortController();
  const dialled = host.dialTcp('192.0.2.1', 9, { signal: abort.signal, timeoutMs: 5000 });
  abort.abort(new Error('enough'));
  await assert.rejects(dialled);
});
