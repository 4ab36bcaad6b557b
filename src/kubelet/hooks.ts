/** Lifecycle handlers: postStart and preStop by exec, httpGet or sleep. */
import { joinHostPort } from '../base/host-port.ts';
import { goQuote } from '../api/codec/json.ts';
import type { Container, LifecycleHandler, Pod } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { errorText } from './object-cache.ts';
import { formatPod } from './pod-util.ts';
import type { HttpTarget } from './probes/probes.ts';
import { httpExchange, httpTarget, PlainAnswer } from './probes/probes.ts';

const httpTimeoutMs = 30_000;
const userAgent = 'kube-lifecycle/1.36';

/** Runs a handler to its end. Rejects with upstream's message when it fails. */
export async function runHook(
  ctx: KubeletContext,
  handler: LifecycleHandler,
  pod: Pod,
  container: Container,
  containerId: string,
  podIp: string,
  signal?: AbortSignal,
): Promise<void> {
  const where = `for Container "${container.name}" in Pod "${formatPod(pod)}" failed - error: `;
  if (handler.exec !== undefined) {
    const command = handler.exec.command ?? [];
    let output = '';
    try {
      const r = await ctx.runtime.execSync(containerId, command, 0);
      output = Buffer.concat([r.stdout, r.stderr]).toString();
      if (r.exitCode !== 0)
        throw new Error(`command '${command.join(' ')}' exited with ${r.exitCode}: ${r.stderr.toString()}`);
    } catch (error) {
      throw new Error(
        `Exec lifecycle hook (${goList(command)}) ${where}${errorText(error)}, message: ${goQuote(output)}`,
        { cause: error },
      );
    }
    return;
  }
  if (handler.httpGet !== undefined) {
    const path = handler.httpGet.path ?? '';
    try {
      await ctx.clock.activity.track(ask(ctx, pod, httpTarget(handler.httpGet, container, podIp, userAgent)));
    } catch (error) {
      throw new Error(`HTTP lifecycle hook (${path}) ${where}${errorText(error)}`, { cause: error });
    }
    return;
  }
  if (handler.sleep !== undefined) {
    try {
      await ctx.clock.sleep(handler.sleep.seconds * 1000, signal);
    } catch (error) {
      ctx.metrics?.count('sleep_action_terminated_early_total');
      throw new Error(
        `Sleep lifecycle hook (${handler.sleep.seconds}) ${where}container terminated before sleep hook finished`,
        { cause: error },
      );
    }
    return;
  }
  throw new Error('Cannot run handler: invalid handler');
}

/** Any answer is as good as another; one in the clear to a request by TLS is asked for again without. */
async function ask(ctx: KubeletContext, pod: Pod, target: HttpTarget): Promise<void> {
  try {
    await httpExchange(ctx, target, httpTimeoutMs);
  } catch (error) {
    if (!(error instanceof PlainAnswer)) throw error;
    const { authorization: _, ...headers } = target.headers;
    const plain = { ...target, scheme: 'http', url: target.url.replace(/^https:/, 'http:'), headers };
    await httpExchange(ctx, plain, httpTimeoutMs).catch(() => {
      throw error;
    });
    ctx.metrics?.count('lifecycle_handler_http_fallbacks_total');
    ctx.events.pod(
      pod,
      'Warning',
      'LifecycleHTTPFallback',
      `request to HTTPS lifecycle hook ${joinHostPort(target.host, target.port)} got HTTP response, retry with HTTP succeeded`,
    );
  }
}

/** Go's `%v` of a list of strings. */
function goList(list: readonly string[]): string {
  return `[${list.join(' ')}]`;
}
