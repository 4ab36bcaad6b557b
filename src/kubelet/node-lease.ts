/** The node's Lease in kube-node-lease: its heartbeat, renewed for as long as the kubelet lives. */
import type { Lease, Node } from '../api/types/index.gen.ts';
import { formatMicroTime } from '../api/time.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../client/errors.ts';
import type { TypedClient } from '../client/typed-client.ts';

const leaseNamespace = 'kube-node-lease';

export interface NodeLeaseOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nodeName: string;
  readonly durationSeconds: number;
  /** The Node that a new lease goes with, once it is known. */
  owner(): Node | undefined;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
}

export class NodeLease {
  readonly #o: NodeLeaseOptions;
  #lease: Lease | undefined;

  constructor(options: NodeLeaseOptions) {
    this.#o = options;
  }

  /** True when the lease is renewed, for its usual duration and `longer` seconds. */
  async renew(longer = 0): Promise<boolean> {
    const leases = this.#o.client.coordination.leases;
    const { clock } = this.#o;
    const name = this.#o.nodeName;
    for (let attempt = 0; attempt < 5 && !this.#o.signal.aborted; attempt++) {
      try {
        if (this.#lease === undefined) {
          try {
            this.#lease = await leases.create(this.#newLease(), { signal: this.#o.signal });
            return true;
          } catch (error) {
            if (!isAlreadyExists(error)) throw error;
            this.#lease = await leases.get(name, leaseNamespace, { signal: this.#o.signal });
          }
        }
        const lease: Lease = this.#lease;
        this.#lease = await leases.update(
          {
            ...lease,
            spec: {
              ...lease.spec,
              holderIdentity: name,
              leaseDurationSeconds: this.#o.durationSeconds + longer,
              renewTime: formatMicroTime(clock.now()),
            },
          },
          { signal: this.#o.signal },
        );
        return true;
      } catch (error) {
        if (this.#o.signal.aborted) return false;
        if (isConflict(error) || isNotFound(error)) {
          this.#lease = undefined;
          continue;
        }
        this.#o.logger.warn('Failed to update lease', { node: name, error });
        return false;
      }
    }
    return false;
  }

  /** A lease that was to last over heartbeats left out ends as if they had come until now. */
  async shorten(): Promise<void> {
    const lease = this.#lease;
    const { client, clock, logger, durationSeconds: leaseDurationSeconds } = this.#o;
    if (lease?.spec?.leaseDurationSeconds === undefined || lease.spec.leaseDurationSeconds <= leaseDurationSeconds)
      return;
    const spec = { ...lease.spec, leaseDurationSeconds, renewTime: formatMicroTime(clock.now()) };
    try {
      await client.coordination.leases.update({ ...lease, spec });
    } catch (error) {
      logger.warn('Failed to update lease', { node: this.#o.nodeName, error });
    }
  }

  #newLease(): Lease {
    const owner = this.#o.owner();
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: this.#o.nodeName,
        namespace: leaseNamespace,
        ...(owner === undefined
          ? {}
          : {
              ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: this.#o.nodeName, uid: owner.metadata.uid! }],
            }),
      },
      spec: {
        holderIdentity: this.#o.nodeName,
        leaseDurationSeconds: this.#o.durationSeconds,
        renewTime: formatMicroTime(this.#o.clock.now()),
      },
    };
  }
}
