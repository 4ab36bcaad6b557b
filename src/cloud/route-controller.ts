/**
 * The route controller: one route of the cloud's network for each pod CIDR of a node, and the node's condition NetworkUnavailable that
 * says whether they stand. Runs where node CIDRs are allocated and the cloud has routes.
 */
import { cidrContains, cidrSize, parseCidr } from '../base/ip.ts';
import type { Cidr } from '../base/ip.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { formatTime } from '../api/time.ts';
import type { Node, NodeAddress } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Informer } from '../client/informer.ts';
import { resources } from '../client/resources.ts';
import { retryOnConflict } from '../client/retry.ts';
import { forEachLimit } from '../client/slow-start.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { CloudContext, CloudControllerDescriptor, RunningController } from './context.ts';
import { Periodic } from './periodic.ts';
import type { Route, Routes } from './provider.ts';

const maxConcurrent = 200;

/** What is to be done for one pod CIDR of a node. */
type Action = 'keep' | 'add' | 'update';

const addressKey = (a: NodeAddress): string => `${a.type}=${a.address}`;

function sameAddresses(a: readonly NodeAddress[], b: readonly NodeAddress[]): boolean {
  const known = new Set(b.map(addressKey));
  return a.length === b.length && a.every((x) => known.has(addressKey(x)));
}

const podCIDRs = (node: Node): readonly string[] =>
  node.spec?.podCIDRs ?? (node.spec?.podCIDR === undefined ? [] : [node.spec.podCIDR]);

class RouteController implements RunningController {
  readonly #c: CloudContext;
  readonly #routes: Routes;
  readonly #clusterName: string;
  readonly #cidrs: readonly Cidr[];
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #nodes: Informer<Node>;
  readonly #controller: Controller;
  readonly #resync: Periodic;

  constructor(context: CloudContext, routes: Routes, cidrs: readonly Cidr[]) {
    this.#c = context;
    this.#routes = routes;
    this.#cidrs = cidrs;
    this.#clusterName = context.options.clusterName ?? 'kubernetes';
    this.#client = context.clientFor('route-controller');
    this.#recorder = context.recorder('route_controller', this.#client);
    this.#nodes = context.informers.informer(resources.core.nodes);
    const { clock, logger, options } = context;
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'route',
      clock,
      logger,
      workers: 1,
      reconcile: (_, signal) => this.#reconcile(signal),
    });
    const changed = (): void => this.#controller.queue.add('routes');
    this.#nodes.addHandler({
      onAdd: changed,
      onUpdate: (old, node) => {
        if (!deepEqual(podCIDRs(old), podCIDRs(node)) || !deepEqual(old.status?.addresses, node.status?.addresses))
          changed();
      },
      onDelete: changed,
    });
    // Routes may also be changed behind our back.
    this.#resync = new Periodic({
      name: 'route',
      clock,
      logger,
      periodMs: options.routeReconciliationPeriodMs ?? 10_000,
      run: () => {
        changed();
        return Promise.resolve();
      },
    });
    this.#controller.start(this.#nodes.synced);
    this.#resync.start(this.#nodes.synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#controller.stop(), this.#resync.stop()]);
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    const routes = await this.#routes.listRoutes(this.#clusterName, signal);
    const nodes = [...this.#nodes.lister.list()].filter((n) => podCIDRs(n).length > 0);
    const actions = new Map<string, Map<string, Action>>();
    for (const node of nodes) {
      const own = routes.filter((r) => r.targetNode === node.metadata.name);
      const byCidr = new Map<string, Action>();
      for (const cidr of podCIDRs(node)) {
        const route = own.find((r) => r.destinationCIDR === cidr);
        const addresses = route?.targetNodeAddresses;
        const moved = addresses !== undefined && !sameAddresses(addresses, node.status?.addresses ?? []);
        byCidr.set(cidr, route === undefined ? 'add' : moved ? 'update' : 'keep');
      }
      actions.set(node.metadata.name!, byCidr);
    }
    const unwanted = routes.filter(
      (r) => this.#isOurs(r) && (r.blackhole === true || actions.get(r.targetNode)?.get(r.destinationCIDR) !== 'keep'),
    );
    await forEachLimit(unwanted, maxConcurrent, async (route) => {
      try {
        await this.#routes.deleteRoute(this.#clusterName, route, signal);
      } catch (error) {
        this.#c.logger.error('could not delete route', { route: route.name, cidr: route.destinationCIDR, error });
      }
    });
    await forEachLimit(nodes, maxConcurrent, async (node) => {
      const byCidr = actions.get(node.metadata.name!)!;
      for (const [cidr, action] of byCidr)
        if (action !== 'keep' && (await this.#create(node, cidr, signal))) byCidr.set(cidr, 'keep');
      await this.#setCondition(
        node,
        [...byCidr.values()].every((a) => a === 'keep'),
      );
    });
  }

  async #create(node: Node, cidr: string, signal: AbortSignal): Promise<boolean> {
    const name = node.metadata.name!;
    const hint = node.metadata.uid ?? '';
    const started = this.#c.clock.monotonic();
    try {
      await this.#routes.createRoute(
        this.#clusterName,
        hint,
        { name: '', targetNode: name, targetNodeAddresses: node.status?.addresses ?? [], destinationCIDR: cidr },
        signal,
      );
      return true;
    } catch (error) {
      const took = `${(this.#c.clock.monotonic() - started) / 1000}s`;
      this.#recorder.eventFor(
        { kind: 'Node', apiVersion: 'v1', name, uid: node.metadata.uid },
        'Warning',
        'FailedToCreateRoute',
        `Could not create route ${hint} ${cidr} for node ${name} after ${took}: ${(error as Error).message}`,
      );
      this.#c.logger.error('could not create route', { node: name, cidr, error });
      return false;
    }
  }

  /** Within the cluster's range: other routes are somebody else's. */
  #isOurs(route: Route): boolean {
    const cidr = parseCidr(route.destinationCIDR);
    if (cidr === undefined) return false;
    const { family, base } = cidr;
    const last = base + cidrSize(cidr) - 1n;
    return this.#cidrs.some(
      (c) => cidrContains(c, { family, value: base }) || cidrContains(c, { family, value: last }),
    );
  }

  async #setCondition(node: Node, created: boolean): Promise<void> {
    const status = created ? 'False' : 'True';
    const reason = created ? 'RouteCreated' : 'NoRouteCreated';
    const before = node.status?.conditions?.find((c) => c.type === 'NetworkUnavailable');
    if (before?.status === status && before.reason === reason) return;
    const { clock, random } = this.#c;
    const now = formatTime(clock.now());
    const condition = {
      type: 'NetworkUnavailable',
      status,
      reason,
      message: created ? 'RouteController created a route' : 'RouteController failed to create a route',
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    };
    try {
      await retryOnConflict({ clock, random }, () =>
        this.#client.core.nodes.patch(
          node.metadata.name!,
          undefined,
          'strategic',
          { status: { conditions: [condition] } },
          { subresource: 'status' },
        ),
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

export const nodeRouteController: CloudControllerDescriptor = {
  name: 'node-route-controller',
  aliases: ['route'],
  start: (context) => {
    const { allocateNodeCIDRs, configureCloudRoutes, clusterCIDR } = context.options;
    const routes = context.provider.routes;
    if (routes === undefined || allocateNodeCIDRs !== true || configureCloudRoutes === false) return undefined;
    const cidrs = (clusterCIDR ?? '').split(',').map((c) => parseCidr(c.trim()));
    if (cidrs.some((c) => c === undefined)) throw new Error(`RouteController: Must specify clusterCIDR.`);
    return new RouteController(context, routes, cidrs as Cidr[]);
  },
};
