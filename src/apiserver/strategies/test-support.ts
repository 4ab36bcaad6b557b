/** For tests: the strategies of the built-in kinds over a harness that exists only once they are asked for. */
import { SystemRandom } from '../../base/random.ts';
import { ClusterIpAllocator } from '../allocators/cluster-ip.ts';
import { NodePortAllocator } from '../allocators/node-port.ts';
import type { Registries } from '../registry.ts';
import type { StrategyCatalog } from '../strategy.ts';
import type { Harness } from '../verbs/harness.ts';
import { createStrategies } from './catalog.ts';

/** Registries of a harness that is still being made. */
export function lateRegistries(harness: () => Harness): Registries {
  return {
    registry: (group, resource) => harness().registries.registry(group, resource),
    cached: (group, resource, namespace) => harness().registries.cached(group, resource, namespace),
    cachedGet: (group, resource, namespace, name) => harness().registries.cachedGet(group, resource, namespace, name),
    follow: (group, resource, onEvent) => harness().registries.follow(group, resource, onEvent),
  };
}

export function lateStrategies(harness: () => Harness, ranges: readonly string[]): StrategyCatalog {
  const random = new SystemRandom();
  const registries = lateRegistries(harness);
  let ports: NodePortAllocator | undefined;
  const nodePorts: Pick<NodePortAllocator, 'run'> = {
    run: (operation, dryRun) =>
      (ports ??= new NodePortAllocator({ store: harness().store, random, root: '/registry' })).run(operation, dryRun),
  };
  return createStrategies({
    registries,
    clusterIps: new ClusterIpAllocator({ registries, random, ranges }),
    nodePorts,
    escalation: undefined,
  });
}
