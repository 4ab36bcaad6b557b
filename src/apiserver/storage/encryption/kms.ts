/**
 * KMS v2: each value is encrypted with a key made of a seed, and the seed by a plugin behind a socket. The seed is kept as long as
 * the plugin names the same key, and may be used for writing three minutes after the plugin was last well; what was read once
 * needs no plugin again.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../../base/clock.ts';
import { ioNow, ioTimer } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Random } from '../../../base/random.ts';
import { isDNS1123Subdomain } from '../../../api/names.ts';
import { aesGcm, hkdfGcm } from './aes.ts';
import type { KmsWire } from './kms-channel.ts';
import type { Decrypted, Transformer } from './transformer.ts';

export interface KmsService {
  status(): Promise<{ readonly version: string; readonly healthz: string; readonly keyId: string }>;
  encrypt(
    uid: string,
    plaintext: Buffer,
  ): Promise<{
    readonly ciphertext: Buffer;
    readonly keyId: string;
    readonly annotations: Readonly<Record<string, Buffer>>;
  }>;
  decrypt(
    uid: string,
    request: {
      readonly ciphertext: Buffer;
      readonly keyId: string;
      readonly annotations: Readonly<Record<string, Buffer>>;
    },
  ): Promise<Buffer>;
  close(): void;
}

/** The stored form; members as upstream's message names them. */
export interface EncryptedObject {
  readonly encryptedData: Buffer;
  readonly keyID: string;
  readonly encryptedDEKSource: Buffer;
  readonly annotations: Readonly<Record<string, Buffer>>;
  /** 0: an AES-GCM key; 1: a seed for HKDF. */
  readonly encryptedDEKSourceType: number;
}

const seedType = 1;
const seedSize = 32;
const positiveIntervalMs = 60_000;
const negativeIntervalMs = 10_000;
const writeTtlMs = 3 * 60_000;
const healthNegativeTtlMs = 3000;
const healthPositiveTtlMs = 20_000;
const cacheTtlMs = 24 * 3_600_000;
const maxCached = 10_000;
const maxKeyId = 1024;
const maxSource = 1024;
const maxAnnotations = 32 * 1024;

/** A key's name as it is told; never the name itself. */
export function hashOf(text: string): string {
  return text === '' ? '' : `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

function checkKeyId(keyId: string): void {
  if (keyId === '') throw new Error('keyID is empty');
  const size = Buffer.byteLength(keyId);
  if (size > maxKeyId) throw new Error(`keyID is ${size} bytes, which exceeds the max size of ${maxKeyId}`);
}

function checkObject(o: EncryptedObject): void {
  if (o.encryptedDEKSourceType !== 0 && o.encryptedDEKSourceType !== seedType)
    throw new Error(`unknown encryptedDEKSourceType: ${o.encryptedDEKSourceType}`);
  if (o.encryptedData.length === 0) throw new Error('encrypted data is empty');
  const source = o.encryptedDEKSource.length;
  if (source === 0) throw new Error('failed to validate encrypted DEK source: encrypted DEK source is empty');
  if (source > maxSource)
    throw new Error(
      `failed to validate encrypted DEK source: encrypted DEK source is ${source} bytes, which exceeds the max size of ${maxSource}`,
    );
  try {
    checkKeyId(o.keyID);
  } catch (error) {
    throw new Error(`failed to validate key id: ${(error as Error).message}`, { cause: error });
  }
  let total = 0;
  for (const [name, value] of Object.entries(o.annotations)) {
    if (isDNS1123Subdomain(name).length > 0 || !name.includes('.'))
      throw new Error(
        `failed to validate annotations: annotations: Invalid value: ${JSON.stringify(name)}: should be a domain with at least two segments separated by dots`,
      );
    total += Buffer.byteLength(name) + value.length;
  }
  if (total > maxAnnotations)
    throw new Error(
      `failed to validate annotations: total size of annotations is ${total}, which exceeds the max size of ${maxAnnotations}`,
    );
}

/** Tells encrypted seeds apart. */
function cacheKey(o: EncryptedObject): string {
  const annotations = Object.entries(o.annotations)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => [k, v.toString('base64')]);
  return JSON.stringify([o.encryptedDEKSourceType, o.encryptedDEKSource.toString('base64'), o.keyID, ...annotations]);
}

/** What is written with now. */
interface State {
  readonly transformer: Transformer;
  readonly keyID: string;
  readonly encryptedDEKSource: Buffer;
  readonly annotations: Readonly<Record<string, Buffer>>;
  readonly cacheKey: string;
  readonly expires: number;
}

/** Told of what a provider does; metrics are one. */
export interface KmsObserver {
  /** A seed had to be asked of the plugin. */
  missed(): void;
  called(provider: string, method: string, code: string, seconds: number): void;
  /** A value was written or read with a key of this name. */
  used(provider: string, type: 'to_storage' | 'from_storage', keyId: string): void;
  /** The plugin has named its key; undefined: the name is none. */
  named(provider: string, keyId: string | undefined, error?: 'empty' | 'too_long'): void;
  /** A key or seed was made. */
  generated(seconds: number): void;
  /** v1 alone: a value came to be written or read. */
  arrived(type: 'to_storage' | 'from_storage'): void;
  /** v1 alone: which part of the cache of keys is full. */
  filled(part: number): void;
}

export interface KmsProviderOptions {
  readonly name: string;
  readonly endpoint: string;
  readonly timeoutMs: number;
  readonly wire: KmsWire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly observer?: KmsObserver;
}

/** A plugin of either version, as the whole of encryption sees it. */
export interface KmsPlugin extends Transformer {
  readonly name: string;
  /** What its values begin with. */
  readonly prefix: string;
  readonly cacheSize: number;
  start(): Promise<void>;
  /** @throws {Error} when it is not well */
  check(): Promise<void>;
  close(): void;
}

export class KmsProvider implements KmsPlugin {
  get prefix(): string {
    return `k8s:enc:kms:v2:${this.name}:`;
  }

  readonly name: string;
  readonly #options: KmsProviderOptions;
  readonly #service: KmsService;
  readonly #cache = new Map<string, { readonly transformer: Transformer; readonly until: number }>();
  readonly #asked = new Map<string, Promise<Transformer>>();
  #state: State | undefined;
  #version = '';
  #checked: { readonly at: number; readonly error: Error | undefined } | undefined;
  #checking: Promise<void> | undefined;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(options: KmsProviderOptions) {
    this.name = options.name;
    this.#options = options;
    this.#service = options.wire.connect(options.endpoint, options.timeoutMs);
  }

  /** The first look at the plugin; goes on looking from then on. Its failure is told by `check`. */
  async start(): Promise<void> {
    const look = async (): Promise<void> => {
      let wait = positiveIntervalMs;
      try {
        await this.check();
      } catch (error) {
        wait = negativeIntervalMs;
        this.#options.logger.warn('kms plugin failed health check probe', { name: this.name, error });
      }
      if (!this.#closed) this.#cancel = ioTimer(wait, () => void look());
    };
    await look();
  }

  /** @throws {Error} what ails the plugin; asked anew when the last answer is old */
  async check(): Promise<void> {
    const { clock } = this.#options;
    const last = this.#checked;
    if (last !== undefined) {
      const ttl = last.error === undefined ? healthPositiveTtlMs : healthNegativeTtlMs;
      if (clock.monotonic() - last.at < ttl) {
        if (last.error !== undefined) throw last.error;
        return;
      }
    }
    this.#checking ??= this.#probe()
      .then(
        () => {
          this.#checked = { at: clock.monotonic(), error: undefined };
        },
        (error: unknown) => {
          this.#checked = { at: clock.monotonic(), error: error as Error };
          throw error;
        },
      )
      .finally(() => (this.#checking = undefined));
    return this.#checking;
  }

  async #probe(): Promise<void> {
    let status;
    try {
      status = await this.#call('Status', () => this.#service.status());
    } catch (error) {
      throw new Error(
        `failed to perform status section of the healthz check for KMS Provider ${this.name}, error: ${(error as Error).message}`,
        { cause: error },
      );
    }
    const errors: string[] = [];
    if (status.healthz !== 'ok') errors.push(`got unexpected healthz status: ${status.healthz}`);
    if (status.version !== 'v2' && status.version !== 'v2beta1')
      errors.push(`expected KMSv2 API version v2, got ${status.version}`);
    else {
      if (this.#version === '') this.#version = status.version;
      if (this.#version !== status.version)
        errors.push(
          `KMSv2 API version should not change after the initial status response version ${this.#version}, got ${status.version}`,
        );
    }
    try {
      this.#named(status.keyId);
      await this.#rotate(status.keyId);
    } catch (error) {
      errors.push((error as Error).message);
    }
    if (errors.length > 0) {
      const text = errors.length === 1 ? errors[0]! : `[${errors.join(', ')}]`;
      throw new Error(`kmsv2 Provider ${this.name} is not healthy, error: ${text}`);
    }
  }

  #named(keyId: string): void {
    try {
      checkKeyId(keyId);
    } catch (error) {
      this.#options.observer?.named(this.name, undefined, keyId === '' ? 'empty' : 'too_long');
      throw error;
    }
    this.#options.observer?.named(this.name, keyId);
  }

  /** Keeps the seed while the plugin's key stays the same; otherwise a new one is made. */
  async #rotate(keyId: string): Promise<void> {
    const { clock, random } = this.#options;
    const expires = clock.now() + writeTtlMs;
    const state = this.#state;
    if (state !== undefined && state.keyID === keyId) {
      this.#state = { ...state, expires };
      this.#remember(state.cacheKey, state.transformer);
      return;
    }
    const making = ioNow();
    const seed = Buffer.from(random.bytes(seedSize));
    this.#options.observer?.generated((ioNow() - making) / 1000);
    const transformer = hkdfGcm(seed, random);
    const uid = random.uuid();
    let problem: string;
    try {
      const answer = await this.#call('Encrypt', () => this.#service.encrypt(uid, seed));
      const object: EncryptedObject = {
        encryptedData: Buffer.of(0),
        keyID: answer.keyId,
        encryptedDEKSource: answer.ciphertext,
        annotations: answer.annotations,
        encryptedDEKSourceType: seedType,
      };
      checkObject(object);
      if (answer.keyId === keyId) {
        const { encryptedDEKSource, annotations } = object;
        this.#state = {
          transformer,
          keyID: keyId,
          encryptedDEKSource,
          annotations,
          cacheKey: cacheKey(object),
          expires,
        };
        this.#remember(this.#state.cacheKey, transformer);
        return;
      }
      problem = `statusKeyIDHash=${JSON.stringify(hashOf(keyId))}, encryptKeyIDHash=${JSON.stringify(hashOf(answer.keyId))}`;
    } catch (error) {
      problem = `errGen=failed to encrypt DEK, error: ${(error as Error).message}`;
    }
    throw new Error(`failed to rotate DEK uid=${JSON.stringify(uid)}, useSeed=true, ${problem}`);
  }

  async #call<T>(method: string, work: () => Promise<T>): Promise<T> {
    const began = ioNow();
    const told = (code: string): void =>
      this.#options.observer?.called(this.name, `/v2.KeyManagementService/${method}`, code, (ioNow() - began) / 1000);
    try {
      const answer = await work();
      told('OK');
      return answer;
    } catch (error) {
      told(/code = (\w+)/.exec((error as Error).message)?.[1] ?? 'Unknown');
      throw error;
    }
  }

  /** Seeds that are known. */
  get cacheSize(): number {
    return this.#cache.size;
  }

  #current(): State {
    if (this.#state === undefined) throw new Error('got unexpected nil transformer');
    return this.#state;
  }

  #remember(key: string, transformer: Transformer): void {
    const now = this.#options.clock.now();
    if (this.#cache.size >= maxCached) {
      for (const [k, { until }] of this.#cache) if (until < now) this.#cache.delete(k);
      const oldest = this.#cache.keys().next();
      if (this.#cache.size >= maxCached && oldest.done !== true) this.#cache.delete(oldest.value);
    }
    this.#cache.delete(key);
    this.#cache.set(key, { transformer, until: now + cacheTtlMs });
  }

  encrypt(value: Buffer, key: string): Buffer {
    const state = this.#current();
    const now = this.#options.clock.now();
    if (now > state.expires)
      throw new Error(
        `encryptedDEKSource with keyID hash ${JSON.stringify(hashOf(state.keyID))} expired at ${new Date(state.expires).toISOString()} (current time is ${new Date(now).toISOString()})`,
      );
    this.#options.observer?.used(this.name, 'to_storage', state.keyID);
    return this.#options.wire.encode({
      encryptedData: state.transformer.encrypt(value, key) as Buffer,
      keyID: state.keyID,
      encryptedDEKSource: state.encryptedDEKSource,
      annotations: state.annotations,
      encryptedDEKSourceType: seedType,
    });
  }

  decrypt(data: Buffer, key: string): Decrypted | Promise<Decrypted> {
    const object = this.#options.wire.decode(data);
    checkObject(object);
    const state = this.#current();
    this.#options.observer?.used(this.name, 'from_storage', object.keyID);
    const stale = object.keyID !== state.keyID || object.encryptedDEKSourceType !== seedType;
    const open = (transformer: Transformer): Decrypted => ({
      value: (transformer.decrypt(object.encryptedData, key) as Decrypted).value,
      stale,
    });
    const id = cacheKey(object);
    const known = this.#cache.get(id);
    if (known !== undefined && known.until >= this.#options.clock.now()) return open(known.transformer);
    return this.#ask(id, object).then(open);
  }

  /** The key or seed of a value from the plugin; once for many that ask at a time. */
  #ask(id: string, object: EncryptedObject): Promise<Transformer> {
    const asked = this.#asked.get(id);
    if (asked !== undefined) return asked;
    this.#options.observer?.missed();
    const { random } = this.#options;
    const asking = this.#call('Decrypt', () =>
      this.#service.decrypt(random.uuid(), {
        ciphertext: object.encryptedDEKSource,
        keyId: object.keyID,
        annotations: object.annotations,
      }),
    )
      .then(
        (secret) => {
          const transformer =
            object.encryptedDEKSourceType === seedType ? hkdfGcm(secret, random) : aesGcm(secret, random);
          this.#remember(id, transformer);
          return transformer;
        },
        (error: unknown) => {
          throw new Error(`failed to decrypt DEK, error: ${(error as Error).message}`, { cause: error });
        },
      )
      .finally(() => this.#asked.delete(id));
    this.#asked.set(id, asking);
    return asking;
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#service.close();
  }
}
