/** What the HTTP transports write: a status, headers with lower-case names, and a body in one of few shapes. */
import type { Readable } from 'node:stream';

export type WireHeaders = Record<string, string | number | readonly string[]>;

export type WireBody =
  | { readonly kind: 'none' }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Made while the client takes it. `gzip`: compress on the way. */
  | {
      readonly kind: 'chunks';
      readonly chunks: AsyncIterable<Buffer>;
      readonly gzip: boolean;
      /** Whoever has written a chunk and knows that nobody holds its bytes any more may give it back to be filled again. */
      readonly recycle?: (chunk: Buffer) => void;
    }
  | { readonly kind: 'watch'; readonly watch: WireWatch }
  | { readonly kind: 'stream'; readonly stream: Readable }
  | { readonly kind: 'hijacked' };

export interface WireWatch {
  /**
   * The next batch of events as one buffer; null at the end; undefined when there is none now: `ready` is called for the next. What
   * is for this watch alone may be made in memory that `room` gives, which is the caller's again with the next call.
   */
  take(ready: () => void, room?: (bytes: number) => Buffer): Buffer | null | undefined;
  close(): void;
}

export interface WireResponse {
  readonly status: number;
  readonly headers: WireHeaders;
  readonly body: WireBody;
}
