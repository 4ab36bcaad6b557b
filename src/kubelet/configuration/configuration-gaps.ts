/** What a KubeletConfiguration asks for that this kubelet does not do: one line a field, so that nothing is dropped in silence. */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeletConfiguration } from './configuration.ts';
import { withDefaults } from './configuration-fields.ts';

/** Fields whose values other than the default have no effect, and why. */
const gaps: Readonly<Record<string, string>> = {
  syncFrequency: 'pods are looked at when something happens to them, not by the clock',
  enableContentionProfiling: 'there are no locks to profile',
  kubeletCgroups: 'the kubelet stays in the cgroup that it was started in',
  systemCgroups: 'processes of the system stay in their cgroups',
  cgroupsPerQOS: 'pods always have cgroups of their own below their quality of service',
  qosReserved: 'no memory is reserved for a quality of service',
  hairpinMode: "it is the network plugin's to set",
  maxOpenFiles: 'the limit is that of the process: set it where it is started',
  contentType: 'requests to the API server are JSON',
  kubeAPIQPS: 'requests to the API server are not limited by the client',
  kubeAPIBurst: 'requests to the API server are not limited by the client',
  enableControllerAttachDetach: 'volumes are attached by the controller',
  makeIPTablesUtilChains: 'there are no iptables chains of the kubelet',
  iptablesMasqueradeBit: 'there are no iptables chains of the kubelet',
  iptablesDropBit: 'there are no iptables chains of the kubelet',
  containerLogMaxWorkers: 'logs are rotated one after another',
  configMapAndSecretChangeDetectionStrategy: 'ConfigMaps and Secrets are watched',
  showHiddenMetricsForVersion: 'there are no hidden metrics',
  systemReservedCgroup: 'what is reserved is kept from pods, not enforced on the others',
  kubeReservedCgroup: 'what is reserved is kept from pods, not enforced on the others',
  volumePluginDir: 'FlexVolume plugins are not used',
  kernelMemcgNotification: 'memory is looked at by the clock',
  logging: 'the log is set by --log-level, --log-format and -v',
  enableSystemLogQuery: "files of /var/log are served, the system's journal is not asked",
  enableProfilingHandler: 'there is no profiling endpoint',
  enableDebugFlagsHandler: 'there is no endpoint for debug flags',
  memoryThrottlingFactor: 'containers are not throttled before their limit',
  memoryReservationPolicy: 'no memory is protected for containers',
  tracing: 'no traces are sent',
};

const enforced = new Set(['pods', 'none']);

/** One line for each field that asks for what is not done. */
export function configurationGaps(c: KubeletConfiguration): string[] {
  const usual = withDefaults({});
  const out: string[] = [];
  for (const [name, why] of Object.entries(gaps)) {
    const value = (c as unknown as Record<string, unknown>)[name];
    if (value !== undefined && !deepEqual(value, usual[name])) out.push(`${name} has no effect: ${why}`);
  }
  for (const level of c.enforceNodeAllocatable)
    if (!enforced.has(level))
      out.push(
        `enforceNodeAllocatable ${level} has no effect: what is reserved is kept from pods, not enforced on the others`,
      );
  return out;
}
