/** Termination messages: what a container left behind for its status. */
import { messagePathAnnotation, messagePolicyAnnotation } from './containers/container-config.ts';
import type { KubeletContext } from './context.ts';
import type { ContainerStatus as RuntimeContainer } from './runtime/container-runtime.ts';

const messageLimit = 4096;
const messageTailLines = 80;
const messageTailLimit = 2048;

/** What the container left in its termination message file, or the end of its log where the policy says so. */
export async function terminationMessage(ctx: KubeletContext, c: RuntimeContainer): Promise<string> {
  const path = c.annotations[messagePathAnnotation];
  if (path !== undefined && path !== '') {
    const mount = c.mounts.find((m) => m.containerPath === path);
    if (mount !== undefined) {
      const data = await ctx.host.readFile(mount.hostPath, { maxBytes: messageLimit, fromEnd: true });
      if (data !== undefined && data.length > 0) return data.toString();
    }
  }
  // What could not be started has no log.
  const log = c.annotations[messagePolicyAnnotation] === 'FallbackToLogsOnError' && c.reason !== 'ContainerCannotRun';
  if (!log || c.exitCode === 0) return '';
  const chunks: Buffer[] = [];
  for await (const batch of ctx.host.readLog(c.logPath, { tailLines: messageTailLines }))
    for (const e of batch) chunks.push(e.data);
  const all = Buffer.concat(chunks);
  return all.subarray(Math.max(all.length - messageTailLimit, 0)).toString();
}
