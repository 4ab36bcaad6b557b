/**
 * ResourceQuota: a request that would exceed a quota of its namespace is refused, one that fits is charged to the quota's
 * status before it is stored. Requests of one namespace that wait at the same time are decided together and charged with
 * one write a quota; a write that lost against another API server's is decided anew.
 */
import type { Clock } from '../../base/clock.ts';
import { compareQuantity, quantitySign } from '../../api/quantity.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ResourceQuota } from '../../api/types/core-v1.gen.ts';
import { conflict, optimisticLockMessage, StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { loopbackContext, loopbackUpdateOptions } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import { cachedObjects, metadataOf, refuse } from './attributes.ts';
import { quotaEvaluator, quotaScopes, type QuotaEvaluator, type Scope } from '../../api/helpers/quota-evaluators.ts';
import {
  addResources,
  maskResources,
  readResources,
  resourcesText,
  sameResources,
  subtractToZero,
  withoutZeros,
  writeResources,
  type ResourceList,
} from '../../api/helpers/resource-list.ts';

/** A quota as it is being decided on. */
interface Working {
  readonly quota: ResourceQuota;
  readonly hard: ResourceList;
  readonly before: ResourceList;
  used: ResourceList;
}

/** The plugin's part of the admission configuration file. */
export interface ResourceQuotaConfiguration {
  readonly limitedResources?: readonly LimitedResource[];
}

/** What may only be used where a quota covers it. */
interface LimitedResource {
  readonly apiGroup?: string;
  readonly resource?: string;
  /** Parts of names of resources that are used, such as `requests.storage`. */
  readonly matchContains?: readonly string[];
  readonly matchScopes?: readonly Scope[];
}

interface Waiter {
  readonly attributes: AdmissionAttributes;
  readonly evaluator: QuotaEvaluator;
  resolve(): void;
  reject(error: unknown): void;
}

const retries = 3;

function working(quota: ResourceQuota): Working {
  const used = readResources(quota.status?.used as Record<string, string> | undefined);
  return { quota, hard: readResources(quota.status?.hard as Record<string, string> | undefined), before: used, used };
}

/** Decides one request; new usage by quota for those it changes. Throws 403 when it does not fit. */
function decide(
  quotas: readonly Working[],
  waiter: Waiter,
  now: number,
  limited: readonly LimitedResource[],
): Map<Working, ResourceList> {
  const { attributes: a, evaluator } = waiter;
  const object = a.object!;
  const interesting: Working[] = [];
  const covered = new Set<string>();
  const coveredScopes = new Set<string>();
  for (const w of quotas) {
    const names = evaluator.matchingResources([...w.hard.keys()]);
    const scopes = quotaScopes(w.quota);
    if (limited.length > 0)
      for (const s of scopes) if (evaluator.matchesScope(s, object)) coveredScopes.add(s.scopeName);
    if (names.length === 0 || !scopes.every((s) => evaluator.matchesScope(s, object))) continue;
    const why = evaluator.constraint(names, object);
    if (why !== undefined) throw refuse(a, `failed quota: ${w.quota.metadata?.name}: ${why}`);
    if (names.some((n) => !w.used.has(n)))
      throw refuse(a, `status unknown for quota: ${w.quota.metadata?.name}, resources: ${names.toSorted().join(',')}`);
    interesting.push(w);
    for (const n of names) covered.add(n);
  }
  const usage = evaluator.usage(object, now);
  const negative = [...usage].filter(([, q]) => quantitySign(q) < 0).map(([name]) => name);
  if (negative.length > 0) throw refuse(a, `quota usage is negative for resource(s): ${negative.toSorted().join(',')}`);

  let delta: ResourceList | undefined;
  if (a.operation === 'UPDATE' && a.oldObject !== undefined && metadataOf(a.oldObject).resourceVersion)
    delta = subtractToZero(usage, evaluator.usage(a.oldObject, now));
  if (limited.length > 0 && withoutZeros(delta ?? usage).size > 0) {
    const missing = limitedNames(a, usage, limited).filter((name) => !covered.has(name));
    if (missing.length > 0) throw refuse(a, `insufficient quota to consume: ${missing.toSorted().join(',')}`);
    const scopes = limited
      .flatMap((l) => l.matchScopes ?? [])
      .filter((s) => evaluator.matchesScope(s, object) && !coveredScopes.has(s.scopeName));
    if (scopes.length > 0)
      throw new StatusError(500, '', `insufficient quota to match these scopes: ${scopesText(scopes)}`);
  }
  const changes = new Map<Working, ResourceList>();
  for (const w of interesting) {
    const wasThere = delta !== undefined && quotaScopes(w.quota).every((s) => evaluator.matchesScope(s, a.oldObject!));
    const requested = maskResources(withoutZeros(wasThere ? delta! : usage), new Set(w.hard.keys()));
    if (requested.size === 0) continue;
    const next = addResources(w.used, requested);
    if (a.subresource !== 'status') {
      const exceeded = new Set<string>();
      for (const name of requested.keys())
        if (compareQuantity(next.get(name)!, w.hard.get(name)!) > 0) exceeded.add(name);
      if (exceeded.size > 0)
        throw refuse(
          a,
          `exceeded quota: ${w.quota.metadata?.name}, requested: ${resourcesText(maskResources(requested, exceeded))}, used: ${resourcesText(maskResources(w.used, exceeded))}, limited: ${resourcesText(maskResources(w.hard, exceeded))}`,
        );
    }
    changes.set(w, next);
  }
  return changes;
}

/** What a request uses of that which must be covered. */
function limitedNames(a: AdmissionAttributes, usage: ResourceList, limited: readonly LimitedResource[]): string[] {
  const names = new Set<string>();
  for (const { apiGroup = '', resource, matchContains = [] } of limited) {
    if (apiGroup !== a.group || resource !== a.resource) continue;
    for (const [name, quantity] of usage)
      if (quantitySign(quantity) > 0 && matchContains.some((part) => name.includes(part))) names.add(name);
  }
  return [...names];
}

/** As Go prints them. */
function scopesText(scopes: readonly Scope[]): string {
  return `[${scopes.map((s) => `{${s.scopeName} ${s.operator} [${(s.values ?? []).join(' ')}]}`).join(' ')}]`;
}

export function resourceQuota(deps: {
  readonly registries: Registries;
  readonly clock: Clock;
  readonly configuration?: ResourceQuotaConfiguration | undefined;
}): AdmissionPlugin {
  const { registries, clock } = deps;
  const limited = deps.configuration?.limitedResources ?? [];
  limited.forEach((l, i) => {
    if ((l.resource ?? '') === '') throw new Error(`ResourceQuota: limitedResources[${i}].resource: Required value`);
  });
  const scoped = limited.some((l) => (l.matchScopes ?? []).length > 0);
  const isLimited = (a: AdmissionAttributes): boolean =>
    scoped || limited.some((l) => (l.apiGroup ?? '') === a.group && l.resource === a.resource);
  const waiting = new Map<string, Waiter[]>();
  const busy = new Set<string>();

  const quotasOf = (namespace: string): ResourceQuota[] => [
    ...cachedObjects<ResourceQuota>(registries, '', 'resourcequotas', namespace),
  ];

  /** Writes the usage; refuses with a conflict when the quota is not the one that was decided on. */
  const charge = async (w: Working): Promise<void> => {
    const registry = registries.registry('', 'resourcequotas')!;
    const { namespace = '', name = '', resourceVersion } = w.quota.metadata ?? {};
    const ctx = loopbackContext({
      verb: 'update',
      resource: registry.resource,
      namespace,
      name,
      subresource: 'status',
    });
    await registry.update(
      ctx,
      namespace,
      name,
      (current) => {
        if (current === undefined || current.metadata.resourceVersion !== resourceVersion)
          throw conflict({ group: '', resource: 'resourcequotas' }, name, optimisticLockMessage);
        const status = { ...(current['status'] as Record<string, unknown>), used: writeResources(w.used) };
        return { ...current, status } as KubeObject;
      },
      loopbackUpdateOptions('status'),
    );
  };

  const settle = async (quotas: readonly ResourceQuota[], batch: readonly Waiter[], left: number): Promise<void> => {
    const all = quotas.map(working);
    const charged: Waiter[] = [];
    for (const waiter of batch) {
      try {
        const changes = decide(all, waiter, clock.now(), limited);
        if (waiter.attributes.dryRun || changes.size === 0) waiter.resolve();
        else {
          for (const [w, used] of changes) w.used = used;
          charged.push(waiter);
        }
      } catch (error) {
        waiter.reject(error);
      }
    }
    if (charged.length === 0) return;
    const changed = all.filter((w) => !sameResources(w.before, w.used));
    const outcomes = await Promise.allSettled(changed.map(charge));
    const lost = changed.filter((_, i) => outcomes[i]!.status === 'rejected');
    if (lost.length === 0) {
      for (const waiter of charged) waiter.resolve();
      return;
    }
    const failure = (outcomes.find((o) => o.status === 'rejected') as PromiseRejectedResult).reason as unknown;
    const conflicted = failure instanceof StatusError && (failure.code === 409 || failure.code === 404);
    if (left <= 0 || !conflicted) {
      for (const waiter of charged) waiter.reject(failure);
      return;
    }
    // Only the quotas whose write failed are looked at again; the others are charged already.
    const names = new Set(lost.map((w) => w.quota.metadata?.name));
    const namespace = lost[0]!.quota.metadata?.namespace ?? '';
    const again = await Promise.all(
      quotasOf(namespace)
        .filter((q) => names.has(q.metadata?.name))
        .map((q) => live(namespace, q)),
    );
    await settle(again, charged, left - 1);
  };

  /** The quota as the store has it; the cached one when it is gone. */
  const live = async (namespace: string, quota: ResourceQuota): Promise<ResourceQuota> => {
    const registry = registries.registry('', 'resourcequotas')!;
    const name = quota.metadata?.name ?? '';
    const ctx = loopbackContext({ verb: 'get', resource: registry.resource, namespace, name });
    try {
      return (await registry.get(ctx, namespace, name, '')).object() as unknown as ResourceQuota;
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return quota;
      throw error;
    }
  };

  const run = async (namespace: string): Promise<void> => {
    for (;;) {
      const batch = waiting.get(namespace);
      if (batch === undefined) {
        busy.delete(namespace);
        return;
      }
      waiting.delete(namespace);
      try {
        await settle(quotasOf(namespace), batch, retries);
      } catch (error) {
        for (const waiter of batch) waiter.reject(error);
      }
    }
  };

  return {
    name: 'ResourceQuota',
    handles: (operation) => operation === 'CREATE' || operation === 'UPDATE',
    validate(a) {
      const { namespace, object } = a;
      if (namespace === '' || object === undefined) return;
      if (a.group === '' && a.resource === 'namespaces') return;
      if (!isLimited(a) && !waiting.has(namespace) && !busy.has(namespace)) {
        let any = false;
        for (const _ of registries.cached('', 'resourcequotas', namespace)) {
          any = true;
          break;
        }
        if (!any) return;
      }
      const evaluator = quotaEvaluator(a.group, a.resource);
      if (evaluator === undefined || !evaluator.handles(a.operation, a.subresource, object, a.oldObject)) return;
      return new Promise<void>((resolve, reject) => {
        const waiter: Waiter = { attributes: a, evaluator, resolve, reject };
        const batch = waiting.get(namespace);
        if (batch !== undefined) batch.push(waiter);
        else waiting.set(namespace, [waiter]);
        if (busy.has(namespace)) return;
        busy.add(namespace);
        void run(namespace);
      });
    },
  };
}
