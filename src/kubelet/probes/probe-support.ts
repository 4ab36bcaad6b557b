/** What every kind of probe needs: its result, a deadline in real time, how addresses are written. */
import { ioTimer } from '../../base/io-time.ts';

export interface ProbeResult {
  readonly result: 'success' | 'warning' | 'failure' | 'unknown';
  readonly output: string;
}

export const userAgent = 'kube-probe/1.36';

/** Runs `work` with a deadline in real time. */
export async function within<T>(ms: number, work: (signal: AbortSignal) => Promise<T>, late: () => Error): Promise<T> {
  const abort = new AbortController();
  const timeout = Promise.withResolvers<never>();
  const cancel = ioTimer(ms, () => {
    const error = late();
    timeout.reject(error);
    abort.abort(error);
  });
  try {
    return await Promise.race([work(abort.signal), timeout.promise]);
  } finally {
    cancel();
  }
}

export class Late extends Error {}
