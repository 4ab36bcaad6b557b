/**
 * What create, update and delete of one resource share: what they need, what they tell admission and the strategies, the object as
 * validation sees it, and the put itself.
 */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { withEmptyLists } from '../../api/schema/empty-lists.ts';
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import type { GroupResource } from '../../api/status.ts';
import { RequestTooLargeError } from '../../etcd/store.ts';
import type { Admission, AdmissionAttributes, Authorizer, Operation, RequestContext } from '../context.ts';
import type { WriteRequestOptions } from '../registry.ts';
import type { ResourceStrategies, StrategyContext } from '../strategy.ts';
import type { DeletionRules } from './deletion.ts';
import type { Leases } from './leases.ts';
import type { ObjectStore, Written } from './object-store.ts';
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

export function groupResource(resource: ResourceInfo): GroupResource {
  return { group: resource.group, resource: resource.resource };
}

export function strategyContext(support: WriteSupport, ctx: RequestContext, dryRun: boolean): StrategyContext {
  return { request: ctx, now: support.clock.now(), dryRun };
}

export function attributes(
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

/** A draft for a strategy: fresh where strategies write. */
export function draftOf(object: KubeObject): KubeObject {
  const draft: KubeObject = { ...object, metadata: { ...object.metadata } };
  const { spec, status } = draft;
  if (typeof spec === 'object' && spec !== null && !Array.isArray(spec)) draft['spec'] = { ...spec };
  if (typeof status === 'object' && status !== null && !Array.isArray(status)) draft['status'] = { ...status };
  return draft;
}

/** The object as validation sees it: with the lists that the client gave empty, where the subresource takes them. */
export function judged(ctx: RequestContext, subresource: string, object: KubeObject): KubeObject {
  const { emptyLists } = ctx;
  if (emptyLists === undefined) return object;
  const taken = emptyLists.filter(([member]) => judgedMembers(subresource, member));
  return withEmptyLists(object, taken);
}

/** Whether a write of the subresource takes anything of that member. */
function judgedMembers(subresource: string, member: string | number | undefined): boolean {
  switch (subresource) {
    case '':
      return member !== 'status';
    case 'status':
    case 'approval':
      return member === 'status';
    case 'ephemeralcontainers':
    case 'resize':
    case 'finalize':
      return member === 'spec';
    default:
      return false;
  }
}

/** Where a list is written even when there is none, upstream's field managers still tell an empty one from null. */
export function withWrittenEmptyLists(ctx: RequestContext, object: KubeObject): KubeObject {
  const { emptyLists } = ctx;
  return emptyLists === undefined ? object : withEmptyLists(object, emptyLists, true);
}

/** Namespaces are admitted as being in themselves. */
export function admissionNamespace(resource: ResourceInfo, namespace: string, name: string): string {
  return resource.resource === 'namespaces' && resource.group === '' ? name : namespace;
}

/** What is too large for the store goes there without its managedFields, which can be large. Not so an apply, which lives by them. */
export async function putSmaller(
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
