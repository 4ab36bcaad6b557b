/**
 * `--service-account-signing-endpoint`: service account tokens signed by somebody else, who also says which keys verify them
 * (`v1.ExternalJWTSigner` over a Unix socket, KEP-740). Keys are read at the start, when the signer says, and when a token names
 * one that is not known. Loading this file loads gRPC: import it lazily.
 */
import { createPublicKey } from 'node:crypto';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { ioNow } from '../../base/io-time.ts';
import { messageTypes, RpcError, unixClient, type MessageTable, type UnixClient } from '../connect/unix-grpc.ts';
import { HistogramVector, Vector, type Family } from '../metrics/exposition.ts';
import {
  algorithmOf,
  jsonWebKeys,
  tokenAlgorithms,
  verifyWith,
  type ParsedToken,
  type TokenKeys,
  type VerifyKey,
} from './service-account-keys.ts';

const messages: MessageTable = {
  SignJWTRequest: { claims: 'string 1' },
  SignJWTResponse: { header: 'string 1', signature: 'string 2' },
  FetchKeysRequest: {},
  FetchKeysResponse: { keys: '*Key 1', dataTimestamp: 'Timestamp 2', refreshHintSeconds: 'int64 3' },
  Key: { keyId: 'string 1', key: 'bytes 2', excludeFromOidcDiscovery: 'bool 3' },
  Timestamp: { seconds: 'int64 1', nanos: 'int32 2' },
  MetadataRequest: {},
  MetadataResponse: { maxTokenExpirationSeconds: 'int64 1' },
};

interface FetchedKeys {
  readonly keys: readonly { keyId: string; key: Buffer; excludeFromOidcDiscovery: boolean }[];
  readonly dataTimestamp: { readonly seconds: number; readonly nanos: number } | null;
  readonly refreshHintSeconds: number;
}

const callMs = 60_000;
const metadataMs = 10_000;
/** How soon keys are read again that could not be read. */
const fallbackMs = 10_000;
const leastTokenSeconds = 600;
const maxKeyId = 1024;

interface ExternalKey extends VerifyKey {
  readonly excluded: boolean;
}

class SignerMetrics {
  readonly #success = new Vector(
    'gauge',
    'apiserver_externaljwt_fetch_keys_success_timestamp',
    'Unix Timestamp in seconds of the last successful FetchKeys request',
  );
  readonly #data = new Vector(
    'gauge',
    'apiserver_externaljwt_fetch_keys_data_timestamp',
    'Unix Timestamp in seconds of the last successful FetchKeys data_timestamp value returned by the external signer',
  );
  readonly #fetches = new Vector(
    'counter',
    'apiserver_externaljwt_fetch_keys_request_total',
    'Total attempts at syncing supported JWKs',
  );
  readonly #signs = new Vector('counter', 'apiserver_externaljwt_sign_request_total', 'Total attempts at signing JWT');
  readonly #seconds = new HistogramVector(
    'apiserver_externaljwt_request_duration_seconds',
    'Request duration and time for calls to external-jwt-signer',
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  );

  get families(): readonly Family[] {
    return [this.#success, this.#data, this.#fetches, this.#signs, this.#seconds];
  }

  called(method: string, began: number, code: string): void {
    this.#seconds.series(`${method} ${code}`, () => ({ method, code })).observe((ioNow() - began) / 1000);
  }

  fetched(code: string, now: number, data: number | undefined): void {
    this.#fetches.series(code, () => ({ code })).inc();
    if (data === undefined) return;
    this.#success.series('', () => ({})).value = now;
    this.#data.series('', () => ({})).value = data;
  }

  signed(code: string): void {
    this.#signs.series(code, () => ({ code })).inc();
  }
}

/** gRPC's code of an error or of what caused it. */
function codeOf(error: unknown): string {
  for (let e = error; e instanceof Error; e = e.cause) if (e instanceof RpcError) return e.code;
  return 'unknown-non-grpc';
}

function within(what: string, error: unknown): Error {
  return new Error(`${what}: ${(error as Error).message}`, { cause: error });
}

export interface ExternalSignerOptions {
  /** The socket: a path, or an abstract name with `@`. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class ExternalSigner implements TokenKeys {
  readonly families: readonly Family[];
  /** What the signer lets tokens live for. */
  maxTokenSeconds = 0;
  generation = 0;
  readonly #client: UnixClient;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #metrics = new SignerMetrics();
  #keys: readonly ExternalKey[] = [];
  #dataTimestamp = '';
  /** When keys are to be read again, in milliseconds of the clock. */
  #next = 0;
  #timer: Timer | undefined;
  #syncing: Promise<void> | undefined;
  #closed = false;

  constructor(options: ExternalSignerOptions) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.families = this.#metrics.families;
    this.#client = unixClient({
      endpoint: options.endpoint,
      service: '/v1.ExternalJWTSigner/',
      types: messageTypes('v1', messages),
      waitForReady: true,
    });
  }

  /** Reads keys and metadata. @throws {Error} with upstream's message */
  async start(): Promise<void> {
    try {
      await this.#sync();
    } catch (error) {
      throw within('while initially filling key cache: while performing initial cache fill', error);
    }
    const { maxTokenExpirationSeconds: max } = await this.#call<{ maxTokenExpirationSeconds: number }>(
      'Metadata',
      {},
      metadataMs,
    );
    if (max < leastTokenSeconds)
      throw new Error(
        `max token life supported by external-jwt-signer (${max}s) is less than acceptable (min ${leastTokenSeconds}s)`,
      );
    this.maxTokenSeconds = max;
    this.#again(this.#next - this.#clock.now());
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client.close();
  }

  async #call<A>(method: string, request: object, timeoutMs: number, names?: readonly [string, string]): Promise<A> {
    const began = ioNow();
    try {
      const answer = await this.#client.call<A>(method, request, timeoutMs, names);
      this.#metrics.called(method, began, 'OK');
      return answer;
    } catch (error) {
      this.#metrics.called(method, began, codeOf(error));
      throw error;
    }
  }

  #again(ms: number): void {
    if (this.#closed) return;
    this.#timer = this.#clock.setTimer(Math.max(0, ms), () => {
      this.#sync().then(
        () => this.#again(this.#next - this.#clock.now()),
        (error: unknown) => {
          if (this.#closed) return;
          this.#logger.error('when syncing supported public keys (stale set of keys will be supported)', { error });
          this.#again(fallbackMs);
        },
      );
    });
  }

  /** One at a time, for everybody who asks meanwhile. */
  #sync(): Promise<void> {
    this.#syncing ??= this.#fetch().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #fetch(): Promise<void> {
    let fetched: FetchedKeys;
    let keys: ExternalKey[];
    try {
      try {
        fetched = await this.#call<FetchedKeys>('FetchKeys', {}, callMs);
      } catch (error) {
        throw within('while getting externally supported jwt signing keys', error);
      }
      keys = readKeys(fetched);
    } catch (error) {
      this.#metrics.fetched(codeOf(error), 0, undefined);
      throw within('while fetching token verification keys', error);
    }
    const now = this.#clock.now();
    const { seconds, nanos } = fetched.dataTimestamp!;
    this.#metrics.fetched('OK', now / 1000, seconds + nanos / 1e9);
    this.#next = now + fetched.refreshHintSeconds * 1000;
    const stamp = `${seconds}.${nanos} ${keys.map((k) => `${k.id} ${k.excluded}`).join(' ')}`;
    this.#keys = keys;
    if (stamp === this.#dataTimestamp) return;
    this.#dataTimestamp = stamp;
    this.generation++;
  }

  /** Keys of this id, all of them for none; undefined: the signer has to be asked. */
  #find(id: string): readonly ExternalKey[] | undefined {
    if (id === '') return this.#keys;
    const found = this.#keys.filter((k) => k.id === id);
    return found.length === 0 ? undefined : found;
  }

  async #keysOf(id: string): Promise<readonly ExternalKey[]> {
    const known = this.#find(id);
    if (known !== undefined) return known;
    try {
      await this.#sync();
    } catch (error) {
      this.#logger.error('Error while syncing keys', { error });
      return [];
    }
    const found = this.#find(id);
    if (found === undefined) this.#logger.error('a key is not there after a refresh', { keyId: id });
    return found ?? [];
  }

  async sign(claims: Readonly<Record<string, unknown>>): Promise<string> {
    try {
      const token = await this.#sign(Buffer.from(JSON.stringify(claims)).toString('base64url'));
      this.#metrics.signed('OK');
      return token;
    } catch (error) {
      this.#metrics.signed(codeOf(error));
      throw error;
    }
  }

  async #sign(claims: string): Promise<string> {
    let answer: { header: string; signature: string };
    try {
      answer = await this.#call('Sign', { claims }, callMs, ['SignJWTRequest', 'SignJWTResponse']);
    } catch (error) {
      throw within('while signing jwt', error);
    }
    try {
      await this.#checkHeader(answer.header);
    } catch (error) {
      throw within('while validating header', error);
    }
    if (answer.signature === '') throw new Error('empty signature returned');
    return `${answer.header}.${claims}.${answer.signature}`;
  }

  async #checkHeader(text: string): Promise<void> {
    let header: Record<string, unknown>;
    try {
      header = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Record<string, unknown>;
    } catch (error) {
      throw within('while parsing header JSON', error);
    }
    for (const name of Object.keys(header))
      if (!['alg', 'kid', 'typ'].includes(name))
        throw new Error(`while parsing header JSON: json: unknown field ${JSON.stringify(name)}`);
    const { alg = '', kid = '', typ } = header;
    if (typ !== 'JWT') throw new Error('bad type');
    if (typeof kid !== 'string' || kid === '') throw new Error('key id missing');
    if (kid.length > maxKeyId) throw new Error('key id longer than 1 kb');
    if (!tokenAlgorithms.some((a) => a === alg)) throw new Error(`bad signing algorithm ${JSON.stringify(alg)}`);
    for (const key of await this.#keysOf(kid))
      if (key.excluded) throw new Error(`key used for signing JWT (kid: ${kid}) is excluded from OIDC discovery docs`);
  }

  verify(token: ParsedToken): void | Promise<void> {
    const kid = token.header['kid'];
    const id = typeof kid === 'string' ? kid : '';
    const known = this.#find(id);
    if (known !== undefined) {
      verifyWith(known, token);
      return;
    }
    return this.#keysOf(id).then((keys) => verifyWith(keys, token));
  }

  jwks(): ReturnType<TokenKeys['jwks']> {
    return jsonWebKeys(this.#keys.filter((k) => !k.excluded));
  }

  maxAgeSeconds(): number {
    return Math.max(0, Math.floor((this.#next - this.#clock.now()) / 1000));
  }
}

function readKeys({ keys, dataTimestamp, refreshHintSeconds }: FetchedKeys): ExternalKey[] {
  if (refreshHintSeconds <= 0) throw new Error(`found invalid refresh hint (${refreshHintSeconds}s)`);
  if (keys.length === 0) throw new Error('found no keys');
  if (dataTimestamp === null) throw new Error('invalid data timestamp: proto: invalid nil Timestamp');
  return keys.map(({ keyId: id, key: der, excludeFromOidcDiscovery: excluded }) => {
    if (id === '' || id.length > maxKeyId) throw new Error(`found invalid public key id ${JSON.stringify(id)}`);
    if (der.length === 0) throw new Error('found empty public key');
    try {
      const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
      return { id, key, algorithm: algorithmOf(key), excluded };
    } catch (error) {
      throw within('while parsing external public keys', error);
    }
  });
}
