/** What Services are given of this server: cluster IPs and node ports, the repair of both, and the metrics that tell of them. */
import type { Logger } from '../../base/logger.ts';
import { serviceRanges } from '../advertised.ts';
import { AllocatorMetrics } from '../metrics/allocator-metrics.ts';
import type { ApiServerOptions } from '../options.ts';
import type { RegistriesImpl } from '../registry/registries.ts';
import { ClusterIpAllocator } from './cluster-ip.ts';
import { NodePortAllocator } from './node-port.ts';
import { AllocationRepair } from './repair.ts';

export class Allocation {
  readonly metrics = new AllocatorMetrics();
  readonly clusterIps: ClusterIpAllocator;
  readonly nodePorts: NodePortAllocator;
  readonly repair: AllocationRepair;

  constructor(registries: RegistriesImpl, options: ApiServerOptions, logger: Logger) {
    const { store, random, clock, serviceNodePortRange: ports, storageMediaType: mediaType } = options;
    const { metrics } = this;
    const clusterIps = new ClusterIpAllocator({ registries, random, ranges: serviceRanges(options) });
    clusterIps.metrics = metrics;
    metrics.ranges = () => clusterIps.use();
    const nodePorts = new NodePortAllocator({
      store,
      random,
      root: '/registry',
      mediaType,
      ...(ports === undefined ? {} : { first: ports.min, last: ports.max }),
    });
    nodePorts.metrics = metrics;
    metrics.nodePorts = () => nodePorts.use();
    this.clusterIps = clusterIps;
    this.nodePorts = nodePorts;
    const onFailure = (): void => metrics.repairFailed();
    this.repair = new AllocationRepair({ registries, clusterIps, nodePorts, clock, logger, onFailure });
  }
}
