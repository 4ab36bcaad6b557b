/** What the runtime is told about a pod's sandbox and containers, made of the pod's spec (CRI's PodSandboxConfig, ContainerConfig). */
import type { Container, Pod, Volume, VolumeMount } from '../../api/types/index.gen.ts';
import { containerResources, overheadResources, sandboxResources } from './container-resources.ts';
import type { KubeletContext } from '../context.ts';
import { podDir, podLogDir } from '../context.ts';
import { podDns } from '../dns.ts';
import { expand } from '../downward.ts';
import type { PodRuntimeFields } from '../downward.ts';
import type { LazyItem } from '../host/node-host.ts';
import { SubPathDirectoryError } from '../host/subpath-error.ts';
import { makeEnvironment } from '../environment.ts';
import type { PulledImage } from '../images/image-manager.ts';
import { StartError } from '../images/image-manager.ts';
import { errorText } from '../object-cache.ts';
import { containerHash, formatPod, isHostNetwork } from '../pod-util.ts';
import type {
  ContainerConfig,
  Device,
  EnvVar,
  Mount,
  NamespaceOption,
  PodSandboxConfig,
  PortMapping,
  ProtocolName,
} from '../runtime/container-runtime.ts';
import { containerSecurityContext, sandboxSecurityContext } from '../security-context.ts';
import { sysctlName } from '../sysctl-allowlist.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';

const podNameLabel = 'io.kubernetes.pod.name';
const podNamespaceLabel = 'io.kubernetes.pod.namespace';
export const podUidLabel = 'io.kubernetes.pod.uid';
const containerNameLabel = 'io.kubernetes.container.name';
export const hashAnnotation = 'io.kubernetes.container.hash';
const restartCountAnnotation = 'io.kubernetes.container.restartCount';
export const messagePathAnnotation = 'io.kubernetes.container.terminationMessagePath';
export const messagePolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy';
const podGraceAnnotation = 'io.kubernetes.pod.terminationGracePeriod';
const deletionGraceAnnotation = 'io.kubernetes.pod.deletionGracePeriod';
const preStopAnnotation = 'io.kubernetes.container.preStopHandler';
const portsAnnotation = 'io.kubernetes.container.ports';
const defaultMessagePath = '/dev/termination-log';

const maxHostname = 63;
const maxKernelHostname = 64;

/** The pod's host name, cut to what a kernel takes. */
export function podHostname(pod: Pod): string {
  const set = pod.spec?.hostnameOverride ?? pod.spec?.hostname ?? '';
  const name = set === '' ? (pod.metadata.name ?? '') : set;
  return name.length <= maxHostname ? name : name.slice(0, maxHostname).replace(/[-.]+$/, '');
}

/** The pod's domain below the cluster's; undefined without a subdomain. */
function podDomain(ctx: KubeletContext, pod: Pod): string | undefined {
  const sub = pod.spec?.subdomain;
  return sub === undefined || sub === '' || pod.spec?.hostnameOverride !== undefined
    ? undefined
    : `${sub}.${pod.metadata.namespace}.svc.${ctx.clusterDomain}`;
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

/** The host name that the kernel is told: with its domain where the pod wants that. */
function kernelHostname(ctx: KubeletContext, pod: Pod): string {
  const host = podHostname(pod);
  const domain = podDomain(ctx, pod);
  if (pod.spec?.setHostnameAsFQDN !== true || domain === undefined) return host;
  const name = `${host}.${domain}`;
  if (name.length > maxKernelHostname)
    throw new Error(
      `failed to construct FQDN from pod hostname and cluster domain, FQDN ${name} is too long (${maxKernelHostname} characters is the max, ${name.length} characters requested)`,
    );
  return name;
}

/** `runtimeHandler`: of the pod's RuntimeClass. */
export async function sandboxConfig(
  ctx: KubeletContext,
  pod: Pod,
  attempt: number,
  runtimeHandler: string,
): Promise<PodSandboxConfig> {
  const spec = pod.spec!;
  const { name, namespace, uid } = pod.metadata as { name: string; namespace: string; uid: string };
  const sysctls = spec.securityContext?.sysctls;
  return {
    metadata: { name, namespace, uid, attempt },
    hostname: isHostNetwork(pod) ? undefined : kernelHostname(ctx, pod),
    logDirectory: podLogDir(ctx, pod),
    dnsConfig: ctx.shapes.share(await podDns(ctx, pod)),
    portMappings: isHostNetwork(pod) ? undefined : ctx.shapes.share(portMappings(pod)),
    labels: { ...pod.metadata.labels, [podNameLabel]: name, [podNamespaceLabel]: namespace, [podUidLabel]: uid },
    annotations: pod.metadata.annotations ?? noAnnotations,
    linux: ctx.shapes.share({
      cgroupParent: ctx.cgroups.parentName(pod),
      securityContext: await sandboxSecurityContext(ctx, pod, runtimeHandler),
      sysctls:
        sysctls === undefined ? undefined : Object.fromEntries(sysctls.map((x) => [sysctlName(x.name!), x.value])),
      overhead:
        spec.overhead === undefined
          ? undefined
          : overheadResources(spec.overhead as Record<string, string>, ctx.settings),
      resources: ctx.cgroups.enabled ? sandboxResources(pod, ctx.settings) : undefined,
    }),
  };
}

const noAnnotations: Readonly<Record<string, string>> = Object.freeze({});

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
async function recursiveReadOnly(ctx: KubeletContext, m: VolumeMount, handler: string): Promise<boolean> {
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
    (h) => h.name === handler && h.features?.recursiveReadOnlyMounts === true,
  );
  if (!supported && mode === 'Enabled')
    throw new Error(
      `failed to resolve recursive read-only mode: volume "${m.name}" requested recursive read-only mode, but it is not supported by the runtime`,
    );
  return supported;
}

/** Volumes that are the kubelet's own to label for the pod, where the node has SELinux. */
function relabels(v: Volume): boolean {
  return [v.emptyDir, v.configMap, v.secret, v.projected, v.downwardAPI, v.csi, v.ephemeral].some(
    (kind) => kind !== undefined,
  );
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
        const failed = error instanceof SubPathDirectoryError ? 'create subPath directory' : 'prepare subPath';
        throw new Error(`failed to ${failed} for volumeMount "${m.name}" of container "${container.name}"`, {
          cause: error,
        });
      }
    }
    out.push({
      containerPath,
      hostPath: path,
      selinuxRelabel: relabels(volume) || undefined,
      readonly: m.readOnly === true || volumes.readOnly(volume) || undefined,
      propagation: m.mountPropagation === undefined ? undefined : propagation[m.mountPropagation],
      recursiveReadOnly: (await recursiveReadOnly(ctx, m, input.runtimeHandler ?? '')) || undefined,
    });
  }
  if (!ownHosts && (fields.podIps.length > 0 || isHostNetwork(pod))) {
    const path = `${dir}/etc-hosts`;
    await provide(ctx, path, 0o644, async () => hostsFile(ctx, pod, fields.podIps));
    out.push({ containerPath: '/etc/hosts', hostPath: path, selinuxRelabel: true });
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
  readonly image: PulledImage;
  readonly volumes: PodVolumes;
  readonly fields: PodRuntimeFields;
  /** References of the images that are mounted, by the volume's name. */
  readonly imageVolumes?: ReadonlyMap<string, string>;
  /** Of an ephemeral container: the container whose processes it sees. */
  readonly targetId?: string;
  /** Of the sandbox. */
  readonly runtimeHandler?: string;
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

/** What a later kubelet reads of a container that it finds running, as upstream writes it. */
function containerAnnotations(pod: Pod, container: Container, restartCount: number): Record<string, string> {
  const out: Record<string, string> = {
    [hashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(restartCount),
    [messagePathAnnotation]: container.terminationMessagePath ?? defaultMessagePath,
    [messagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
  };
  const deletion = pod.metadata.deletionGracePeriodSeconds;
  if (deletion !== undefined) out[deletionGraceAnnotation] = String(deletion);
  const grace = pod.spec?.terminationGracePeriodSeconds;
  if (grace !== undefined) out[podGraceAnnotation] = String(grace);
  if (container.lifecycle?.preStop !== undefined) out[preStopAnnotation] = JSON.stringify(container.lifecycle.preStop);
  if ((container.ports?.length ?? 0) > 0) out[portsAnnotation] = JSON.stringify(container.ports);
  return out;
}

async function build(ctx: KubeletContext, input: ContainerInput): Promise<ContainerConfig> {
  const { pod, container, restartCount, image } = input;
  verifyRunAsNonRoot(pod, container, image);
  const security = await containerSecurityContext(ctx, input);
  const declared = await makeEnvironment(ctx, pod, container, input.fields, (v) => input.volumes.path(v));
  const own = await ctx.resources?.devices?.starting(pod, container);
  const cdiDevices = [...(own?.cdiDevices ?? []), ...(ctx.resources?.dynamic?.cdiDevices(pod, container) ?? [])];
  const devices = [...makeDevices(input), ...(own?.devices ?? [])];
  // What the pod says goes before what a plugin says.
  const added = own?.envs.filter((e) => declared.every((d) => d.key !== e.key)) ?? [];
  const envs = added.length === 0 ? declared : [...declared, ...added];
  const mounts = await makeMounts(ctx, input, envs);
  for (const m of own?.mounts ?? [])
    if (mounts.every((o) => o.containerPath !== m.containerPath))
      mounts.push({ containerPath: m.containerPath, hostPath: m.hostPath, readonly: m.readOnly });
  const messagePath = container.terminationMessagePath ?? defaultMessagePath;
  if (messagePath !== '') {
    const path = `${podDir(ctx, pod.metadata.uid!)}/containers/${container.name}/${ctx.random
      .int(2 ** 32)
      .toString(16)
      .padStart(8, '0')}`;
    // Whoever the container runs as may write it.
    await provide(ctx, path, 0o666, async () => '');
    mounts.push({ containerPath: messagePath, hostPath: path, selinuxRelabel: true });
  }
  const needsExpansion = [...(container.command ?? []), ...(container.args ?? [])].some((a) => a.includes('$'));
  const values = needsExpansion ? new Map(envs.map((e) => [e.key, e.value])) : undefined;
  const expanded = (list: readonly string[] | undefined) =>
    values === undefined ? list : list?.map((a) => expand(a, (n) => values.get(n)));
  return {
    metadata: { name: container.name, attempt: restartCount },
    image: { image: image.ref, userSpecifiedImage: container.image },
    command: expanded(container.command),
    args: expanded(container.args),
    workingDir: container.workingDir,
    envs,
    mounts: idMapped(mounts, security.namespaceOptions?.usernsOptions),
    ...(devices.length === 0 ? {} : { devices }),
    labels: {
      [podNameLabel]: pod.metadata.name!,
      [podNamespaceLabel]: pod.metadata.namespace!,
      [podUidLabel]: pod.metadata.uid!,
      [containerNameLabel]: container.name,
    },
    annotations: ctx.shapes.share({ ...own?.annotations, ...containerAnnotations(pod, container, restartCount) }),
    ...(cdiDevices.length === 0 ? {} : { cdiDevices }),
    logPath: `${container.name}/${restartCount}.log`,
    stdin: container.stdin,
    stdinOnce: container.stdinOnce,
    tty: container.tty,
    linux: ctx.shapes.share({
      resources: await containerResources(ctx, pod, container),
      securityContext: security,
    }),
    stopSignal: container.lifecycle?.stopSignal,
    ...(isAwaited(pod, container) ? { awaited: true } : {}),
  };
}

/** An init container that is no sidecar: the pod goes on when it has ended. */
function isAwaited(pod: Pod, container: Container): boolean {
  return (
    container.restartPolicy !== 'Always' && pod.spec?.initContainers?.some((c) => c.name === container.name) === true
  );
}

/** Volumes keep the owners that they have on the node: their ids are those that the pod sees. */
function idMapped(mounts: Mount[], userns: NamespaceOption['usernsOptions']): Mount[] {
  if (userns === undefined) return mounts;
  return mounts.map((m) => ({ ...m, uidMappings: userns.uids, gidMappings: userns.gids }));
}

function verifyRunAsNonRoot(pod: Pod, container: Container, image: PulledImage): void {
  const shared = pod.spec?.securityContext;
  const nonRoot = container.securityContext?.runAsNonRoot ?? shared?.runAsNonRoot;
  if (nonRoot !== true) return;
  const where = `(pod: "${formatPod(pod)}", container: ${container.name})`;
  const user = container.securityContext?.runAsUser ?? shared?.runAsUser;
  if (user !== undefined) {
    if (user === 0) throw new Error(`container's runAsUser breaks non-root policy ${where}`);
    return;
  }
  if (image.uid === 0) throw new Error(`container has runAsNonRoot and image will run as root ${where}`);
  if (image.uid === undefined)
    throw new Error(
      `container has runAsNonRoot and image has non-numeric user (${image.username ?? ''}), cannot verify user is non-root ${where}`,
    );
}
