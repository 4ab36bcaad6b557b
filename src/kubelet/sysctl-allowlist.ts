/**
 * Which sysctls a pod may set on this node: upstream's safe ones that this kernel has per namespace, and those that the node's
 * administrator allows besides (`allowedUnsafeSysctls`, with `*` at the end for all below).
 */
import type { Pod } from '../api/types/index.gen.ts';

/** Safe: held in a namespace of the pod's own, without effect on any other pod; and since which kernel that is so. */
const safe: readonly (readonly [name: string, kernel: readonly [number, number]])[] = [
  ['kernel.shm_rmid_forced', [0, 0]],
  ['net.ipv4.ip_local_port_range', [0, 0]],
  ['net.ipv4.tcp_syncookies', [0, 0]],
  ['net.ipv4.ping_group_range', [0, 0]],
  ['net.ipv4.ip_unprivileged_port_start', [0, 0]],
  ['net.ipv4.ip_local_reserved_ports', [3, 16]],
  ['net.ipv4.tcp_keepalive_time', [4, 5]],
  ['net.ipv4.tcp_fin_timeout', [4, 6]],
  ['net.ipv4.tcp_keepalive_intvl', [4, 5]],
  ['net.ipv4.tcp_keepalive_probes', [4, 5]],
  ['net.ipv4.tcp_rmem', [4, 15]],
  ['net.ipv4.tcp_wmem', [4, 15]],
];

const ipcNames = /^kernel\.(sem|shm|shmall|shmmax|shmmni|shm_rmid_forced|msg|msgmax|msgmnb|msgmni)$/;
const pattern = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]$/;
const patternText = '^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]$';

/** With dots between its parts, as the kernel's tools rewrite what has slashes between them (sysctl.d(5)). */
export function sysctlName(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  return first !== '/' ? name : name.replace(/[./]/g, (c) => (c === '/' ? '.' : '/'));
}

function namespaceOf(name: string): 'IPC' | 'Net' | undefined {
  if (ipcNames.test(name) || name.startsWith('fs.mqueue.')) return 'IPC';
  return name.startsWith('net.') ? 'Net' : undefined;
}

/** Throws one line for patterns that cannot be allowed, in upstream's words. */
export function checkUnsafeSysctls(allowed: readonly string[]): void {
  for (const p of allowed) {
    if (p.length > 253 || !pattern.test(p))
      throw new Error(`sysctl ${JSON.stringify(p)} must have at most 253 characters and match regex ${patternText}`);
    const name = sysctlName(p).replace(/\*.*$/, '');
    if (namespaceOf(name) === undefined)
      throw new Error(`the sysctls ${JSON.stringify(name)} are not known to be namespaced`);
  }
}

/** Why the pod may not run here for its sysctls; `kernelVersion` as the node reports it. */
export function forbiddenSysctl(
  pod: Pod,
  kernelVersion: string,
  allowed: readonly string[],
): { readonly reason: string; readonly message: string } | undefined {
  const sysctls = pod.spec?.securityContext?.sysctls ?? [];
  if (sysctls.length === 0) return undefined;
  const [major, minor] = kernelVersion.split('.').map((n) => Number.parseInt(n, 10) || 0) as [number, number];
  const has = ([a, b]: readonly [number, number]): boolean => a < major || (a === major && b <= minor);
  for (const s of sysctls) {
    const name = sysctlName(s.name!);
    const known =
      safe.some(([n, kernel]) => n === name && has(kernel)) ||
      allowed.some((p) =>
        p.includes('*') ? name.startsWith(sysctlName(p).replace(/\*.*$/, '')) : name === sysctlName(p),
      );
    const namespace = namespaceOf(name);
    const why = !known
      ? 'not allowlisted'
      : (namespace === 'IPC' && pod.spec?.hostIPC === true) || (namespace === 'Net' && pod.spec?.hostNetwork === true)
        ? `not allowed with host ${namespace} enabled`
        : undefined;
    if (why !== undefined)
      return { reason: 'SysctlForbidden', message: `forbidden sysctl: ${JSON.stringify(name)} ${why}` };
  }
  return undefined;
}
