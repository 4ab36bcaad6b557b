/**
 * The cloud node controller: initialises Nodes that a kubelet with an external cloud provider has registered (provider id, instance
 * type, zone and region, addresses), then takes the `uninitialized` taint off; keeps addresses up to date afterwards.
 */
import type { Node, NodeAddress } from '../api/types/index.gen.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Informer } from '../client/informer.ts';
import { resources } from '../client/resources.ts';
import { retryOnConflict } from '../client/retry.ts';
import { forEachLimit } from '../client/slow-start.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { CloudContext, CloudControllerDescriptor, RunningController } from './context.ts';
import { nodeAddressesForIp } from './node-addresses.ts';
import { Periodic } from './periodic.ts';
import type { CloudProvider, InstanceMetadata, InstancesV2 } from './provider.ts';

export const uninitializedTaint = 'node.cloudprovider.kubernetes.io/uninitialized';
const providedNodeIp = 'alpha.kubernetes.io/provided-node-ip';

/** Older labels that say the same; where both are there, the older one is the truth. */
const labelPairs = [
  ['failure-domain.beta.kubernetes.io/zone', 'topology.kubernetes.io/zone'],
  ['failure-domain.beta.kubernetes.io/region', 'topology.kubernetes.io/region'],
  ['beta.kubernetes.io/instance-type', 'node.kubernetes.io/instance-type'],
] as const;

const kubernetesLabel = /(^|\.)(kubernetes|k8s)\.io\//;

class NodeController implements RunningController {
  readonly #c: CloudContext;
  readonly #instances: InstancesV2;
  readonly #provider: CloudProvider;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #nodes: Informer<Node>;
  readonly #controller: Controller;
  readonly #addresses: Periodic;

  constructor(context: CloudContext, instances: InstancesV2) {
    this.#c = context;
    this.#instances = instances;
    this.#provider = context.provider;
    this.#client = context.clientFor('node-controller');
    this.#recorder = context.recorder('cloud-node-controller', this.#client);
    this.#nodes = context.informers.informer(resources.core.nodes);
    const { clock, logger, options } = context;
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'cloud-node',
      clock,
      logger,
      workers: options.concurrentNodeSyncs ?? 1,
      reconcile: (key, signal) => this.#sync(key, signal),
    });
    this.#nodes.addHandler({
      onAdd: (node) => this.#changed(node),
      onUpdate: (_, node) => this.#changed(node),
    });
    this.#addresses = new Periodic({
      name: 'cloud-node',
      clock,
      logger,
      periodMs: options.nodeStatusUpdateFrequencyMs ?? 300_000,
      run: (signal) => this.#updateAllAddresses(signal),
    });
    this.#controller.start(this.#nodes.synced);
    this.#addresses.start(this.#nodes.synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#controller.stop(), this.#addresses.stop()]);
  }

  /** Heartbeats change nodes all the time: only those that need something are looked at. */
  #changed(node: Node): void {
    if (isUninitialized(node) || Object.keys(staleLabels(node)).length > 0)
      this.#controller.queue.add(node.metadata.name!);
  }

  async #sync(name: string, signal: AbortSignal): Promise<void> {
    const node = this.#nodes.lister.get(name);
    if (node === undefined) return;
    if (!isUninitialized(node)) {
      const labels = staleLabels(node);
      if (Object.keys(labels).length > 0)
        await this.#client.core.nodes.patch(name, undefined, 'merge', { metadata: { labels } });
      return;
    }
    let metadata: InstanceMetadata;
    try {
      metadata = await this.#metadata(node, signal);
    } catch (error) {
      throw new Error(`failed to get instance metadata for node ${name}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    const ip = node.metadata.annotations?.[providedNodeIp];
    if (ip !== undefined) {
      try {
        nodeAddressesForIp(ip, metadata.nodeAddresses);
      } catch (error) {
        throw new Error(
          `failed to get node modifiers from cloud provider: provided node ip for node "${name}" is not valid: ${(error as Error).message}`,
          { cause: error },
        );
      }
    }
    const { clock, random, logger } = this.#c;
    const written = await retryOnConflict({ clock, random, steps: 20, signal }, async (attempt) => {
      const current = attempt === 0 ? node : await this.#client.core.nodes.get(name);
      return this.#client.core.nodes.update(this.#initialised(current, metadata));
    }).catch((error: unknown) => {
      // The node went away meanwhile.
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (written === undefined) return;
    // At once, so that nobody sees a node without its addresses for long.
    await this.#updateAddresses(written, metadata);
    logger.info('initialized node with cloud provider', { node: name });
    this.#recorder.event(resources.core.nodes, node, 'Normal', 'Synced', 'Node synced successfully');
  }

  async #metadata(node: Node, signal: AbortSignal): Promise<InstanceMetadata> {
    let metadata = await this.#instances.instanceMetadata(node, signal);
    const known = node.spec?.providerID ?? '';
    if (metadata.providerID === '') {
      if (known === '')
        throw new Error(`cloud provider does not set node provider ID for node ${node.metadata.name ?? ''}`);
      metadata = { ...metadata, providerID: known };
    }
    const zones = this.#provider.zones;
    if (zones !== undefined && (metadata.zone === '' || metadata.region === '')) {
      const zone =
        known === ''
          ? await zones.getZoneByNodeName(node.metadata.name!, signal)
          : await zones.getZoneByProviderID(known, signal);
      metadata = {
        ...metadata,
        zone: metadata.zone === '' ? zone.failureDomain : metadata.zone,
        region: metadata.region === '' ? zone.region : metadata.region,
      };
    }
    return metadata;
  }

  /** The node with what the cloud knows of it, and without the taint. */
  #initialised(node: Node, metadata: InstanceMetadata): Node {
    const labels: Record<string, string> = { ...node.metadata.labels };
    const set = (value: string, keys: readonly string[]): void => {
      if (value !== '') for (const key of keys) labels[key] = value;
    };
    set(metadata.zone, labelPairs[0]);
    set(metadata.region, labelPairs[1]);
    set(metadata.instanceType, labelPairs[2]);
    for (const [key, value] of Object.entries(metadata.additionalLabels ?? {})) {
      if (kubernetesLabel.test(key)) this.#c.logger.warn('Discarding node label with kubernetes namespace', { key });
      else labels[key] ??= value;
    }
    const taints = (node.spec?.taints ?? []).filter((t) => t.key !== uninitializedTaint);
    const spec = { ...node.spec };
    delete spec.taints;
    if (taints.length > 0) spec.taints = taints;
    if ((spec.providerID ?? '') === '') spec.providerID = metadata.providerID;
    return { ...node, metadata: { ...node.metadata, labels }, spec };
  }

  async #updateAllAddresses(signal: AbortSignal): Promise<void> {
    const nodes = [...this.#nodes.lister.list()].filter((n) => !isUninitialized(n));
    await forEachLimit(nodes, 4, async (node) => {
      try {
        await this.#updateAddresses(node, await this.#instances.instanceMetadata(node, signal));
      } catch (error) {
        if (!signal.aborted)
          this.#c.logger.warn('Error getting instance metadata for node addresses', {
            node: node.metadata.name,
            error,
          });
      }
    });
  }

  async #updateAddresses(node: Node, metadata: InstanceMetadata): Promise<void> {
    if (metadata.nodeAddresses.length === 0) return;
    const before = node.status?.addresses ?? [];
    let addresses: readonly NodeAddress[] = metadata.nodeAddresses;
    // Where the cloud names no host name, the kubelet's stays.
    if (!addresses.some((a) => a.type === 'Hostname'))
      addresses = [...addresses, ...before.filter((a) => a.type === 'Hostname')];
    const ip = node.metadata.annotations?.[providedNodeIp];
    if (ip !== undefined) addresses = nodeAddressesForIp(ip, addresses);
    if (deepEqual(before, addresses)) return;
    await this.#client.core.nodes.patch(
      node.metadata.name!,
      undefined,
      'merge',
      { status: { addresses } },
      { subresource: 'status' },
    );
  }
}

function isUninitialized(node: Node): boolean {
  return node.spec?.taints?.some((t) => t.key === uninitializedTaint) ?? false;
}

/** Newer labels that are missing or differ from their older twins. */
function staleLabels(node: Node): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [older, newer] of labelPairs) {
    const value = node.metadata.labels?.[older];
    if (value !== undefined && node.metadata.labels?.[newer] !== value) out[newer] = value;
  }
  return out;
}

export const cloudNodeController: CloudControllerDescriptor = {
  name: 'cloud-node-controller',
  aliases: ['cloud-node'],
  start: (context) => {
    const instances = context.provider.instancesV2;
    return instances === undefined ? undefined : new NodeController(context, instances);
  },
};
