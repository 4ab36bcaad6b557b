/** The kernel's log: which containers it tells of, and when it cannot be trusted to tell of all. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { KernelLog } from './kernel-log.ts';

const dir = mkdtempSync(join(tmpdir(), 'knarr-kernel-log-'));
after(() => rmSync(dir, { recursive: true }));

const id = (c: string): string => c.repeat(64);
const kill = (cgroup: string, pid: number): string =>
  `4,1,2,-;dd invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=999\n` +
  `6,2,3,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/kubepods,task_memcg=${cgroup},task=a,b,pid=${pid},uid=0\n SUBSYSTEM=x\n` +
  `3,3,4,-;Memory cgroup out of memory: Killed process ${pid} (dd) total-vm:207068kB, anon-rss:32256kB\n`;

test('containers of both drivers, and those that nobody tells of', async () => {
  const path = join(dir, 'log');
  writeFileSync(path, kill(`/kubepods/burstable/pod1/${id('a')}`, 7));
  const log = new KernelLog(path);
  assert.equal(await log.outOfMemory(id('a')), 'yes');
  assert.equal(await log.outOfMemory(id('b')), 'no');
  appendFileSync(
    path,
    kill(`/kubepods.slice/cri-containerd-${id('b')}.scope`, 8) +
      `6,5,5,-;Tasks in /kubepods/crio-${id('c')}.scope are going to be killed due to memory.oom.group set\n` +
      `3,6,6,-;Memory cgroup out of memory: Killed process 9 (x) total-vm:1kB\n`,
  );
  assert.deepEqual(await Promise.all(['b', 'c', 'd'].map((c) => log.outOfMemory(id(c)))), ['yes', 'yes', 'no']);
  appendFileSync(path, kill(`/pod/${id('f')}`, 10));
  appendFileSync(path, '3,7,7,-;Out of memory: Killed process 11 (x) total-vm:1kB\n');
  assert.deepEqual(await Promise.all(['f', 'd'].map((c) => log.outOfMemory(id(c)))), ['yes', 'unknown']);
  assert.equal(await log.outOfMemory(id('d'), await log.mark()), 'no', 'started later');
  log.close();
  assert.equal(await new KernelLog(join(dir, 'none')).outOfMemory(id('a')), 'unknown');
});
