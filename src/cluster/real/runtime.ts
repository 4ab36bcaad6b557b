/**
 * Which container runtime a real node uses: the one that was named, or the first that is found. Says in one line what is missing,
 * and keeps away from a runtime on which another kubelet runs its pods: two of them would end each other's.
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { makeDirectory } from '../../base/directories.ts';
import type { Logger } from '../../base/logger.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { findRuntimeSocket, openCriRuntime, runtimeSockets } from '../../kubelet/runtime/cri/open.ts';

/** No real node can be had here; the message is one line that says what is missing. */
export class NoRuntimeError extends Error {
  override readonly name = 'NoRuntimeError';
}

const ownerFile = 'knarr-owner';

export interface FindRuntime {
  /** `--container-runtime-endpoint`; the usual sockets when left out. */
  readonly endpoint: string | undefined;
  readonly rootDir: string;
  /** What tells this cluster's node from another's: kept beside the kubelet's files. */
  readonly owner: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly podLogsDir?: string;
  /** `--image-service-endpoint` */
  readonly imageEndpoint?: string;
  /** `--runtime-request-timeout` */
  readonly timeoutMs?: number;
}

/** Whether a runtime's socket is in one of the usual places. */
export async function anyRuntime(): Promise<boolean> {
  return (await findRuntimeSocket()) !== undefined;
}

async function ownerOf(rootDir: string): Promise<string | undefined> {
  try {
    return (await readFile(join(rootDir, ownerFile), 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** @throws NoRuntimeError where no real node can be, whatever is installed */
export function checkMachine(): void {
  if (process.platform !== 'linux') throw new NoRuntimeError('real nodes need Linux');
  if (process.getuid?.() !== 0) throw new NoRuntimeError('real nodes need root: run knarr with sudo');
}

/** Opens the runtime for a node of this cluster. @throws NoRuntimeError */
export async function openNodeRuntime(options: FindRuntime): Promise<CriRuntime> {
  checkMachine();
  const endpoint = options.endpoint ?? (await findRuntimeSocket());
  if (endpoint === undefined)
    throw new NoRuntimeError(
      `no container runtime answers at ${runtimeSockets.join(' or ')}: install one with "knarr install-runtime", or name its socket with --container-runtime-endpoint`,
    );
  let runtime: CriRuntime;
  try {
    runtime = await openCriRuntime({
      endpoint,
      clock: options.clock,
      logger: options.logger,
      ...(options.podLogsDir === undefined ? {} : { podLogsDir: options.podLogsDir }),
      ...(options.imageEndpoint === undefined ? {} : { imageEndpoint: options.imageEndpoint }),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    });
  } catch (error) {
    throw new NoRuntimeError(`no container runtime can be used at ${endpoint}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  try {
    const owner = createHash('sha256').update(options.owner).digest('hex');
    if ((await ownerOf(options.rootDir)) !== owner) {
      const foreign = await runtime.listPodSandbox();
      if (foreign.length > 0)
        throw new NoRuntimeError(
          `${endpoint} runs ${foreign.length} pods of another cluster, which would be ended: give this one a runtime of its own with --container-runtime-endpoint, or remove those pods`,
        );
      makeDirectory(options.rootDir, 0o750);
      await writeFile(join(options.rootDir, ownerFile), `${owner}\n`);
    }
    return runtime;
  } catch (error) {
    runtime.close();
    throw error;
  }
}
