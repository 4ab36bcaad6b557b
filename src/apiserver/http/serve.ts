/** `Serve`: what the HTTP transports need of the server behind them. */
import type { WireBody, WireResponse } from '../encode/wire.ts';
import type { IncomingRequest } from '../request.ts';

export interface Serve {
  /** Never rejects: what goes wrong is answered. */
  handle(request: IncomingRequest): Promise<WireResponse>;
  /** A body that was written over time is done with. */
  finished(body: WireBody): void;
}
