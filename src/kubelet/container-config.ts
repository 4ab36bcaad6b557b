/** What the runtime is told about a pod's sandbox and containers, made of the pod's spec (CRI's PodSandboxConfig, ContainerConfig). */
import { podQOSClass } from '../api/helpers/pod-qos.ts';
import type { Quantity } from '../api/quantity.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Container, Pod, SeccompProfile, SecurityContext, VolumeMount } from '../api/types/index.gen.ts';
import { cpuPeriod, cpuQuota, cpuShares, hugepageSize, podResources } from './cgroup-manager.ts';
import type { KubeletContext } from './context.ts';
import { podDir, podLogDir } from './context.ts';
import { podDns } from './dns.ts';
import { expand } from './downward.ts';
import type { PodRuntimeFields } from './downward.ts';
import type { LazyItem } from './host/node-host.ts';
import { makeEnvironment } from './environment.ts';
import { StartError } from './image-manager.ts';
import { errorText } from './object-cache.ts';
import { containerHash, formatPod, isHostNetwork } from './pod-util.ts';
import type {
  ContainerConfig,
  Device,
  EnvVar,
  LinuxContainerResources,
  LinuxContainerSecurityContext,
  Mount,
  NamespaceOption,
  PodSandboxConfig,
  PortMapping,
  ProtocolName,
  SecurityProfile,
} from './runtime/container-runtime.ts';
import type { PodVolumes } from './volumes/pod-volumes.ts';

const podNameLabel = 'io.kubernetes.pod.name';
const podNamespaceLabel = 'io.kubernetes.pod.namespace';
export const podUidLabel = 'io.kubernetes.pod.uid';
const containerNameLabel = 'io.kubernetes.container.name';
export const hashAnnotation = 'io.kubernetes.container.hash';
const restartCountAnnotation = 'io.kubernetes.container.restartCount';
export const messagePathAnnotation = 'io.kubernetes.container.terminationMessagePath';
export const messagePolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy';
const podGraceAnnotation = 'io.kubernetes.pod.terminationGracePeriod';

const maxHostname = 63;

/** The pod's host name, cut to what a kernel takes. */
export function podHostname(pod: Pod): string {
  const name = pod.spec?.hostnameOverride ?? pod.spec?.hostname ?? pod.metadata.name ?? '';
  return name.length <= maxHostname ? name : name.slice(0, maxHostname).replace(/[-.]+$/, '');
}

/** The pod's domain below the cluster's; undefined without a subdomain. */
function podDomain(ctx: KubeletContext, pod: Pod): string | undefined {
  const sub = pod.spec?.subdomain;
  return sub === undefined || sub === '' ? undefined : `${sub}.${pod.metadata.namespace}.svc.${ctx.clusterDomain}`;
}

function namespaceOptions(pod: Pod, container?: Container, targetId?: string): NamespaceOption {
  const spec = pod.spec!;
  const pid =
    targetId !== undefined ? 'TARGET' : spec.hostPID ? 'NODE' : spec.shareProcessNamespace ? 'POD' : 'CONTAINER';
  return {
    network: spec.hostNetwork ? 'NODE' : 'POD',
    ipc: spec.hostIPC ? 'NODE' : 'POD',
    pid: container === undefined && pid === 'CONTAINER' ? 'CONTAINER' : pid,
    targetId,
    usernsOptions: spec.hostUsers === false ? { mode: 'POD', uids: [], gids: [] } : undefined,
  };
}

function seccomp(profile: SeccompProfile | undefined): SecurityProfile | undefined {
  if (profile === undefined) return undefined;
  return { profileType: profile.type as SecurityProfile['profileType'], localhostRef: profile.localhostProfile };
}

function portMappings(pod: Pod): PortMapping[] {
  const out: PortMapping[] = [];
  for (const c of [
    ...(pod.spec?.initContainers ?? []).filter((i) => i.restartPolicy === 'Always'),
    ...pod.spec!.containers,
  ])
    for (const p of c.ports ?? [])
      out.push({
        protocol: (p.protocol ?? 'TCP') as ProtocolName,
        containerPort: p.containerPort,
        hostPort: p.hostPort,
        hostIp: p.hostIP,
      });
  return out;
}

export async function sandboxConfig(ctx: KubeletContext, pod: Pod, attempt: number): Promise<PodSandboxConfig> {
  const spec = pod.spec!;
  const { name, namespace, uid } = pod.metadata as { name: string; namespace: string; uid: string };
  const s = spec.securityContext;
  return {
    metadata: { name, namespace, uid, attempt },
    hostname: isHostNetwork(pod) && spec.hostnameOverride === undefined ? undefined : podHostname(pod),
    logDirectory: podLogDir(ctx, pod),
    dnsConfig: ctx.shapes.share(await podDns(ctx, pod)),
    portMappings: isHostNetwork(pod) ? undefined : ctx.shapes.share(portMappings(pod)),
    labels: { ...pod.metadata.labels, [podNameLabel]: name, [podNamespaceLabel]: namespace, [podUidLabel]: uid },
    annotations: pod.metadata.annotations ?? noAnnotations,
    linux: ctx.shapes.share({
      cgroupParent: ctx.cgroups.parentName(pod),
      securityContext: {
        namespaceOptions: namespaceOptions(pod),
        selinuxOptions: s?.seLinuxOptions,
        runAsUser: s?.runAsUser,
        runAsGroup: s?.runAsGroup,
        supplementalGroups: groups(pod),
        supplementalGroupsPolicy: s?.supplementalGroupsPolicy as 'Merge' | 'Strict' | undefined,
        privileged: [...(spec.initContainers ?? []), ...spec.containers].some(
          (c) => c.securityContext?.privileged === true,
        ),
        seccomp: seccomp(s?.seccompProfile) ?? { profileType: 'RuntimeDefault' },
      },
      sysctls: s?.sysctls === undefined ? undefined : Object.fromEntries(s.sysctls.map((x) => [x.name, x.value])),
      overhead: spec.overhead === undefined ? undefined : linuxResources(spec.overhead, spec.overhead),
      resources: ctx.cgroups.enabled ? podResources(pod) : undefined,
    }),
  };
}

const noAnnotations: Readonly<Record<string, string>> = Object.freeze({});

function groups(pod: Pod): number[] | undefined {
  const s = pod.spec?.securityContext;
  const out = [...(s?.supplementalGroups ?? [])];
  if (s?.fsGroup !== undefined) out.push(s.fsGroup);
  return out.length === 0 ? undefined : out;
}

function linuxResources(
  requests: Record<string, string> | undefined,
  limits: Record<string, string> | undefined,
): LinuxContainerResources {
  const q = (text: string | undefined): Quantity | undefined => (text === undefined ? undefined : parseQuantity(text));
  const cpuRequest = q(requests?.['cpu'] ?? limits?.['cpu']);
  const cpuLimit = q(limits?.['cpu']);
  const memory = q(limits?.['memory']);
  const hugepages = Object.entries(limits ?? {}).filter(([k]) => k.startsWith('hugepages-'));
  return {
    cpuShares: cpuShares(cpuRequest === undefined ? 0 : quantityMilli(cpuRequest)),
    cpuPeriod,
    cpuQuota: cpuLimit === undefined ? 0 : cpuQuota(quantityMilli(cpuLimit)),
    memoryLimitInBytes: memory === undefined ? undefined : quantityValue(memory),
    hugepageLimits:
      hugepages.length === 0
        ? undefined
        : hugepages.map(([k, v]) => ({
            pageSize: hugepageSize(k),
            limit: quantityValue(parseQuantity(v)),
          })),
  };
}

/** The kernel's preference to kill this container when memory runs out (upstream's QoS policy). */
export function oomScoreAdjust(pod: Pod, container: Container, memoryCapacity: number): number {
  if ((pod.spec?.priority ?? 0) >= 2_000_000_000) return -997;
  const qos = podQOSClass(pod as never);
  if (qos === 'Guaranteed') return -997;
  if (qos === 'BestEffort') return 1000;
  const request = container.resources?.requests?.['memory'];
  const bytes = request === undefined ? 0 : quantityValue(parseQuantity(request));
  const score = 1000 - Math.floor((1000 * bytes) / memoryCapacity);
  return Math.min(Math.max(score, 3), 999);
}

/** The kernel paths that a container must not see, unless it asks for an unmasked /proc. */
const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

function securityContext(pod: Pod, container: Container, targetId: string | undefined): LinuxContainerSecurityContext {
  const own: SecurityContext = container.securityContext ?? {};
  const shared = pod.spec?.securityContext;
  const unmasked = own.procMount === 'Unmasked';
  const appArmor = own.appArmorProfile ?? shared?.appArmorProfile;
  return {
    namespaceOptions: namespaceOptions(pod, container, targetId),
    capabilities:
      own.capabilities === undefined
        ? undefined
        : { addCapabilities: own.capabilities.add ?? [], dropCapabilities: own.capabilities.drop ?? [] },
    privileged: own.privileged,
    selinuxOptions: own.seLinuxOptions ?? shared?.seLinuxOptions,
    runAsUser: own.runAsUser ?? shared?.runAsUser,
    runAsGroup: own.runAsGroup ?? shared?.runAsGroup,
    readonlyRootfs: own.readOnlyRootFilesystem,
    supplementalGroups: groups(pod),
    supplementalGroupsPolicy: shared?.supplementalGroupsPolicy as 'Merge' | 'Strict' | undefined,
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: unmasked || own.privileged ? undefined : maskedPaths,
    readonlyPaths: unmasked || own.privileged ? undefined : readonlyPaths,
    seccomp: own.privileged
      ? { profileType: 'Unconfined' }
      : (seccomp(own.seccompProfile ?? shared?.seccompProfile) ?? { profileType: 'Unconfined' }),
    apparmor:
      appArmor === undefined
        ? undefined
        : { profileType: appArmor.type as SecurityProfile['profileType'], localhostRef: appArmor.localhostProfile },
  };
}

const propagation: Readonly<Record<string, Mount['propagation']>> = {
  None: 'PROPAGATION_PRIVATE',
  HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER',
  Bidirectional: 'PROPAGATION_BIDIRECTIONAL',
};

/** Where a container's volume is to be looked for: subPath, or subPathExpr with the container's environment. */
function subPathOf(m: VolumeMount, env: readonly EnvVar[]): string {
  let subPath = m.subPath ?? '';
  if (m.subPathExpr !== undefined && m.subPathExpr !== '') {
    const values = new Map(env.map((e) => [e.key, e.value]));
    subPath = expand(m.subPathExpr, (n) => {
      const v = values.get(n);
      if (v === undefined) throw new Error(`missing value for "${n}"`);
      return v;
    });
  }
  if (subPath.startsWith('/')) throw new Error(`error SubPath \`${subPath}\` must not be an absolute path`);
  if (subPath.split('/').includes('..'))
    throw new Error(`unable to provision SubPath \`${subPath}\`: must not contain '..'`);
  return subPath;
}

/** Whether the mount is read-only with all that is below it. Throws when the runtime cannot do what must be. */
async function recursiveReadOnly(ctx: KubeletContext, m: VolumeMount): Promise<boolean> {
  const mode = m.recursiveReadOnly ?? 'Disabled';
  if (mode === 'Disabled' || mode === '') return false;
  if (mode !== 'IfPossible' && mode !== 'Enabled') throw new Error(`unknown recursive read-only mode "${mode}"`);
  if (m.readOnly !== true)
    throw new Error(
      `failed to resolve recursive read-only mode: volume "${m.name}" requested recursive read-only mode, but it is not read-only`,
    );
  if (m.mountPropagation !== undefined && m.mountPropagation !== 'None')
    throw new Error(
      `failed to resolve recursive read-only mode: volume "${m.name}" requested recursive read-only mode, but it is not compatible with propagation ${m.mountPropagation}`,
    );
  const supported = (await ctx.runtime.status()).runtimeHandlers.some(
    (h) => h.name === '' && h.features?.recursiveReadOnlyMounts === true,
  );
  if (!supported && mode === 'Enabled')
    throw new Error(
      `failed to resolve recursive read-only mode: volume "${m.name}" requested recursive read-only mode, but it is not supported by the runtime`,
    );
  return supported;
}

async function makeMounts(ctx: KubeletContext, input: ContainerInput, env: readonly EnvVar[]): Promise<Mount[]> {
  const { pod, container, volumes, fields } = input;
  const out: Mount[] = [];
  let ownHosts = false;
  const dir = podDir(ctx, pod.metadata.uid!);
  for (const [i, m] of (container.volumeMounts ?? []).entries()) {
    const missing = (): Error =>
      new Error(`cannot find volume "${m.name}" to mount into container "${container.name}"`);
    const volume = pod.spec?.volumes?.find((v) => v.name === m.name);
    if (volume === undefined) throw missing();
    if (m.mountPath === '/etc/hosts') ownHosts = true;
    const subPath = subPathOf(m, env);
    const containerPath = m.mountPath.startsWith('/') ? m.mountPath : `/${m.mountPath}`;
    if (volume.image !== undefined) {
      out.push({
        containerPath,
        hostPath: '',
        readonly: true,
        image: {
          image: input.imageVolumes?.get(m.name) ?? volume.image.reference ?? '',
          userSpecifiedImage: volume.image.reference,
        },
        imageSubPath: subPath === '' ? undefined : subPath,
      });
      continue;
    }
    let path = volumes.path(volume);
    if (path === undefined) throw missing();
    if (subPath !== '') {
      const target = `${dir}/volume-subpaths/${m.name}/${container.name}/${i}`;
      try {
        path = await ctx.host.bindSubPath(path, subPath, target, m.readOnly === true);
      } catch (error) {
        // The cause may tell of the node's files: it is not for the pod's author.
        ctx.logger.warn('Failed to prepare subPath', { pod: formatPod(pod), container: container.name, error });
        throw new Error(`failed to prepare subPath for volumeMount "${m.name}" of container "${container.name}"`, {
          cause: error,
        });
      }
    }
    out.push({
      containerPath,
      hostPath: path,
      readonly: m.readOnly === true || volumes.readOnly(volume) || undefined,
      propagation: m.mountPropagation === undefined ? undefined : propagation[m.mountPropagation],
      recursiveReadOnly: (await recursiveReadOnly(ctx, m)) || undefined,
    });
  }
  if (!ownHosts && (fields.podIps.length > 0 || isHostNetwork(pod))) {
    const path = `${dir}/etc-hosts`;
    await provide(ctx, path, 0o644, async () => hostsFile(ctx, pod, fields.podIps));
    out.push({ containerPath: '/etc/hosts', hostPath: path });
  }
  return out;
}

/** The block devices of volumes in Block mode. */
function makeDevices(input: ContainerInput): Device[] {
  const { pod, container, volumes } = input;
  return (container.volumeDevices ?? []).map((d) => {
    if (!d.devicePath.startsWith('/')) throw new Error(`error DevicePath \`${d.devicePath}\` must be an absolute path`);
    const volume = pod.spec?.volumes?.find((v) => v.name === d.name);
    const mounted = volume === undefined ? undefined : volumes.device(volume);
    if (mounted?.device === undefined)
      throw new Error(`cannot find volume "${d.name}" to pass into container "${container.name}"`);
    return {
      containerPath: d.devicePath,
      hostPath: mounted.device,
      permissions: mounted.readOnly ? 'r' : 'mrw',
    };
  });
}

/** A file that the kubelet makes: at once, or when somebody looks, where the host can (`lazyPodFile`). */
async function provide(ctx: KubeletContext, path: string, mode: number, produce: () => Promise<string>): Promise<void> {
  if (ctx.host.lazy === undefined) await ctx.host.writeFile(path, await produce(), mode);
}

/** What `provide` has put off: `etc-hosts` and the containers' termination messages. */
export function lazyPodFile(
  ctx: KubeletContext,
  pod: Pod,
  path: string,
  ips: readonly string[],
): Promise<LazyItem> | undefined {
  const rest = path.slice(podDir(ctx, pod.metadata.uid!).length + 1);
  if (rest === 'etc-hosts') return hostsFile(ctx, pod, ips).then((file) => ({ path, file }));
  if (/^containers\/[^/]+\/[^/]+$/.test(rest)) return Promise.resolve({ path, file: '' });
  return undefined;
}

async function hostsFile(ctx: KubeletContext, pod: Pod, ips: readonly string[]): Promise<string> {
  let text: string;
  if (isHostNetwork(pod)) {
    text = `# Kubernetes-managed hosts file (host network).\n${((await ctx.host.readFile('/etc/hosts')) ?? '').toString()}`;
  } else {
    text =
      '# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n';
    const domain = podDomain(ctx, pod);
    const host = podHostname(pod);
    for (const ip of ips) text += domain === undefined ? `${ip}\t${host}\n` : `${ip}\t${host}.${domain}\t${host}\n`;
  }
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length > 0) {
    text += '\n# Entries added by HostAliases.\n';
    for (const a of aliases) text += `${a.ip}\t${(a.hostnames ?? []).join('\t')}\n`;
  }
  return text;
}

export interface ContainerInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly restartCount: number;
  readonly imageRef: string;
  readonly volumes: PodVolumes;
  readonly fields: PodRuntimeFields;
  /** References of the images that are mounted, by the volume's name. */
  readonly imageVolumes?: ReadonlyMap<string, string>;
  /** Of an ephemeral container: the container whose processes it sees. */
  readonly targetId?: string;
}

/** Rejects with `StartError` (CreateContainerConfigError). */
export async function containerConfig(ctx: KubeletContext, input: ContainerInput): Promise<ContainerConfig> {
  try {
    return await build(ctx, input);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError('CreateContainerConfigError', errorText(error), { cause: error });
  }
}

async function build(ctx: KubeletContext, input: ContainerInput): Promise<ContainerConfig> {
  const { pod, container, restartCount } = input;
  await verifyRunAsNonRoot(ctx, pod, container);
  const envs = await makeEnvironment(ctx, pod, container, input.fields, (v) => input.volumes.path(v));
  const devices = makeDevices(input);
  const mounts = await makeMounts(ctx, input, envs);
  const messagePath = container.terminationMessagePath ?? '/dev/termination-log';
  if (messagePath !== '') {
    const path = `${podDir(ctx, pod.metadata.uid!)}/containers/${container.name}/${ctx.random
      .int(2 ** 32)
      .toString(16)
      .padStart(8, '0')}`;
    // Whoever the container runs as may write it.
    await provide(ctx, path, 0o666, async () => '');
    mounts.push({ containerPath: messagePath, hostPath: path });
  }
  const needsExpansion = [...(container.command ?? []), ...(container.args ?? [])].some((a) => a.includes('$'));
  const values = needsExpansion ? new Map(envs.map((e) => [e.key, e.value])) : undefined;
  const expanded = (list: readonly string[] | undefined) =>
    values === undefined ? list : list?.map((a) => expand(a, (n) => values.get(n)));
  const resources = linuxResources(
    container.resources?.requests as Record<string, string> | undefined,
    container.resources?.limits as Record<string, string> | undefined,
  );
  const annotations: Record<string, string> = {
    [hashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(restartCount),
    [messagePathAnnotation]: messagePath,
    [messagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
    [podGraceAnnotation]: String(pod.spec?.terminationGracePeriodSeconds ?? 30),
  };
  return {
    metadata: { name: container.name, attempt: restartCount },
    image: { image: input.imageRef, userSpecifiedImage: container.image },
    command: expanded(container.command),
    args: expanded(container.args),
    workingDir: container.workingDir,
    envs,
    mounts,
    ...(devices.length === 0 ? {} : { devices }),
    labels: {
      [podNameLabel]: pod.metadata.name!,
      [podNamespaceLabel]: pod.metadata.namespace!,
      [podUidLabel]: pod.metadata.uid!,
      [containerNameLabel]: container.name,
    },
    annotations: ctx.shapes.share(annotations),
    logPath: `${container.name}/${restartCount}.log`,
    stdin: container.stdin,
    stdinOnce: container.stdinOnce,
    tty: container.tty,
    linux: ctx.shapes.share({
      resources: {
        ...resources,
        oomScoreAdj: oomScoreAdjust(pod, container, (await ctx.host.machineInfo()).memoryBytes),
      },
      securityContext: securityContext(pod, container, input.targetId),
    }),
    stopSignal: container.lifecycle?.stopSignal,
  };
}

async function verifyRunAsNonRoot(ctx: KubeletContext, pod: Pod, container: Container): Promise<void> {
  const shared = pod.spec?.securityContext;
  const nonRoot = container.securityContext?.runAsNonRoot ?? shared?.runAsNonRoot;
  if (nonRoot !== true) return;
  const where = `(pod: "${formatPod(pod)}", container: ${container.name})`;
  const user = container.securityContext?.runAsUser ?? shared?.runAsUser;
  if (user !== undefined) {
    if (user === 0) throw new Error(`container's runAsUser breaks non-root policy ${where}`);
    return;
  }
  const image = await ctx.runtime.imageStatus({ image: container.image ?? '' });
  if (image?.uid === 0) throw new Error(`container has runAsNonRoot and image will run as root ${where}`);
  if (image?.uid === undefined && image?.username !== undefined && image.username !== '')
    throw new Error(
      `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${where}`,
    );
}
