/**
 * What a server says to requests that come while it ends, and how its watches end: not all at once where there is time, so that
 * their clients do not all come back to the other servers in the same moment.
 */
import { serviceUnavailable } from '../api/status.ts';
import { ioSleep } from '../base/io-time.ts';
import { textResponse } from './filters/panic.ts';
import type { IncomingRequest, OutgoingResponse } from './request.ts';

const exemptPaths = ['/readyz', '/livez', '/healthz', '/metrics'];

/** Probes, scraping and other API servers are answered to the end. */
export function isServedToTheEnd(request: IncomingRequest): boolean {
  return (
    exemptPaths.some((p) => request.path.startsWith(p)) ||
    (request.headers['user-agent'] ?? '').startsWith('kube-apiserver/')
  );
}

export function shuttingDown(retryAfter: boolean): OutgoingResponse {
  if (retryAfter)
    return textResponse(429, 'The apiserver is shutting down, please try again later.', {
      'retry-after': '5',
      connection: 'close',
    });
  return {
    status: 503,
    headers: { 'retry-after': '1', connection: 'close' },
    body: { kind: 'object', object: serviceUnavailable('apiserver is shutting down').toStatus() as never },
  };
}

/** Watches that end in a second at least. */
const leastPerSecond = 200;
const stepMs = 50;

/** Ends them one after the other, all within `graceMs` real milliseconds; more may end by themselves meanwhile. */
export async function endGradually(watches: ReadonlySet<{ close(): void }>, graceMs: number): Promise<void> {
  const perSecond = Math.max(leastPerSecond, watches.size / (graceMs / 1000));
  const perStep = Math.max(1, Math.floor((perSecond * stepMs) / 1000));
  for (let spent = 0; watches.size > 0 && spent < graceMs; spent += stepMs) {
    let left = perStep;
    for (const watch of watches) {
      if (left-- === 0) break;
      watch.close();
    }
    await ioSleep(stepMs);
  }
}
