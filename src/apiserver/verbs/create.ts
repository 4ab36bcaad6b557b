/** POST of an object. */
import { readObject } from './body.ts';
import { managerOf, namespaceOf, readWriteQuery } from './options.ts';
import { answer, registryOf, typesOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleCreate: VerbHandler = async (verbs, ctx) => {
  const registry = registryOf(verbs, ctx);
  const query = readWriteQuery(ctx, 'CreateOptions');
  const object = await readObject(ctx, verbs.body, typesOf(registry, ctx), query.fieldValidation);
  const created = await registry.create(ctx, namespaceOf(ctx), object, {
    dryRun: query.dryRun,
    fieldManager: managerOf(ctx, query.fieldManager),
    subresource: '',
    options: query.options,
  });
  return answer(201, created);
};
