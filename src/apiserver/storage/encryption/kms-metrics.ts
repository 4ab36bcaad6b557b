/** What key management providers measure, with upstream's names; keys are named by their hashes. */
import type { Clock } from '../../../base/clock.ts';
import { HistogramVector, Vector, type Family } from '../../metrics/exposition.ts';
import { hashOf, type KmsObserver } from './kms.ts';

/** 0.1 ms, doubled nineteen times. */
const buckets = Array.from({ length: 20 }, (_, i) => 1e-4 * 2 ** i);

export class KmsMetrics implements KmsObserver {
  readonly #server: string;
  readonly #clock: Clock;
  readonly #misses = new Vector(
    'counter',
    'apiserver_storage_envelope_transformation_cache_misses_total',
    '[ALPHA] Total number of cache misses while accessing key decryption key(KEK).',
  );
  readonly #calls = new HistogramVector(
    'apiserver_envelope_encryption_kms_operations_latency_seconds',
    '[ALPHA] KMS operation duration with gRPC error code status total.',
    buckets,
  );
  readonly #keys = new Vector(
    'counter',
    'apiserver_envelope_encryption_key_id_hash_total',
    '[ALPHA] Number of times a keyID is used split by transformation type, provider, and apiserver identity.',
  );
  readonly #lastUse = new Vector(
    'gauge',
    'apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds',
    '[ALPHA] The last time in seconds when a keyID was used.',
  );
  /** Hashes of key names; few at a time. */
  readonly #hashes = new Map<string, string>();

  constructor(serverId: string, clock: Clock) {
    this.#server = hashOf(serverId);
    this.#clock = clock;
  }

  get families(): readonly Family[] {
    return [this.#misses, this.#calls, this.#keys, this.#lastUse];
  }

  missed(): void {
    this.#misses.series('', () => ({})).inc();
  }

  called(provider: string, method: string, code: string, seconds: number): void {
    this.#calls
      .series(`${provider} ${method} ${code}`, () => ({
        grpc_status_code: code,
        method_name: method,
        provider_name: provider,
      }))
      .observe(seconds);
  }

  used(provider: string, type: 'to_storage' | 'from_storage', keyId: string): void {
    let hash = this.#hashes.get(keyId);
    if (hash === undefined) {
      hash = hashOf(keyId);
      if (this.#hashes.size > 1000) this.#hashes.clear();
      this.#hashes.set(keyId, hash);
    }
    const keyHash = hash;
    const labels = () => ({
      apiserver_id_hash: this.#server,
      key_id_hash: keyHash,
      provider_name: provider,
      transformation_type: type,
    });
    const series = `${type} ${provider} ${hash}`;
    this.#keys.series(series, labels).inc();
    this.#lastUse.series(series, labels).value = this.#clock.now() / 1000;
  }
}
