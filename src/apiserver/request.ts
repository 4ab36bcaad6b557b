/**
 * One request to the API server as the filter chain and the verb handlers see it, whether it came over HTTPS or from the
 * same process, and the answer they give. Nothing here knows sockets, so the server is testable without one.
 */
import type { Duplex, Readable } from 'node:stream';

/** An authenticated caller (authentication.k8s.io UserInfo). */
export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Where the body of a request comes from. */
export type RequestBody =
  | { readonly kind: 'none' }
  /** A parsed object handed over in-process; the decoder makes a fresh copy of it. */
  | { readonly kind: 'object'; readonly value: unknown }
  /** Reads the bytes, failing with 413 past `limit`. */
  | {
      readonly kind: 'bytes';
      read(limit: number): Promise<Buffer>;
      /** The bytes as they come, for proxies; instead of `read`. */
      readonly stream?: () => Readable;
    };

export interface IncomingRequest {
  readonly method: string;
  /** Path without query, still percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** The query as it came, without `?`; lets a reader skip parsing an empty one. */
  readonly rawQuery?: string;
  /** Lower-case names. A header that came several times stands joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names and values alternating as they came, for headers whose values must not be taken apart at commas. */
  readonly rawHeaders?: readonly string[];
  readonly body: RequestBody;
  readonly remoteAddress: string;
  /** DER client certificate chain verified against the client CA, leaf first; undefined when none was shown. */
  readonly peerCertificate?: Buffer;
  /** Which authority signed `peerCertificate`: the client CA, the front-proxy (request header) CA, or one that is in both bundles. */
  readonly peerAuthority?: 'client' | 'front-proxy' | 'both' | undefined;
  /** A certificate was shown that no authority of ours signed, or that is expired: why. */
  readonly peerCertificateError?: string;
  /** Set by the in-process transport alone: the caller is already known. Impersonation still applies. */
  readonly identity?: UserInfo;
  /** Aborts when the client has gone or the server's deadline passed. */
  readonly signal: AbortSignal;
  /** True when the caller wants parsed objects back (in-process), so that nothing is serialized for it. */
  readonly wantsObjects: boolean;
  /** Present when the transport can be taken over (HTTP/1.1 Upgrade); takes the raw socket and what was read past the head. */
  readonly upgrade?: () => { socket: Duplex; head: Buffer };
}

/** A committed object: its bytes, or its parsed form, whichever the answer needs. Immutable. */
export interface Committed {
  /** Key in the store. */
  readonly key: string;
  readonly revision: number;
  readonly name: string;
  readonly namespace: string;
  /** Body in storage form: JSON with apiVersion and kind first, without resourceVersion. */
  readonly bytes: Buffer;
  /** How long its item in a list is, and in which form; see `FormSizes`. */
  formSize?: number;
  /** Parsed, with metadata.resourceVersion set. Made on demand, may be cached; never mutate. */
  object(): KubeObjectLike;
}

export interface KubeObjectLike {
  apiVersion?: string;
  kind?: string;
  metadata: Record<string, unknown>;
  [member: string]: unknown;
}

/** What a handler answers. The transport (or `encode`) turns it into bytes or objects. */
export type ResponseBody =
  | { readonly kind: 'none' }
  /** One API object (also `Status`): parsed. */
  | { readonly kind: 'object'; readonly object: KubeObjectLike }
  /** One committed object of `resource`, to be spliced or converted by the encoder. */
  | { readonly kind: 'committed'; readonly committed: Committed }
  /** A list: header fields, then items in order; an iterable so that big lists stream, with their `count` where it is known. */
  | {
      readonly kind: 'list';
      readonly resourceVersion: string;
      readonly continue?: string;
      readonly remainingItemCount?: number;
      readonly items: Iterable<Committed> & { readonly count?: number };
    }
  | { readonly kind: 'watch'; readonly source: WatchSource }
  | { readonly kind: 'bytes'; readonly contentType: string; readonly bytes: Uint8Array }
  | { readonly kind: 'stream'; readonly contentType: string; readonly stream: Readable }
  /** The handler has taken the socket over. */
  | { readonly kind: 'hijacked' };

export interface OutgoingResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: ResponseBody;
}

/** One event of a watch before encoding. */
export interface CommittedEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly committed: Committed;
  /** What there was when the watch began: nobody else is sent the same now. */
  readonly initial?: true;
  /** For BOOKMARK: the resource version and whether it ends the initial events. */
  readonly bookmark?: { readonly resourceVersion: string; readonly initialEventsEnd: boolean };
}

/** A bounded stream of batches; it ends by itself when the watcher falls behind or its time is over. */
export interface WatchSource {
  /** Resolves with the next events (at least one), or undefined at the end. */
  next(): Promise<readonly CommittedEvent[] | undefined>;
  /**
   * The same for those who serve many watches and wait for none: the next events, null at the end, or undefined when there are
   * none now; then `ready` is called, once, when there is something to take.
   */
  take(ready: () => void): readonly CommittedEvent[] | null | undefined;
  /** A `Status` to send as a last ERROR event, when the watch ended for a reason (410, …). */
  readonly error: KubeObjectLike | undefined;
  /** Calls once what there was when it began has been taken, or when the watch has ended before. */
  onBegun(fn: () => void): void;
  close(): void;
}
