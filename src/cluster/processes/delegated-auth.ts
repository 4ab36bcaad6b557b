/**
 * Who may ask a component other than kube-apiserver: certificates of the cluster's client CA and bearer tokens (by TokenReview)
 * tell who it is, a SubjectAccessReview tells whether they may. Answers are remembered for ten seconds, as upstream's are.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import {
  createRequestHeaderAuthenticator,
  type RequestHeaderOptions,
} from '../../apiserver/authentication/request-header.ts';
import type { Authenticator } from '../../apiserver/context.ts';
import { parseBundle, peerOf, type ClientAuthorities, type Peer } from '../../apiserver/http/peer.ts';
import type { Clock } from '../../base/clock.ts';
import type { TypedClient } from '../../client/typed-client.ts';

export interface DelegatedUser {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** What somebody wants: a path, or a resource that stands for it. */
export type AccessAttributes =
  | { readonly verb: string; readonly path: string }
  | {
      readonly verb: string;
      readonly group: string;
      readonly version: string;
      readonly resource: string;
      readonly subresource?: string;
      readonly name?: string;
      readonly namespace?: string;
    };

export interface DelegatedAuthOptions {
  readonly clock: Clock;
  /** Asks for TokenReviews; without it bearer tokens are worth nothing. */
  readonly authentication: TypedClient | undefined;
  /** Asks for SubjectAccessReviews; without it only members of system:masters may. */
  readonly authorization: TypedClient | undefined;
  /** PEM: signs client certificates; the listener asks for them and checks them. */
  readonly clientCA: string | undefined;
  /** Whoever shows a certificate of theirs speaks for the user that its headers name. */
  readonly proxies: Proxies | undefined;
  /** Requests without credentials are `system:anonymous`; otherwise they are refused. */
  readonly anonymous: boolean;
  /** How long it is remembered whose a token is, and what they may and may not; default ten seconds. */
  readonly tokenTtlMs?: number;
  readonly authorizedTtlMs?: number;
  readonly unauthorizedTtlMs?: number;
}

/** Authenticating proxies: PEM of their authority, and what their headers are called. */
export interface Proxies {
  readonly ca: string;
  readonly headers: RequestHeaderOptions;
}

const usualMs = 10_000;
const limit = 512;

/** A few answers, each good for some time. */
class Remembered<V> {
  readonly #clock: Clock;
  readonly #ttlMs: (value: V) => number;
  readonly #entries = new Map<string, { value: V; until: number }>();

  constructor(clock: Clock, ttlMs: (value: V) => number) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  async get(key: string, ask: () => Promise<V>): Promise<V> {
    const now = this.#clock.monotonic();
    const hit = this.#entries.get(key);
    if (hit !== undefined && hit.until > now) return hit.value;
    const value = await ask();
    this.#entries.delete(key);
    if (this.#entries.size >= limit) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, { value, until: now + this.#ttlMs(value) });
    return value;
  }
}

function list(value: unknown): string[] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

const anonymous: DelegatedUser = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

function withGroup(user: DelegatedUser): DelegatedUser {
  return user.groups.includes('system:authenticated')
    ? user
    : { ...user, groups: [...user.groups, 'system:authenticated'] };
}

export class DelegatedAuth {
  readonly #o: DelegatedAuthOptions;
  readonly #users: Remembered<DelegatedUser | undefined>;
  readonly #decisions: Remembered<{ allowed: boolean; reason: string }>;
  readonly #authorities: ClientAuthorities;
  readonly #proxies: Authenticator | undefined;
  readonly #peers = new WeakMap<object, Peer>();

  constructor(options: DelegatedAuthOptions) {
    this.#o = options;
    const { clock, tokenTtlMs = usualMs, authorizedTtlMs = usualMs, unauthorizedTtlMs = usualMs, proxies } = options;
    this.#users = new Remembered(clock, () => tokenTtlMs);
    this.#decisions = new Remembered(clock, ({ allowed }) => (allowed ? authorizedTtlMs : unauthorizedTtlMs));
    this.#authorities = { client: parseBundle(options.clientCA), frontProxy: parseBundle(proxies?.ca) };
    this.#proxies = proxies === undefined ? undefined : createRequestHeaderAuthenticator({ ...proxies.headers, clock });
  }

  /** Undefined: 401. */
  async authenticate(request: IncomingMessage): Promise<DelegatedUser | undefined> {
    const socket = request.socket as TLSSocket;
    const peer = this.#peerOf(socket);
    const refused = peer?.error !== undefined;
    if (peer?.authority === 'front-proxy' || peer?.authority === 'both') {
      const user = await this.#spokenFor(request, peer);
      if (user !== undefined) return withGroup(user);
    }
    if (peer?.authority === 'client' || peer?.authority === 'both') {
      const { subject } = socket.getPeerCertificate();
      const name = list(subject?.CN).at(-1);
      if (name !== undefined) return withGroup({ name, groups: list(subject.O) });
    }
    const bearer = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer !== undefined && this.#o.authentication !== undefined) {
      const client = this.#o.authentication;
      return this.#users.get(bearer, async () => {
        const review = await client.authentication.tokenreviews.create({ metadata: {}, spec: { token: bearer } });
        const user = review.status?.user;
        if (review.status?.authenticated !== true || user?.username === undefined) return undefined;
        return withGroup({
          name: user.username,
          groups: user.groups ?? [],
          ...(user.uid === undefined ? {} : { uid: user.uid }),
          ...(user.extra === undefined ? {} : { extra: user.extra }),
        });
      });
    }
    if (refused || (bearer === undefined && request.headers.authorization !== undefined)) return undefined;
    return this.#o.anonymous ? anonymous : undefined;
  }

  /** Undefined: no certificate can be shown there. */
  #peerOf(socket: TLSSocket): Peer | undefined {
    if (typeof socket.getPeerCertificate !== 'function') return undefined;
    if (this.#authorities.client.length === 0 && this.#authorities.frontProxy.length === 0) return undefined;
    let peer = this.#peers.get(socket);
    if (peer === undefined) this.#peers.set(socket, (peer = peerOf(socket, this.#authorities)));
    return peer;
  }

  /** For whom a proxy speaks; undefined: for nobody, or it may not. */
  async #spokenFor(request: IncomingMessage, peer: Peer): Promise<DelegatedUser | undefined> {
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(request.headers))
      if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
    try {
      return await this.#proxies?.authenticate({
        method: request.method ?? 'GET',
        path: request.url ?? '/',
        query: new URLSearchParams(),
        headers,
        rawHeaders: request.rawHeaders,
        body: { kind: 'none' },
        remoteAddress: peer.address,
        ...(peer.certificate === undefined ? {} : { peerCertificate: peer.certificate }),
        peerAuthority: 'front-proxy',
        signal: new AbortController().signal,
        wantsObjects: false,
      });
    } catch {
      // A name that is not on the list, a certificate that has run out: as one that is not there.
      return undefined;
    }
  }

  async authorize(user: DelegatedUser, wants: AccessAttributes): Promise<{ allowed: boolean; reason: string }> {
    if (user.groups.includes('system:masters')) return { allowed: true, reason: '' };
    const client = this.#o.authorization;
    if (client === undefined) return { allowed: false, reason: '' };
    return this.#decisions.get(JSON.stringify([user.name, user.groups, wants]), async () => {
      const review = await client.authorization.subjectaccessreviews.create({
        metadata: {},
        spec: {
          user: user.name,
          groups: [...user.groups],
          ...(user.uid === undefined ? {} : { uid: user.uid }),
          ...(user.extra === undefined
            ? {}
            : { extra: Object.fromEntries(Object.entries(user.extra).map(([k, v]) => [k, [...v]])) }),
          ...('path' in wants ? { nonResourceAttributes: wants } : { resourceAttributes: wants }),
        },
      });
      return { allowed: review.status?.allowed === true, reason: review.status?.reason ?? '' };
    });
  }
}

/** Verb of a request to a path: the method in lower case. */
export function pathAttributes(request: IncomingMessage): AccessAttributes {
  return { verb: (request.method ?? 'GET').toLowerCase(), path: (request.url ?? '/').split('?')[0]! };
}

export interface PublishedAuthorities {
  readonly clientCA?: string;
  readonly proxies?: Proxies;
}

/**
 * The authorities that the cluster publishes for components (`kube-system/extension-apiserver-authentication`).
 * @throws {StatusError} when they cannot be read
 */
export async function publishedAuthorities(client: TypedClient): Promise<PublishedAuthorities> {
  const { data = {} } = await client.core.configmaps.get('extension-apiserver-authentication', 'kube-system');
  const clientCA = data['client-ca-file'];
  const ca = data['requestheader-client-ca-file'];
  const names = (member: string): string[] => {
    const text = data[`requestheader-${member}`];
    return text === undefined || text === '' ? [] : (JSON.parse(text) as string[]);
  };
  return {
    ...(clientCA === undefined ? {} : { clientCA }),
    ...(ca === undefined
      ? {}
      : {
          proxies: {
            ca,
            headers: {
              allowedNames: names('allowed-names'),
              usernameHeaders: names('username-headers'),
              uidHeaders: names('uid-headers'),
              groupHeaders: names('group-headers'),
              extraHeaderPrefixes: names('extra-headers-prefix'),
            },
          },
        }),
  };
}
