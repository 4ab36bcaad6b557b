/**
 * Service account tokens (KEP-1205 bound tokens and legacy Secret tokens): the claims they carry, and the check that the
 * account and the object a token is bound to still are the ones it was made for. Signatures are verified once a token;
 * the objects are looked at on every request, in the watch cache first and in the store when they are missing there.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import { StatusError } from '../../api/status.ts';
import type { Secret } from '../../api/types/index.gen.ts';
import { BootstrapWriter } from '../bootstrap/writer.ts';
import type { Remarks } from '../context.ts';
import type { Registries } from '../registry.ts';
import type { Committed, KubeObjectLike, UserInfo } from '../request.ts';
import { loopbackContext } from '../loopback.ts';
import {
  serviceAccountGroups,
  serviceAccountUser,
  splitServiceAccountUser,
  withAuthenticatedGroup,
  type TokenAuthenticator,
  type TokenIdentity,
} from './authenticator.ts';
import type { ServiceAccountTokenMetrics } from './metrics.ts';
import { parseToken, type TokenKeys } from './service-account-keys.ts';

export const defaultIssuer = 'https://kubernetes.default.svc.cluster.local';
const legacyIssuer = 'kubernetes/serviceaccount';
const invalidSinceLabel = 'kubernetes.io/legacy-token-invalid-since';
const lastUsedLabel = 'kubernetes.io/legacy-token-last-used';
/** What clocks may differ by (go-jose's default leeway). */
const leewaySeconds = 60;
const cacheLimit = 8192;
/** Tokens whose user is kept as long as nothing changes. */
const knownLimit = 1024;

interface Reference {
  readonly name: string;
  readonly uid: string;
}

/** What a token is made for. */
export interface TokenBinding {
  readonly namespace: string;
  readonly serviceAccount: Reference;
  readonly pod?: Reference;
  readonly secret?: Reference;
  /** With a pod: the node it runs on (`uid` may be empty); alone: the node the token is bound to. */
  readonly node?: Reference;
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  /** Seconds after which use of the token is remarked on; 0 for never. */
  readonly warnAfterSeconds: number;
}

export interface ServiceAccountTokensOptions {
  /** The first issuer signs; all are accepted. */
  readonly issuers: readonly string[];
  /** `--api-audiences`; upstream's default is the issuers. */
  readonly audiences: readonly string[];
  readonly keys: TokenKeys;
  readonly registries: Registries;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: ServiceAccountTokenMetrics;
  /** `--service-account-lookup`: whether legacy tokens are held against their Secrets; default true. */
  readonly lookup?: boolean;
}

/** A bound token that was good, and what that stood on. */
interface KnownToken {
  readonly user: UserInfo;
  /** Cluster time between which the token is valid, leeway included. */
  readonly from: number;
  readonly until: number;
  readonly stands: readonly {
    readonly resource: string;
    readonly namespace: string;
    readonly name: string;
    readonly committed: Committed;
  }[];
}

interface VerifiedToken {
  readonly legacy: boolean;
  readonly claims: Readonly<Record<string, unknown>>;
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function reference(value: unknown): Reference | undefined {
  const r = record(value);
  return r === undefined ? undefined : { name: text(r['name']), uid: text(r['uid']) };
}

function omitEmptyUid(r: Reference): Record<string, string> {
  return r.uid === '' ? { name: r.name } : { name: r.name, uid: r.uid };
}

/** Go's %q of a string slice. */
function quotedList(values: readonly string[]): string {
  return `[${values.map((v) => JSON.stringify(v)).join(' ')}]`;
}

export class ServiceAccountTokens implements TokenAuthenticator {
  readonly #options: ServiceAccountTokensOptions;
  readonly #verified = new Map<string, VerifiedToken>();
  readonly #known = new Map<string, KnownToken>();
  /** Of the keys that these were verified with. */
  #generation = 0;
  readonly #writer: BootstrapWriter;
  /** Secrets whose last use is being written down. */
  readonly #marking = new Set<string>();

  constructor(options: ServiceAccountTokensOptions) {
    this.#options = options;
    this.#writer = new BootstrapWriter(options.registries);
  }

  get audiences(): readonly string[] {
    return this.#options.audiences;
  }

  /** Signs a bound token. Returns it with its id (the JTI claim). */
  async issue(binding: TokenBinding): Promise<{ token: string; id: string }> {
    const now = Math.floor(this.#options.clock.now() / 1000);
    const id = this.#options.random.uuid();
    const kubernetes: Record<string, unknown> = {
      namespace: binding.namespace,
      ...(binding.node === undefined ? {} : { node: omitEmptyUid(binding.node) }),
      ...(binding.pod === undefined ? {} : { pod: omitEmptyUid(binding.pod) }),
      ...(binding.secret === undefined ? {} : { secret: omitEmptyUid(binding.secret) }),
      serviceaccount: omitEmptyUid(binding.serviceAccount),
      ...(binding.warnAfterSeconds > 0 ? { warnafter: now + binding.warnAfterSeconds } : {}),
    };
    const token = await this.#options.keys.sign({
      aud: binding.audiences,
      exp: now + binding.expirationSeconds,
      iat: now,
      iss: this.#options.issuers[0] ?? defaultIssuer,
      jti: id,
      'kubernetes.io': kubernetes,
      nbf: now,
      sub: serviceAccountUser(binding.namespace, binding.serviceAccount.name),
    });
    return { token, id };
  }

  async authenticateToken(
    token: string,
    audiences: readonly string[] | undefined,
    remarks?: Remarks,
  ): Promise<TokenIdentity | undefined> {
    const checked = this.#verify(token);
    const verified = checked instanceof Promise ? await checked : checked;
    if (verified === undefined) return undefined;
    const { claims } = verified;
    const own = this.#options.audiences;
    const aud = claims['aud'];
    let tokenAudiences = Array.isArray(aud) ? aud.map(String) : text(aud) === '' ? [] : [text(aud)];
    if (tokenAudiences.length === 0) tokenAudiences = [...own];
    const asked = audiences ?? own;
    const granted = tokenAudiences.filter((a) => asked.includes(a));
    if (granted.length === 0 && own.length > 0)
      throw new Error(
        `token audiences ${quotedList(tokenAudiences)} is invalid for the target audiences ${quotedList(asked)}`,
      );
    if (verified.legacy) return { user: await this.#legacyUser(token, claims, remarks), audiences: granted };
    const user = await this.#boundUser(claims);
    this.#noteAge(claims, remarks);
    if (audiences === undefined) this.#keep(token, claims, user);
    return { user, audiences: granted };
  }

  /** See `Authenticator.known`: the account and what the token is bound to are still the very objects of the last check. */
  known(token: string): UserInfo | undefined {
    this.#forgetOld();
    const known = this.#known.get(token);
    if (known === undefined) return undefined;
    const { registries, clock } = this.#options;
    const now = clock.now();
    let good = now >= known.from && now <= known.until;
    for (const { resource, namespace, name, committed } of known.stands)
      good &&= registries.cachedGet('', resource, namespace, name) === committed;
    if (good) return known.user;
    this.#known.delete(token);
    return undefined;
  }

  #keep(token: string, claims: Readonly<Record<string, unknown>>, user: UserInfo): void {
    const kubernetes = record(claims['kubernetes.io']) ?? {};
    const namespace = text(kubernetes['namespace']);
    const bound = [
      ['serviceaccounts', namespace, reference(kubernetes['serviceaccount'])],
      ['secrets', namespace, reference(kubernetes['secret'])],
      ['pods', namespace, reference(kubernetes['pod'])],
      ['nodes', '', kubernetes['pod'] === undefined ? reference(kubernetes['node']) : undefined],
    ] as const;
    const stands: KnownToken['stands'][number][] = [];
    for (const [resource, ns, ref] of bound) {
      if (ref === undefined) continue;
      const committed = this.#options.registries.cachedGet('', resource, ns, ref.name);
      if (committed === undefined) return;
      const { metadata } = committed.object();
      // One that is being deleted stops being good at some time without changing again.
      if (metadata['uid'] !== ref.uid || metadata['deletionTimestamp'] !== undefined) return;
      stands.push({ resource, namespace: ns, name: ref.name, committed });
    }
    const seconds = (claim: string, otherwise: number): number => {
      const value = claims[claim];
      return typeof value === 'number' ? value : otherwise;
    };
    const warnAfter = kubernetes['warnafter'];
    if (this.#known.size >= knownLimit) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(token, {
      user: withAuthenticatedGroup(user),
      from: (Math.max(seconds('nbf', 0), seconds('iat', 0)) - leewaySeconds) * 1000,
      // From then on each use is remarked on.
      until: Math.min(
        (seconds('exp', Infinity) + leewaySeconds) * 1000,
        typeof warnAfter === 'number' ? warnAfter * 1000 : Infinity,
      ),
      stands,
    });
  }

  /** Issuer and signature; the outcome of good ones is kept. */
  #verify(token: string): VerifiedToken | undefined | Promise<VerifiedToken> {
    this.#forgetOld();
    const digest = createHash('sha256').update(token).digest('base64');
    const hit = this.#verified.get(digest);
    if (hit !== undefined) return hit;
    const parsed = parseToken(token);
    if (parsed === undefined) return undefined;
    const issuer = text(parsed.claims['iss']);
    const legacy = issuer === legacyIssuer;
    if (!legacy && !this.#options.issuers.includes(issuer)) return undefined;
    const checked = this.#options.keys.verify(parsed);
    const keep = (): VerifiedToken => {
      const verified = { legacy, claims: parsed.claims };
      if (this.#verified.size >= cacheLimit) this.#verified.delete(this.#verified.keys().next().value!);
      this.#verified.set(digest, verified);
      return verified;
    };
    return checked instanceof Promise ? checked.then(keep) : keep();
  }

  /** What was found good by keys that are no longer there is looked at again. */
  #forgetOld(): void {
    const { generation } = this.#options.keys;
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.#verified.clear();
    this.#known.clear();
  }

  async #boundUser(claims: Readonly<Record<string, unknown>>): Promise<UserInfo> {
    const now = this.#options.clock.now() / 1000;
    const exp = claims['exp'];
    const nbf = claims['nbf'];
    const iat = claims['iat'];
    if (typeof nbf === 'number' && now + leewaySeconds < nbf) throw new Error('service account token is not valid yet');
    if (typeof exp === 'number' && now - leewaySeconds > exp) throw new Error('service account token has expired');
    if (typeof iat === 'number' && now + leewaySeconds < iat)
      throw new Error('service account token is issued in the future');

    const kubernetes = record(claims['kubernetes.io']) ?? {};
    const namespace = text(kubernetes['namespace']);
    const account = reference(kubernetes['serviceaccount']) ?? { name: '', uid: '' };
    const pod = reference(kubernetes['pod']);
    const secret = reference(kubernetes['secret']);
    const node = reference(kubernetes['node']);

    const found = await this.#find('serviceaccounts', namespace, account.name);
    if (found === undefined) throw new Error(`serviceaccounts "${account.name}" not found`);
    if (found.metadata['uid'] !== account.uid)
      throw new Error(`service account UID (${text(found.metadata['uid'])}) does not match claim (${account.uid})`);
    if (this.#deleted(found)) throw new Error(`service account ${namespace}/${account.name} has been deleted`);

    if (secret !== undefined) await this.#checkBound('secrets', namespace, secret, 'secret', 'secret');
    if (pod !== undefined) await this.#checkBound('pods', namespace, pod, 'pod', 'pod');
    else if (node !== undefined) await this.#checkBound('nodes', '', node, 'node', 'node');

    const extra: Record<string, readonly string[]> = {};
    if (pod !== undefined && pod.name !== '' && pod.uid !== '') {
      extra['authentication.kubernetes.io/pod-name'] = [pod.name];
      extra['authentication.kubernetes.io/pod-uid'] = [pod.uid];
    }
    const jti = text(claims['jti']);
    if (jti !== '') extra['authentication.kubernetes.io/credential-id'] = [`JTI=${jti}`];
    if (node !== undefined && node.name !== '') {
      extra['authentication.kubernetes.io/node-name'] = [node.name];
      if (node.uid !== '') extra['authentication.kubernetes.io/node-uid'] = [node.uid];
    }
    return {
      name: serviceAccountUser(namespace, account.name),
      uid: account.uid,
      groups: serviceAccountGroups(namespace),
      ...(Object.keys(extra).length === 0 ? {} : { extra }),
    };
  }

  /** A client that never reads its token file again is told of in the audit log. */
  #noteAge(claims: Readonly<Record<string, unknown>>, remarks: Remarks | undefined): void {
    const warnAfter = record(claims['kubernetes.io'])?.['warnafter'];
    if (typeof warnAfter !== 'number' || warnAfter === 0) return;
    const { clock, metrics } = this.#options;
    const late = Math.floor(clock.now() / 1000) - warnAfter;
    if (clock.now() <= warnAfter * 1000) {
      metrics.valid.inc();
      return;
    }
    metrics.stale.inc();
    remarks?.annotate(
      'authentication.k8s.io/stale-token',
      `subject: ${text(claims['sub'])}, seconds after warning threshold: ${late}`,
    );
  }

  async #checkBound(resource: string, namespace: string, bound: Reference, what: string, claim: string): Promise<void> {
    const object = await this.#find(resource, namespace, bound.name);
    if (object === undefined) throw new Error('service account token has been invalidated');
    const uid = text(object.metadata['uid']);
    if (uid !== bound.uid) {
      const subject = what === 'secret' ? 'secret' : what;
      throw new Error(`${subject} UID (${uid}) does not match service account ${claim} ref claim (${bound.uid})`);
    }
    if (this.#deleted(object)) throw new Error('service account token has been invalidated');
  }

  /** Marked for deletion longer ago than the leeway. */
  #deleted(object: KubeObjectLike): boolean {
    const at = object.metadata['deletionTimestamp'];
    return typeof at === 'string' && Date.parse(at) < this.#options.clock.now() - leewaySeconds * 1000;
  }

  async #legacyUser(
    token: string,
    claims: Readonly<Record<string, unknown>>,
    remarks: Remarks | undefined,
  ): Promise<UserInfo> {
    const { metrics } = this.#options;
    metrics.legacy.inc();
    const sub = text(claims['sub']);
    if (sub === '') throw new Error('sub claim is missing');
    const need = (claim: string, name: string): string => {
      const value = text(claims[`kubernetes.io/serviceaccount/${claim}`]);
      if (value === '') throw new Error(`${name} claim is missing`);
      return value;
    };
    const namespace = need('namespace', 'namespace');
    const secretName = need('secret.name', 'secretName');
    const name = need('service-account.name', 'serviceAccountName');
    const uid = need('service-account.uid', 'serviceAccountUID');
    const subject = splitServiceAccountUser(sub);
    if (subject === undefined || subject.namespace !== namespace || subject.name !== name)
      throw new Error('sub claim is invalid');
    const user = { name: serviceAccountUser(namespace, name), uid, groups: serviceAccountGroups(namespace) };
    if (this.#options.lookup === false) return user;
    const secret = await this.#find('secrets', namespace, secretName);
    if (secret === undefined || secret.metadata['deletionTimestamp'] !== undefined)
      throw new Error('Token has been invalidated');
    const held = Buffer.from(text(record(secret['data'])?.['token']), 'base64');
    const given = Buffer.from(token);
    if (held.length !== given.length || !timingSafeEqual(held, given))
      throw new Error("Token does not match server's copy");
    const account = await this.#find('serviceaccounts', namespace, name);
    if (account === undefined) throw new Error(`serviceaccounts "${name}" not found`);
    if (account.metadata['deletionTimestamp'] !== undefined)
      throw new Error(`ServiceAccount ${namespace}/${name} has been deleted`);
    if (account.metadata['uid'] !== uid)
      throw new Error(`ServiceAccount UID (${text(account.metadata['uid'])}) does not match claim (${uid})`);
    this.#markUse(secret, namespace, secretName);
    const labels = record(secret.metadata['labels']);
    if (text(labels?.[invalidSinceLabel]) !== '') {
      metrics.invalidAuto.inc();
      remarks?.annotate('authentication.k8s.io/legacy-token-invalidated', `${secretName}/${namespace}`);
      throw new Error(
        `the token in secret ${namespace}/${secretName} for service account ${namespace}/${name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '${invalidSinceLabel}' label from the secret to temporarily allow use of this token`,
      );
    }
    const references = account['secrets'];
    if (Array.isArray(references) && references.some((r) => record(r)?.['name'] === secretName)) {
      metrics.auto.inc();
      remarks?.warn(
        'Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.',
      );
      remarks?.annotate('authentication.k8s.io/legacy-token-autogenerated-secret', secretName);
    } else {
      metrics.manual.inc();
      remarks?.annotate('authentication.k8s.io/legacy-token-manual-secret', secretName);
    }
    return user;
  }

  /** The day of the last use stands in a label, by which unused tokens are found. */
  #markUse(secret: KubeObjectLike, namespace: string, name: string): void {
    const { clock, logger } = this.#options;
    const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
    const today = day(clock.now());
    const last = text(record(secret.metadata['labels'])?.[lastUsedLabel]);
    const key = `${namespace}/${name}`;
    // Another server's clock may be past midnight already.
    if (last === today || last === day(clock.now() + 86_400_000) || this.#marking.has(key)) return;
    this.#marking.add(key);
    const write = async (): Promise<void> => {
      try {
        await this.#writer.update('', 'secrets', { namespace, name }, (current) => {
          if (current.metadata.uid !== secret.metadata['uid']) throw new Error('the secret is another one by now');
          const labels = { ...current.metadata.labels, [lastUsedLabel]: today };
          return { ...current, metadata: { ...current.metadata, labels } };
        });
      } catch (error) {
        logger.error('Failed to label legacy service account token with last-used date', { secret: key, error });
      } finally {
        this.#marking.delete(key);
      }
    };
    void clock.activity.track(write());
  }

  /** A Secret by name, from the watch cache where it is there. */
  async secret(namespace: string, name: string): Promise<Secret | undefined> {
    return (await this.#find('secrets', namespace, name)) as Secret | undefined;
  }

  async #find(resource: string, namespace: string, name: string): Promise<KubeObjectLike | undefined> {
    const { registries } = this.#options;
    const cached = registries.cachedGet('', resource, namespace, name);
    if (cached !== undefined) return cached.object();
    const registry = registries.registry('', resource);
    if (registry === undefined || name === '') return undefined;
    try {
      const ctx = loopbackContext({ verb: 'get', resource: registry.resource, namespace, name });
      return (await registry.get(ctx, namespace, name, '')).object();
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return undefined;
      throw error;
    }
  }
}
