/** RuntimeClass: from the name in a pod's spec to the handler that the runtime knows. */
import type { Pod } from '../api/types/index.gen.ts';
import { isNotFound } from '../client/errors.ts';
import type { KubeletContext } from './context.ts';
import { errorText } from './object-cache.ts';

/** Empty for the runtime's default. Rejects when there is no such class. */
export async function runtimeHandler(ctx: KubeletContext, pod: Pod): Promise<string> {
  const name = pod.spec?.runtimeClassName ?? '';
  if (name === '') return '';
  try {
    return (await ctx.client.node.runtimeclasses.get(name)).handler;
  } catch (error) {
    if (isNotFound(error)) throw error;
    throw new Error(`failed to lookup RuntimeClass ${name}: ${errorText(error)}`, { cause: error });
  }
}
