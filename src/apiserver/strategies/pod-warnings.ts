/** What is stored but remarked on in pods and pod templates: deprecated fields and labels, duplicates, odd amounts. */
import { parseQuantity, quantityMilli } from '../../api/quantity.ts';
import type { ObjectMeta } from '../../api/object.ts';
import type { Container, PodSpec, Volume } from '../../api/types/core-v1.gen.ts';
import { deprecatedNodeLabels } from '../validation/node-labels.ts';

const annotations: Readonly<Record<string, string>> = {
  'scheduler.alpha.kubernetes.io/critical-pod': 'non-functional in v1.16+; use the "priorityClassName" field instead',
  'security.alpha.kubernetes.io/sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'security.alpha.kubernetes.io/unsafe-sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'seccomp.security.alpha.kubernetes.io/pod': 'non-functional in v1.27+; use the "seccompProfile" field instead',
};

const volumeTypes: readonly (readonly [keyof Volume, string])[] = [
  ['photonPersistentDisk', 'deprecated in v1.11, non-functional in v1.16+'],
  ['gitRepo', 'deprecated in v1.11, and disabled by default in v1.33+'],
  ['scaleIO', 'deprecated in v1.16, non-functional in v1.22+'],
  ['flocker', 'deprecated in v1.22, non-functional in v1.25+'],
  ['storageos', 'deprecated in v1.22, non-functional in v1.25+'],
  ['quobyte', 'deprecated in v1.22, non-functional in v1.25+'],
  ['glusterfs', 'deprecated in v1.25, non-functional in v1.26+'],
  ['cephfs', 'deprecated in v1.28, non-functional in v1.31+'],
  ['rbd', 'deprecated in v1.28, non-functional in v1.31+'],
];

function fractionalMemory(c: Pick<Container, 'resources'>, path: string): string[] {
  const out: string[] = [];
  for (const side of ['limits', 'requests'] as const)
    for (const name of ['memory', 'ephemeral-storage']) {
      const text = c.resources?.[side]?.[name] as string | undefined;
      if (text !== undefined && quantityMilli(parseQuantity(text)) % 1000 !== 0)
        out.push(
          `${path}.resources.${side}[${name}]: fractional byte value ${JSON.stringify(text)} is invalid, must be an integer`,
        );
    }
  return out;
}

function containerWarnings(c: Container, path: string): string[] {
  const out = fractionalMemory(c, path);
  const names = new Set<string>();
  (c.env ?? []).forEach((e, i) => {
    // A variable that builds on its earlier value is no mistake.
    if (names.has(e.name) && !(e.value ?? '').includes(`$(${e.name})`))
      out.push(
        `${path}.env[${i}]: hides previous definition of ${JSON.stringify(e.name)}, which may be dropped when using apply`,
      );
    names.add(e.name);
  });
  const ports = new Map<string, number>();
  const hostPorts = new Map<string, number>();
  (c.ports ?? []).forEach((p, i) => {
    const key = `${p.protocol ?? 'TCP'}/${p.containerPort}`;
    const host = `${p.hostIP ?? ''}/${p.protocol ?? 'TCP'}/${p.hostPort ?? 0}`;
    const before = (p.hostPort ?? 0) === 0 ? ports.get(key) : hostPorts.get(host);
    if (before !== undefined) out.push(`${path}.ports[${i}]: duplicate port definition with ${path}.ports[${before}]`);
    if (!ports.has(key)) ports.set(key, i);
    if ((p.hostPort ?? 0) !== 0 && !hostPorts.has(host)) hostPorts.set(host, i);
  });
  return out;
}

function duplicateNames(names: readonly (string | undefined)[], path: string, member: string): string[] {
  const out: string[] = [];
  const seen = new Set<string>();
  names.forEach((given, i) => {
    const name = given ?? '';
    if (name === '') out.push(`${path}[${i}].${member}: invalid empty name ${JSON.stringify(name)}`);
    else if (seen.has(name)) out.push(`${path}[${i}].${member}: duplicate name ${JSON.stringify(name)}`);
    seen.add(name);
  });
  return out;
}

/** Warnings of a pod's (or template's) spec at `path`. */
export function podSpecWarnings(spec: PodSpec, metadata: ObjectMeta | undefined, path: string): string[] {
  const out: string[] = [];
  for (const key of Object.keys(spec.nodeSelector ?? {}))
    if (deprecatedNodeLabels.has(key)) out.push(`${path}.nodeSelector[${key}]: ${deprecatedNodeLabels.get(key)}`);
  const root = path === 'spec' ? '' : path.slice(0, -'spec'.length);
  for (const key of Object.keys(metadata?.annotations ?? {})) {
    if (annotations[key] !== undefined) out.push(`${root}metadata.annotations[${key}]: ${annotations[key]}`);
    if (key.startsWith('container.apparmor.security.beta.kubernetes.io/'))
      out.push(`${root}metadata.annotations[${key}]: deprecated since v1.30; use the "appArmorProfile" field instead`);
  }
  if (
    spec.serviceAccount !== undefined &&
    spec.serviceAccount !== '' &&
    spec.serviceAccount !== spec.serviceAccountName
  )
    out.push(`${path}.serviceAccount: deprecated, use ${path}.serviceAccountName`);
  (spec.hostAliases ?? []).reduce((seen, alias, i) => {
    if (seen.has(alias.ip)) out.push(`${path}.hostAliases[${i}].ip: duplicate ip ${JSON.stringify(alias.ip)}`);
    return seen.add(alias.ip);
  }, new Set<string>());
  out.push(
    ...duplicateNames(
      (spec.imagePullSecrets ?? []).map((s) => s.name),
      `${path}.imagePullSecrets`,
      'name',
    ),
  );
  (spec.volumes ?? []).forEach((v, i) => {
    for (const [member, why] of volumeTypes)
      if (v[member] !== undefined) out.push(`${path}.volumes[${i}].${member}: ${why}`);
  });
  for (const member of ['initContainers', 'containers'] as const)
    (spec[member] ?? []).forEach((c, i) => out.push(...containerWarnings(c, `${path}.${member}[${i}]`)));
  if (spec.overhead !== undefined) {
    const memory = spec.overhead['memory'] as string | undefined;
    if (memory !== undefined && quantityMilli(parseQuantity(memory)) % 1000 !== 0)
      out.push(
        `${path}.overhead[memory]: fractional byte value ${JSON.stringify(memory)} is invalid, must be an integer`,
      );
  }
  if (spec.terminationGracePeriodSeconds !== undefined && spec.terminationGracePeriodSeconds < 0)
    out.push(
      `${path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`,
    );
  return out;
}
