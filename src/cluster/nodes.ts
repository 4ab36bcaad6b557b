/** The simulated nodes of a cluster, and the way from the API server to them: streams in this process instead of sockets. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Dialer } from '../apiserver/dialer.ts';
import type { UserInfo } from '../apiserver/request.ts';
import type { TypedClient } from '../client/typed-client.ts';

export interface NodeHandle {
  readonly name: string;
}

export interface SimulatedNodesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clusterCIDR: string;
  readonly dnsServiceIP: string;
}

export interface StartNodes {
  readonly count: number;
  readonly clientFor: (user: UserInfo) => TypedClient;
  readonly proxy: boolean;
  readonly dns: boolean;
  readonly cloud: boolean;
}

export class SimulatedNodes {
  readonly #o: SimulatedNodesOptions;
  readonly handles: NodeHandle[] = [];

  constructor(options: SimulatedNodesOptions) {
    this.#o = options;
  }

  get dialer(): Dialer {
    return {
      dialNode: (name) => Promise.reject(new Error(`node ${name} is not of this cluster`)),
      dialTcp: (address, port) => Promise.reject(new Error(`nothing listens at ${address}:${port}`)),
    };
  }

  async start(options: StartNodes): Promise<void> {
    void options;
    void this.#o;
  }

  async ready(client: TypedClient): Promise<void> {
    void client;
  }

  async stop(): Promise<void> {}
}
