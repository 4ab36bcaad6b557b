/** Negotiates which of Kubernetes' sub-protocols a WebSocket to the kubelet speaks. */
import type { IncomingMessage } from 'node:http';
import { offeredProtocols } from '../../base/websocket.ts';
import { HttpError } from './target.ts';

/** The first offered one that is supported; '' when none is offered and that is supported. Throws 403 otherwise. */
export function negotiate(request: IncomingMessage, supported: readonly string[]): string {
  const offered = offeredProtocols(request);
  if (offered.length === 0 && supported.includes('')) return '';
  const chosen = offered.find((p) => supported.includes(p));
  if (chosen === undefined)
    throw new HttpError(
      403,
      `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${supported.filter((p) => p !== '').join(' ')}]`,
    );
  return chosen;
}
