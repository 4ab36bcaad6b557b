/** GET of one object (also of the subresources that show the object itself). */
import { badRequest } from '../../api/status.ts';
import { namespaceOf } from './options.ts';
import { answer, registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleGet: VerbHandler = async (verbs, ctx) => {
  const { query } = ctx.request;
  let resourceVersion = '';
  if (query.size > 0) {
    const exported = query.get('export');
    if (exported !== null && exported !== '0' && exported.toLowerCase() !== 'false') {
      throw badRequest('the export parameter, deprecated since v1.14, is no longer supported');
    }
    resourceVersion = query.get('resourceVersion') ?? '';
  }
  const object = await registryOf(verbs, ctx).get(ctx, namespaceOf(ctx), ctx.info.name, resourceVersion);
  return answer(200, object);
};
