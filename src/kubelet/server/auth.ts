/**
 * Who may use the kubelet's HTTPS endpoint: a client certificate of the cluster's authority or a bearer token tells who calls
 * (TokenReview), a SubjectAccessReview on the Node whether it may. Answers are kept for a while, as upstream's webhook mode does.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { HttpError } from './target.ts';

export interface KubeletUser {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface NodeAccess {
  readonly verb: string;
  readonly nodeName: string;
  /** Any of these is enough. */
  readonly subresources: readonly string[];
}

export interface KubeletAuth {
  /** Undefined: nobody it knows. */
  authenticate(request: IncomingMessage): Promise<KubeletUser | undefined>;
  authorize(user: KubeletUser, access: NodeAccess, subresource: string): Promise<boolean>;
}

const verbs: Readonly<Record<string, string>> = {
  POST: 'create',
  GET: 'get',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

const under = (path: string, prefix: string): boolean => path === prefix || path.startsWith(`${prefix}/`);

/** What a request needs on `nodes/{name}`: fine-grained subresources first, `proxy` for the rest. */
export function nodeAccess(nodeName: string, method: string, path: string): NodeAccess {
  const subresources: string[] = [];
  if (under(path, '/pods') || under(path, '/runningpods')) subresources.push('pods');
  else if (under(path, '/healthz')) subresources.push('healthz');
  else if (under(path, '/configz')) subresources.push('configz');
  if (under(path, '/stats')) subresources.push('stats');
  else if (under(path, '/metrics')) subresources.push('metrics');
  else if (under(path, '/logs')) subresources.push('log');
  else if (under(path, '/checkpoint')) subresources.push('checkpoint');
  else if (under(path, '/statusz')) subresources.push('statusz');
  else if (under(path, '/flagz')) subresources.push('configz');
  else subresources.push('proxy');
  return { verb: verbs[method] ?? '', nodeName, subresources };
}

/** Throws 401 or 403 unless the request may go on. Without `auth` everything may. */
export async function refusalOf(
  auth: KubeletAuth | undefined,
  nodeName: string,
  request: IncomingMessage,
): Promise<void> {
  if (auth === undefined) return;
  const user = await auth.authenticate(request);
  if (user === undefined) throw new HttpError(401, 'Unauthorized');
  const path = new URL(request.url ?? '/', 'http://kubelet').pathname;
  const access = nodeAccess(nodeName, request.method ?? 'GET', path);
  for (const subresource of access.subresources) {
    try {
      if (await auth.authorize(user, access, subresource)) return;
    } catch (error) {
      throw new HttpError(
        500,
        `Authorization error (user=${user.name}, verb=${access.verb}, resource=nodes, subresource=${subresource})`,
        { cause: error },
      );
    }
  }
  throw new HttpError(
    403,
    `Forbidden (user=${user.name}, verb=${access.verb}, resource=nodes, subresource(s)=[${access.subresources.join(' ')}])\n`,
  );
}

/** Answers that are kept for a while; the oldest go when there are too many. */
class TtlCache<V> {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { value: V; until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > this.#clock.monotonic()) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: V, ms: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: this.#clock.monotonic() + ms });
    if (this.#entries.size > 1024) this.#entries.delete(this.#entries.keys().next().value!);
  }
}

export interface DelegatedAuthOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  /** `--anonymous-auth`, default false. */
  readonly anonymous?: boolean;
  /** Upstream's defaults: 2 min, 5 min, 30 s. */
  readonly tokenTtlMs?: number;
  readonly allowTtlMs?: number;
  readonly denyTtlMs?: number;
}

/** Common names and organisations of a certificate's subject may be several values. */
const values = (v: string | string[] | undefined): string[] => (v === undefined ? [] : [v].flat());

/** Asks the API server (`--authentication-token-webhook`, `--authorization-mode=Webhook`). */
export function createDelegatedAuth(options: DelegatedAuthOptions): KubeletAuth {
  const { client, clock } = options;
  const tokens = new TtlCache<KubeletUser>(clock);
  const decisions = new TtlCache<boolean>(clock);
  const certificateUser = (request: IncomingMessage): KubeletUser | undefined => {
    const socket = request.socket as Partial<TLSSocket>;
    if (socket.authorized !== true || socket.getPeerCertificate === undefined) return undefined;
    const subject = socket.getPeerCertificate().subject as
      | { CN?: string | string[]; O?: string | string[] }
      | undefined;
    const name = values(subject?.CN)[0];
    return name === undefined || name === ''
      ? undefined
      : { name, groups: [...values(subject?.O), 'system:authenticated'] };
  };
  const tokenUser = async (token: string): Promise<KubeletUser | undefined> => {
    // Tokens themselves are not kept.
    const key = createHash('sha256').update(token).digest('base64');
    const known = tokens.get(key);
    if (known !== undefined) return known;
    const review = await client.authentication.tokenreviews.create({ metadata: {}, spec: { token } });
    const user = review.status?.user;
    if (review.status?.authenticated !== true || user === undefined) return undefined;
    const found: KubeletUser = {
      name: user.username ?? '',
      ...(user.uid === undefined ? {} : { uid: user.uid }),
      groups: user.groups ?? [],
      ...(user.extra === undefined ? {} : { extra: user.extra }),
    };
    tokens.set(key, found, options.tokenTtlMs ?? 120_000);
    return found;
  };
  return {
    authenticate: async (request) => {
      const byCertificate = certificateUser(request);
      if (byCertificate !== undefined) return byCertificate;
      const bearer = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
      if (bearer !== undefined) return tokenUser(bearer);
      return options.anonymous === true ? { name: 'system:anonymous', groups: ['system:unauthenticated'] } : undefined;
    },
    authorize: async (user, access, subresource) => {
      const spec = {
        user: user.name,
        groups: [...user.groups],
        ...(user.uid === undefined ? {} : { uid: user.uid }),
        ...(user.extra === undefined
          ? {}
          : { extra: Object.fromEntries(Object.entries(user.extra).map(([k, v]) => [k, [...v]])) }),
        resourceAttributes: {
          verb: access.verb,
          version: 'v1',
          resource: 'nodes',
          subresource,
          name: access.nodeName,
        },
      };
      const key = JSON.stringify(spec);
      const known = decisions.get(key);
      if (known !== undefined) return known;
      const review = await client.authorization.subjectaccessreviews.create({ metadata: {}, spec });
      const allowed = review.status?.allowed === true;
      decisions.set(key, allowed, allowed ? (options.allowTtlMs ?? 300_000) : (options.denyTtlMs ?? 30_000));
      return allowed;
    },
  };
}
