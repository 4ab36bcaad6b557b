/**
 * `Encryption`: which transformer each resource's values go through, made from an EncryptionConfiguration, and made anew when the
 * configuration changes. What a configuration does not name is stored as it is.
 */
import { createHash } from 'node:crypto';
import { InTurn } from '../../../base/in-turn.ts';
import type { Clock } from '../../../base/clock.ts';
import { ioNow, ioTimer } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Random } from '../../../base/random.ts';
import type { Catalog } from '../../../api/catalog/catalog.ts';
import { computed, HistogramVector, Vector, type Family } from '../../metrics/exposition.ts';
import { aesCbc, aesGcm } from './aes.ts';
import { type GroupResource, resourceOfKey, type ResourceOfKey } from '../resource-of-key.ts';
import { kmsTimeoutMs, parseEncryptionConfig, parseGroupResource } from './config.ts';
import type { EncryptionKey, EncryptionProvider, EncryptionResources, KmsConfig } from './config.ts';
import { KmsMetrics } from './kms-metrics.ts';
import { hashOf, KmsProvider, type KmsPlugin } from './kms.ts';
import { secretbox } from './secretbox.ts';
import { identityTransformer, prefixTransformers, type PrefixTransformer, type Transformer } from './transformer.ts';

export interface EncryptionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly catalog: Catalog;
  /** `--encryption-provider-config-automatic-reload` */
  readonly reload: boolean;
  /** Names this API server in metrics, as a hash. */
  readonly serverId: string;
  /** Key prefix in the store, `/registry` when left out. */
  readonly root?: string;
  /** The gate KMSv1. */
  readonly kmsV1?: boolean;
}

/** One configuration put to work. */
interface Active {
  readonly transformers: ReadonlyMap<string, Transformer>;
  readonly kms: readonly KmsPlugin[];
  readonly hash: string;
  /** Real milliseconds that a call may still be under way when this is replaced. */
  readonly graceMs: number;
}

function name(gr: GroupResource): string {
  return `${gr.resource}.${gr.group}`;
}

/** As upstream writes a resource of a configuration: the core group's wildcard ends in a dot. */
function text(gr: GroupResource): string {
  if (gr.group === '') return gr.resource === '*' ? '*.' : gr.resource;
  return name(gr);
}

function byKeys(
  keys: readonly EncryptionKey[] | undefined,
  prefix: string,
  otherwise: string,
  make: (secret: Buffer) => Transformer,
): PrefixTransformer {
  const all = (keys ?? []).map((k) => ({
    prefix: Buffer.from(`${k.name}:`),
    transformer: make(Buffer.from(k.secret!, 'base64')),
  }));
  return { prefix: Buffer.from(prefix), transformer: prefixTransformers(all, otherwise) };
}

/** 5 µs, doubled twenty-four times. */
const transformationBuckets = Array.from({ length: 25 }, (_, i) => 5e-6 * 2 ** i);

/** Who has encrypted a value, as its first bytes say. */
function prefixOf(data: Buffer): string {
  const start = data.toString('latin1', 0, 64);
  return /^k8s:enc:kms:v\d:[^:]*:|^k8s:enc:[^:]*:v\d:/.exec(start)?.[0] ?? 'identity';
}

const noAesKey = 'no matching key was found for the provided AES transformer';

export class Encryption {
  readonly #options: EncryptionOptions;
  readonly #resource: ResourceOfKey;
  readonly #operations = new Vector(
    'counter',
    'apiserver_storage_transformation_operations_total',
    "[ALPHA] Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails. The status, resource, and transformation_type fields can be used for alerting purposes. For example, you can monitor for encryption/decryption failures using the transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these fields can be used to ensure that the correct transformers are applied to each resource.",
  );
  readonly #seconds = new HistogramVector(
    'apiserver_storage_transformation_duration_seconds',
    '[ALPHA] Latencies in seconds of value transformation operations.',
    transformationBuckets,
  );
  readonly #kmsMetrics: KmsMetrics;
  readonly #info = computed(
    'gauge',
    'apiserver_encryption_config_controller_last_config_info',
    '[ALPHA] Information about the last applied encryption configuration with hash as label, split by apiserver identity.',
    () => [[{ apiserver_id_hash: hashOf(this.#options.serverId), hash: this.#active.hash }, 1]],
  );
  readonly #cacheSizes = computed(
    'gauge',
    'apiserver_envelope_encryption_dek_source_cache_size',
    '[ALPHA] Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation of the number of decrypt RPC calls the server will make to the KMS plugin.',
    () =>
      this.#active.kms
        .filter((p) => p.prefix.startsWith('k8s:enc:kms:v2:'))
        .map((p) => [{ provider_name: p.name }, p.cacheSize] as const),
  );
  readonly #reloads = new Vector(
    'counter',
    'apiserver_encryption_config_controller_automatic_reloads_total',
    '[ALPHA] Total number of reload successes and failures of encryption configuration split by apiserver identity.',
  );
  readonly #lastReload = new Vector(
    'gauge',
    'apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds',
    '[ALPHA] Timestamp of the last successful or failed reload of encryption configuration split by apiserver identity.',
  );
  #active: Active = { transformers: new Map(), kms: [], hash: '', graceMs: 0 };
  /** Of key prefixes up to the second segment; forgotten with each configuration. */
  #byPrefix = new Map<string, Transformer>();
  readonly #loading = new InTurn();
  #closed = false;

  constructor(options: EncryptionOptions) {
    this.#options = options;
    this.#kmsMetrics = new KmsMetrics(options.serverId, options.clock);
    this.#resource = resourceOfKey(options.catalog, options.root);
  }

  get families(): readonly Family[] {
    return [
      ...this.#kmsMetrics.families,
      this.#info,
      this.#cacheSizes,
      this.#operations,
      this.#seconds,
      this.#reloads,
      this.#lastReload,
    ];
  }

  get usesKms(): boolean {
    return this.#active.kms.length > 0;
  }

  /**
   * Puts a configuration to work; the same one again changes nothing. `value`: the parsed file, `source` its bytes.
   * @throws {Error} with upstream's message; what was there before goes on
   */
  load(value: unknown, source: string | Buffer): Promise<boolean> {
    return this.#loading.run(() => this.#load(value, source));
  }

  async #load(value: unknown, source: string | Buffer): Promise<boolean> {
    const hash = `sha256:${createHash('sha256').update(source).digest('hex')}`;
    if (hash === this.#active.hash || this.#closed) return false;
    const first = this.#active.hash === '';
    try {
      const active = await this.#build(parseEncryptionConfig(value, this.#options.reload), hash);
      // A reload takes only what works; the first start waits for its providers with its health check.
      if (!first)
        try {
          for (const provider of active.kms) await provider.check();
        } catch (error) {
          for (const provider of active.kms) provider.close();
          throw error;
        }
      const before = this.#active;
      this.#active = active;
      this.#byPrefix = new Map();
      if (before.kms.length > 0)
        ioTimer(before.graceMs, () => {
          for (const provider of before.kms) provider.close();
        });
      if (!first) this.#reloaded('success');
      return true;
    } catch (error) {
      if (!first) this.#reloaded('failure');
      throw error;
    }
  }

  /** A changed file that could not even be read. */
  failedReload(): void {
    this.#reloaded('failure');
  }

  #reloaded(status: 'success' | 'failure'): void {
    const labels = () => ({ apiserver_id_hash: hashOf(this.#options.serverId), status });
    this.#reloads.series(status, labels).inc();
    this.#lastReload.series(status, labels).value = this.#options.clock.now() / 1000;
  }

  async #build(all: readonly EncryptionResources[], hash: string): Promise<Active> {
    const kms: KmsPlugin[] = [];
    const lists = new Map<string, PrefixTransformer[]>();
    let timeouts = 0;
    for (const { resources, providers } of all) {
      const transformers: PrefixTransformer[] = [];
      for (const provider of providers) {
        if (provider.kms !== undefined) {
          const made = await this.#kms(provider.kms);
          kms.push(made);
          timeouts += provider.kms.timeout ?? kmsTimeoutMs;
          transformers.push({ prefix: Buffer.from(made.prefix), transformer: made });
        } else transformers.push(this.#local(provider));
      }
      for (const resource of resources) {
        const gr = parseGroupResource(resource);
        for (const mask of [
          { group: gr.group, resource: '*' },
          { group: '*', resource: '*' },
        ])
          if (lists.has(name(mask)))
            throw new Error(
              `error while building transformers: resource ${JSON.stringify(text(gr))} is masked by earlier rule ${JSON.stringify(text(mask))}`,
            );
        lists.set(name(gr), [...(lists.get(name(gr)) ?? []), ...transformers]);
      }
    }
    await Promise.all(kms.map((provider) => provider.start()));
    const transformers = new Map(
      [...lists].map(([gr, list]) => [gr, prefixTransformers(list, 'no matching prefix found')] as const),
    );
    return { transformers, kms, hash, graceMs: 2 * timeouts };
  }

  #local(provider: EncryptionProvider): PrefixTransformer {
    const { random } = this.#options;
    if (provider.aesgcm !== undefined)
      return byKeys(provider.aesgcm.keys, 'k8s:enc:aesgcm:v1:', noAesKey, (secret) => aesGcm(secret, random));
    if (provider.aescbc !== undefined)
      return byKeys(provider.aescbc.keys, 'k8s:enc:aescbc:v1:', noAesKey, (secret) => aesCbc(secret, random));
    if (provider.secretbox !== undefined)
      return byKeys(
        provider.secretbox.keys,
        'k8s:enc:secretbox:v1:',
        'no matching key was found for the provided Secretbox transformer',
        (secret) => secretbox(secret, random),
      );
    return { prefix: Buffer.alloc(0), transformer: identityTransformer };
  }

  async #kms(config: KmsConfig): Promise<KmsPlugin> {
    if ((config.apiVersion ?? 'v1') === 'v1' && this.#options.kmsV1 === true) {
      const { KmsV1Provider } = await import('./kms-v1.ts');
      const { clock, random } = this.#options;
      return new KmsV1Provider({
        name: config.name!,
        endpoint: config.endpoint!,
        timeoutMs: config.timeout ?? kmsTimeoutMs,
        cacheSize: config.cachesize,
        clock,
        random,
        observer: this.#kmsMetrics,
      });
    }
    if ((config.apiVersion ?? 'v1') === 'v1')
      throw new Error(
        'error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.',
      );
    const { createKmsWire } = await import('./kms-channel.ts');
    const { clock, random, logger } = this.#options;
    return new KmsProvider({
      name: config.name!,
      endpoint: config.endpoint!,
      timeoutMs: config.timeout ?? kmsTimeoutMs,
      wire: createKmsWire(),
      clock,
      random,
      logger,
      observer: this.#kmsMetrics,
    });
  }

  /** What the value under this key goes through. */
  transformer(key: string): Transformer {
    const start = (this.#options.root ?? '/registry').length + 1;
    const first = key.indexOf('/', start);
    const second = first < 0 ? -1 : key.indexOf('/', first + 1);
    const prefix = key.slice(0, second < 0 ? undefined : second);
    const known = this.#byPrefix.get(prefix);
    if (known !== undefined) return known;
    const gr = this.#resource(key);
    const { transformers } = this.#active;
    const found =
      transformers.get(name(gr)) ??
      transformers.get(name({ group: gr.group, resource: '*' })) ??
      transformers.get('*.*') ??
      identityTransformer;
    const counted = found === identityTransformer ? found : this.#counted(found, text(gr));
    // Cluster-scoped objects' names stand where namespaces do: what is remembered is bounded.
    if (this.#byPrefix.size > 10_000) this.#byPrefix.clear();
    this.#byPrefix.set(prefix, counted);
    return counted;
  }

  #counted(transformer: Transformer, resource: string): Transformer {
    const count = (type: string, status: string, data: Buffer | undefined, began: number): void => {
      const prefix = data === undefined ? 'unknown' : prefixOf(data);
      this.#operations
        .series(`${type} ${status} ${prefix} ${resource}`, () => ({
          resource,
          status,
          transformation_type: type,
          transformer_prefix: prefix,
        }))
        .inc();
      if (status === 'OK')
        this.#seconds
          .series(`${type} ${prefix}`, () => ({ transformation_type: type, transformer_prefix: prefix }))
          .observe((ioNow() - began) / 1000);
    };
    const told = <T>(
      type: string,
      work: () => T | Promise<T>,
      dataOf: (done?: T) => Buffer | undefined,
    ): T | Promise<T> => {
      const began = ioNow();
      const failed = (error: unknown): never => {
        count(type, 'Unknown', dataOf(), began);
        throw error;
      };
      try {
        const done = work();
        if (done instanceof Promise)
          return done.then((d) => {
            count(type, 'OK', dataOf(d), began);
            return d;
          }, failed);
        count(type, 'OK', dataOf(done), began);
        return done;
      } catch (error) {
        return failed(error);
      }
    };
    return {
      encrypt: (value, key) =>
        told(
          'to_storage',
          () => transformer.encrypt(value, key),
          (data) => data,
        ),
      decrypt: (data, key) =>
        told(
          'from_storage',
          () => transformer.decrypt(data, key),
          () => data,
        ),
    };
  }

  /** The health check `kms-providers`. @throws {Error} */
  async check(): Promise<void> {
    for (const [i, provider] of this.#active.kms.entries()) {
      try {
        await provider.check();
      } catch (error) {
        throw new Error(`kms-provider-${i}: ${(error as Error).message}`, { cause: error });
      }
    }
  }

  close(): void {
    this.#closed = true;
    for (const provider of this.#active.kms) provider.close();
  }
}
