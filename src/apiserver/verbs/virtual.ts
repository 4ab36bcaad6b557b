/** POST of what is computed instead of stored: the body is read, admitted and handed to the handler of its resource. */
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import { internalError } from '../../api/status.ts';
import type { AdmissionAttributes, RequestContext } from '../context.ts';
import { withRequestNamespace, wipeSystemFields } from '../registry/object-meta.ts';
import type { OutgoingResponse } from '../request.ts';
import type { VirtualCreate } from '../virtual.ts';
import { readObject } from './body.ts';
import { managerOf, namespaceOf, readWriteQuery } from './options.ts';
import type { WriteQuery } from './options.ts';
import type { VerbContext } from './verb.ts';
import { virtualTypes } from './virtual-types.ts';

/** The kind of the bodies of the request: that of the subresource, if it has its own. */
function bodyKind(ctx: RequestContext): GroupVersionKind {
  const resource = ctx.resource!;
  const { subresource } = ctx.info;
  if (subresource === '') return { group: resource.group, version: resource.version, kind: resource.kind };
  const found = resource.subresources.find((s) => s.name === subresource);
  if (found === undefined) throw internalError(new Error(`no subresource ${subresource}`));
  return found;
}

export interface VirtualRequest {
  readonly object: KubeObject;
  readonly query: WriteQuery;
  /** Validating admission of an object; run by the handler after its own checks. */
  admit(object: KubeObject): Promise<void>;
}

/** Reads and mutates the body of a create of something that is not stored. */
export async function readVirtual(
  verbs: VerbContext,
  ctx: RequestContext,
  options: {
    readonly keepSystemFields?: boolean;
    readonly accepts?: (apiVersion: string) => boolean;
    /** It is answered, and so are its managedFields. */
    readonly managed?: boolean;
  } = {},
): Promise<VirtualRequest> {
  const query = readWriteQuery(ctx, 'CreateOptions');
  const gvk = bodyKind(ctx);
  const types = virtualTypes(verbs.catalog, verbs.clock, gvk);
  let object = await readObject(ctx, verbs.body, types, query.fieldValidation, options.accepts);
  const namespace = namespaceOf(ctx);
  if (options.keepSystemFields !== true) {
    const metadata = wipeSystemFields(object.metadata);
    if (metadata !== object.metadata) object = { ...object, metadata };
  }
  object = withRequestNamespace(object, namespace);
  if (options.managed === true)
    object = verbs.virtualFields.owned(
      object,
      types.schema!,
      gvk,
      ctx.info.subresource,
      managerOf(ctx, query.fieldManager),
      verbs.clock.now(),
    );
  const admission = verbs.admission();
  const attributes = (seen: KubeObject): AdmissionAttributes => ({
    context: ctx,
    operation: 'CREATE',
    group: ctx.resource!.group,
    version: ctx.resource!.version,
    resource: ctx.resource!.resource,
    subresource: ctx.info.subresource,
    kind: gvk.kind,
    namespace,
    name: ctx.info.name === '' ? (seen.metadata.name ?? '') : ctx.info.name,
    object: seen,
    oldObject: undefined,
    options: query.options,
    dryRun: query.dryRun,
    user: ctx.user,
  });
  if (admission !== undefined) {
    object = ((await admission.mutate(attributes(object))) as KubeObject | undefined) ?? object;
  }
  return {
    object,
    query,
    async admit(seen) {
      await verbs.admission()?.validate(attributes(seen));
    },
  };
}

/** 201 with an object that is not stored; a Status says so itself, too. */
export function created(object: KubeObject): OutgoingResponse {
  const body = object as KubeObject & { metadata: Record<string, unknown> };
  if (object.kind === 'Status' && object['code'] === undefined) {
    return { status: 201, body: { kind: 'object', object: { ...body, code: 201 } } };
  }
  return { status: 201, body: { kind: 'object', object: body } };
}

export async function handleVirtual(
  verbs: VerbContext,
  ctx: RequestContext,
  create: VirtualCreate,
): Promise<OutgoingResponse> {
  // Whose token is asked for may be told by its uid.
  const keepSystemFields = ctx.info.subresource === 'token';
  const { object, admit } = await readVirtual(verbs, ctx, { keepSystemFields, managed: true });
  return created(await create(ctx, object, admit));
}

/** metav1.Status of a success. */
export const successStatus: KubeObject = Object.freeze({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: Object.freeze({}),
  status: 'Success',
});
