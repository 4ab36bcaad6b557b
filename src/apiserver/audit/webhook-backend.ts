/** Audit events posted as an EventList; every failure is tried again with growing pauses, as upstream does. */
import { stringifyJson } from '../../api/codec/json.ts';
import { ioTimer } from '../../base/io-time.ts';
import { pluginError, type AuditBackend, type BackendParts } from './backend.ts';
import type { AuditEvent } from './event.ts';

/** Posts a body of JSON; rejects when it was not taken. */
export type AuditSender = (body: string) => Promise<void>;

export interface AuditWebhookOptions {
  readonly send: AuditSender;
  readonly close?: () => Promise<void>;
  /** `--audit-webhook-initial-backoff` */
  readonly initialBackoffMs: number;
}

/** Upstream's back-off: tries, and by how much a pause grows. */
const tries = 5;
const factor = 1.5;
const jitter = 0.2;

export function webhookBackend(
  options: AuditWebhookOptions,
  parts: BackendParts & { readonly random: { float(): number } },
): AuditBackend {
  let closing = false;
  const wakers = new Set<() => void>();
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        wakers.delete(wake);
        resolve();
      };
      const cancel = ioTimer(ms, wake);
      wakers.add(wake);
    });
  return {
    async process(events: readonly AuditEvent[]) {
      const items = events.map(({ kind: _kind, apiVersion: _apiVersion, ...rest }) => rest);
      const body = stringifyJson({ kind: 'EventList', apiVersion: 'audit.k8s.io/v1', metadata: {}, items });
      let wait = options.initialBackoffMs;
      for (let left = tries; ;) {
        try {
          await options.send(body);
          return true;
        } catch (error) {
          left--;
          if (left === 0) {
            pluginError(parts, 'webhook', error, events);
            return false;
          }
        }
        // What is still to be sent when the server stops has one more try at once.
        if (!closing) await pause(wait * (1 + jitter * parts.random.float()));
        if (closing) left = 1;
        wait *= factor;
      }
    },
    stopping() {
      closing = true;
      for (const wake of wakers) wake();
    },
    async close() {
      closing = true;
      for (const wake of wakers) wake();
      await options.close?.();
    },
  };
}
