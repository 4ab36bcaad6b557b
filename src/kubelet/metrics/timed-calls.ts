/** Calls to drivers on the node (CSI, DRA), timed by method and by how they end. */
import { errorText } from '../object-cache.ts';
import type { KubeletContext } from '../context.ts';

type Context = Pick<KubeletContext, 'metrics' | 'clock'>;

/** gRPC's name of how a call ended. */
function codeOf(error: unknown): string {
  return /^rpc error: code = (\w+) /.exec(errorText(error))?.[1] ?? 'unknown-non-grpc';
}

/** Undefined where nobody counts. */
export function timedCalls(
  ctx: Context,
  name: 'csi_operations_seconds' | 'dra_grpc_operations_duration_seconds',
  driver: string,
): (<T>(method: string, call: () => Promise<T>) => Promise<T>) | undefined {
  const { clock, metrics } = ctx;
  if (metrics === undefined) return undefined;
  const migrated = name === 'csi_operations_seconds' ? ['false'] : [];
  return async (method, call) => {
    const began = clock.monotonic();
    let code = 'OK';
    try {
      return await call();
    } catch (error) {
      code = codeOf(error);
      throw error;
    } finally {
      metrics.observe(name, (clock.monotonic() - began) / 1000, [driver, method, code, ...migrated]);
    }
  };
}
