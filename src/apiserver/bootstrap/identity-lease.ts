/** The Lease by which each API server shows that it is alive (KEP-1965), in kube-system, and the removal of dead ones. */
import { createHash } from 'node:crypto';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Registries } from '../registry.ts';
import { BootstrapWriter } from './writer.ts';

const group = 'coordination.k8s.io';
const resource = 'leases';
const namespace = 'kube-system';
const identityLabel = 'apiserver.kubernetes.io/identity';
const durationSeconds = 3600;
const renewMs = 10_000;
/** In virtual time renewals would be most of what a passing day costs, and nobody can miss them. */
const virtualRenewMs = 600_000;
const collectMs = 3_600_000;

const base32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** `apiserver-` and 26 characters of the hash of the host's name and the component's, each behind its length, as upstream derives it. */
export function apiServerId(hostname: string): string {
  const parts = [hostname, 'kube-apiserver'].flatMap((text) => {
    const bytes = Buffer.from(text);
    return [Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes];
  });
  const hash = createHash('sha256').update(Buffer.concat(parts)).digest().subarray(0, 16);
  let bits = 0;
  let value = 0;
  let out = '';
  for (const byte of hash) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      out += base32[(value >> bits) & 31];
    }
  }
  if (bits > 0) out += base32[(value << (5 - bits)) & 31];
  return `apiserver-${out}`;
}

function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

export class IdentityLease {
  readonly #writer: BootstrapWriter;
  readonly #registries: Registries;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #hostname: string;
  readonly #name: string;
  readonly #holder: string;
  #renew: Timer | undefined;
  #collect: Timer | undefined;
  #busy = false;

  constructor(options: {
    readonly registries: Registries;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly hostname: string;
  }) {
    this.#registries = options.registries;
    this.#writer = new BootstrapWriter(options.registries);
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#hostname = options.hostname;
    this.#name = apiServerId(options.hostname);
    this.#holder = `${this.#name}_${options.random.uuid()}`;
  }

  /** Writes the lease and keeps it until `close`. */
  async start(): Promise<void> {
    await this.#write();
    const every = this.#clock.virtual ? virtualRenewMs : renewMs;
    this.#renew = this.#clock.setTicker(every, () => this.#background(() => this.#write()));
    this.#collect = this.#clock.setTicker(collectMs, () => this.#background(() => this.#removeExpired()));
  }

  close(): void {
    this.#renew?.cancel();
    this.#collect?.cancel();
  }

  #background(work: () => Promise<void>): void {
    if (this.#busy) return;
    this.#busy = true;
    const done = this.#clock.activity.begin();
    void work()
      .catch((error: unknown) => this.#logger.warn('identity lease', { error }))
      .finally(() => {
        this.#busy = false;
        done();
      });
  }

  async #write(): Promise<void> {
    const now = microTime(this.#clock.now());
    const metadata = { name: this.#name, namespace };
    const labels = { [identityLabel]: 'kube-apiserver', 'kubernetes.io/hostname': this.#hostname };
    if (this.#writer.current(group, resource, metadata) === undefined) {
      const lease: KubeObject = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { ...metadata, labels },
        spec: { holderIdentity: this.#holder, leaseDurationSeconds: durationSeconds, renewTime: now },
      };
      if (await this.#writer.create(group, resource, lease)) return;
    }
    await this.#writer.update(group, resource, metadata, (current) => ({
      ...current,
      metadata: { ...current.metadata, labels: { ...current.metadata.labels, ...labels } },
      spec: {
        ...(current['spec'] as Record<string, unknown>),
        holderIdentity: this.#holder,
        leaseDurationSeconds: durationSeconds,
        renewTime: now,
      },
    }));
  }

  async #removeExpired(): Promise<void> {
    const now = this.#clock.now();
    for (const committed of [...this.#registries.cached(group, resource, namespace)]) {
      const lease = committed.object() as unknown as KubeObject;
      if (lease.metadata.labels?.[identityLabel] !== 'kube-apiserver' || lease.metadata.name === this.#name) continue;
      const spec = lease['spec'] as { renewTime?: string; leaseDurationSeconds?: number } | undefined;
      const renewed = spec?.renewTime === undefined ? 0 : Date.parse(spec.renewTime);
      if (renewed + (spec?.leaseDurationSeconds ?? 0) * 1000 < now)
        await this.#writer.delete(group, resource, lease.metadata);
    }
  }
}
