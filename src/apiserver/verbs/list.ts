/** GET of a collection. */
import { readListQuery } from './options.ts';
import { registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleList: VerbHandler = async (verbs, ctx) => {
  const { list } = readListQuery(ctx, false);
  return { status: 200, body: await registryOf(verbs, ctx).list(ctx, list) };
};
