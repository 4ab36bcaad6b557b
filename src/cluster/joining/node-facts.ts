/** What the nodes of a cluster share: published in ConfigMap `knarr-nodes` of kube-public, for machines that join. */
import type { TypedClient } from '../../client/typed-client.ts';
import { nodeFactsName } from '../addons.ts';
import type { OverlayMode } from '../real/routes.ts';

export interface NodeFacts {
  /** Address of the `kube-dns` Service; empty where there is none. */
  readonly dns: string;
  readonly clusterCidrs: readonly string[];
  readonly externalCloud: boolean;
  readonly overlay?: OverlayMode;
  readonly loadBalancerPool?: readonly string[];
}

function overlayMode(text: string | undefined): OverlayMode {
  return text === 'always' || text === 'never' ? text : 'auto';
}

const list = (text: string | undefined): string[] => (text ?? '').split(',').filter((c) => c !== '');

/** @throws StatusError when the cluster has none, or does not show them */
export async function readNodeFacts(client: TypedClient): Promise<NodeFacts> {
  const { data = {} } = await client.core.configmaps.get(nodeFactsName, 'kube-public');
  return {
    dns: data['dns'] ?? '',
    clusterCidrs: list(data['clusterCIDR']),
    externalCloud: data['externalCloud'] === 'true',
    overlay: overlayMode(data['overlay']),
    loadBalancerPool: list(data['loadBalancerPool']),
  };
}
