/** The real proxy on the nodes of a lab, fed by Services and EndpointSlices of a small API. */
import { SystemClock } from '../../../src/base/clock.ts';
import { createLogger, formatText } from '../../../src/base/logger.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { macrotask } from '../../../src/base/yield.ts';
import type { EndpointSlice, NetworkPolicy, Node, Pod, Service } from '../../../src/api/types/index.gen.ts';
import { FakeApi } from '../../../src/client/fake-api.ts';
import type { TypedClient } from '../../../src/client/typed-client.ts';
import { createClient } from '../../../src/client/typed-client.ts';
import type { NodeProxy } from '../../../src/proxy/node-proxy.ts';
import { createNodeProxy } from '../../../src/proxy/node-proxy.ts';
import type { NftablesOptions } from '../../../src/proxy/nftables/options.ts';
import type { Lab, LabNode, LabPod } from './lab.ts';

export interface EndpointFacts {
  readonly pod: LabPod;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly zones?: readonly string[];
  readonly nodes?: readonly string[];
}

export class World {
  readonly lab: Lab;
  /** Failures that a test provokes are not told. */
  quiet = false;
  readonly logger = createLogger({
    level: 'warn',
    now: () => Date.now(),
    sink: (r) => void (this.quiet || process.stderr.write(`${formatText(r)}\n`)),
  });
  readonly clock = new SystemClock();
  readonly random = new SeededRandom(1);
  readonly client: TypedClient = createClient(new FakeApi(this.clock, this.random));
  readonly proxies: NodeProxy[] = [];
  readonly #options = new Map<LabNode, NftablesOptions>();

  constructor(lab: Lab) {
    this.lab = lab;
  }

  /** Nodes in the API, and a proxy on each. */
  static async create(lab: Lab, options: NftablesOptions = {}): Promise<World> {
    const world = new World(lab);
    for (const [i, node] of lab.nodes.entries())
      await world.client.core.nodes.create({
        metadata: { name: node.name, labels: { 'topology.kubernetes.io/zone': `zone${i + 1}` } },
        spec: { podCIDRs: [node.podCIDR, node.podCIDR6] },
        status: {
          addresses: [
            { type: 'InternalIP', address: node.address },
            { type: 'InternalIP', address: node.address6 },
          ],
        },
      } as Node);
    for (const node of lab.nodes) await world.start(node, options);
    return world;
  }

  async start(node: LabNode, options: NftablesOptions = {}): Promise<NodeProxy> {
    const { clock, random, client, logger } = this;
    this.#options.set(node, options);
    const proxy = createNodeProxy({
      ...{ clock, random, client, logger, nodeName: node.name, netns: node.place.path },
      nftables: { detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10:244::/48'] }, ...options },
    });
    this.proxies.push(proxy);
    await proxy.start();
    return proxy;
  }

  /** Ends the proxy of a node and starts another one. */
  async restart(node: LabNode): Promise<void> {
    const i = this.lab.nodes.indexOf(node);
    await this.proxies[i]!.stop();
    const next = await this.start(node, this.#options.get(node));
    this.proxies.pop();
    this.proxies[i] = next;
  }

  /** Waits until what was written to the API is in the rules. */
  async settled(): Promise<void> {
    for (let i = 0; i < 20; i++) await macrotask();
    await Promise.all(this.proxies.flatMap((p) => [p.proxy.settled(), p.policies?.settled()]));
  }

  async service(name: string, spec: object, status: object = {}): Promise<void> {
    await this.client.core.services.create({
      metadata: { name, namespace: 'default' },
      spec: { ports: [{ name: 'p', port: 80, protocol: 'TCP' }], ...spec },
      status,
    } as Service);
  }

  /** Writes the endpoints of a Service, for both address families. */
  async endpoints(
    service: string,
    list: readonly (LabPod | EndpointFacts)[],
    port: number = 8080,
    protocol: string = 'TCP',
    name: string = 'p',
  ): Promise<void> {
    for (const addressType of ['IPv4', 'IPv6']) {
      const slice = {
        metadata: {
          name: `${service}-${addressType.toLowerCase()}`,
          namespace: 'default',
          labels: { 'kubernetes.io/service-name': service },
        },
        addressType,
        ports: [{ name, port, protocol }],
        endpoints: list.map((e) => {
          const facts: EndpointFacts = 'pod' in e ? e : { pod: e };
          const { pod, ready = true, serving = ready, terminating = false } = facts;
          return {
            addresses: [addressType === 'IPv4' ? pod.address : pod.address6],
            nodeName: pod.node.name,
            conditions: { ready, serving, terminating },
            hints: {
              ...(facts.zones === undefined ? {} : { forZones: facts.zones.map((z) => ({ name: z })) }),
              ...(facts.nodes === undefined ? {} : { forNodes: facts.nodes.map((n) => ({ name: n })) }),
            },
          };
        }),
      } as unknown as EndpointSlice;
      const slices = this.client.discovery.endpointslices;
      try {
        const old = await slices.get(slice.metadata.name!, 'default');
        await slices.update({
          ...slice,
          metadata: { ...slice.metadata, resourceVersion: old.metadata.resourceVersion! },
        });
      } catch {
        await slices.create(slice);
      }
    }
  }

  async namespace(name: string, labels: Record<string, string> = {}): Promise<void> {
    await this.client.core.namespaces.create({ metadata: { name, labels } });
  }

  /** The object of a pod of the lab, as a kubelet would have it written. */
  async pod(pod: LabPod, namespace: string, labels: Record<string, string>, ports: object[] = []): Promise<void> {
    await this.client.core.pods.create({
      metadata: { name: pod.name, namespace, labels },
      spec: { nodeName: pod.node.name, containers: [{ name: 'c', image: 'none', ports }] },
      status: { phase: 'Running', podIPs: [{ ip: pod.address }, { ip: pod.address6 }] },
    } as unknown as Pod);
  }

  async policy(namespace: string, name: string, spec: object): Promise<void> {
    await this.client.networking.networkpolicies.create({ metadata: { name, namespace }, spec } as NetworkPolicy);
    await this.settled();
  }

  async dropPolicies(): Promise<void> {
    const { items } = await this.client.networking.networkpolicies.list({ namespace: undefined as never });
    for (const p of items) await this.client.networking.networkpolicies.delete(p.metadata.name!, p.metadata.namespace!);
    await this.settled();
  }

  async close(): Promise<void> {
    await Promise.all(this.proxies.map((p) => p.stop()));
  }
}
