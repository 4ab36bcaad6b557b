/**
 * Update of one resource, in upstream's order: decode and defaults are done; then managedFields, mutating admission, strategy,
 * validation, validating admission, and the commit, again from the top when somebody was faster.
 */
import { convert, throughInternal } from '../../api/conversion/convert.ts';
import { invalid, invalidStatus } from '../../api/field-error.ts';
import { nameIsDNSSubdomain } from '../../api/names.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import { conflict, internalError, notFound, optimisticLockMessage, StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, RequestContext } from '../context.ts';
import { forbiddenByAuthorizer } from '../filters/authorization.ts';
import type { Updater, WriteOutcome, WriteRequestOptions } from '../registry.ts';
import { objectIn } from '../storage/codec.ts';
import type { StoredObject } from '../storage/codec.ts';
import type { Strategy } from '../strategy.ts';
import { dedupOwnerReferences, wipeSystemFields, withRequestNamespace } from './object-meta.ts';
import type { Current } from './object-store.ts';
import { updateErrors } from './metadata-on-update.ts';
import { createOnce } from './create.ts';
import type { WriteSupport } from './write.ts';
import {
  groupResource,
  strategyContext,
  attributes,
  draftOf,
  judged,
  withWrittenEmptyLists,
  admissionNamespace,
  putSmaller,
} from './write.ts';

export interface UpdateOptions extends WriteRequestOptions {
  readonly apply: boolean;
  readonly createIfMissing: boolean;
  /** managedFields are as the updater left them, too, when it says so (scale, binding). */
  readonly keepManagedFields?: boolean;
  /** Admission sees this instead of the object (scale: the Scale). */
  readonly admissionView?: {
    readonly group: string;
    readonly version: string;
    readonly kind: string;
    of(object: KubeObject): KubeObject;
    /** The object with what mutating admission changed in the view. */
    merge?(object: KubeObject, view: KubeObject): KubeObject;
  };
  /** Strategy to use where it is not that of the subresource. */
  readonly strategy?: Strategy;
}

/** Every lost race means that somebody else's write went through; this many in a row is a hot spot, not bad luck. */
const maxUpdateAttempts = 256;

function strategyFor(support: WriteSupport, subresource: string): Strategy {
  if (subresource === '') return support.strategies.main;
  const strategy = support.strategies.subresources[subresource];
  if (strategy === undefined) {
    throw internalError(new Error(`no strategy for ${support.resource.resource}/${subresource}`));
  }
  return strategy;
}

function viewed(a: AdmissionAttributes, view: UpdateOptions['admissionView']): AdmissionAttributes {
  if (view === undefined) return a;
  return {
    ...a,
    kind: view.kind,
    object: a.object === undefined ? undefined : view.of(a.object as KubeObject),
    oldObject: a.oldObject === undefined ? undefined : view.of(a.oldObject as KubeObject),
  };
}

export async function updateObject(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  name: string,
  updater: Updater,
  options: UpdateOptions,
  removeFinal: (current: StoredObject, last: StoredObject) => Promise<StoredObject | undefined>,
): Promise<WriteOutcome> {
  const { resource, objects } = support;
  const strategy = options.strategy ?? strategyFor(support, options.subresource);
  const key = objects.layout.key(namespace, name);
  const mayCreate = options.subresource === '' && (options.createIfMissing || strategy.allowCreateOnUpdate === true);
  if (support.strategies.incomplete !== undefined) ctx.warn(support.strategies.incomplete);
  let state = await objects.read(key);
  let endTurn: (() => void) | undefined;
  try {
    for (let attempt = 0; attempt < maxUpdateAttempts; attempt++) {
      if (attempt === 1) {
        endTurn = await objects.queue.turn(key);
        state = objects.cache.current ? await objects.read(key) : await objects.readFresh(key);
      }
      const current = state.object;
      try {
        if (current === undefined && !mayCreate) throw notFound(groupResource(ctx.resource ?? resource), name);
        const done =
          current === undefined
            ? await createByUpdate(support, ctx, namespace, name, updater, options)
            : await updateOnce(support, ctx, namespace, name, current, updater, options, strategy, removeFinal);
        if ('committed' in done) return done;
        state = done;
      } catch (error) {
        // What was decided on a cached state is decided again on the stored one, if that is another.
        if (state.fresh) throw error;
        state = await objects.readFresh(key);
        if (state.object?.revision === current?.revision) throw error;
      }
    }
  } finally {
    endTurn?.();
  }
  throw conflict(groupResource(resource), name, optimisticLockMessage);
}

/** One attempt on one state: what was written, or the state that somebody else wrote meanwhile. */
async function updateOnce(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  name: string,
  current: StoredObject,
  updater: Updater,
  options: UpdateOptions,
  strategy: Strategy,
  removeFinal: (current: StoredObject, last: StoredObject) => Promise<StoredObject | undefined>,
): Promise<WriteOutcome | Current> {
  const { objects } = support;
  const { key } = current;
  const prepared = await prepareUpdate(support, ctx, namespace, name, current, updater, options, strategy);
  if (prepared === undefined)
    return options.dryRun ? { created: false, committed: current } : unchanged(support, current);
  const { object, finish, remove } = prepared;
  if (options.dryRun || remove) {
    await finish?.(false);
    const last = objects.unstored(key, current.revision, object);
    if (options.dryRun) return { created: false, committed: last };
    const removed = await removeFinal(current, last);
    return removed === undefined ? objects.readFresh(key) : { created: false, committed: removed };
  }
  let committed = false;
  try {
    const bytes = objects.layout.encode(object);
    if (bytes.equals(current.bytes) && !(await objects.stale(current))) return { created: false, committed: current };
    const lease = support.ttlSeconds === undefined ? undefined : await support.leases.lease(support.ttlSeconds);
    const put = options.apply
      ? objects.put(key, current.revision, object, bytes, lease)
      : putSmaller(objects, key, current.revision, object, bytes, lease);
    const result = await put;
    if (!result.ok) return { object: result.current, fresh: true };
    committed = true;
    return { created: false, committed: result.object };
  } finally {
    await finish?.(committed);
  }
}

/** A write that changes nothing happens all the same where the stored form is out of date. */
async function unchanged(support: WriteSupport, current: StoredObject): Promise<WriteOutcome | Current> {
  const { objects } = support;
  const stale = objects.stale(current);
  if (stale === false || !(await stale)) return { created: false, committed: current };
  const lease = support.ttlSeconds === undefined ? undefined : await support.leases.lease(support.ttlSeconds);
  const result = await objects.put(current.key, current.revision, current.object(), current.bytes, lease);
  return result.ok ? { created: false, committed: result.object } : { object: result.current, fresh: true };
}

async function createByUpdate(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  name: string,
  updater: Updater,
  options: UpdateOptions,
): Promise<WriteOutcome | Current> {
  const { resource } = support;
  let object = await updater(undefined);
  object = withRequestNamespace(object, resource.namespaced ? namespace : '');
  const metadata = wipeSystemFields(object.metadata);
  if (metadata !== object.metadata) object = { ...object, metadata };
  const types = support.types(ctx);
  if (!options.apply) {
    object = dedupOwnerReferences(ctx, object, false);
    object = throughInternal(object, support.hub.apiVersion);
    const managed = types.fields.update(undefined, withWrittenEmptyLists(ctx, object), {
      manager: options.fieldManager,
      subresource: options.subresource,
      now: support.clock.now(),
    });
    object = managed instanceof Promise ? await managed : managed;
  }
  if (support.admission !== undefined) {
    const scope = admissionNamespace(resource, namespace, name);
    const a = attributes(ctx, support, 'CREATE', scope, name, object, undefined, createOptions(options));
    const mutated = (await support.admission.mutate(a)) as KubeObject | undefined;
    if (mutated !== undefined && mutated !== object) object = dedupOwnerReferences(ctx, mutated, true);
  }
  const { authorizer } = support;
  const authorize =
    authorizer === undefined
      ? undefined
      : async (): Promise<void> => {
          const info = ctx.resource ?? resource;
          const attrs = {
            user: ctx.user,
            verb: 'create',
            isResourceRequest: true,
            group: info.group,
            version: info.version,
            resource: info.resource,
            subresource: options.subresource,
            namespace: info.namespaced ? namespace : '',
            name,
            path: ctx.info.path,
          };
          const { decision, reason } = await authorizer.authorize(attrs);
          if (decision !== 'allow') throw forbiddenByAuthorizer(attrs, reason);
        };
  try {
    const committed = await createOnce(support, ctx, namespace, object, createOptions(options), authorize);
    return { created: true, committed };
  } catch (error) {
    // Somebody created it meanwhile: then it is an update.
    if (options.dryRun || !(error instanceof StatusError) || error.reason !== 'AlreadyExists') throw error;
    return support.objects.readFresh(support.objects.layout.key(namespace, name));
  }
}

function createOptions(options: UpdateOptions): WriteRequestOptions {
  return { ...options, options: { ...options.options, kind: 'CreateOptions' } };
}

interface PreparedUpdate {
  /** Of the storage version, canonical. */
  readonly object: KubeObject;
  readonly finish: ((committed: boolean) => Promise<void>) | undefined;
  /** Its last finalizer is gone: to be deleted instead of written. */
  readonly remove: boolean;
}

/** One attempt of an update up to the commit; undefined when nothing changes. */
async function prepareUpdate(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  name: string,
  current: StoredObject,
  updater: Updater,
  options: UpdateOptions,
  strategy: Strategy,
): Promise<PreparedUpdate | undefined> {
  const { resource, hub } = support;
  const types = support.types(ctx);
  const context = strategyContext(support, ctx, options.dryRun);
  const live = objectIn(current, types.apiVersion);
  let next = await updater(live);
  if (next !== live) {
    next = withRequestNamespace(next, resource.namespaced ? namespace : '');
  }
  if (next !== live && !options.apply) next = throughInternal(next, hub.apiVersion);
  if (!options.apply && options.keepManagedFields !== true) {
    const managed = types.fields.update(live, withWrittenEmptyLists(ctx, next), {
      manager: options.fieldManager,
      subresource: options.subresource,
      now: support.clock.now(),
    });
    next = managed instanceof Promise ? await managed : managed;
  }
  const view = options.admissionView;
  if (support.admission !== undefined) {
    const scope = admissionNamespace(resource, namespace, name);
    const a = viewed(attributes(ctx, support, 'UPDATE', scope, name, next, live, options), view);
    const mutated = (await support.admission.mutate(a)) as KubeObject | undefined;
    if (mutated !== undefined && mutated !== a.object) {
      if (view === undefined) next = mutated;
      else if (view.merge !== undefined) next = view.merge(next, mutated);
    }
  }
  // What was put had none before; what a patch made is looked at when admission has seen it.
  if (next !== live) next = dedupOwnerReferences(ctx, next, true);
  checkResourceVersion(support, strategy, name, next.metadata, current);
  const old = objectIn(current, hub.apiVersion);
  // Canonical already, so that members which did not change are the old ones, and an empty struct is told from none.
  const draft = draftOf(hub.canonicalize(convert(next, hub.apiVersion), old));
  const meta = draft.metadata;
  copyMember(meta, old.metadata, 'generation');
  meta.resourceVersion = old.metadata.resourceVersion;
  strategy.prepareForUpdate?.(context, draft, old);
  keepSystemFields(draft.metadata, old.metadata);
  let object = hub.canonicalize(draft, old);
  // Also what changes nothing has to be allowed.
  const same = object === old;
  const warn = (text: string): void => ctx.warn(text);
  const rule = support.strategies.main.validateName ?? nameIsDNSSubdomain;
  const general = hub.validate?.(object, old, warn, options.subresource) ?? [];
  const seenByRules = judged(ctx, options.subresource, object);
  const particular = strategy.validateUpdate?.(context, seenByRules, old) ?? [];
  const errors = updateErrors(object.metadata, old.metadata, ctx.resource ?? resource, options.subresource, rule, [
    ...general,
    ...(particular instanceof Promise ? await particular : particular),
  ]);
  if (errors.length > 0) throw invalidStatus(resource.group, resource.kind, name, errors);
  if (strategy.warningsOnUpdate !== undefined) {
    for (const w of strategy.warningsOnUpdate(context, seenByRules, old)) ctx.warn(w);
  }
  if (!same) object = ignoreManagedFieldsTimes(object, old);
  if (support.admission !== undefined) {
    const seen = convert(object, types.apiVersion);
    const scope = admissionNamespace(resource, namespace, name);
    await support.admission.validate(
      viewed(attributes(ctx, support, 'UPDATE', scope, name, seen, live, options), view),
    );
  }
  if (same) return undefined;
  if (shouldDelete(support, object, old)) return { object, finish: undefined, remove: true };
  let finish: PreparedUpdate['finish'];
  if (strategy.beginUpdate !== undefined) {
    const second = draftOf(object);
    finish = await strategy.beginUpdate(context, second, old);
    object = hub.canonicalize(second, old);
  }
  return { object, finish, remove: false };
}

function copyMember<K extends keyof ObjectMeta>(to: ObjectMeta, from: ObjectMeta, member: K): void {
  if (from[member] === undefined) delete to[member];
  else to[member] = from[member];
}

/** What an update can neither set nor take away. */
function keepSystemFields(meta: ObjectMeta, old: ObjectMeta): void {
  if (meta.uid === undefined || meta.uid === '') copyMember(meta, old, 'uid');
  if (old.creationTimestamp !== undefined) meta.creationTimestamp = old.creationTimestamp;
  if (old.deletionTimestamp !== undefined) meta.deletionTimestamp = old.deletionTimestamp;
  if (old.deletionGracePeriodSeconds !== undefined && meta.deletionGracePeriodSeconds === undefined) {
    meta.deletionGracePeriodSeconds = old.deletionGracePeriodSeconds;
  }
}

function checkResourceVersion(
  support: WriteSupport,
  strategy: Strategy,
  name: string,
  meta: ObjectMeta,
  current: StoredObject,
): void {
  const { resource } = support;
  const given = meta.resourceVersion ?? '';
  // Upstream says the same with 500, as of a fault of its own. It is the client's, and here no input is answered with 500.
  if (given !== '' && !/^[0-9]+$/.test(given)) {
    const quoted = JSON.stringify(given);
    throw invalidStatus(resource.group, resource.kind, name, [
      invalid('metadata.resourceVersion', given, `strconv.ParseUint: parsing ${quoted}: invalid syntax`),
    ]);
  }
  const unset = given === '' || /^0+$/.test(given);
  if (unset) {
    if (strategy.allowUnconditionalUpdate !== false) return;
    throw invalidStatus(resource.group, resource.resource, name, [
      invalid('metadata.resourceVersion', 0, 'must be specified for an update'),
    ]);
  }
  if (Number(given) !== current.revision) throw conflict(groupResource(resource), name, optimisticLockMessage);
}

/** managedFields whose times alone differ are the old ones, so that a write that changes nothing is none. */
function ignoreManagedFieldsTimes(object: KubeObject, old: KubeObject): KubeObject {
  const next = object.metadata.managedFields;
  const before = old.metadata.managedFields;
  if (next === before || next === undefined || before === undefined || next.length !== before.length) return object;
  for (let i = 0; i < next.length; i++) {
    const { time: _a, ...a } = next[i]!;
    const { time: _b, ...b } = before[i]!;
    if (!jsonEqual(a, b)) return object;
  }
  for (const member of new Set([...Object.keys(object), ...Object.keys(old)])) {
    if (member !== 'metadata' && object[member] !== old[member] && !jsonEqual(object[member], old[member]))
      return object;
  }
  const { managedFields: _n, ...meta } = object.metadata;
  const { managedFields: _o, ...oldMeta } = old.metadata;
  if (!jsonEqual(meta, oldMeta)) return object;
  return { ...object, metadata: { ...object.metadata, managedFields: before } };
}

/** The last finalizer of an object whose deletion has begun is gone. */
function shouldDelete(support: WriteSupport, object: KubeObject, old: KubeObject): boolean {
  if ((object.metadata.finalizers?.length ?? 0) > 0 || old.metadata.deletionTimestamp === undefined) return false;
  if ((old.metadata.deletionGracePeriodSeconds ?? 0) !== 0) return false;
  return support.rules?.blocked?.(object) !== true;
}
