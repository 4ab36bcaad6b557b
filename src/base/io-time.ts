/** Real time for I/O alone (sockets, TLS handshakes, gRPC deadlines, webhooks): never virtual, never cluster time. */

/** A signal that aborts after `ms` real milliseconds with a `TimeoutError`. */
export function ioDeadline(ms: number): AbortSignal {
  return AbortSignal.timeout(ms);
}

/** Calls `fn` after `ms` real milliseconds without keeping the process alive; returns what cancels it. */
export function ioTimer(ms: number, fn: () => void): () => void {
  const t = setTimeout(fn, ms);
  t.unref();
  return () => clearTimeout(t);
}

/** Real milliseconds since an arbitrary start, for measuring how long I/O took (metrics, logs). */
export function ioNow(): number {
  return performance.now();
}

/** Real milliseconds for which this thread's event loop has had nothing to do. */
export function loopIdle(): number {
  return performance.nodeTiming.idleTime;
}

/** Resolves after `ms` real milliseconds; keeps the process alive meanwhile. */
export function ioSleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Keeps the process alive until the returned function is called: the clock's own timers do not. */
export function ioHold(): () => void {
  const t = setInterval(() => {}, 2 ** 30);
  return () => clearInterval(t);
}
