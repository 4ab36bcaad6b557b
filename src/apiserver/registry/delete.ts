/**
 * Delete of one object, as upstream's store does it: preconditions, admission, grace, finalizers of the garbage collector,
 * then either the object is marked and somebody else finishes, or it goes at once.
 */
import { objectIn } from '../storage/codec.ts';
import type { StoredObject } from '../storage/codec.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { conflict, notFound, optimisticLockMessage } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { DeleteRequestOptions } from '../registry.ts';
import { checkPreconditions, markAsDeleting, planGrace, propagationFinalizers } from './deletion.ts';
import { groupResource, strategyContext } from './write.ts';
import type { WriteSupport } from './write.ts';

const maxAttempts = 256;

export interface Deleted {
  readonly immediate: boolean;
  /** The end of a deletion, or nothing done: kinds that do not return their objects answer with a Status. */
  readonly final: boolean;
  readonly committed: StoredObject;
}

/** Events hold no dependents; upstream never gives them the collector's finalizers. */
function isCollected(support: WriteSupport): boolean {
  const { group, resource } = support.resource;
  if (support.collected === false) return false;
  return !(resource === 'events' && (group === '' || group === 'events.k8s.io'));
}

/** Who does not say what becomes of dependents is told, where that is not what one expects. */
export function warnOfOrphans(support: WriteSupport, ctx: RequestContext, options: DeleteRequestOptions): void {
  const text = support.strategies.main.orphansWarning;
  if (text !== undefined && options.propagationPolicy === undefined && options.orphanDependents === undefined)
    ctx.warn(text);
}

export async function deleteObject(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  name: string,
  options: DeleteRequestOptions,
): Promise<Deleted> {
  const { objects, resource } = support;
  const key = objects.layout.key(namespace, name);
  if (ctx.info.verb === 'delete') warnOfOrphans(support, ctx, options);
  let { object: current, fresh } = await objects.read(key);
  let admitted: StoredObject | undefined;
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    if (current === undefined) {
      if (!fresh) ({ object: current, fresh } = await objects.readFresh(key));
      if (current === undefined) throw notFound(groupResource(ctx.resource ?? resource), name);
    }
    const old = objectIn(current, support.hub.apiVersion);
    try {
      checkPreconditions(resource.group, resource.kind, old, options.preconditions);
      if (admitted !== current) await admit(support, ctx, namespace, current, options);
      admitted = current;
    } catch (error) {
      if (fresh) throw error;
      const seen: number = current.revision;
      ({ object: current, fresh } = await objects.readFresh(key));
      if (current?.revision === seen) throw error;
      continue;
    }
    const step = planDelete(support, ctx, old, options);
    if (step.kind === 'pending') return { immediate: false, final: true, committed: current };
    if (step.kind === 'mark') {
      const object = support.hub.canonicalize(step.object, old);
      if (options.dryRun) {
        return { immediate: step.thenDelete, final: false, committed: objects.unstored(key, current.revision, object) };
      }
      const bytes = objects.layout.encode(object);
      const written = bytes.equals(current.bytes)
        ? ({ ok: true, object: current } as const)
        : await objects.put(key, current.revision, object, bytes);
      if (!written.ok) {
        current = written.current;
        fresh = true;
        continue;
      }
      if (!step.thenDelete) return { immediate: false, final: false, committed: written.object };
      current = written.object;
    }
    if (options.dryRun) return { immediate: true, final: true, committed: current };
    const removed = await removeObject(support, ctx, current);
    if (removed !== undefined) return { immediate: true, final: true, committed: removed };
    // Somebody changed it, or was faster to delete what this request had marked already.
    const marked: StoredObject = current;
    ({ object: current, fresh } = await objects.readFresh(key));
    if (current === undefined && step.kind === 'mark') return { immediate: true, final: true, committed: marked };
  }
  throw conflict(groupResource(resource), name, optimisticLockMessage);
}

/** Takes the object out of the store; undefined when it is not at that revision any more. */
export async function removeObject(
  support: WriteSupport,
  ctx: RequestContext,
  current: StoredObject,
): Promise<StoredObject | undefined> {
  const removed = await support.objects.remove(current);
  if (!removed.ok) return undefined;
  const { afterDelete } = support.strategies.main;
  if (afterDelete !== undefined) {
    await afterDelete.call(
      support.strategies.main,
      strategyContext(support, ctx, false),
      objectIn(current, support.hub.apiVersion),
    );
  }
  return removed.object;
}

type Step =
  /** Its deletion is under way and stays as it is. */
  | { readonly kind: 'pending' }
  | { readonly kind: 'mark'; readonly object: KubeObject; readonly thenDelete: boolean }
  | { readonly kind: 'delete' };

function planDelete(support: WriteSupport, ctx: RequestContext, old: KubeObject, options: DeleteRequestOptions): Step {
  const strategy = support.strategies.main;
  const context = strategyContext(support, ctx, options.dryRun);
  const begun = support.rules?.begin?.(old, context.now, options);
  if (begun !== undefined) return { kind: 'mark', object: begun, thenDelete: false };
  if (support.rules?.blocked?.(old) === true) return { kind: 'pending' };
  const grace = planGrace(strategy, context, old, options.gracePeriodSeconds);
  if (grace.pending) return { kind: 'pending' };
  const before = old.metadata.finalizers ?? [];
  const finalizers = propagationFinalizers(strategy, isCollected(support), old.metadata, options);
  if (!grace.graceful && before.length === 0 && finalizers.length === 0) return { kind: 'delete' };
  let metadata: ObjectMeta = grace.metadata;
  if (finalizers !== before) {
    metadata = { ...metadata, finalizers: finalizers.length === 0 ? undefined : [...finalizers] };
  }
  if (grace.graceful) {
    const thenDelete = finalizers.length === 0 && grace.graceSeconds === 0;
    return { kind: 'mark', object: { ...old, metadata }, thenDelete };
  }
  if (finalizers.length === 0) return { kind: 'delete' };
  return { kind: 'mark', object: { ...old, metadata: markAsDeleting(metadata, context.now) }, thenDelete: false };
}

async function admit(
  support: WriteSupport,
  ctx: RequestContext,
  namespace: string,
  current: StoredObject,
  options: DeleteRequestOptions,
): Promise<void> {
  const { admission } = support;
  if (admission === undefined) return;
  const resource = ctx.resource ?? support.resource;
  const isNamespace = resource.group === '' && resource.resource === 'namespaces';
  const a = {
    context: ctx,
    operation: 'DELETE',
    group: resource.group,
    version: resource.version,
    resource: resource.resource,
    subresource: '',
    kind: resource.kind,
    namespace: isNamespace ? current.name : namespace,
    name: ctx.info.verb === 'deletecollection' ? '' : current.name,
    object: undefined,
    oldObject: objectIn(current, support.types(ctx).apiVersion),
    options: options.options,
    dryRun: options.dryRun,
    user: ctx.user,
  } as const;
  await admission.mutate(a);
  await admission.validate(a);
}
