/**
 * The ResourceQuota controller: counts anew what each quota's namespace uses, when a quota is new or changed, when something that it
 * counts has gone or shrunk, and from time to time. What is created in between is charged by admission.
 */
import { semanticEqual } from '../api/helpers/deep-equal.ts';
import type { QuotaEvaluator } from '../api/helpers/quota-evaluators.ts';
import { quotaEvaluator, quotaScopes } from '../api/helpers/quota-evaluators.ts';
import type { ResourceList } from '../api/helpers/resource-list.ts';
import {
  addInto,
  maskResources,
  readResources,
  sameResources,
  writeResources,
  zero,
} from '../api/helpers/resource-list.ts';
import type { KubeObject } from '../api/object.ts';
import type { ResourceQuota } from '../api/types/index.gen.ts';
import type { Timer } from '../base/clock.ts';
import type { ResourceRef } from '../client/client.ts';
import { Controller } from '../client/controller.ts';
import type { DiscoveredResource } from '../client/discovery.ts';
import { discover } from '../client/discovery.ts';
import { isNotFound } from '../client/errors.ts';
import type { Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const defaultSyncMs = 5 * 60_000;
/** What goes away is gathered for so long before a namespace is counted anew. */
const gatherMs = 100;

/** Kinds whose objects are looked into; of all others the count alone matters. */
const fullKinds: readonly ResourceRef[] = [
  resources.core.pods,
  resources.core.services,
  resources.core.persistentvolumeclaims,
  resources.dra.resourceclaims,
];
/** Names in a quota for plain counts that are not written `count/<resource>`. */
const countedKinds: readonly ResourceRef[] = [
  resources.core.configmaps,
  resources.core.resourcequotas,
  resources.core.replicationcontrollers,
  resources.core.secrets,
];

/** A resource that some quota counts. */
interface Monitor {
  readonly evaluator: QuotaEvaluator;
  readonly informer: Informer<KubeObject>;
}

class ResourceQuotaController implements RunningController {
  readonly #c: ControllerContext;
  readonly #quotas: Informer<ResourceQuota>;
  readonly #client: TypedClient;
  readonly #controller: Controller;
  /** Quotas without usage: until they are counted admission refuses everything they limit. */
  readonly #priority: Controller;
  readonly #ticker: Timer;
  /** By `group/resource`. */
  readonly #monitors = new Map<string, Monitor>();
  /** What the server has, for quotas on resources that are not built in. */
  #discovered: readonly DiscoveredResource[] = [];

  constructor(context: ControllerContext) {
    this.#c = context;
    const { clock, logger } = context;
    this.#client = context.clientFor('resourcequota-controller');
    this.#quotas = context.informers.informer(resources.core.resourcequotas);
    const reconcile = (key: string): Promise<void> => this.#reconcile(key);
    const workers = context.options.concurrency?.['resource-quota'];
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'resourcequota_primary',
      clock,
      logger,
      workers,
      reconcile,
    });
    this.#priority = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'resourcequota_priority',
      clock,
      logger,
      workers,
      reconcile,
    });
    this.#quotas.addHandler({
      onAdd: (quota) => this.#changed(quota),
      onUpdate: (old, quota) => {
        if (!semanticEqual(old.spec?.hard, quota.spec?.hard)) this.#changed(quota);
      },
    });
    const period = context.options.resourceQuotaSyncPeriodMs ?? defaultSyncMs;
    this.#ticker = clock.setTicker(period, () => {
      // Resources may have come since.
      this.#discovered = [];
      for (const quota of this.#quotas.lister.list()) this.#controller.queue.add(keyOf(quota));
    });
    this.#controller.start(this.#quotas.synced);
    this.#priority.start(this.#quotas.synced);
  }

  async stop(): Promise<void> {
    this.#ticker.cancel();
    await Promise.all([this.#controller.stop(), this.#priority.stop()]);
  }

  #changed(quota: ResourceQuota): void {
    const hard = quota.status?.hard;
    const counted =
      semanticEqual(quota.spec?.hard, hard) &&
      Object.keys(hard ?? {}).every((name) => quota.status?.used?.[name] !== undefined);
    (counted ? this.#controller : this.#priority).queue.add(keyOf(quota));
  }

  /** The monitors of everything that the names of a quota count; made on first need. */
  async #monitorsFor(names: readonly string[]): Promise<Monitor[]> {
    const out: Monitor[] = [];
    const add = (ref: ResourceRef, full: boolean): void => {
      const monitor = this.#monitor(ref, full);
      if (monitor !== undefined && !out.includes(monitor)) out.push(monitor);
    };
    for (const [list, full] of [
      [fullKinds, true],
      [countedKinds, false],
    ] as const) {
      for (const ref of list)
        if ((quotaEvaluator(ref.group, ref.resource)?.matchingResources(names).length ?? 0) > 0) add(ref, full);
    }
    for (const name of names) {
      const m = /^count\/([^.]+)(?:\.(.+))?$/.exec(name);
      if (m === null || fullKinds.some((r) => r.group === (m[2] ?? '') && r.resource === m[1])) continue;
      const ref = await this.#find(m[2] ?? '', m[1]!);
      if (ref !== undefined) add(ref, false);
    }
    await Promise.all(out.map((m) => m.informer.synced));
    return out;
  }

  async #find(group: string, resource: string): Promise<ResourceRef | undefined> {
    const known = this.#monitors.get(`${group}/${resource}`);
    if (known !== undefined) return { group, resource, version: '', namespaced: true };
    if (this.#discovered.length === 0) this.#discovered = (await discover(this.#client)).resources;
    const verbs = ['create', 'list', 'watch', 'delete'];
    return this.#discovered.find(
      (r) =>
        r.group === group &&
        r.resource === resource &&
        r.namespaced &&
        r.preferred &&
        verbs.every((v) => r.verbs.includes(v)),
    );
  }

  #monitor(ref: ResourceRef, full: boolean): Monitor | undefined {
    const key = `${ref.group}/${ref.resource}`;
    const existing = this.#monitors.get(key);
    if (existing !== undefined) return existing;
    const evaluator = quotaEvaluator(ref.group, ref.resource);
    if (evaluator === undefined) return undefined;
    const informer = full ? this.#c.informers.informer<KubeObject>(ref) : this.#c.informers.metadataInformer(ref);
    informer.addHandler({
      onUpdate: (old, object) => {
        if (full && this.#usesLess(evaluator, old, object)) this.#replenish(evaluator, object);
      },
      onDelete: (object) => this.#replenish(evaluator, object),
    });
    const monitor: Monitor = { evaluator, informer };
    this.#monitors.set(key, monitor);
    return monitor;
  }

  /** The change of an object gives something back or moves it between scopes. */
  #usesLess(evaluator: QuotaEvaluator, old: KubeObject, object: KubeObject): boolean {
    if (!this.#hasQuota(object.metadata.namespace)) return false;
    const now = this.#c.clock.now();
    if (!sameResources(evaluator.usage(old, now), evaluator.usage(object, now))) return true;
    return ['Terminating', 'VolumeAttributesClass'].some((scopeName) => {
      const scope = { scopeName, operator: 'Exists' };
      return evaluator.matchesScope(scope, old) !== evaluator.matchesScope(scope, object);
    });
  }

  #hasQuota(namespace: string | undefined): boolean {
    for (const _ of this.#quotas.lister.list(namespace)) return true;
    return false;
  }

  #replenish(evaluator: QuotaEvaluator, object: KubeObject): void {
    for (const quota of this.#quotas.lister.list(object.metadata.namespace)) {
      const names = Object.keys(quota.status?.hard ?? {});
      if (evaluator.matchingResources(names).length === 0) continue;
      this.#controller.queue.addAfter(keyOf(quota), this.#c.clock.virtual ? 0 : gatherMs);
    }
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    if (this.#quotas.lister.get(name, namespace) === undefined) return;
    const wanted = this.#quotas.lister.get(name, namespace)?.spec?.hard;
    const monitors = await this.#monitorsFor(Object.keys(wanted ?? {}));
    // Read after the informers: what they have seen and what has been charged should fit together.
    const quota = this.#quotas.lister.get(name, namespace);
    if (quota === undefined) return;
    const hard = readResources(quota.spec?.hard);
    const used = readResources(quota.status?.used);
    for (const [n, q] of this.#count(quota, hard, monitors)) used.set(n, q);
    const masked = maskResources(used, new Set(hard.keys()));
    const same =
      quota.status?.hard !== undefined &&
      quota.status.used !== undefined &&
      semanticEqual(quota.spec?.hard, quota.status.hard) &&
      sameResources(masked, readResources(quota.status.used));
    if (same) return;
    try {
      await this.#client.core.resourcequotas.updateStatus({
        ...quota,
        status: { hard: writeResources(hard), used: writeResources(masked) },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  #count(quota: ResourceQuota, hard: ResourceList, monitors: readonly Monitor[]): ResourceList {
    const now = this.#c.clock.now();
    const scopes = quotaScopes(quota);
    const names = [...hard.keys()];
    const total: ResourceList = new Map();
    for (const { evaluator, informer } of monitors) {
      const mine = evaluator.matchingResources(names);
      const usage: ResourceList = new Map(mine.map((n) => [n, zero]));
      const masks = new Set(mine);
      for (const object of informer.lister.list(quota.metadata.namespace)) {
        if (!scopes.every((s) => evaluator.matchesScope(s, object))) continue;
        addInto(usage, maskResources(evaluator.usage(object, now), masks));
      }
      addInto(total, usage);
    }
    return total;
  }
}

export const resourceQuotaController: ControllerDescriptor = {
  name: 'resourcequota-controller',
  aliases: ['resourcequota'],
  start: (context) => new ResourceQuotaController(context),
};
