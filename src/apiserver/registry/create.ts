/**
 * Create of one resource, in upstream's order: decode and defaults are done; then managedFields, mutating admission, strategy,
 * validation, validating admission, and the commit.
 */
import type { Random } from '../../base/random.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { convert, throughInternal } from '../../api/conversion/convert.ts';
import { invalidStatus } from '../../api/field-error.ts';
import { nameIsDNSSubdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { alreadyExists, badRequest, StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { WriteRequestOptions } from '../registry.ts';
import type { StoredObject } from '../storage/codec.ts';
import { dedupOwnerReferences, wipeSystemFields, withMetadataErrors, withRequestNamespace } from './object-meta.ts';
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

/** Attempts of generateName before the conflict is reported. */
const maxNameAttempts = 8;
const maxNameLength = 63;
const suffixLength = 5;

function generateName(random: Random, base: string): string {
  return base.slice(0, maxNameLength - suffixLength) + random.suffix(suffixLength);
}

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

/** One attempt: from an admitted object in the version of the request to a committed one. */
export async function createOnce(
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
