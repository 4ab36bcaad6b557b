/** What a KubeletConfiguration must not say, with upstream's texts (`ValidateKubeletConfiguration`). */
import { FeatureGateError, FeatureGates } from '../../api/features/feature-gates.ts';
import { isZeroQuantity, tryParseQuantity } from '../../api/quantity.ts';
import { parseDuration } from '../../api/time.ts';
import type { KubeletConfiguration } from './configuration.ts';
import { parseCpuSet } from '../cpu-set.ts';
import { checkAllowlist } from '../images/image-allowlist.ts';
import { checkUnsafeSysctls } from '../sysctl-allowlist.ts';

const quote = JSON.stringify;

/** Go's `%q` of a list. */
const quoteList = (list: readonly string[]): string => `[${list.map((x) => quote(x)).join(' ')}]`;

const topologyPolicies = ['none', 'best-effort', 'restricted', 'single-numa-node'];
const enforcements = [
  'pods',
  'system-reserved',
  'system-reserved-compressible',
  'kube-reserved',
  'kube-reserved-compressible',
  'none',
];
const hairpinModes = ['none', 'hairpin-veth', 'promiscuous-bridge'];
const verificationPolicies = [
  'NeverVerify',
  'NeverVerifyPreloadedImages',
  'NeverVerifyAllowlistedImages',
  'AlwaysVerify',
];
const taintEffects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];
const idsUnit = 65_536;

/** Every fault, one line each. */
export function configurationErrors(c: KubeletConfiguration): string[] {
  const out: string[] = [];
  const wrong = (text: string): void => void out.push(`invalid configuration: ${text}`);
  let gates: FeatureGates;
  try {
    gates = new FeatureGates(c.featureGates);
  } catch (error) {
    if (!(error instanceof FeatureGateError)) throw error;
    return [error.message];
  }
  const within = (n: number, from: number, to: number): boolean => n >= from && n <= to;
  const port = (n: number): boolean => within(n, 1, 65_535);
  const ms = parseDuration;
  const negative = (field: string, flag: string, n: number): void => {
    if (n < 0) wrong(`${field} (${flag}) ${n} must not be a negative number`);
  };

  if (c.nodeLeaseDurationSeconds <= 0) wrong('nodeLeaseDurationSeconds must be greater than 0');
  if (c.systemCgroups !== '' && c.cgroupRoot === '')
    wrong('systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified');
  negative('eventBurst', '--event-burst', c.eventBurst);
  negative('eventRecordQPS', '--event-qps', c.eventRecordQPS);
  if (c.healthzPort !== 0 && !port(c.healthzPort))
    wrong(`healthzPort (--healthz-port) ${c.healthzPort} must be between 1 and 65535, inclusive`);
  const period = ms(c.cpuCFSQuotaPeriod);
  if (!gates.enabled('CustomCPUCFSQuotaPeriod') && period !== 100)
    wrong(
      `cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {${c.cpuCFSQuotaPeriod}} requires feature gate CustomCPUCFSQuotaPeriod`,
    );
  if (gates.enabled('CustomCPUCFSQuotaPeriod') && !within(period, 1, 1000))
    wrong(
      `cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {${c.cpuCFSQuotaPeriod}} must be between 1ms and 1sec, inclusive`,
    );
  imageCollection(c, wrong);
  for (const [field, flag, n] of [
    ['iptablesDropBit', '--iptables-drop-bit', c.iptablesDropBit],
    ['iptablesMasqueradeBit', '--iptables-masquerade-bit', c.iptablesMasqueradeBit],
  ] as const)
    if (!within(n, 0, 31)) wrong(`${field} (${flag}) ${n} must be between 0 and 31, inclusive`);
  negative('kubeAPIBurst', '--kube-api-burst', c.kubeAPIBurst);
  negative('kubeAPIQPS', '--kube-api-qps', c.kubeAPIQPS);
  if (c.nodeStatusMaxImages < -1)
    wrong(`nodeStatusMaxImages (--node-status-max-images) ${c.nodeStatusMaxImages} must be -1 or greater`);
  negative('maxOpenFiles', '--max-open-files', c.maxOpenFiles);
  negative('maxPods', '--max-pods', c.maxPods);
  if (!within(c.oomScoreAdj, -1000, 1000))
    wrong(`oomScoreAdj (--oom-score-adj) ${c.oomScoreAdj} must be between -1000 and 1000, inclusive`);
  negative('podsPerCore', '--pods-per-core', c.podsPerCore);
  if (!port(c.port)) wrong(`port (--port) ${c.port} must be between 1 and 65535, inclusive`);
  if (c.readOnlyPort !== 0 && !port(c.readOnlyPort))
    wrong(`readOnlyPort (--read-only-port) ${c.readOnlyPort} must be between 0 and 65535, inclusive`);
  negative('registryBurst', '--registry-burst', c.registryBurst);
  negative('registryPullQPS', '--registry-qps', c.registryPullQPS);
  const parallel = c.maxParallelImagePulls;
  if (parallel !== undefined && parallel < 1) wrong(`maxParallelImagePulls ${parallel} must be a positive number`);
  if (c.serializeImagePulls && parallel !== undefined && parallel > 1)
    wrong(
      'maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false',
    );
  if (c.serverTLSBootstrap && !gates.enabled('RotateKubeletServerCertificate'))
    wrong('serverTLSBootstrap true requires feature gate RotateKubeletServerCertificate');
  if (c.runOnce) wrong('runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set');
  for (const t of c.registerWithTaints) {
    if (typeof t.key !== 'string' || t.key === '' || !taintEffects.includes(t.effect))
      out.push(`invalid taint: {${t.key} ${t.value ?? ''} ${t.effect} ${t.timeAdded ?? '<nil>'}}`);
    if (t.timeAdded !== undefined) wrong('taint.TimeAdded is not nil');
  }
  if (!topologyPolicies.includes(c.topologyManagerPolicy))
    wrong(
      `topologyManagerPolicy (--topology-manager-policy) ${quote(c.topologyManagerPolicy)} must be one of: ${quoteList(topologyPolicies)}`,
    );
  if (c.topologyManagerScope !== 'container' && c.topologyManagerScope !== 'pod')
    wrong(
      `topologyManagerScope (--topology-manager-scope) ${quote(c.topologyManagerScope)} must be one of: "container", or "pod"`,
    );
  shutdown(c, gates, wrong);
  if (!gates.enabled('NodeSwap') && c.memorySwap.swapBehavior !== '')
    wrong('memorySwap.swapBehavior cannot be set when NodeSwap feature flag is disabled');
  else if (!['', 'NoSwap', 'LimitedSwap'].includes(c.memorySwap.swapBehavior))
    wrong(`memorySwap.swapBehavior ${quote(c.memorySwap.swapBehavior)} must be one of: "", "LimitedSwap" or "NoSwap"`);
  const restart = ms(c.crashLoopBackOff.maxContainerRestartPeriod);
  if (!within(restart, 1000, 300_000))
    wrong(
      `CrashLoopBackOff.MaxContainerRestartPeriod (got: ${restart / 1000} seconds) must be set between 1s and 300s`,
    );
  nodeAllocatable(c, wrong);
  if (!hairpinModes.includes(c.hairpinMode))
    wrong(
      `option ${quote(c.hairpinMode)} specified for hairpinMode (--hairpin-mode). Valid options are "none", "hairpin-veth" or "promiscuous-bridge"`,
    );
  const policy = c.imagePullCredentialsVerificationPolicy;
  if (!verificationPolicies.includes(policy))
    wrong(
      `option ${quote(policy)} specified for imagePullCredentialsVerificationPolicy. Valid options are "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages" or "AlwaysVerify"`,
    );
  if (c.preloadedImagesVerificationAllowlist.length > 0 && policy !== 'NeverVerifyAllowlistedImages')
    wrong(
      'can\'t set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not "NeverVerifyAllowlistedImages"',
    );
  else {
    const why = checkAllowlist(c.preloadedImagesVerificationAllowlist);
    if (why !== undefined) wrong(`invalid image pattern in \`preloadedImagesVerificationAllowlist\`: ${why}`);
  }
  reservations(c, wrong);
  const { idsPerPod } = c.userNamespaces;
  if (idsPerPod !== undefined) {
    if (idsPerPod < idsUnit) wrong(`userNamespaces.idsPerPod must not be less than ${idsUnit}`);
    else if (idsPerPod % idsUnit !== 0) wrong(`userNamespaces.idsPerPod must be a multiple of ${idsUnit}`);
    else if (idsPerPod > 2 ** 32 - 1) wrong(`userNamespaces.idsPerPod must not be more than ${2 ** 32 - 1}`);
  }
  if (!gates.enabled('MemoryQoS') && c.memoryReservationPolicy === 'TieredReservation')
    wrong('memoryReservationPolicy "TieredReservation" requires MemoryQoS feature gate to be enabled');
  if (!(c.memoryThrottlingFactor > 0 && c.memoryThrottlingFactor <= 1))
    wrong(`memoryThrottlingFactor ${c.memoryThrottlingFactor} must be greater than 0 and less than or equal to 1.0`);
  if (!['None', 'TieredReservation'].includes(c.memoryReservationPolicy))
    wrong(
      `option ${quote(c.memoryReservationPolicy)} specified for memoryReservationPolicy. Valid options are "None" or "TieredReservation"`,
    );
  if (c.enableSystemLogQuery && !c.enableSystemLogHandler)
    wrong('enableSystemLogHandler is required for enableSystemLogQuery');
  if (c.containerLogMaxWorkers < 1) wrong('containerLogMaxWorkers must be greater than or equal to 1');
  if (ms(c.containerLogMonitorInterval) < 3000)
    wrong('containerLogMonitorInterval must be a positive time duration greater than or equal to 3s');
  if (c.containerLogMaxFiles <= 1) wrong('containerLogMaxFiles must be greater than 1');
  if (!c.podLogsDir.startsWith('/')) wrong(`pod logs path ${quote(c.podLogsDir)} must be absolute path`);
  if (/\/\/|\/\.{1,2}(\/|$)|.\/$/.test(c.podLogsDir)) wrong(`pod logs path ${quote(c.podLogsDir)} must be normalized`);
  if (/[^\0-\x7f]/.test(c.podLogsDir)) wrong(`pod logs path ${quote(c.podLogsDir)} mut contains ASCII characters only`);
  if (!['AlwaysAllow', 'Webhook'].includes(c.authorization.mode))
    out.push(`unknown authorization mode ${c.authorization.mode}`);
  try {
    checkUnsafeSysctls(c.allowedUnsafeSysctls);
  } catch (error) {
    out.push((error as Error).message);
  }
  return out;
}

type Wrong = (text: string) => void;

function imageCollection(c: KubeletConfiguration, wrong: Wrong): void {
  const { imageGCHighThresholdPercent: high, imageGCLowThresholdPercent: low } = c;
  if (high < 0 || high > 100)
    wrong(`imageGCHighThresholdPercent (--image-gc-high-threshold) ${high} must be between 0 and 100, inclusive`);
  if (low < 0 || low > 100)
    wrong(`imageGCLowThresholdPercent (--image-gc-low-threshold) ${low} must be between 0 and 100, inclusive`);
  if (low >= high)
    wrong(
      `imageGCLowThresholdPercent (--image-gc-low-threshold) ${low} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) ${high}`,
    );
  const least = parseDuration(c.imageMinimumGCAge);
  const most = parseDuration(c.imageMaximumGCAge);
  if (least < 0) wrong(`imageMinimumGCAge ${c.imageMinimumGCAge} must not be negative`);
  if (most < 0) wrong(`imageMaximumGCAge ${c.imageMaximumGCAge} must not be negative`);
  if (most > 0 && most <= least)
    wrong(`imageMaximumGCAge ${c.imageMaximumGCAge} must be greater than imageMinimumGCAge ${c.imageMinimumGCAge}`);
}

function shutdown(c: KubeletConfiguration, gates: FeatureGates, wrong: Wrong): void {
  const { shutdownGracePeriod: total, shutdownGracePeriodCriticalPods: critical } = c;
  const all = parseDuration(total);
  const last = parseDuration(critical);
  if (gates.enabled('GracefulNodeShutdown')) {
    if (last > all) wrong(`shutdownGracePeriodCriticalPods {${critical}} must be <= shutdownGracePeriod {${total}}`);
    for (const [name, text, n] of [
      ['shutdownGracePeriod', total, all],
      ['shutdownGracePeriodCriticalPods', critical, last],
    ] as const)
      if (n < 0 || (n > 0 && n < 1000)) wrong(`${name} {${text}} must be either zero or otherwise >= 1 sec`);
  } else if (all > 0 || last > 0)
    wrong(
      'specifying shutdownGracePeriod or shutdownGracePeriodCriticalPods requires feature gate GracefulNodeShutdown',
    );
  if ((c.shutdownGracePeriodByPodPriority?.length ?? 0) === 0) return;
  if (!gates.enabled('GracefulNodeShutdownBasedOnPodPriority'))
    wrong('Specifying shutdownGracePeriodByPodPriority requires feature gate GracefulNodeShutdownBasedOnPodPriority');
  else if (all > 0 || last > 0)
    wrong('Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time');
}

const where = 'enforceNodeAllocatable (--enforce-node-allocatable)';

function nodeAllocatable(c: KubeletConfiguration, wrong: Wrong): void {
  const levels = c.enforceNodeAllocatable;
  for (const kind of ['system-reserved', 'kube-reserved'])
    if (levels.includes(kind) && levels.includes(`${kind}-compressible`))
      wrong(`both ${quote(kind)} and ${quote(`${kind}-compressible`)} cannot be specified together in ${where}`);
  const seen = new Set<string>();
  for (const level of levels) {
    if (seen.has(level)) {
      wrong(`duplicated enforcements ${quote(level)} in ${where}`);
      continue;
    }
    seen.add(level);
    if (level === 'none') {
      if (levels.length > 1) wrong(`${where} may not contain additional enforcements when "none" is specified`);
      continue;
    }
    if (!enforcements.includes(level)) {
      wrong(
        `option ${quote(level)} specified for ${where}. Valid options are ${enforcements
          .slice(0, -1)
          .map((e) => quote(e))
          .join(', ')} or "none"`,
      );
      continue;
    }
    if (level.startsWith('system-reserved') && c.systemReservedCgroup === '')
      wrong(
        `systemReservedCgroup (--system-reserved-cgroup) must be specified when "system-reserved" or "system-reserved-compressible" included in ${where}`,
      );
    if (level.startsWith('kube-reserved') && c.kubeReservedCgroup === '')
      wrong(
        `kubeReservedCgroup (--kube-reserved-cgroup) must be specified when "kube-reserved" or "kube-reserved-compressible" included in ${where}`,
      );
    if (!c.cgroupsPerQOS)
      wrong(`cgroupsPerQOS (--cgroups-per-qos) must be set to true when ${quote(level)} contained in ${where}`);
  }
}

function reservations(c: KubeletConfiguration, wrong: Wrong): void {
  if (c.reservedSystemCPUs !== '') {
    if (c.systemReservedCgroup !== '' || c.kubeReservedCgroup !== '')
      wrong(
        "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)",
      );
    try {
      parseCpuSet(c.reservedSystemCPUs);
    } catch (error) {
      wrong(
        `unable to parse reservedSystemCPUs (--reserved-cpus) ${c.reservedSystemCPUs}, error: ${(error as Error).message}`,
      );
    }
  }
  for (const [name, list] of [
    ['systemReserved', c.systemReserved],
    ['kubeReserved', c.kubeReserved],
  ] as const)
    for (const [resource, text] of Object.entries(list)) {
      if (!['cpu', 'memory', 'ephemeral-storage', 'pid'].includes(resource))
        wrong(`cannot reserve ${quote(resource)} resource`);
      else if (tryParseQuantity(text) === undefined)
        wrong(`failed to parse quantity ${quote(text)} for ${quote(resource)} resource of ${name}`);
      else if (text.startsWith('-')) wrong(`resource quantity for ${quote(resource)} cannot be negative: ${text}`);
    }
  const seen = new Set<string>();
  for (const { numaNode, limits } of c.reservedMemory)
    for (const [resource, text] of Object.entries(limits)) {
      if (resource !== 'memory' && !resource.startsWith('hugepages-'))
        wrong(
          `the limit type ${quote(resource)} for NUMA node ${numaNode} is not supported, only [memory hugepages-<HugePageSize>] is accepted`,
        );
      const q = tryParseQuantity(text);
      if (q === undefined || isZeroQuantity(q))
        wrong(`reserved memory may not be zero for NUMA node ${numaNode} and resource ${quote(resource)}`);
      const key = `${numaNode}/${resource}`;
      if (seen.has(key))
        wrong(`the reserved memory has a duplicate value for NUMA node ${numaNode} and resource ${quote(resource)}`);
      seen.add(key);
    }
}
