/** The checks of the baseline level: what is known to lead to privilege escalation. */
import type { Container, LifecycleHandler, PodSpec, Probe, SELinuxOptions } from '../../../api/types/core-v1.gen.ts';
import type { Check, CheckPod } from './check.ts';
import {
  containersOf,
  containersText,
  namesWhere,
  plural,
  quoted,
  settersText,
  sorted,
  unlessUserNamespace,
} from './check.ts';

const appArmorPrefix = 'container.apparmor.security.beta.kubernetes.io/';

const appArmor: CheckPod = (spec, metadata) => {
  const values = new Set<string>();
  const bad = (type: string | undefined): boolean => {
    if (type === undefined || type === 'RuntimeDefault' || type === 'Localhost') return false;
    values.add(type);
    return true;
  };
  const pod = bad(spec.securityContext?.appArmorProfile?.type);
  const names = namesWhere(spec, (c) => bad(c.securityContext?.appArmorProfile?.type));
  const annotations = Object.entries(metadata?.annotations ?? {})
    .filter(
      ([key, value]) =>
        key.startsWith(appArmorPrefix) &&
        value !== '' &&
        value !== 'runtime/default' &&
        !value.startsWith('localhost/'),
    )
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .sort();
  const setters = [settersText(pod, names)].filter((s) => s !== '');
  if (annotations.length > 0) setters.push(plural('annotation', 'annotations', annotations.length));
  if (setters.length === 0) return undefined;
  const all = [...sorted(values), ...annotations];
  return {
    reason: plural('forbidden AppArmor profile', 'forbidden AppArmor profiles', all.length),
    detail: `${setters.join(' and ')} must not set AppArmor profile type to ${quoted(all)}`,
  };
};

const defaultCapabilities: ReadonlySet<string> = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
]);

/** The containers that add a capability which is not allowed; these go into `found`. */
export function addingCapabilities(spec: PodSpec, allowed: (name: string) => boolean, found: Set<string>): string[] {
  return namesWhere(spec, (c) => {
    const bad = (c.securityContext?.capabilities?.add ?? []).filter((name) => !allowed(name));
    for (const name of bad) found.add(name);
    return bad.length > 0;
  });
}

const capabilities: CheckPod = (spec) => {
  const found = new Set<string>();
  const names = addingCapabilities(spec, (name) => defaultCapabilities.has(name), found);
  if (names.length === 0) return undefined;
  return {
    reason: 'non-default capabilities',
    detail: `${containersText(names)} must not include ${quoted(sorted(found))} in securityContext.capabilities.add`,
  };
};

const hostNamespaces: CheckPod = (spec) => {
  const set: string[] = [];
  if (spec.hostNetwork === true) set.push('hostNetwork=true');
  if (spec.hostPID === true) set.push('hostPID=true');
  if (spec.hostIPC === true) set.push('hostIPC=true');
  return set.length === 0 ? undefined : { reason: 'host namespaces', detail: set.join(', ') };
};

const hostPath: CheckPod = (spec) => {
  const names = (spec.volumes ?? []).filter((v) => v.hostPath !== undefined).map((v) => v.name);
  if (names.length === 0) return undefined;
  return { reason: 'hostPath volumes', detail: `${plural('volume', 'volumes', names.length)} ${quoted(names)}` };
};

const hostPorts: CheckPod = (spec) => {
  const ports = new Set<string>();
  const names = namesWhere(spec, (c) => {
    const bad = (c.ports ?? []).filter((p) => (p.hostPort ?? 0) !== 0);
    for (const p of bad) ports.add(String(p.hostPort));
    return bad.length > 0;
  });
  if (names.length === 0) return undefined;
  return {
    reason: 'hostPort',
    detail: `${containersText(names)} ${plural('uses', 'use', names.length)} ${plural('hostPort', 'hostPorts', ports.size)} ${sorted(ports).join(', ')}`,
  };
};

const hostsOf = (handler: Probe | LifecycleHandler | undefined): string[] =>
  [handler?.httpGet?.host, handler?.tcpSocket?.host].filter((h) => h !== undefined && h !== '') as string[];

const probeHosts: CheckPod = (spec) => {
  const names = new Set<string>();
  const hosts = new Set<string>();
  for (const c of containersOf(spec)) {
    const handlers = [c.livenessProbe, c.readinessProbe, c.startupProbe, c.lifecycle?.postStart, c.lifecycle?.preStop];
    for (const host of handlers.flatMap(hostsOf)) {
      names.add(c.name);
      hosts.add(host);
    }
  }
  if (names.size === 0) return undefined;
  return {
    reason: 'probe or lifecycle host',
    detail: `${containersText(sorted(names))} ${plural('uses', 'use', names.size)} ${plural('probe or lifecycle host', 'probe or lifecycle hosts', hosts.size)} ${quoted(sorted(hosts))}`,
  };
};

const privileged: CheckPod = (spec) => {
  const names = namesWhere(spec, (c) => c.securityContext?.privileged === true);
  if (names.length === 0) return undefined;
  return { reason: 'privileged', detail: `${containersText(names)} must not set securityContext.privileged=true` };
};

export const procMount: CheckPod = (spec) => {
  const types = new Set<string>();
  const names = namesWhere(spec, (c) => {
    const type = c.securityContext?.procMount;
    if (type === undefined || type === 'Default') return false;
    types.add(type);
    return true;
  });
  if (names.length === 0) return undefined;
  return {
    reason: 'procMount',
    detail: `${containersText(names)} must not set securityContext.procMount to ${quoted(sorted(types))}`,
  };
};

const selinuxTypes = ['', 'container_t', 'container_init_t', 'container_kvm_t'];

function seLinux(allowed: readonly string[]): CheckPod {
  return (spec) => {
    const types = new Set<string>();
    let user = false;
    let role = false;
    const bad = (options: SELinuxOptions | undefined): boolean => {
      if (options === undefined) return false;
      const { type = '', user: u = '', role: r = '' } = options;
      const wrongType = !allowed.includes(type);
      if (wrongType) types.add(type);
      if (u !== '') user = true;
      if (r !== '') role = true;
      return wrongType || u !== '' || r !== '';
    };
    const pod = bad(spec.securityContext?.seLinuxOptions);
    const names = namesWhere(spec, (c) => bad(c.securityContext?.seLinuxOptions));
    const setters = settersText(pod, names);
    if (setters === '') return undefined;
    const what = [
      ...(types.size === 0 ? [] : [`${plural('type', 'types', types.size)} ${quoted(sorted(types))}`]),
      ...(user ? ['user may not be set'] : []),
      ...(role ? ['role may not be set'] : []),
    ];
    return {
      reason: 'seLinuxOptions',
      detail: `${setters} set forbidden securityContext.seLinuxOptions: ${what.join('; ')}`,
    };
  };
}

const podSeccomp = 'seccomp.security.alpha.kubernetes.io/pod';
const containerSeccomp = 'container.seccomp.security.alpha.kubernetes.io/';

const seccompAnnotations: CheckPod = (spec, metadata) => {
  const found = new Set<string>();
  const look = (key: string): void => {
    const value = metadata?.annotations?.[key];
    if (value === undefined || value === 'runtime/default' || value === 'docker/default') return;
    if (!value.startsWith('localhost/')) found.add(`${key}=${JSON.stringify(value)}`);
  };
  look(podSeccomp);
  for (const c of containersOf(spec)) look(`${containerSeccomp}${c.name}`);
  if (found.size === 0) return undefined;
  return {
    reason: 'seccompProfile',
    detail: `forbidden ${plural('annotation', 'annotations', found.size)} ${sorted(found).join(', ')}`,
  };
};

export const goodSeccomp = (type: string): boolean => type === 'Localhost' || type === 'RuntimeDefault';

/** The violation by profiles that are set to something bad, if there is one. */
export const badSeccomp: CheckPod = (spec) => {
  const values = new Set<string>();
  const bad = (holder: { readonly seccompProfile?: { readonly type: string } } | undefined): boolean => {
    const type = holder?.seccompProfile?.type;
    if (type === undefined || goodSeccomp(type)) return false;
    values.add(type);
    return true;
  };
  const pod = bad(spec.securityContext);
  const names = namesWhere(spec, (c: Container) => bad(c.securityContext));
  const setters = settersText(pod, names);
  if (setters === '') return undefined;
  return {
    reason: 'seccompProfile',
    detail: `${setters} must not set securityContext.seccompProfile.type to ${quoted(sorted(values))}`,
  };
};

const sysctls10 = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
];
const sysctls27 = [...sysctls10, 'net.ipv4.ip_local_reserved_ports'];
const sysctls29 = [
  ...sysctls27,
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
];
const sysctls32 = [...sysctls29, 'net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem'];

function sysctls(allowed: readonly string[]): CheckPod {
  return (spec) => {
    const bad = (spec.securityContext?.sysctls ?? []).map((s) => s.name).filter((name) => !allowed.includes(name));
    return bad.length === 0 ? undefined : { reason: 'forbidden sysctls', detail: bad.join(', ') };
  };
}

const hostProcess: CheckPod = (spec) => {
  const pod = spec.securityContext?.windowsOptions?.hostProcess === true;
  const names = namesWhere(spec, (c) => c.securityContext?.windowsOptions?.hostProcess === true);
  const setters = settersText(pod, names);
  if (setters === '') return undefined;
  return { reason: 'hostProcess', detail: `${setters} must not set securityContext.windowsOptions.hostProcess=true` };
};

const since10 = (id: string, check: CheckPod): Check => ({ id, level: 'baseline', versions: [{ since: 0, check }] });

export const baselineChecks: readonly Check[] = [
  since10('appArmorProfile', appArmor),
  since10('capabilities_baseline', capabilities),
  since10('hostNamespaces', hostNamespaces),
  since10('hostPathVolumes', hostPath),
  since10('hostPorts', hostPorts),
  { id: 'hostProbesAndHostLifecycle', level: 'baseline', versions: [{ since: 34, check: probeHosts }] },
  since10('privileged', privileged),
  {
    id: 'procMount',
    level: 'baseline',
    versions: [
      { since: 0, check: procMount },
      { since: 35, check: unlessUserNamespace(procMount) },
    ],
  },
  {
    id: 'seLinuxOptions',
    level: 'baseline',
    versions: [
      { since: 0, check: seLinux(selinuxTypes) },
      { since: 31, check: seLinux([...selinuxTypes, 'container_engine_t']) },
    ],
  },
  {
    id: 'seccompProfile_baseline',
    level: 'baseline',
    versions: [
      { since: 0, check: seccompAnnotations },
      { since: 19, check: badSeccomp },
    ],
  },
  {
    id: 'sysctls',
    level: 'baseline',
    versions: [
      { since: 0, check: sysctls(sysctls10) },
      { since: 27, check: sysctls(sysctls27) },
      { since: 29, check: sysctls(sysctls29) },
      { since: 32, check: sysctls(sysctls32) },
    ],
  },
  since10('windowsHostProcess', hostProcess),
];
