/** The flags of `knarr kubelet` that stand for fields of a KubeletConfiguration, and how their values become those fields. */
import type { Flag, FlagKind } from '../flags.ts';
import type { Values } from './component.ts';

/** `thresholds`: `name<value` pairs; `taints`, `memory`, `headers`: upstream's notations of lists. */
type Kind = FlagKind | 'thresholds' | 'bools' | 'taints' | 'memory' | 'headers';

type Row = readonly [flag: string, path: string, kind: Kind, help: string];

const rows: readonly Row[] = [
  ['enable-server', 'enableServer', 'bool', 'serve the kubelet’s HTTPS endpoint (default true)'],
  ['fail-swap-on', 'failSwapOn', 'bool', 'refuse to start on a machine with swap (default true)'],
  ['pod-manifest-path', 'staticPodPath', 'string', 'folder (or file) of static pods'],
  ['sync-frequency', 'syncFrequency', 'duration', 'no effect: pods are looked at when something happens'],
  ['file-check-frequency', 'fileCheckFrequency', 'duration', 'how often static pods are looked for (default 20s)'],
  ['http-check-frequency', 'httpCheckFrequency', 'duration', 'how often --manifest-url is asked (default 20s)'],
  ['manifest-url', 'staticPodURL', 'string', 'where static pods are fetched by HTTP'],
  ['manifest-url-header', 'staticPodURLHeader', 'headers', 'name:value,… sent along with that request'],
  ['address', 'address', 'string', 'where to serve (default 0.0.0.0)'],
  ['port', 'port', 'int', 'port to serve on (default 10250); 0 picks a free one'],
  [
    'read-only-port',
    'readOnlyPort',
    'int',
    'port of an endpoint without authentication, for pods, statistics and metrics (default 0: none)',
  ],
  ['fail-cgroupv1', 'failCgroupV1', 'bool', 'refuse to start on cgroup v1'],
  [
    'container-runtime-endpoint',
    'containerRuntimeEndpoint',
    'string',
    "the container runtime's socket (default: containerd's or CRI-O's); simulated:// runs none",
  ],
  ['image-service-endpoint', 'imageServiceEndpoint', 'string', 'the socket that images are asked of, if another'],
  [
    'anonymous-auth',
    'authentication.anonymous.enabled',
    'bool',
    'callers without credentials are system:anonymous (default false)',
  ],
  [
    'authentication-token-webhook',
    'authentication.webhook.enabled',
    'bool',
    'bearer tokens are checked by the API server (default true)',
  ],
  [
    'authentication-token-webhook-cache-ttl',
    'authentication.webhook.cacheTTL',
    'duration',
    'how long its answers are kept (default 2m)',
  ],
  ['client-ca-file', 'authentication.x509.clientCAFile', 'string', 'authorities of client certificates'],
  [
    'authorization-mode',
    'authorization.mode',
    'string',
    'who decides what callers may: AlwaysAllow, or Webhook: the API server (default)',
  ],
  [
    'authorization-webhook-cache-authorized-ttl',
    'authorization.webhook.cacheAuthorizedTTL',
    'duration',
    'how long its consent is kept (default 5m)',
  ],
  [
    'authorization-webhook-cache-unauthorized-ttl',
    'authorization.webhook.cacheUnauthorizedTTL',
    'duration',
    'how long its refusal is kept (default 30s)',
  ],
  ['tls-cert-file', 'tlsCertFile', 'string', 'serving certificate; self-signed when left out'],
  ['tls-private-key-file', 'tlsPrivateKeyFile', 'string', 'its key'],
  [
    'rotate-server-certificates',
    'serverTLSBootstrap',
    'bool',
    'have the serving certificate signed by the cluster, once somebody approves, and renew it',
  ],
  ['tls-cipher-suites', 'tlsCipherSuites', 'list', "TLS suites by IANA's names"],
  ['tls-min-version', 'tlsMinVersion', 'string', 'VersionTLS12 (default) or VersionTLS13'],
  ['rotate-certificates', 'rotateCertificates', 'bool', 'renew the client certificate before it expires'],
  ['registry-qps', 'registryPullQPS', 'int', 'image pulls a second (default 5); 0 for no limit'],
  ['registry-burst', 'registryBurst', 'int', 'and so many at once (default 10)'],
  ['event-qps', 'eventRecordQPS', 'int', 'events a second (default 50)'],
  ['event-burst', 'eventBurst', 'int', 'and so many at once (default 100)'],
  [
    'enable-debugging-handlers',
    'enableDebuggingHandlers',
    'bool',
    'serve logs, exec, attach and port-forward (default true)',
  ],
  ['contention-profiling', 'enableContentionProfiling', 'bool', 'no effect'],
  ['healthz-port', 'healthzPort', 'int', 'port of /healthz (default 10248); 0 serves none'],
  ['healthz-bind-address', 'healthzBindAddress', 'string', 'where /healthz is (default 127.0.0.1)'],
  ['oom-score-adj', 'oomScoreAdj', 'int', "of the kubelet's process (default -999)"],
  ['cluster-domain', 'clusterDomain', 'string', "the cluster's domain (default cluster.local)"],
  ['cluster-dns', 'clusterDNS', 'list', 'name servers of the pods'],
  ['volume-plugin-dir', 'volumePluginDir', 'string', 'no effect: FlexVolume plugins are not used'],
  [
    'streaming-connection-idle-timeout',
    'streamingConnectionIdleTimeout',
    'duration',
    'how long exec and the like may be silent (default 4h)',
  ],
  [
    'node-status-update-frequency',
    'nodeStatusUpdateFrequency',
    'duration',
    'how often the node’s status is computed (default 10s)',
  ],
  ['minimum-image-ttl-duration', 'imageMinimumGCAge', 'duration', 'images younger than this stay (default 2m)'],
  ['image-gc-high-threshold', 'imageGCHighThresholdPercent', 'int', 'percent of disk usage above which images go'],
  ['image-gc-low-threshold', 'imageGCLowThresholdPercent', 'int', 'percent of disk usage down to which they go'],
  ['volume-stats-agg-period', 'volumeStatsAggPeriod', 'duration', 'how old the usage of volumes may be (default 1m)'],
  ['feature-gates', 'featureGates', 'bools', "upstream's gates"],
  ['kubelet-cgroups', 'kubeletCgroups', 'string', 'no effect'],
  ['system-cgroups', 'systemCgroups', 'string', 'no effect'],
  ['provider-id', 'providerID', 'string', "the node's id at its cloud"],
  ['cgroups-per-qos', 'cgroupsPerQOS', 'bool', 'pods have cgroups below their quality of service (always)'],
  ['cgroup-driver', 'cgroupDriver', 'string', 'cgroupfs or systemd: what the runtime says goes before it'],
  ['cgroup-root', 'cgroupRoot', 'string', 'the cgroup below which pods run (default /)'],
  [
    'cpu-manager-policy',
    'cpuManagerPolicy',
    'string',
    'none, or static: whole CPUs of Guaranteed pods are theirs alone',
  ],
  ['cpu-manager-policy-options', 'cpuManagerPolicyOptions', 'map', 'of the static policy (full-pcpus-only=true,…)'],
  [
    'cpu-manager-reconcile-period',
    'cpuManagerReconcilePeriod',
    'duration',
    'how often CPUs are held against what they should be',
  ],
  ['qos-reserved', 'qosReserved', 'map', 'no effect'],
  ['topology-manager-policy', 'topologyManagerPolicy', 'string', 'none, best-effort, restricted, single-numa-node'],
  ['topology-manager-scope', 'topologyManagerScope', 'string', 'what is aligned: container or pod'],
  [
    'topology-manager-policy-options',
    'topologyManagerPolicyOptions',
    'map',
    'prefer-closest-numa-nodes, max-allowable-numa-nodes',
  ],
  [
    'memory-manager-policy',
    'memoryManagerPolicy',
    'string',
    'None, or Static: memory of Guaranteed pods comes from as few NUMA nodes as hold it',
  ],
  ['reserved-memory', 'reservedMemory', 'memory', 'what each NUMA node keeps, for memory-manager-policy Static'],
  ['runtime-request-timeout', 'runtimeRequestTimeout', 'duration', 'how long the runtime may take (default 2m)'],
  ['hairpin-mode', 'hairpinMode', 'string', "no effect: it is the network plugin's"],
  ['max-pods', 'maxPods', 'int', 'how many pods the node takes (default 110)'],
  ['pods-per-core', 'podsPerCore', 'int', 'and how many for each core'],
  ['pod-cidr', 'podCIDR', 'string', 'range of pod addresses (default: given by the cluster)'],
  ['pod-max-pids', 'podPidsLimit', 'int', 'processes of one pod; -1 for no limit (default)'],
  ['resolv-conf', 'resolvConf', 'string', 'resolver configuration that pods inherit'],
  ['runonce', 'runOnce', 'bool', 'refused, as upstream refuses it'],
  ['cpu-cfs-quota', 'cpuCFSQuota', 'bool', 'enforce CPU limits (default true)'],
  ['cpu-cfs-quota-period', 'cpuCFSQuotaPeriod', 'duration', 'the period of the quota (default 100ms)'],
  ['enable-controller-attach-detach', 'enableControllerAttachDetach', 'bool', 'volumes are attached by the controller'],
  ['make-iptables-util-chains', 'makeIPTablesUtilChains', 'bool', 'no effect'],
  ['container-log-max-size', 'containerLogMaxSize', 'string', 'size at which a log is rotated (default 10Mi)'],
  ['container-log-max-files', 'containerLogMaxFiles', 'int', 'files of one container’s log (default 5)'],
  ['allowed-unsafe-sysctls', 'allowedUnsafeSysctls', 'list', 'sysctls that pods may set beside the safe ones'],
  ['node-status-max-images', 'nodeStatusMaxImages', 'int', 'images in the node’s status (default 50); -1 for all'],
  ['kernel-memcg-notification', 'kernelMemcgNotification', 'bool', 'no effect'],
  [
    'local-storage-capacity-isolation',
    'localStorageCapacityIsolation',
    'bool',
    'limits of ephemeral storage are enforced (default true)',
  ],
  ['max-open-files', 'maxOpenFiles', 'int', 'no effect'],
  ['kube-api-content-type', 'contentType', 'string', 'no effect: requests are JSON'],
  ['kube-api-qps', 'kubeAPIQPS', 'int', 'no effect: requests are not limited'],
  ['kube-api-burst', 'kubeAPIBurst', 'int', 'no effect: requests are not limited'],
  ['serialize-image-pulls', 'serializeImagePulls', 'bool', 'pull one image at a time (default true)'],
  ['eviction-hard', 'evictionHard', 'thresholds', 'thresholds at which pods are evicted at once'],
  ['eviction-soft', 'evictionSoft', 'thresholds', 'thresholds at which they are after a while'],
  ['eviction-soft-grace-period', 'evictionSoftGracePeriod', 'map', 'after how long'],
  [
    'eviction-pressure-transition-period',
    'evictionPressureTransitionPeriod',
    'duration',
    'how long a pressure is told after it has gone (default 5m)',
  ],
  ['eviction-max-pod-grace-period', 'evictionMaxPodGracePeriod', 'int', 'seconds that a pod has to end at most'],
  ['eviction-minimum-reclaim', 'evictionMinimumReclaim', 'map', 'how much is freed at least'],
  [
    'protect-kernel-defaults',
    'protectKernelDefaults',
    'bool',
    'refuse to start where the kernel is not set as upstream’s kubelet sets it',
  ],
  ['reserved-cpus', 'reservedSystemCPUs', 'string', 'CPUs that are kept from pods (0-1,3)'],
  ['system-reserved', 'systemReserved', 'map', 'what the system keeps from pods'],
  ['kube-reserved', 'kubeReserved', 'map', 'what Kubernetes keeps from pods'],
  ['enforce-node-allocatable', 'enforceNodeAllocatable', 'list', 'pods (default) or none'],
  ['system-reserved-cgroup', 'systemReservedCgroup', 'string', 'no effect'],
  ['kube-reserved-cgroup', 'kubeReservedCgroup', 'string', 'no effect'],
  ['register-node', 'registerNode', 'bool', 'register the node (default true)'],
  ['register-with-taints', 'registerWithTaints', 'taints', 'taints to register it with'],
  ['seccomp-default', 'seccompDefault', 'bool', "containers that say nothing have the runtime's seccomp profile"],
];

const shown: Partial<Record<Kind, string>> = {
  thresholds: 'name<value,…',
  bools: 'Name=bool,…',
  taints: 'key=value:effect,…',
  memory: 'node:type=limit,…',
  headers: 'name:value,…',
};

export const configurationFlags: readonly Flag[] = rows.map(([name, , kind, help]) => ({
  name,
  help,
  kind: kind === 'bools' ? 'map' : kind === 'taints' ? 'list' : kind in shown ? 'string' : (kind as FlagKind),
  ...(shown[kind] === undefined ? {} : { value: shown[kind] }),
}));

/** What the notations of `kubelet-config.ts` make of texts. */
export interface Notations {
  parseTaints(list: readonly string[]): unknown;
  parseThresholds(flag: string, text: string): unknown;
  parseReservedMemory(text: string): unknown;
  parseHeaders(text: string): unknown;
  parseBools(flag: string, map: Readonly<Record<string, string>>): unknown;
  formatDuration(ms: number): string;
}

/** Fields by what flags were given. */
export function configurationOf(v: Values, n: Notations): Readonly<Record<string, unknown>> {
  const out: Record<string, unknown> = {};
  for (const [name, path, kind] of rows) {
    const value = v.maybe<unknown>(name);
    if (value === undefined) continue;
    const parts = path.split('.');
    let at = out;
    for (const part of parts.slice(0, -1)) at = (at[part] ??= {}) as Record<string, unknown>;
    at[parts.at(-1)!] =
      kind === 'duration'
        ? n.formatDuration(value as number)
        : kind === 'taints'
          ? n.parseTaints(value as string[])
          : kind === 'thresholds'
            ? n.parseThresholds(name, value as string)
            : kind === 'memory'
              ? n.parseReservedMemory(value as string)
              : kind === 'headers'
                ? n.parseHeaders(value as string)
                : kind === 'bools'
                  ? n.parseBools(name, value as Record<string, string>)
                  : value;
  }
  return out;
}
