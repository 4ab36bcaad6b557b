/** What is stored but remarked on in pods and pod templates: deprecated fields and labels, duplicates, odd amounts. */
import type { ObjectMeta } from '../../api/object.ts';
import type { Container, PodSpec, Volume, VolumeProjection } from '../../api/types/core-v1.gen.ts';
import { claimSpecWarnings, fractionalWarnings, nodeTermWarnings } from './volume-warnings.ts';
import { ipWarnings } from '../validation/ip.ts';
import { deprecatedNodeLabels } from '../validation/node-labels.ts';

const annotations: Readonly<Record<string, string>> = {
  'scheduler.alpha.kubernetes.io/critical-pod': 'non-functional in v1.16+; use the "priorityClassName" field instead',
  'security.alpha.kubernetes.io/sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'security.alpha.kubernetes.io/unsafe-sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
};
const seccompPod = 'seccomp.security.alpha.kubernetes.io/pod';

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
  for (const name of ['memory', 'ephemeral-storage'])
    for (const side of ['limits', 'requests'] as const) {
      const text = c.resources?.[side]?.[name] as string | undefined;
      out.push(...fractionalWarnings(text, `${path}.resources.${side}[${name}]`));
    }
  return out;
}

function environmentWarnings(c: Container, path: string): string[] {
  const out: string[] = [];
  const names = new Set<string>();
  (c.env ?? []).forEach((e, i) => {
    const reference = `$(${e.name})`;
    const value = e.value ?? '';
    // A variable that builds on its earlier value is no mistake.
    if (names.has(e.name) && (e.valueFrom !== undefined || value === reference || !value.includes(reference)))
      out.push(
        `${path}.env[${i}]: hides previous definition of ${JSON.stringify(e.name)}, which may be dropped when using apply`,
      );
    names.add(e.name);
  });
  return out;
}

interface Placed {
  readonly path: string;
  readonly container: Container;
}

/** Ports of all containers together, since a pod has one network. */
function portWarnings(containers: readonly Placed[]): string[] {
  const out: string[] = [];
  const ports = new Map<string, { at: string; hostIP: string; hostPort: number }[]>();
  const names = new Map<string, string>();
  const later: string[] = [];
  for (const { path, container } of containers)
    (container.ports ?? []).forEach((p, i) => {
      const at = `${path}.ports[${i}]`;
      const { hostIP = '', hostPort = 0, name = '', protocol = 'TCP' } = p;
      if (hostIP !== '' && hostPort === 0)
        out.push(
          `${at}: hostIP set without hostPort: {Name:${name} HostPort:0 ContainerPort:${p.containerPort} Protocol:${protocol} HostIP:${hostIP}}`,
        );
      const key = `${p.containerPort}/${protocol}`;
      const others = ports.get(key) ?? [];
      for (const other of others) {
        if (hostIP === other.hostIP && hostPort === other.hostPort)
          out.push(`${at}: duplicate port definition with ${other.at}`);
        else if (hostPort === 0 || other.hostPort === 0)
          out.push(`${at}: overlapping port definition with ${other.at}`);
        else if (hostPort === other.hostPort && (hostIP === '') !== (other.hostIP === ''))
          out.push(`${at}: dangerously ambiguous port definition with ${other.at}`);
      }
      ports.set(key, [...others, { at, hostIP, hostPort }]);
      const named = names.get(name);
      if (name !== '' && named !== undefined)
        later.push(
          `${at}: duplicate port name ${JSON.stringify(name)} with ${named}, services and probes that select ports by name will use ${named}`,
        );
      else if (name !== '') names.set(name, at);
    });
  return [...out, ...later];
}

const sharesNobody = 'a null labelSelector results in matching no pod';

function affinityWarnings(affinity: NonNullable<PodSpec['affinity']>, path: string): string[] {
  const out: string[] = [];
  for (const side of ['podAffinity', 'podAntiAffinity'] as const) {
    const at = `${path}.${side}`;
    affinity[side]?.requiredDuringSchedulingIgnoredDuringExecution?.forEach((term, i) => {
      if (term.labelSelector === undefined)
        out.push(`${at}.requiredDuringSchedulingIgnoredDuringExecution[${i}].labelSelector: ${sharesNobody}`);
    });
    affinity[side]?.preferredDuringSchedulingIgnoredDuringExecution?.forEach((term, i) => {
      if (term.podAffinityTerm.labelSelector === undefined)
        out.push(
          `${at}.preferredDuringSchedulingIgnoredDuringExecution[${i}].podAffinityTerm.labelSelector: ${sharesNobody}`,
        );
    });
  }
  return out;
}

interface Shown {
  readonly path: string;
  readonly source: string;
}

const shown = ({ path, source }: Shown): string =>
  source === '' ? JSON.stringify(path) : `${JSON.stringify(path)} (${source})`;

/** Paths of one volume that lie in each other. */
function overlaps(paths: readonly Shown[]): string[] {
  const out: string[] = [];
  const before: Shown[] = [];
  for (const given of paths) {
    const own = { path: given.path.replace(/\/+$/, ''), source: given.source };
    for (const other of before) {
      if (own.path === '' || other.path === '') continue;
      const [a, b] = [`${other.path}/`, `${own.path}/`];
      if (a.startsWith(b) || b.startsWith(a)) out.push(`${shown(own)} with ${shown(other)}`);
    }
    before.push(own);
  }
  return out;
}

const itemPaths = (items: readonly { readonly path?: string }[] | undefined, source: string): Shown[] =>
  (items ?? []).map(({ path = '' }) => ({ path, source }));

function projectedPaths(source: VolumeProjection): Shown[] {
  const { configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate } = source;
  if (configMap?.items !== undefined)
    return itemPaths(configMap.items, `ConfigMap ${JSON.stringify(configMap.name ?? '')}`);
  if (secret?.items !== undefined) return itemPaths(secret.items, `Secret ${JSON.stringify(secret.name ?? '')}`);
  if (downwardAPI?.items !== undefined) return itemPaths(downwardAPI.items, 'DownwardAPI');
  if (serviceAccountToken !== undefined) return itemPaths([serviceAccountToken], 'ServiceAccountToken');
  if (clusterTrustBundle !== undefined) {
    const name = clusterTrustBundle.name ?? clusterTrustBundle.signerName ?? '';
    return itemPaths([clusterTrustBundle], `ClusterTrustBundle ${JSON.stringify(name)}`);
  }
  if (podCertificate === undefined) return [];
  const { certificateChainPath, keyPath, credentialBundlePath } = podCertificate;
  return [
    { path: certificateChainPath ?? '', source: 'PodCertificate chain' },
    { path: keyPath ?? '', source: 'PodCertificate key' },
    { path: credentialBundlePath ?? '', source: 'PodCertificate credential bundle' },
  ].filter(({ path }) => path !== '');
}

function overlapWarnings(volumes: readonly Volume[]): string[] {
  const out: string[] = [];
  for (const v of volumes) {
    const tell = (what: string, paths: readonly Shown[]): void => {
      for (const two of overlaps(paths))
        out.push(`volume ${JSON.stringify(v.name)} (${what}): overlapping paths: ${two}`);
    };
    const { configMap, secret, downwardAPI, projected } = v;
    tell(`ConfigMap ${JSON.stringify(configMap?.name ?? '')}`, itemPaths(configMap?.items, ''));
    tell(`Secret ${JSON.stringify(secret?.secretName ?? '')}`, itemPaths(secret?.items, ''));
    tell('DownwardAPI', itemPaths(downwardAPI?.items, ''));
    const sources = projected?.sources ?? [];
    for (const source of sources)
      if (Object.keys(source).length === 0)
        out.push(`volume ${JSON.stringify(v.name)} (Projected) has no sources provided`);
    tell('Projected', sources.flatMap(projectedPaths));
  }
  return out;
}

const seccompContainer = 'container.seccomp.security.alpha.kubernetes.io/';
const seccompWarning = 'non-functional in v1.27+; use the "seccompProfile" field instead';
const appArmor = 'container.apparmor.security.beta.kubernetes.io/';
const appArmorWarning = 'deprecated since v1.30; use the "appArmorProfile" field instead';

/** The profile that an annotation stands for. */
function appArmorOf(annotation: string): { type: string; localhostProfile?: string } | undefined {
  if (annotation === 'unconfined') return { type: 'Unconfined' };
  if (annotation === 'runtime/default') return { type: 'RuntimeDefault' };
  const local = 'localhost/';
  return annotation.startsWith(local)
    ? { type: 'Localhost', localhostProfile: annotation.slice(local.length) }
    : undefined;
}

/** Annotations in place of which there are fields, of one container. */
function annotationWarnings(
  c: Container,
  spec: PodSpec,
  annotations: Readonly<Record<string, string>>,
  root: string,
): string[] {
  const out: string[] = [];
  const tell = (key: string, why: string): void => void out.push(`${root}metadata.annotations[${key}]: ${why}`);
  const seccomp = `${seccompContainer}${c.name}`;
  if (annotations[seccomp] !== undefined && c.securityContext?.seccompProfile === undefined)
    tell(seccomp, seccompWarning);
  // Those of pods are told where they become fields.
  const key = `${appArmor}${c.name}`;
  const given = annotations[key];
  if (root === '' || given === undefined || c.securityContext?.appArmorProfile !== undefined) return out;
  const whole = spec.securityContext?.appArmorProfile;
  const own = appArmorOf(given);
  if (whole === undefined || whole.type !== own?.type || whole.localhostProfile !== own.localhostProfile)
    tell(key, appArmorWarning);
  return out;
}

function pullSecretWarnings(names: readonly (string | undefined)[], path: string): string[] {
  const given = names.map((name) => name ?? '');
  const twice = given.flatMap((name, i) =>
    given.indexOf(name) < i ? [`${path}[${i}].name: duplicate name ${JSON.stringify(name)}`] : [],
  );
  const empty = given.flatMap((name, i) => (name === '' ? [`${path}[${i}].name: invalid empty name ""`] : []));
  return [...twice, ...empty];
}

/** Warnings of a pod's (or template's) spec at `path`, in upstream's order. */
export function podSpecWarnings(spec: PodSpec, metadata: ObjectMeta | undefined, path: string): string[] {
  const out: string[] = [];
  for (const key of Object.keys(spec.nodeSelector ?? {}))
    if (deprecatedNodeLabels.has(key)) out.push(`${path}.nodeSelector[${key}]: ${deprecatedNodeLabels.get(key)}`);
  const near = `${path}.affinity.nodeAffinity`;
  const nodes = spec.affinity?.nodeAffinity;
  nodes?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms.forEach((term, i) =>
    out.push(
      ...nodeTermWarnings(
        term,
        false,
        `${near}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[${i}]`,
      ),
    ),
  );
  nodes?.preferredDuringSchedulingIgnoredDuringExecution?.forEach((term, i) =>
    out.push(
      ...nodeTermWarnings(
        term.preference,
        true,
        `${near}.preferredDuringSchedulingIgnoredDuringExecution[${i}].preference`,
      ),
    ),
  );
  (spec.topologySpreadConstraints ?? []).forEach((t, i) => {
    const at = `${path}.topologySpreadConstraints[${i}]`;
    if (deprecatedNodeLabels.has(t.topologyKey))
      out.push(`${at}.topologyKey: ${t.topologyKey} is ${deprecatedNodeLabels.get(t.topologyKey)}`);
    if (t.labelSelector === undefined) out.push(`${at}.labelSelector: ${sharesNobody}`);
  });
  const root = path === 'spec' ? '' : path.slice(0, -'spec'.length);
  const given = metadata?.annotations ?? {};
  for (const [key, why] of Object.entries(annotations))
    if (given[key] !== undefined) out.push(`${root}metadata.annotations[${key}]: ${why}`);
  if (root === '')
    for (const key of Object.keys(given))
      if (key.startsWith(appArmor)) out.push(`metadata.annotations[${key}]: ${appArmorWarning}`);
  if (
    spec.serviceAccount !== undefined &&
    spec.serviceAccount !== '' &&
    spec.serviceAccount !== spec.serviceAccountName
  )
    out.push(`${path}.serviceAccount: deprecated, use ${path}.serviceAccountName`);
  (spec.volumes ?? []).forEach((v, i) => {
    for (const [member, why] of volumeTypes) {
      const name = member === 'storageos' ? 'storageOS' : member;
      if (v[member] !== undefined) out.push(`${path}.volumes[${i}].${name}: ${why}`);
    }
    const at = `${path}.volumes[${i}].ephemeral.volumeClaimTemplate.spec`;
    out.push(...claimSpecWarnings(v.ephemeral?.volumeClaimTemplate?.spec, at));
  });
  out.push(...overlapWarnings(spec.volumes ?? []));
  (spec.hostAliases ?? []).reduce((seen, alias, i) => {
    if (seen.has(alias.ip)) out.push(`${path}.hostAliases[${i}].ip: duplicate ip ${JSON.stringify(alias.ip)}`);
    return seen.add(alias.ip);
  }, new Set<string>());
  out.push(
    ...pullSecretWarnings(
      (spec.imagePullSecrets ?? []).map((s) => s.name),
      `${path}.imagePullSecrets`,
    ),
  );
  for (const name of ['memory', 'ephemeral-storage']) {
    const text = spec.overhead?.[name] as string | undefined;
    out.push(...fractionalWarnings(text, `${path}.overhead[${name}]`));
  }
  if (given[seccompPod] !== undefined && spec.securityContext?.seccompProfile === undefined)
    out.push(`${root}metadata.annotations[${seccompPod}]: ${seccompWarning}`);
  const containers = (['initContainers', 'containers', 'ephemeralContainers'] as const).flatMap((member) =>
    ((spec[member] ?? []) as readonly Container[]).map((container, i) => ({
      container,
      path: `${path}.${member}[${i}]`,
    })),
  );
  for (const { container, path: at } of containers)
    out.push(
      ...annotationWarnings(container, spec, given, root),
      ...fractionalMemory(container, at),
      ...environmentWarnings(container, at),
    );
  out.push(...portWarnings(containers));
  if (spec.terminationGracePeriodSeconds !== undefined && spec.terminationGracePeriodSeconds < 0)
    out.push(
      `${path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`,
    );
  if (spec.affinity !== undefined) out.push(...affinityWarnings(spec.affinity, `${path}.affinity`));
  (spec.dnsConfig?.nameservers ?? []).forEach((ip, i) =>
    out.push(...ipWarnings(ip, `${path}.dnsConfig.nameservers[${i}]`)),
  );
  (spec.hostAliases ?? []).forEach(({ ip }, i) => out.push(...ipWarnings(ip, `${path}.hostAliases[${i}].ip`)));
  return out;
}
