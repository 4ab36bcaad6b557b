/**
 * Create and update of one resource, in upstream's order: decode and defaults are done; then managedFields, mutating
 * admission, strategy, validation, validating admission, and the commit, again from the top when somebody was faster.
 */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { withEmptyLists } from '../../api/schema/empty-lists.ts';
import { convert, throughInternal } from '../../api/conversion/convert.ts';
import { invalid, invalidStatus } from '../../api/field-error.ts';
import { nameIsDNSSubdomain } from '../../api/names.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  internalError,
  notFound,
  optimisticLockMessage,
  StatusError,
} from '../../api/status.ts';
import type { GroupResource } from '../../api/status.ts';
import { RequestTooLargeError } from '../../etcd/store.ts';
import type { Admission, AdmissionAttributes, Authorizer, Operation, RequestContext } from '../context.ts';
import { forbiddenByAuthorizer } from '../filters/authorization.ts';
import type { Updater, WriteOutcome, WriteRequestOptions } from '../registry.ts';
import { objectIn } from '../storage/codec.ts';
import type { StoredObject } from '../storage/codec.ts';
import type { ResourceStrategies, Strategy, StrategyContext } from '../strategy.ts';
import type { DeletionRules } from './deletion.ts';
import type { Leases } from './leases.ts';
import { dedupOwnerReferences, wipeSystemFields, withMetadataErrors, withRequestNamespace } from './object-meta.ts';
import type { Current, ObjectStore, Written } from './object-store.ts';
import { updateErrors } from './metadata-on-update.ts';
import type { TypeSupport } from './type-support.ts';

/** What writes of a resource need; shared by create, update and delete. */
export interface WriteSupport {
  /** In the storage version. */
  readonly resource: ResourceInfo;
  readonly objects: ObjectStore;
  readonly strategies: ResourceStrategies;
  readonly rules: DeletionRules | undefined;
  readonly clock: Clock;
  /** metav1.Time of a moment. */
  timestamp(ms: number): string;
  readonly random: Random;
  readonly admission: Admission | undefined;
  readonly authorizer: Authorizer | undefined;
  readonly leases: Leases;
  /** `--enable-garbage-collector`: the deletion of an object may leave finalizers for the collector. */
  readonly collected?: boolean;
  /** `--delete-collection-workers` */
  readonly deleteWorkers?: number | undefined;
  /** Objects of this resource expire. */
  readonly ttlSeconds: number | undefined;
  /** Type support of the version of a request. */
  types(ctx: RequestContext): TypeSupport;
  /** Type support of the storage version. */
  readonly hub: TypeSupport;
}

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

/** Attempts of generateName before the conflict is reported. */
const maxNameAttempts = 8;
const maxNameLength = 63;
const suffixLength = 5;
/** Every lost race means that somebody else's write went through; this many in a row is a hot spot, not bad luck. */
const maxUpdateAttempts = 256;

export function groupResource(resource: ResourceInfo): GroupResource {
  return { group: resource.group, resource: resource.resource };
}

export function strategyContext(support: WriteSupport, ctx: RequestContext, dryRun: boolean): StrategyContext {
  return { request: ctx, now: support.clock.now(), dryRun };
}

function attributes(
  ctx: RequestContext,
  support: WriteSupport,
  operation: Operation,
  namespace: string,
  name: string,
  object: KubeObject | undefined,
  oldObject: KubeObject | undefined,
  options: WriteRequestOptions,
): AdmissionAttributes {
  const resource = ctx.resource ?? support.resource;
  return {
    context: ctx,
    operation,
    group: resource.group,
    version: resource.version,
    resource: resource.resource,
    subresource: options.subresource,
    kind: resource.kind,
    namespace,
    name,
    object,
    oldObject,
    options: options.options,
    dryRun: options.dryRun,
    user: ctx.user,
  };
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

/** A draft for a strategy: fresh where strategies write. */
function draftOf(object: KubeObject): KubeObject {
  const draft: KubeObject = { ...object, metadata: { ...object.metadata } };
  const { spec, status } = draft;
  if (typeof spec === 'object' && spec !== null && !Array.isArray(spec)) draft['spec'] = { ...spec };
  if (typeof status === 'object' && status !== null && !Array.isArray(status)) draft['status'] = { ...status };
  return draft;
}

/** The object as validation sees it: with the lists that the client gave empty, where the subresource takes them. */
function judged(ctx: RequestContext, subresource: string, object: KubeObject): KubeObject {
  const { emptyLists } = ctx;
  if (emptyLists === undefined) return object;
  const taken = emptyLists.filter(([member]) => (member === 'status') === (subresource === 'status'));
  return subresource === '' || subresource === 'status' ? withEmptyLists(object, taken) : object;
}

/** Where a list is written even when there is none, upstream's field managers still tell an empty one from null. */
function withWrittenEmptyLists(ctx: RequestContext, object: KubeObject): KubeObject {
  const { emptyLists } = ctx;
  return emptyLists === undefined ? object : withEmptyLists(object, emptyLists, true);
}

function strategyFor(support: WriteSupport, subresource: string): Strategy {
  if (subresource === '') return support.strategies.main;
  const strategy = support.strategies.subresources[subresource];
  if (strategy === undefined) {
    throw internalError(new Error(`no strategy for ${support.resource.resource}/${subresource}`));
  }
  return strategy;
}

function generateName(random: Random, base: string): string {
  return base.slice(0, maxNameLength - suffixLength) + random.suffix(suffixLength);
}

// Create -----------------------------------------------------------------------------------------------------------------

export async function createObject(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  given: KubeObject,
  options: WriteRequestOptions,
): Promise<StoredObject> {
  const { resource } = support;
  let object: KubeObject = given;
  const metadata = wipeSystemFields(object.metadata);
  if (metadata !== object.metadata) object = { ...object, metadata };
  object = withRequestNamespace(object, resource.namespaced ? namespace : '');
  object = dedupOwnerReferences(ctx, object, false);
  const types = support.types(ctx);
  object = throughInternal(object, support.hub.apiVersion);
  const managed = types.fields.update(undefined, withWrittenEmptyLists(ctx, object), {
    manager: options.fieldManager,
    subresource: options.subresource,
    now: support.clock.now(),
  });
  object = managed instanceof Promise ? await managed : managed;
  if (support.admission !== undefined) {
    const name = object.metadata.name ?? '';
    const scope = admissionNamespace(resource, namespace, name);
    const a = attributes(ctx, support, 'CREATE', scope, name, object, undefined, options);
    const admitted = support.admission.mutate(a);
    const mutated = (admitted instanceof Promise ? await admitted : admitted) as KubeObject | undefined;
    if (mutated !== undefined && mutated !== object) object = dedupOwnerReferences(ctx, mutated, true);
  }
  if (support.strategies.incomplete !== undefined) ctx.warn(support.strategies.incomplete);
  const { generateName: base = '', name = '' } = object.metadata;
  if (base === '' || name !== '') return createOnce(support, ctx, namespace, object, options);
  for (let attempt = 1; ; attempt++) {
    const named = { ...object, metadata: { ...object.metadata, name: generateName(support.random, base) } };
    try {
      return await createOnce(support, ctx, namespace, named, options);
    } catch (error) {
      if (!(error instanceof StatusError) || error.reason !== 'AlreadyExists' || attempt >= maxNameAttempts)
        throw error;
    }
  }
}

/** Namespaces are admitted as being in themselves. */
function admissionNamespace(resource: ResourceInfo, namespace: string, name: string): string {
  return resource.resource === 'namespaces' && resource.group === '' ? name : namespace;
}

/** One attempt: from an admitted object in the version of the request to a committed one. */
async function createOnce(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  given: KubeObject,
  options: WriteRequestOptions,
  authorize?: () => Promise<void>,
): Promise<StoredObject> {
  const { resource, objects, clock } = support;
  const strategy = support.strategies.main;
  const context = strategyContext(support, ctx, options.dryRun);
  const draft = draftOf(convert(given, support.hub.apiVersion));
  draft.metadata.creationTimestamp = support.timestamp(clock.now());
  draft.metadata.uid = support.random.uuid();
  strategy.prepareForCreate?.(context, draft);
  let object = support.hub.canonicalize(draft);
  const name = object.metadata.name ?? '';
  const rule = strategy.validateName ?? nameIsDNSSubdomain;
  const warn = (text: string): void => ctx.warn(text);
  const general = support.hub.validate?.(object, undefined, warn, '') ?? [];
  const seenByRules = judged(ctx, '', object);
  const particular = strategy.validate?.(context, seenByRules) ?? [];
  const errors = withMetadataErrors(object.metadata, ctx.resource ?? resource, rule, [
    ...general,
    ...(particular instanceof Promise ? await particular : particular),
  ]);
  if (errors.length > 0) throw invalidStatus(resource.group, resource.kind, name, errors);
  if (strategy.warningsOnCreate !== undefined)
    for (const w of strategy.warningsOnCreate(context, seenByRules)) ctx.warn(w);
  if (authorize !== undefined) await authorize();
  if (support.admission !== undefined) {
    const seen = convert(object, support.types(ctx).apiVersion);
    const scope = admissionNamespace(resource, namespace, name);
    const a = attributes(ctx, support, 'CREATE', scope, name, seen, undefined, options);
    const validated = support.admission.validate(a);
    if (validated instanceof Promise) await validated;
  }
  const { resourceVersion = '' } = given.metadata;
  if (!options.dryRun && /^[0-9]+$/.test(resourceVersion) && Number(resourceVersion) !== 0) {
    throw badRequest('resourceVersion should not be set on objects to be created');
  }
  const key = objects.layout.key(namespace, name);
  let finish: ((committed: boolean) => Promise<void>) | undefined;
  if (strategy.beginCreate !== undefined) {
    const second = draftOf(object);
    finish = await strategy.beginCreate(context, second);
    object = support.hub.canonicalize(second);
  }
  let committed = false;
  try {
    if (options.dryRun) {
      const existing = (await objects.read(key)).object;
      if (existing !== undefined) throw existsError(resource, name, given, existing);
      // What never comes to the store is shown as it was given.
      const claimed = /^[0-9]{1,15}$/.test(resourceVersion) ? Number(resourceVersion) : 0;
      return objects.unstored(key, claimed, object);
    }
    const lease = support.ttlSeconds === undefined ? undefined : await support.leases.lease(support.ttlSeconds);
    const written = await putSmaller(objects, key, 0, object, objects.layout.encode(object), lease);
    if (!written.ok) throw existsError(resource, name, given, written.current);
    committed = true;
    return written.object;
  } finally {
    if (finish !== undefined) await finish(committed);
  }
}

/** What is too large for the store goes there without its managedFields, which can be large. Not so an apply, which lives by them. */
async function putSmaller(
  objects: ObjectStore,
  key: string,
  expected: number,
  object: KubeObject,
  bytes: Buffer,
  lease: string | undefined,
): Promise<Written> {
  try {
    return await objects.put(key, expected, object, bytes, lease);
  } catch (error) {
    const { managedFields, ...metadata } = object.metadata;
    const tooLarge = error instanceof RequestTooLargeError || (error instanceof StatusError && error.code === 413);
    if (!tooLarge || managedFields === undefined) throw error;
    const smaller = { ...object, metadata };
    return objects.put(key, expected, smaller, objects.layout.encode(smaller), lease);
  }
}

function existsError(
  resource: ResourceInfo,
  name: string,
  given: KubeObject,
  existing: StoredObject | undefined,
): StatusError {
  if ((given.metadata.generateName ?? '') !== '') {
    const { group, resource: plural } = resource;
    const kind = group === '' ? plural : `${plural}.${group}`;
    return new StatusError(
      409,
      'AlreadyExists',
      `${kind} "${name}" already exists, the server was not able to generate a unique name for the object`,
      { ...(name === '' ? {} : { name }), ...(group === '' ? {} : { group }), kind: plural, retryAfterSeconds: 1 },
    );
  }
  const error = alreadyExists(groupResource(resource), name);
  if (existing?.object().metadata.deletionTimestamp === undefined) return error;
  return new StatusError(error.code, error.reason, `object is being deleted: ${error.message}`, error.details);
}

// Update -----------------------------------------------------------------------------------------------------------------

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

/** Names cannot change, so an old one is not judged again. */

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
