/** The rules of deletion that do not touch storage: preconditions, grace, the garbage collector's finalizers, special kinds. */
import { notSupported, invalid } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { conflict } from '../../api/status.ts';
import { formatTime, timeMs } from '../../api/time.ts';
import type { DeleteRequestOptions } from '../registry.ts';
import type { Strategy, StrategyContext } from '../strategy.ts';
import { foregroundFinalizer, orphanFinalizer } from './object-meta.ts';

/** Kinds whose deletion begins in a way of its own. */
export interface DeletionRules {
  /** The first delete: the object as it is from now on, or undefined to go on as for any other kind. */
  begin?(object: KubeObject, now: number, options: DeleteRequestOptions): KubeObject | undefined;
  /** The object has to stay, whatever the request says. */
  blocked?(object: KubeObject): boolean;
}

function specOf(object: KubeObject): Record<string, unknown> {
  return (object['spec'] ?? {}) as Record<string, unknown>;
}

function statusOf(object: KubeObject): Record<string, unknown> {
  return (object['status'] ?? {}) as Record<string, unknown>;
}

/** A namespace turns Terminating first and stays until its spec.finalizers are gone. */
const namespaceDeletion: DeletionRules = {
  begin(namespace, now, options) {
    if (namespace.metadata.deletionTimestamp !== undefined) return undefined;
    const finalizers = new Set(namespace.metadata.finalizers);
    const { orphanDependents, propagationPolicy } = options;
    const wanted = (own: string, orphanValue: boolean, policy: string): void => {
      let should = finalizers.has(own);
      if (orphanDependents !== undefined) should = orphanDependents === orphanValue;
      else if (propagationPolicy !== undefined) should = propagationPolicy === policy;
      if (should) finalizers.add(own);
      else finalizers.delete(own);
    };
    wanted(orphanFinalizer, true, 'Orphan');
    wanted(foregroundFinalizer, false, 'Foreground');
    return {
      ...namespace,
      metadata: {
        ...namespace.metadata,
        deletionTimestamp: formatTime(now),
        finalizers: finalizers.size === 0 ? undefined : [...finalizers],
      },
      status: { ...statusOf(namespace), phase: 'Terminating' },
    };
  },
  blocked(namespace) {
    const finalizers = specOf(namespace)['finalizers'];
    return Array.isArray(finalizers) && finalizers.length > 0;
  },
};

const crdFinalizer = 'customresourcecleanup.apiextensions.k8s.io';

/** A CustomResourceDefinition stays until its objects are gone. */
const crdDeletion: DeletionRules = {
  begin(crd, now) {
    if (crd.metadata.deletionTimestamp !== undefined) return undefined;
    const finalizers = crd.metadata.finalizers ?? [];
    const status = statusOf(crd);
    const conditions = (Array.isArray(status['conditions']) ? status['conditions'] : []) as { type?: string }[];
    const terminating = {
      type: 'Terminating',
      status: 'True',
      lastTransitionTime: formatTime(now),
      reason: 'InstanceDeletionPending',
      message: 'CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon',
    };
    return {
      ...crd,
      metadata: {
        ...crd.metadata,
        deletionTimestamp: formatTime(now),
        finalizers: finalizers.includes(crdFinalizer) ? finalizers : [...finalizers, crdFinalizer],
      },
      status: { ...status, conditions: [...conditions.filter((c) => c.type !== 'Terminating'), terminating] },
    };
  },
};

export function deletionRules(group: string, resource: string): DeletionRules | undefined {
  if (group === '' && resource === 'namespaces') return namespaceDeletion;
  if (group === 'apiextensions.k8s.io' && resource === 'customresourcedefinitions') return crdDeletion;
  return undefined;
}

/** Resources whose DELETE answers with the object instead of a Status (upstream ReturnDeletedObject). */
const returnsObject: ReadonlySet<string> = new Set([
  '/namespaces',
  '/persistentvolumeclaims',
  '/persistentvolumes',
  '/pods',
  '/podtemplates',
  '/resourcequotas',
  '/serviceaccounts',
  '/services',
  'resource.k8s.io/deviceclasses',
  'resource.k8s.io/resourceclaims',
  'resource.k8s.io/resourceclaimtemplates',
  'resource.k8s.io/resourceslices',
  'storage.k8s.io/csidrivers',
  'storage.k8s.io/csinodes',
  'storage.k8s.io/storageclasses',
  'storage.k8s.io/volumeattachments',
  'storage.k8s.io/volumeattributesclasses',
]);

export function returnsDeletedObject(group: string, resource: string): boolean {
  return returnsObject.has(`${group}/${resource}`);
}

/** Field errors of DeleteOptions. */
export function validateDeleteOptions(options: DeleteRequestOptions): FieldError[] {
  const errors: FieldError[] = [];
  const { orphanDependents, propagationPolicy } = options;
  if (orphanDependents !== undefined && propagationPolicy !== undefined) {
    errors.push(
      invalid('propagationPolicy', propagationPolicy, 'orphanDependents and deletionPropagation cannot be both set'),
    );
  }
  const policies = ['Foreground', 'Background', 'Orphan'];
  if (propagationPolicy !== undefined && !policies.includes(propagationPolicy)) {
    errors.push(notSupported('propagationPolicy', propagationPolicy, [...policies, 'nil']));
  }
  return errors;
}

const ownPreconditions: Readonly<Record<string, string>> = {
  'Namespace.': 'namespaces',
  'CustomResourceDefinition.apiextensions.k8s.io': 'customresourcedefinitions',
};

/** Refuses a delete whose preconditions the object does not meet. */
export function checkPreconditions(
  group: string,
  kind: string,
  object: KubeObject,
  preconditions: DeleteRequestOptions['preconditions'],
): void {
  if (preconditions === undefined) return;
  const { uid, resourceVersion } = preconditions;
  const meta = object.metadata;
  // The two kinds that are deleted in steps look for themselves.
  const own = ownPreconditions[`${kind}.${group}`];
  if (own !== undefined) {
    const wrong = (what: string, wanted: string, found = ''): never => {
      const why = `Precondition failed: ${what} in precondition: ${wanted}, ${what} in object meta: ${found}`;
      throw conflict({ group, resource: own }, meta.name ?? '', why);
    };
    if (uid !== undefined && uid !== meta.uid) wrong('UID', uid, meta.uid);
    if (resourceVersion !== undefined && resourceVersion !== meta.resourceVersion)
      wrong('ResourceVersion', resourceVersion, meta.resourceVersion);
    return;
  }
  if (uid !== undefined && uid !== meta.uid) {
    throw conflict(
      { group, resource: kind },
      meta.name ?? '',
      `the UID in the precondition (${uid}) does not match the UID in record (${meta.uid ?? ''}). The object might have been deleted and then recreated`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== meta.resourceVersion) {
    throw conflict(
      { group, resource: kind },
      meta.name ?? '',
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${meta.resourceVersion ?? ''}). The object might have been modified`,
    );
  }
}

export interface GracePlan {
  /** A deletion is under way and this request changes nothing. */
  readonly pending: boolean;
  /** The object is marked and somebody else finishes. */
  readonly graceful: boolean;
  readonly graceSeconds: number;
  readonly metadata: ObjectMeta;
}

/** What a graceful kind does with this request (upstream rest.BeforeDelete). */
export function planGrace(
  strategy: Strategy,
  ctx: StrategyContext,
  object: KubeObject,
  requested: number | undefined,
): GracePlan {
  const meta = object.metadata;
  const none: GracePlan = { pending: false, graceful: false, graceSeconds: 0, metadata: meta };
  if (strategy.gracePeriod === undefined) return none;
  const asked = requested !== undefined && requested < 0 ? 1 : requested;
  if (meta.deletionTimestamp !== undefined) {
    const current = meta.deletionGracePeriodSeconds;
    if (current === undefined || current === 0) return none;
    const held = current < 0 ? 1 : current;
    if (asked === undefined || asked >= held) return { ...none, pending: true };
    let period = asked;
    let at = timeMs(meta.deletionTimestamp) - held * 1000 + asked * 1000;
    if (at < ctx.now) {
      at = ctx.now;
      if (period !== 0) period = 1;
    }
    return {
      pending: false,
      graceful: true,
      graceSeconds: period,
      metadata: { ...meta, deletionTimestamp: formatTime(at), deletionGracePeriodSeconds: period },
    };
  }
  const period = strategy.gracePeriod(ctx, object, asked);
  if (period === undefined) return none;
  return {
    pending: false,
    graceful: true,
    graceSeconds: period,
    metadata: {
      ...meta,
      deletionTimestamp: formatTime(ctx.now + period * 1000),
      deletionGracePeriodSeconds: period,
      ...(meta.generation !== undefined && meta.generation > 0 ? { generation: meta.generation + 1 } : {}),
    },
  };
}

/** Marks an object that waits for its finalizers. */
export function markAsDeleting(meta: ObjectMeta, now: number): ObjectMeta {
  const bump = meta.deletionTimestamp === undefined && meta.generation !== undefined && meta.generation > 0;
  const later = meta.deletionTimestamp === undefined || timeMs(meta.deletionTimestamp) > now;
  return {
    ...meta,
    ...(bump ? { generation: meta.generation! + 1 } : {}),
    deletionTimestamp: later ? formatTime(now) : meta.deletionTimestamp,
    deletionGracePeriodSeconds: 0,
  };
}

/** The finalizers after the request's propagation policy; the same array when nothing changes. */
export function propagationFinalizers(
  strategy: Strategy,
  collected: boolean,
  meta: ObjectMeta,
  options: DeleteRequestOptions,
): readonly string[] {
  const current = meta.finalizers ?? [];
  if (!collected) return current;
  const { orphanDependents, propagationPolicy } = options;
  let orphan: boolean;
  let foreground: boolean;
  if (orphanDependents !== undefined) {
    orphan = orphanDependents;
    foreground = false;
  } else if (propagationPolicy !== undefined) {
    orphan = propagationPolicy === 'Orphan';
    foreground = propagationPolicy === 'Foreground';
  } else {
    const own = current.find((f) => f === orphanFinalizer || f === foregroundFinalizer);
    orphan = own === undefined ? strategy.defaultPropagation === 'Orphan' : own === orphanFinalizer;
    foreground = own === foregroundFinalizer;
  }
  const next = current.filter((f) => f !== orphanFinalizer && f !== foregroundFinalizer);
  if (orphan) next.push(orphanFinalizer);
  if (foreground) next.push(foregroundFinalizer);
  const same = next.length === current.length && next.every((f) => current.includes(f));
  return same ? current : next;
}
