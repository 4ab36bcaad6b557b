/** PUT of an object or of a subresource with the object's own kind. */
import type { KubeObject } from '../../api/object.ts';
import { conflict } from '../../api/status.ts';
import type { StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { GenericRegistry } from '../registry/generic.ts';
import { dedupOwnerReferences, withRequestNamespace } from '../registry/object-meta.ts';
import { checkName, readObject } from './body.ts';
import { managerOf, namespaceOf, readWriteQuery } from './options.ts';
import { answer, registryOf, typesOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

/** The UID of the body is a precondition; upstream's words come out of its storage. */
export function uidConflict(registry: GenericRegistry, ctx: RequestContext, given: string, found: string): StatusError {
  const { name } = ctx.info;
  // What is only tried does not come as far as the store's own keys.
  const whole = registry.key(namespaceOf(ctx), name);
  const key = ctx.request.query.has('dryRun') ? whole.slice(whole.indexOf('/', 1)) : whole;
  const { group, resource } = ctx.resource!;
  return conflict(
    { group, resource },
    name,
    `StorageError: invalid object, Code: 4, Key: ${key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${given}, UID in object meta: ${found}`,
  );
}

export const handleUpdate: VerbHandler = async (verbs, ctx) => {
  const registry = registryOf(verbs, ctx);
  const query = readWriteQuery(ctx, 'UpdateOptions');
  const namespace = namespaceOf(ctx);
  const { name, subresource } = ctx.info;
  let object = await readObject(ctx, verbs.body, typesOf(registry, ctx), query.fieldValidation);
  object = withRequestNamespace(object, namespace);
  checkName(object, name);
  object = dedupOwnerReferences(ctx, object, false);
  const uid = object.metadata.uid ?? '';
  const { created, committed } = await registry.update(
    ctx,
    namespace,
    name,
    (current: KubeObject | undefined) => {
      if (uid !== '') {
        const found = current?.metadata.uid ?? '';
        if (found !== uid) throw uidConflict(registry, ctx, uid, found);
      }
      return object;
    },
    {
      dryRun: query.dryRun,
      fieldManager: managerOf(ctx, query.fieldManager),
      subresource,
      options: query.options,
      apply: false,
      createIfMissing: false,
    },
  );
  return answer(created ? 201 : 200, committed);
};
