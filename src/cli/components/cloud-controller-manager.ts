/** `knarr cloud-controller-manager` */
import { componentCommand } from './component.ts';
import { idleCloudFlags } from './cloud-controller-manager-idle-flags.ts';
import { controlPlaneFlags, controlPlaneOptions, managerFlags } from './control-plane.ts';

export const cloudControllerManagerCommand = componentCommand({
  name: 'cloud-controller-manager',
  summary: 'the controllers that talk to a cloud',
  description:
    'Initialises nodes from what the cloud knows of them, removes those whose machine is gone, and gives Services of type LoadBalancer an address. The provider "local" takes this machine for the cloud. Several may run; the one that holds the lease works.',
  idle: idleCloudFlags,
  flags: [
    { name: 'cloud-provider', kind: 'string', value: 'NAME', help: 'local' },
    {
      name: 'cloud-config',
      kind: 'string',
      value: 'FILE',
      help: 'settings of the provider in YAML: loadBalancerPool (CIDRs), region, zones, instanceType',
    },
    ...controlPlaneFlags(10258, 'cloud-controller-manager'),
    ...managerFlags,
    { name: 'cluster-name', kind: 'string', default: 'kubernetes', help: 'name of the cluster at the cloud' },
    { name: 'cluster-cidr', kind: 'string', value: 'CIDR,…', help: 'the range of the pods, for routes' },
    { name: 'allocate-node-cidrs', kind: 'bool', default: false, help: 'nodes have ranges of their own: make routes' },
    { name: 'configure-cloud-routes', kind: 'bool', default: true, help: 'make routes at the cloud' },
    {
      name: 'route-reconciliation-period',
      kind: 'duration',
      default: 10_000,
      help: 'time between two looks at routes',
    },
    { name: 'node-monitor-period', kind: 'duration', default: 5_000, help: 'time between two looks at the machines' },
    {
      name: 'node-status-update-frequency',
      kind: 'duration',
      default: 300_000,
      help: "time between two updates of the nodes' addresses",
    },
    { name: 'concurrent-node-syncs', kind: 'int', default: 1, help: 'nodes worked on at a time' },
    { name: 'concurrent-service-syncs', kind: 'int', default: 1, help: 'Services worked on at a time' },
  ],
  examples: [
    [
      'knarr cloud-controller-manager --cloud-provider local --kubeconfig cloud-controller-manager.conf',
      'with a kubeconfig of "knarr certificates"; kubelets say --cloud-provider external',
    ],
  ],
  async run(v, env) {
    const { runCloudControllerManager } = await import('../../cluster/processes/cloud-controller-manager.ts');
    await runCloudControllerManager(
      {
        ...controlPlaneOptions(v),
        cloudProvider: v.string('cloud-provider'),
        cloudConfig: v.string('cloud-config'),
        controllers: v.list('controllers'),
        useServiceAccountCredentials: v.bool('use-service-account-credentials'),
        options: {
          clusterName: v.text('cluster-name'),
          ...(v.string('cluster-cidr') === undefined ? {} : { clusterCIDR: v.string('cluster-cidr')! }),
          allocateNodeCIDRs: v.bool('allocate-node-cidrs'),
          configureCloudRoutes: v.bool('configure-cloud-routes'),
          routeReconciliationPeriodMs: v.ms('route-reconciliation-period'),
          nodeMonitorPeriodMs: v.ms('node-monitor-period'),
          nodeStatusUpdateFrequencyMs: v.ms('node-status-update-frequency'),
          concurrentNodeSyncs: v.int('concurrent-node-syncs'),
          concurrentServiceSyncs: v.int('concurrent-service-syncs'),
        },
      },
      env,
    );
  },
});
