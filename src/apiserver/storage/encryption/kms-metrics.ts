/** What key management providers measure, with upstream's names; keys are named by their hashes. */
import type { Clock } from '../../../base/clock.ts';
import { ioNow } from '../../../base/io-time.ts';
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
  readonly #named = new Vector(
    'gauge',
    'apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds',
    '[ALPHA] When a plugin last named this key as its own, in seconds.',
  );
  readonly #invalidNames = new Vector(
    'counter',
    'apiserver_envelope_encryption_invalid_key_id_from_status_total',
    '[ALPHA] How often a plugin named a key by what is no name.',
  );
  readonly #generated = new HistogramVector(
    'apiserver_storage_data_key_generation_duration_seconds',
    '[ALPHA] How long it took to make a key for data, in seconds.',
    // 5 µs, doubled thirteen times.
    Array.from({ length: 14 }, (_, i) => 5e-6 * 2 ** i),
  );
  readonly #arrivals = new HistogramVector(
    'apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds',
    '[ALPHA] Time between values that come to be encrypted or decrypted by a plugin of version 1, in seconds.',
    Array.from({ length: 10 }, (_, i) => 60 * 2 ** i),
  );
  readonly #lastArrival = new Map<string, number>();
  readonly #fill = new Vector(
    'gauge',
    'apiserver_envelope_encryption_dek_cache_fill_percent',
    '[ALPHA] Which part of the places for known keys of a plugin of version 1 is taken.',
  );
  /** Hashes of key names; few at a time. */
  readonly #hashes = new Map<string, string>();

  constructor(serverId: string, clock: Clock) {
    this.#server = hashOf(serverId);
    this.#clock = clock;
  }

  get families(): readonly Family[] {
    return [
      ...[this.#misses, this.#calls, this.#keys, this.#lastUse, this.#named, this.#invalidNames],
      ...[this.#generated, this.#arrivals, this.#fill],
    ];
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

  #hashOf(keyId: string): string {
    let hash = this.#hashes.get(keyId);
    if (hash === undefined) {
      hash = hashOf(keyId);
      if (this.#hashes.size > 1000) this.#hashes.clear();
      this.#hashes.set(keyId, hash);
    }
    return hash;
  }

  named(provider: string, keyId: string | undefined, error = ''): void {
    if (keyId === undefined) {
      this.#invalidNames.series(`${provider} ${error}`, () => ({ error, provider_name: provider })).inc();
      return;
    }
    const hash = this.#hashOf(keyId);
    this.#named.series(`${provider} ${hash}`, () => ({
      apiserver_id_hash: this.#server,
      key_id_hash: hash,
      provider_name: provider,
    })).value = this.#clock.now() / 1000;
  }

  generated(seconds: number): void {
    this.#generated.series('', () => ({})).observe(seconds);
  }

  arrived(type: 'to_storage' | 'from_storage'): void {
    const now = ioNow();
    const last = this.#lastArrival.get(type) ?? now;
    this.#lastArrival.set(type, now);
    this.#arrivals.series(type, () => ({ transformation_type: type })).observe((now - last) / 1000);
  }

  filled(part: number): void {
    this.#fill.series('', () => ({})).value = part;
  }

  used(provider: string, type: 'to_storage' | 'from_storage', keyId: string): void {
    const keyHash = this.#hashOf(keyId);
    const labels = () => ({
      apiserver_id_hash: this.#server,
      key_id_hash: keyHash,
      provider_name: provider,
      transformation_type: type,
    });
    const series = `${type} ${provider} ${keyHash}`;
    this.#keys.series(series, labels).inc();
    this.#lastUse.series(series, labels).value = this.#clock.now() / 1000;
  }
}
