/** GET of one object (also of the subresources that show the object itself). */
import { badRequest } from '../../api/status.ts';
import { namespaceOf } from './options.ts';
import { answer, registryOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const handleGet: VerbHandler = (verbs, ctx) => {
  const { query } = ctx.request;
  let resourceVersion = '';
  if (query.size > 0) {
    const exported = query.get('export');
    if (exported !== null && exported !== '0' && exported.toLowerCase() !== 'false') {
      throw badRequest('the export parameter, deprecated since v1.14, is no longer supported');
    }
    resourceVersion = query.get('resourceVersion') ?? '';
  }
  const registry = registryOf(verbs, ctx);
  const namespace = namespaceOf(ctx);
  // Mostly there is nothing to wait for, and then every filter around this is spared a promise.
  const now = resourceVersion === '' ? registry.getNow(namespace, ctx.info.name) : undefined;
  if (now !== undefined) return answer(200, now);
  return registry.get(ctx, namespace, ctx.info.name, resourceVersion).then((object) => answer(200, object));
};
