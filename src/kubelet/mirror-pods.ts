/** Mirror pods: the API's pictures of static pods. */
import type { Pod } from '../api/types/index.gen.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import type { KubeletContext } from './context.ts';
import { formatPod } from './pod-util.ts';

/** Deletes a mirror pod at once; one that is gone, or is another by now, is none of ours. */
export async function deleteMirrorPod(ctx: KubeletContext, pod: Pod): Promise<void> {
  try {
    await ctx.client.core.pods.delete(pod.metadata.name!, pod.metadata.namespace, {
      gracePeriodSeconds: 0,
      preconditions: { uid: pod.metadata.uid! },
    });
  } catch (error) {
    if (!isNotFound(error) && !isConflict(error))
      ctx.logger.warn('Failed deleting a mirror pod', { pod: formatPod(pod), error });
  }
}
