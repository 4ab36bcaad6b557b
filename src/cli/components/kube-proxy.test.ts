/** kube-proxy's command line: all of upstream's flags are taken, and those that stand for nothing say so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { createLogger } from '../../base/logger.ts';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { addCommand } from '../flags.ts';
import { proxyCommand } from './kube-proxy.ts';

test('flags that have no effect are told; --init-only ends when it has set what needs all rights', async () => {
  const lines: string[] = [];
  const clock = new SystemClock();
  const env = {
    clock,
    random: new SystemRandom(),
    logger: createLogger({ level: 'warn', now: () => clock.now(), sink: (r) => lines.push(r.message) }),
    signal: new AbortController().signal,
    say: (line: string) => lines.push(line),
  };
  const program = new Command();
  addCommand(program, { ...proxyCommand, run: (values) => proxyCommand.start(values, env) });
  await program.parseAsync([
    ...['node', 'knarr', 'kube-proxy'],
    '--proxy-mode=simulated',
    '--init-only',
    '--ipvs-scheduler=rr',
    '--ipvs-sync-period=30s',
    '--iptables-localhost-nodeports=false',
    '--iptables-sync-period=10s',
    '--profiling',
    '--kube-api-qps=5',
  ]);
  assert.deepEqual(lines, [
    '--iptables-localhost-nodeports has no effect: with nftables that is --localhost-nodeports',
    '--ipvs-scheduler has no effect: the rules are those of nftables',
    '--ipvs-sync-period has no effect: the rules are those of nftables',
    '--kube-api-qps has no effect: requests to the API server are not limited by the client',
    '--profiling has no effect: there is no /debug/pprof',
    'kube-proxy: what needs all rights is set',
  ]);
});
