/**
 * Who may ask a component other than kube-apiserver: certificates of the cluster's client CA and bearer tokens (by TokenReview)
 * tell who it is, a SubjectAccessReview tells whether they may. Answers are remembered for ten seconds, as upstream's are.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { StatusError } from '../../api/status.ts';
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
  /** Client certificates are checked by the listener; true when it has an authority for them. */
  readonly clientCertificates: boolean;
  /** Requests without credentials are `system:anonymous`; otherwise they are refused. */
  readonly anonymous: boolean;
}

const ttlMs = 10_000;
const limit = 512;

/** A few answers, each good for ten seconds. */
class Remembered<V> {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { value: V; until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async get(key: string, ask: () => Promise<V>): Promise<V> {
    const now = this.#clock.monotonic();
    const hit = this.#entries.get(key);
    if (hit !== undefined && hit.until > now) return hit.value;
    const value = await ask();
    this.#entries.delete(key);
    if (this.#entries.size >= limit) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, { value, until: now + ttlMs });
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

  constructor(options: DelegatedAuthOptions) {
    this.#o = options;
    this.#users = new Remembered(options.clock);
    this.#decisions = new Remembered(options.clock);
  }

  /** Undefined: 401. */
  async authenticate(request: IncomingMessage): Promise<DelegatedUser | undefined> {
    const socket = request.socket as Partial<TLSSocket>;
    let refused = false;
    if (this.#o.clientCertificates && typeof socket.getPeerCertificate === 'function') {
      const certificate = socket.getPeerCertificate();
      const name = list(certificate?.subject?.CN).at(-1);
      if (name !== undefined) {
        if (socket.authorized === true) return withGroup({ name, groups: list(certificate.subject.O) });
        refused = true;
      }
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

/** The client authorities that the cluster publishes for components (`kube-system/extension-apiserver-authentication`). */
export async function publishedClientCA(client: TypedClient): Promise<string | undefined> {
  try {
    const map = await client.core.configmaps.get('extension-apiserver-authentication', 'kube-system');
    return map.data?.['client-ca-file'];
  } catch (error) {
    if (error instanceof StatusError && (error.code === 404 || error.code === 403)) return undefined;
    throw error;
  }
}
