/** DELETE of one object. */
import type { KubeObjectLike, OutgoingResponse } from '../request.ts';
import { returnsDeletedObject } from '../registry/deletion.ts';
import type { StoredObject } from '../storage/codec.ts';
import { readOptions } from './body.ts';
import { deleteOptions, deleteQuery, namespaceOf } from './options.ts';
import { answer, registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

/** `status: Success` with what was deleted. */
function success(group: string, resource: string, deleted: StoredObject): KubeObjectLike {
  const { uid } = deleted.object().metadata;
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: {
      name: deleted.name,
      ...(group === '' ? {} : { group }),
      kind: resource,
      ...(uid === undefined ? {} : { uid }),
    },
  };
}

export const handleDelete: VerbHandler = async (verbs, ctx): Promise<OutgoingResponse> => {
  const registry = registryOf(verbs, ctx);
  const given = (await readOptions(ctx, verbs.body, 'DeleteOptions')) ?? deleteQuery(ctx.request.query);
  const options = deleteOptions(given);
  const { immediate, final, committed } = await registry.delete(ctx, namespaceOf(ctx), ctx.info.name, options);
  const status = !immediate && options.orphanDependents === false ? 202 : 200;
  const { group, resource } = ctx.resource!;
  if (!final || returnsDeletedObject(group, resource)) return answer(status, committed);
  return { status, body: { kind: 'object', object: success(group, resource, committed) } };
};
