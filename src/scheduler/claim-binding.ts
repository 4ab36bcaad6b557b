/** Tells claims the node that their pod is to have, and waits until a volume is bound to them there. */
import type { Clock } from '../base/clock.ts';
import type { PersistentVolumeClaim } from '../api/types/index.gen.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { isBound, selectedNodeAnnotation } from './plugins/volume-binding.ts';

/** How long a claim may take to be bound before the pod gives its place back. */
const bindVolumesWithin = 600_000;

export interface ClaimBindingOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  /** Ends all waiting. */
  readonly signal: AbortSignal;
  /** The claim as it is known now. */
  current(namespace: string, name: string): PersistentVolumeClaim | undefined;
}

export class ClaimBinding {
  readonly #o: ClaimBindingOptions;
  /** By namespace and name; no more of them than pods that are being bound. */
  readonly #waiters = new Map<string, Set<(claim: PersistentVolumeClaim) => void>>();

  constructor(options: ClaimBindingOptions) {
    this.#o = options;
  }

  /** A claim came, changed or went. */
  changed(claim: PersistentVolumeClaim): void {
    for (const waiter of this.#waiters.get(`${claim.metadata.namespace}/${claim.metadata.name}`) ?? []) waiter(claim);
  }

  /** Resolves when the claim is bound; rejects when that takes too long, or with the signal. */
  async bind(claim: PersistentVolumeClaim, node: string): Promise<void> {
    const { client, clock, signal } = this.#o;
    const { name, namespace } = claim.metadata;
    const key = `${namespace}/${name}`;
    if (claim.metadata.annotations?.[selectedNodeAnnotation] !== node)
      await client.core.persistentvolumeclaims.patch(name!, namespace, 'merge', {
        metadata: { annotations: { [selectedNodeAnnotation]: node } },
      });
    await new Promise<void>((resolve, reject) => {
      let waiters = this.#waiters.get(key);
      if (waiters === undefined) this.#waiters.set(key, (waiters = new Set()));
      const end = (): void => {
        timer.cancel();
        waiters.delete(look);
        if (waiters.size === 0) this.#waiters.delete(key);
        signal.removeEventListener('abort', aborted);
      };
      const aborted = (): void => {
        end();
        reject(signal.reason);
      };
      const look = (c: PersistentVolumeClaim): void => {
        if (!isBound(c)) return;
        end();
        resolve();
      };
      const timer = clock.setTimer(bindVolumesWithin, () => {
        end();
        reject(new Error(`binding volumes: timed out waiting for claim ${key}`));
      });
      waiters.add(look);
      signal.addEventListener('abort', aborted, { once: true });
      const now = this.#o.current(namespace ?? '', name ?? '');
      if (now !== undefined) look(now);
    });
  }
}
