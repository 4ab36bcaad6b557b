/** DELETE of a collection: what the list options select, each object by its own rules. */
import { readOptions } from './body.ts';
import { deleteOptions, deleteQuery, readListQuery } from './options.ts';
import { registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleDeleteCollection: VerbHandler = async (verbs, ctx) => {
  const registry = registryOf(verbs, ctx);
  const { list } = readListQuery(ctx, false);
  const given = (await readOptions(ctx, verbs.body, 'DeleteOptions')) ?? deleteQuery(ctx.request.query);
  const items = await registry.deleteCollection(ctx, list, deleteOptions(given));
  return { status: 200, body: { kind: 'list', resourceVersion: String(registry.cache.revision), items } };
};
