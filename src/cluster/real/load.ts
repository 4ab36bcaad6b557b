/** `knarr load`: an image archive into the runtime of this machine. */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { loadImageArchive } from '../../kubelet/runtime/cri/load.ts';
import { findRuntimeSocket, openCriRuntime, runtimeSockets } from '../../kubelet/runtime/cri/open.ts';
import { NoRuntimeError } from './runtime.ts';

/** Resolves with the names of the images. @throws NoRuntimeError, or what the runtime says */
export async function loadImages(
  file: string,
  options: { readonly endpoint: string | undefined; readonly clock: Clock; readonly logger: Logger },
): Promise<readonly string[]> {
  const endpoint = options.endpoint ?? (await findRuntimeSocket());
  if (endpoint === undefined)
    throw new NoRuntimeError(
      `no container runtime answers at ${runtimeSockets.join(' or ')}: images are for real nodes alone`,
    );
  const runtime = await openCriRuntime({ endpoint, clock: options.clock, logger: options.logger });
  try {
    return await loadImageArchive(runtime, file);
  } finally {
    runtime.close();
  }
}
