import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSpec } from '../api/types/index.gen.ts';
import { checkUnsafeSysctls, forbiddenSysctl, sysctlName } from './sysctl-allowlist.ts';

const why = (name: string, more: Partial<PodSpec> = {}, kernel = '6.1.0-amd64', allowed: string[] = []) =>
  forbiddenSysctl(
    {
      metadata: { name: 'p' },
      spec: { containers: [], ...more, securityContext: { sysctls: [{ name, value: '1' }] } },
    },
    kernel,
    allowed,
  )?.message;

test('safe sysctls pass, others only where the node allows them, none in the host’s namespaces', () => {
  assert.equal(why('net.ipv4.tcp_syncookies'), undefined);
  assert.equal(why('net/ipv4/tcp_syncookies'), undefined);
  assert.equal(why('kernel.msgmax'), 'forbidden sysctl: "kernel.msgmax" not allowlisted');
  assert.equal(why('kernel.msgmax', {}, '6.1', ['kernel.msg*']), undefined);
  assert.equal(
    why('kernel.msgmax', { hostIPC: true }, '6.1', ['kernel.msg*']),
    'forbidden sysctl: "kernel.msgmax" not allowed with host IPC enabled',
  );
  assert.equal(
    why('net.ipv4.tcp_syncookies', { hostNetwork: true }),
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled',
  );
  assert.match(why('net.ipv4.tcp_rmem', {}, '4.14.1') ?? '', /not allowlisted/);
  assert.equal(why('net.ipv4.tcp_rmem', {}, '4.15.1'), undefined);
});

test('patterns of the configuration that cannot be are refused', () => {
  checkUnsafeSysctls(['net.core.somaxconn', 'kernel.shm*', 'net/ipv4/*']);
  assert.throws(() => checkUnsafeSysctls(['vm.swappiness']), /"vm.swappiness" are not known to be namespaced/);
  assert.throws(() => checkUnsafeSysctls(['net.*.x']), /must have at most 253 characters and match regex/);
  assert.equal(sysctlName('net/ipv4/conf/eno2.100/rp_filter'), 'net.ipv4.conf.eno2/100.rp_filter');
});
