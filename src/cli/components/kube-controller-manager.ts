/** `knarr kube-controller-manager` */
import type { Flag } from '../flags.ts';
import { FeatureGateError, FeatureGates } from '../../api/features/feature-gates.ts';
import type { SignerFiles, SignerFlag } from '../../cluster/processes/kube-controller-manager.ts';
import { UsageError } from '../errors.ts';
import { componentCommand } from './component.ts';
import { controllerFlags, controllerValues } from './controller-flags.ts';
import { idleControllerManagerFlags } from './kube-controller-manager-idle-flags.ts';
import { controlPlaneFlags, controlPlaneOptions, managerFlags } from './control-plane.ts';

const file = (name: string, help: string): Flag => ({ name, kind: 'string', value: 'FILE', help });
const number = (name: string, by: string, help: string): Flag => ({
  name,
  kind: 'string',
  value: 'number',
  default: by,
  help,
});

function float(name: string, text: string): number {
  const n = Number(text);
  if (text === '' || !Number.isFinite(n) || n < 0)
    throw new UsageError(`invalid argument ${JSON.stringify(text)} for "--${name}": it is a number`);
  return n;
}

const signerNames: readonly SignerFlag[] = [
  'kubelet-serving',
  'kubelet-client',
  'kube-apiserver-client',
  'legacy-unknown',
];

function features(given: Readonly<Record<string, string>>): FeatureGates {
  try {
    return new FeatureGates(given);
  } catch (error) {
    if (!(error instanceof FeatureGateError)) throw error;
    throw new UsageError(error.message);
  }
}

export const controllerManagerCommand = componentCommand({
  name: 'kube-controller-manager',
  summary: 'the controllers',
  description:
    'Runs the controllers: deployments, jobs, nodes, endpoints, garbage collection and the rest. Several may run; the one that holds the lease works.',
  idle: idleControllerManagerFlags,
  flags: [
    ...controlPlaneFlags(10257, 'kube-controller-manager'),
    ...managerFlags,
    file('root-ca-file', 'authority that pods are given to know the API server by'),
    file('service-account-private-key-file', 'key that signs tokens kept in Secrets'),
    file('cluster-signing-cert-file', 'authority that signs certificate requests'),
    file('cluster-signing-key-file', 'its key'),
    ...signerNames.flatMap((name) => [
      file(`cluster-signing-${name}-cert-file`, `authority of the signer ${name} alone`),
      file(`cluster-signing-${name}-key-file`, 'its key'),
    ]),
    {
      name: 'cluster-signing-duration',
      kind: 'duration',
      default: 8_760 * 3_600_000,
      help: 'how long signed certificates live',
    },
    { name: 'cluster-name', kind: 'string', default: 'kubernetes', help: 'name of the cluster' },
    { name: 'allocate-node-cidrs', kind: 'bool', default: false, help: 'give each node a range for its pods' },
    { name: 'cluster-cidr', kind: 'string', value: 'CIDR,…', help: 'the range that node ranges are cut from' },
    {
      name: 'service-cluster-ip-range',
      kind: 'string',
      value: 'CIDR,…',
      help: "as kube-apiserver's flag: with --allocate-node-cidrs no node's range lies in it",
    },
    {
      name: 'cidr-allocator-type',
      kind: 'string',
      value: 'RangeAllocator',
      default: 'RangeAllocator',
      help: 'how ranges are chosen: RangeAllocator',
    },
    {
      name: 'node-cidr-mask-size',
      kind: 'int',
      help: 'size of a node range of either family, where there is one alone',
    },
    { name: 'node-cidr-mask-size-ipv4', kind: 'int', default: 24, help: 'size of a node range' },
    { name: 'node-cidr-mask-size-ipv6', kind: 'int', default: 64, help: 'size of a node range' },
    { name: 'node-monitor-period', kind: 'duration', default: 5_000, help: 'time between two looks at the nodes' },
    {
      name: 'node-monitor-grace-period',
      kind: 'duration',
      default: 50_000,
      help: 'silence after which a node is not ready',
    },
    {
      name: 'node-startup-grace-period',
      kind: 'duration',
      default: 60_000,
      help: 'the same for a node that has just started',
    },
    number('node-eviction-rate', '0.1', 'nodes a second whose pods are evicted in a healthy zone'),
    number('secondary-node-eviction-rate', '0.01', 'the same in an unhealthy zone'),
    number('unhealthy-zone-threshold', '0.55', 'part of the nodes that makes a zone unhealthy'),
    { name: 'large-cluster-size-threshold', kind: 'int', default: 50, help: 'nodes from which a zone is large' },
    { name: 'terminated-pod-gc-threshold', kind: 'int', default: 12_500, help: 'ended pods that are kept' },
    { name: 'resource-quota-sync-period', kind: 'duration', default: 300_000, help: 'time between full recounts' },
    {
      name: 'horizontal-pod-autoscaler-sync-period',
      kind: 'duration',
      default: 15_000,
      help: 'time between two looks at the metrics',
    },
    {
      name: 'horizontal-pod-autoscaler-downscale-stabilization',
      kind: 'duration',
      default: 300_000,
      help: 'how long the highest recommendation counts',
    },
    number('horizontal-pod-autoscaler-tolerance', '0.1', 'deviation that changes nothing'),
    { name: 'max-endpoints-per-slice', kind: 'int', default: 100, help: 'endpoints of an EndpointSlice' },
    {
      name: 'mirroring-max-endpoints-per-subset',
      kind: 'int',
      default: 1000,
      help: 'endpoints of a subset that are mirrored',
    },
    { name: 'pvclaimbinder-sync-period', kind: 'duration', default: 15_000, help: 'time between two binding rounds' },
    {
      name: 'attach-detach-reconcile-sync-period',
      kind: 'duration',
      default: 60_000,
      help: 'time between two looks at whether volumes are still attached',
    },
    { name: 'disable-attach-detach-reconcile-sync', kind: 'bool', help: 'do not look' },
    { name: 'disable-force-detach-on-timeout', kind: 'bool', help: 'never detach a volume that its node still uses' },
    ...controllerFlags,
    {
      name: 'enable-garbage-collector',
      kind: 'bool',
      default: true,
      help: "run the garbage collector; as kube-apiserver's flag",
    },
    {
      name: 'controller-start-interval',
      kind: 'duration',
      default: 0,
      help: 'time between the starts of two controllers',
    },
    {
      name: 'controller-shutdown-timeout',
      kind: 'duration',
      default: 10_000,
      help: 'how long controllers may take to end',
    },
    {
      name: 'legacy-service-account-token-clean-up-period',
      kind: 'duration',
      default: 8_760 * 3_600_000,
      help: 'unused time after which a token in a Secret is cleaned up',
    },
    {
      name: 'feature-gates',
      kind: 'map',
      value: 'Name=bool,…',
      help: "features to switch on or off, by upstream's names; also AllAlpha and AllBeta",
    },
  ],
  examples: [
    [
      'knarr kube-controller-manager --kubeconfig controller-manager.conf --use-service-account-credentials --root-ca-file pki/ca.crt --service-account-private-key-file pki/sa.key',
      'with the files of "knarr certificates"',
    ],
    ['knarr kube-controller-manager … --controllers=*,-cronjob-controller', 'all but one'],
  ],
  async run(v, env) {
    const number = (name: string): number => float(name, v.text(name));
    const bothFamilies = v.string('cluster-cidr')?.includes(',') === true;
    const maskSize = v.maybe<number>('node-cidr-mask-size');
    if (maskSize !== undefined && bothFamilies)
      throw new UsageError('usage of --node-cidr-mask-size is not allowed with dual-stack clusters');
    if (v.text('cidr-allocator-type') !== 'RangeAllocator')
      throw new UsageError(
        `invalid argument ${JSON.stringify(v.text('cidr-allocator-type'))} for "--cidr-allocator-type": RangeAllocator is what there is`,
      );
    const services = (v.string('service-cluster-ip-range') ?? '').split(',').filter((range) => range !== '');
    const options = {
      features: features(v.map('feature-gates')),
      clusterName: v.text('cluster-name'),
      allocateNodeCIDRs: v.bool('allocate-node-cidrs'),
      ...(v.string('cluster-cidr') === undefined ? {} : { clusterCIDR: v.string('cluster-cidr')! }),
      ...controllerValues(v),
      ...(services.length === 0 ? {} : { serviceClusterIPRanges: services }),
      nodeCIDRMaskSizeIPv4: maskSize ?? v.int('node-cidr-mask-size-ipv4'),
      nodeCIDRMaskSizeIPv6: maskSize ?? v.int('node-cidr-mask-size-ipv6'),
      nodeMonitorPeriodMs: v.ms('node-monitor-period'),
      nodeMonitorGracePeriodMs: v.ms('node-monitor-grace-period'),
      nodeStartupGracePeriodMs: v.ms('node-startup-grace-period'),
      nodeEvictionRate: number('node-eviction-rate'),
      secondaryNodeEvictionRate: number('secondary-node-eviction-rate'),
      unhealthyZoneThreshold: number('unhealthy-zone-threshold'),
      largeClusterSizeThreshold: v.int('large-cluster-size-threshold'),
      terminatedPodGCThreshold: v.int('terminated-pod-gc-threshold'),
      resourceQuotaSyncPeriodMs: v.ms('resource-quota-sync-period'),
      horizontalPodAutoscalerSyncPeriodMs: v.ms('horizontal-pod-autoscaler-sync-period'),
      horizontalPodAutoscalerDownscaleStabilizationMs: v.ms('horizontal-pod-autoscaler-downscale-stabilization'),
      horizontalPodAutoscalerTolerance: number('horizontal-pod-autoscaler-tolerance'),
      maxEndpointsPerSlice: v.int('max-endpoints-per-slice'),
      mirroringMaxEndpointsPerSubset: v.int('mirroring-max-endpoints-per-subset'),
      pvClaimBinderSyncPeriodMs: v.ms('pvclaimbinder-sync-period'),
      attachDetachReconcileSyncPeriodMs: v.ms('attach-detach-reconcile-sync-period'),
      disableAttachDetachReconcileSync: v.bool('disable-attach-detach-reconcile-sync'),
      disableForceDetachOnTimeout: v.bool('disable-force-detach-on-timeout'),
      legacyServiceAccountTokenCleanUpPeriodMs: v.ms('legacy-service-account-token-clean-up-period'),
    };
    if (options.allocateNodeCIDRs && options.clusterCIDR === undefined)
      throw new UsageError('--allocate-node-cidrs needs --cluster-cidr, such as 10.244.0.0/16');
    const { runControllerManager } = await import('../../cluster/processes/kube-controller-manager.ts');
    await runControllerManager(
      {
        ...controlPlaneOptions(v),
        controllers: [
          ...v.list('controllers'),
          ...(v.bool('enable-garbage-collector') ? [] : ['-garbage-collector-controller']),
        ],
        startIntervalMs: v.ms('controller-start-interval'),
        shutdownTimeoutMs: v.ms('controller-shutdown-timeout'),
        useServiceAccountCredentials: v.bool('use-service-account-credentials'),
        rootCaFile: v.string('root-ca-file'),
        serviceAccountPrivateKeyFile: v.string('service-account-private-key-file'),
        clusterSigningCertFile: v.string('cluster-signing-cert-file'),
        clusterSigningKeyFile: v.string('cluster-signing-key-file'),
        clusterSigningFiles: Object.fromEntries(
          signerNames.map((name) => [
            name,
            {
              cert: v.string(`cluster-signing-${name}-cert-file`),
              key: v.string(`cluster-signing-${name}-key-file`),
            },
          ]),
        ) as Record<SignerFlag, SignerFiles>,
        clusterSigningDurationMs: v.ms('cluster-signing-duration'),
        options,
      },
      env,
    );
  },
});
