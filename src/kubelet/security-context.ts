/** Security contexts and namespaces of a pod's sandbox and containers as the runtime is told them. */
import type { Container, Pod, SeccompProfile, SecurityContext } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import type { PulledImage } from './images/image-manager.ts';
import type {
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  NamespaceOption,
  SecurityProfile,
} from './runtime/container-runtime.ts';

/** `usernsOptions`: of a pod that has user ids of its own. */
function namespaceOptions(
  pod: Pod,
  usernsOptions: NamespaceOption['usernsOptions'],
  targetId?: string,
): NamespaceOption {
  const spec = pod.spec!;
  const pid = spec.hostPID ? 'NODE' : spec.shareProcessNamespace ? 'POD' : 'CONTAINER';
  const shared = {
    network: spec.hostNetwork ? 'NODE' : 'POD',
    ipc: spec.hostIPC ? 'NODE' : 'POD',
    usernsOptions,
  } as const;
  // Where processes are seen by all anyway, there is nothing to aim at.
  return targetId !== undefined && pid === 'CONTAINER' ? { ...shared, pid: 'TARGET', targetId } : { ...shared, pid };
}

function seccomp(ctx: KubeletContext, profile: SeccompProfile | undefined): SecurityProfile {
  switch (profile?.type) {
    case 'RuntimeDefault':
      return { profileType: 'RuntimeDefault' };
    case 'Localhost':
      if (profile.localhostProfile === undefined || profile.localhostProfile === '')
        throw new Error('localhostProfile must be set if seccompProfile type is Localhost.');
      return { profileType: 'Localhost', localhostRef: `${ctx.rootDir}/seccomp/${profile.localhostProfile}` };
    case 'Unconfined':
      return { profileType: 'Unconfined' };
    default:
      return { profileType: ctx.settings.seccompDefault ? 'RuntimeDefault' : 'Unconfined' };
  }
}

function appArmor(pod: Pod, container: Container): SecurityProfile | undefined {
  const profile = container.securityContext?.appArmorProfile ?? pod.spec?.securityContext?.appArmorProfile;
  if (profile === undefined) return undefined;
  if (profile.type !== 'Localhost') return { profileType: profile.type as SecurityProfile['profileType'] };
  if (profile.localhostProfile === undefined) throw new Error('missing localhost apparmor profile name');
  return { profileType: 'Localhost', localhostRef: profile.localhostProfile };
}

function groups(pod: Pod): number[] | undefined {
  const s = pod.spec?.securityContext;
  const out = [...(s?.fsGroup === undefined ? [] : [s.fsGroup]), ...(s?.supplementalGroups ?? [])];
  return out.length === 0 ? undefined : out;
}

function groupsPolicy(pod: Pod): 'Merge' | 'Strict' | undefined {
  return pod.spec?.securityContext?.supplementalGroupsPolicy as 'Merge' | 'Strict' | undefined;
}

/** The sandbox's. Rejects when the pod asks for user ids of its own and the runtime has none to give. */
export async function sandboxSecurityContext(
  ctx: KubeletContext,
  pod: Pod,
  runtimeHandler: string,
): Promise<LinuxSandboxSecurityContext> {
  const spec = pod.spec!;
  const s = spec.securityContext;
  return {
    namespaceOptions: namespaceOptions(pod, await ctx.userNamespaces.of(pod, runtimeHandler)),
    selinuxOptions: s?.seLinuxOptions,
    runAsUser: s?.runAsUser,
    runAsGroup: s?.runAsGroup,
    supplementalGroups: groups(pod),
    supplementalGroupsPolicy: groupsPolicy(pod),
    privileged: [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])].some(
      (c) => c.securityContext?.privileged === true,
    ),
    // Nothing of the user's runs in it.
    seccomp: runtimeDefault,
  };
}

const runtimeDefault: SecurityProfile = { profileType: 'RuntimeDefault' };

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

/** A container's: its own settings, else the pod's, else the image's. */
export async function containerSecurityContext(
  ctx: KubeletContext,
  input: {
    readonly pod: Pod;
    readonly container: Container;
    readonly image: PulledImage;
    readonly targetId?: string;
    readonly runtimeHandler?: string;
  },
): Promise<LinuxContainerSecurityContext> {
  const { pod, container, image } = input;
  const own: SecurityContext = container.securityContext ?? {};
  const shared = pod.spec?.securityContext;
  const user = own.runAsUser ?? shared?.runAsUser;
  const unmasked = own.procMount === 'Unmasked';
  return {
    namespaceOptions: namespaceOptions(
      pod,
      await ctx.userNamespaces.of(pod, input.runtimeHandler ?? ''),
      input.targetId,
    ),
    capabilities:
      own.capabilities === undefined
        ? undefined
        : { addCapabilities: own.capabilities.add ?? [], dropCapabilities: own.capabilities.drop ?? [] },
    privileged: own.privileged,
    selinuxOptions: own.seLinuxOptions ?? shared?.seLinuxOptions,
    runAsUser: user ?? image.uid,
    runAsUsername: user === undefined ? image.username : undefined,
    runAsGroup: own.runAsGroup ?? shared?.runAsGroup,
    readonlyRootfs: own.readOnlyRootFilesystem,
    supplementalGroups: groups(pod),
    supplementalGroupsPolicy: groupsPolicy(pod),
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? undefined : maskedPaths,
    readonlyPaths: unmasked ? undefined : readonlyPaths,
    seccomp: seccomp(ctx, own.seccompProfile ?? shared?.seccompProfile),
    apparmor: appArmor(pod, container),
  };
}
