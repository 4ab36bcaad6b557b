/**
 * KMS v1 (behind the gate KMSv1, which is off): each value is encrypted with a key of its own, and that key by a plugin behind a
 * socket, so that each write and each first read asks the plugin. Calls of `v1beta1.KeyManagementService`.
 */
import type { Clock } from '../../../base/clock.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { Random } from '../../../base/random.ts';
import { messageTypes, type MessageTable, type UnixClient, unixClient } from '../../connect/unix-grpc.ts';
import { aesCbc, aesGcm } from './aes.ts';
import type { KmsObserver } from './kms.ts';
import type { Decrypted, Transformer } from './transformer.ts';

const messages: MessageTable = {
  VersionRequest: { version: 'string 1' },
  VersionResponse: { version: 'string 1', runtimeName: 'string 2', runtimeVersion: 'string 3' },
  DecryptRequest: { version: 'string 1', cipher: 'bytes 2' },
  DecryptResponse: { plain: 'bytes 1' },
  EncryptRequest: { version: 'string 1', plain: 'bytes 2' },
  EncryptResponse: { cipher: 'bytes 1' },
};

const version = 'v1beta1';
const keySize = 32;
const defaultCacheSize = 1000;
const healthPositiveTtlMs = 20_000;
const healthNegativeTtlMs = 3000;

export interface KmsV1Options {
  readonly name: string;
  /** `unix:///path` */
  readonly endpoint: string;
  readonly timeoutMs: number;
  /** Keys that are kept; negative: none. */
  readonly cacheSize: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer?: KmsObserver;
}

export class KmsV1Provider implements Transformer {
  readonly name: string;
  readonly prefix: string;
  readonly #options: KmsV1Options;
  readonly #client: UnixClient;
  /** By the encrypted key; the oldest goes first. */
  readonly #keys = new Map<string, Transformer>();
  #verified: Promise<void> | undefined;
  #health: { readonly until: number; readonly error: Error | undefined } | undefined;

  constructor(options: KmsV1Options) {
    this.#options = options;
    this.name = options.name;
    this.prefix = `k8s:enc:kms:v1:${options.name}:`;
    this.#client = unixClient({
      endpoint: options.endpoint,
      service: `/${version}.KeyManagementService/`,
      types: messageTypes(version, messages),
      waitForReady: true,
    });
  }

  get cacheSize(): number {
    return this.#keys.size;
  }

  /** The plugin is asked when it is needed. */
  start(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#client.close();
  }

  async #call<A>(method: 'Version' | 'Encrypt' | 'Decrypt', request: object): Promise<A> {
    return this.#client.call<A>(method, { version, ...request }, this.#options.timeoutMs);
  }

  /** Once, before anything else is asked. */
  async #checkVersion(): Promise<void> {
    this.#verified ??= (async () => {
      let answer: { version: string };
      try {
        answer = await this.#call('Version', {});
      } catch (error) {
        throw new Error(`failed get version from remote KMS provider: ${(error as Error).message}`, { cause: error });
      }
      if (answer.version !== version)
        throw new Error(
          `KMS provider api version ${answer.version} is not supported, only ${version} is supported now`,
        );
    })();
    try {
      await this.#verified;
    } catch (error) {
      this.#verified = undefined;
      throw error;
    }
  }

  async #wrap(plain: Buffer): Promise<Buffer> {
    await this.#checkVersion();
    return (await this.#call<{ cipher: Buffer }>('Encrypt', { plain })).cipher;
  }

  async #unwrap(cipher: Buffer): Promise<Buffer> {
    await this.#checkVersion();
    return (await this.#call<{ plain: Buffer }>('Decrypt', { cipher })).plain;
  }

  /** Written with GCM; what older servers wrote with CBC is read. */
  #withKey(encrypted: Buffer, key: Buffer): Transformer {
    const gcm = aesGcm(key, this.#options.random);
    const cbc = aesCbc(key, this.#options.random);
    const transformer: Transformer = {
      encrypt: (value, at) => gcm.encrypt(value, at),
      decrypt(data, at) {
        try {
          return gcm.decrypt(data, at);
        } catch (error) {
          try {
            return cbc.decrypt(data, at);
          } catch {
            // Neither: what is wrong by the newer way is told.
            throw error;
          }
        }
      },
    };
    const size = this.#options.cacheSize ?? defaultCacheSize;
    if (size > 0) {
      if (this.#keys.size >= size) this.#keys.delete(this.#keys.keys().next().value!);
      this.#keys.set(encrypted.toString('base64'), transformer);
      this.#options.observer?.filled(this.#keys.size / size);
    }
    return transformer;
  }

  async encrypt(value: Buffer, at: string): Promise<Buffer> {
    const { observer, random } = this.#options;
    observer?.arrived('to_storage');
    const making = ioNow();
    const key = random.bytes(keySize);
    observer?.generated((ioNow() - making) / 1000);
    const encrypted = await this.#wrap(key);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(encrypted.length);
    return Buffer.concat([length, encrypted, await this.#withKey(encrypted, key).encrypt(value, at)]);
  }

  decrypt(data: Buffer, at: string): Decrypted | Promise<Decrypted> {
    const invalid = (): Error =>
      new Error('invalid data encountered by envelope transformer: failed to read uint16 length prefixed data');
    if (data.length < 2) throw invalid();
    const end = 2 + data.readUInt16BE(0);
    if (data.length < end) throw invalid();
    const encrypted = data.subarray(2, end);
    const { observer } = this.#options;
    observer?.arrived('from_storage');
    const known = this.#keys.get(encrypted.toString('base64'));
    if (known !== undefined) return known.decrypt(data.subarray(end), at);
    observer?.missed();
    return this.#unwrap(encrypted).then((key) => this.#withKey(encrypted, key).decrypt(data.subarray(end), at));
  }

  /** @throws {Error} with upstream's words when the plugin does not give back what it was given */
  async check(): Promise<void> {
    const now = this.#options.clock.monotonic();
    if (this.#health === undefined || this.#health.until <= now) {
      const error = await this.#probe();
      const ttl = error === undefined ? healthPositiveTtlMs : healthNegativeTtlMs;
      this.#health = { until: this.#options.clock.monotonic() + ttl, error };
    }
    if (this.#health.error !== undefined) throw this.#health.error;
  }

  async #probe(): Promise<Error | undefined> {
    let section = 'encrypt';
    try {
      const cipher = await this.#wrap(Buffer.from('ping'));
      section = 'decrypt';
      await this.#unwrap(cipher);
      return undefined;
    } catch (error) {
      return new Error(
        `failed to perform ${section} section of the healthz check for KMS Provider ${this.name}, error: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }
}
