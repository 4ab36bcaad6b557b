/** Watches of collections and (by the legacy path or a name in the path) of single objects. */
import { readListQuery } from './options.ts';
import { registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleWatch: VerbHandler = async (verbs, ctx) => {
  const { watch } = readListQuery(ctx, true, verbs.watchList ?? true);
  return { status: 200, body: await registryOf(verbs, ctx).watch(ctx, watch) };
};
