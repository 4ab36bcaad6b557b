/**
 * Makes the addresses of load balancers answer on this machine: a listener for each TCP port, whose connections go where the
 * Service leads. Where the machine will not have the address (only Linux has all of 127.0.0.0/8) the Service keeps its address and
 * is reached from inside the cluster alone.
 */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '../base/logger.ts';
import type { LoadBalancerDataPlane, LocalLoadBalancer } from '../cloud/providers/local/local.ts';

export interface LoadBalancerListenersOptions {
  readonly logger: Logger;
  /** A stream to a Service's address and port. */
  dial(address: string, port: number): Promise<Duplex>;
}

export class LoadBalancerListeners implements LoadBalancerDataPlane {
  readonly #o: LoadBalancerListenersOptions;
  readonly #listeners = new Map<string, Map<string, Server>>();
  readonly #sockets = new Set<Socket>();

  constructor(options: LoadBalancerListenersOptions) {
    this.#o = options;
  }

  async ensure(balancer: LocalLoadBalancer): Promise<void> {
    let have = this.#listeners.get(balancer.name);
    if (have === undefined) this.#listeners.set(balancer.name, (have = new Map()));
    const wanted = new Map<string, { address: string; port: number }>();
    for (const address of balancer.addresses)
      for (const { port, protocol } of balancer.ports)
        if (protocol === 'TCP') wanted.set(`${address}:${port}`, { address, port });
    for (const [key, server] of have)
      if (!wanted.has(key)) {
        server.close();
        have.delete(key);
      }
    for (const [key, { address, port }] of wanted) {
      if (have.has(key)) continue;
      const server = await this.#listen(address, port);
      if (server !== undefined) have.set(key, server);
    }
  }

  #listen(address: string, port: number): Promise<Server | undefined> {
    return new Promise((resolve) => {
      const server = createServer((socket) => this.#serve(socket, address, port));
      server.once('error', (error) => {
        this.#o.logger.warn('a load balancer address is not reachable from this machine', { address, port, error });
        resolve(undefined);
      });
      server.listen({ host: address, port }, () => {
        server.unref();
        resolve(server);
      });
    });
  }

  #serve(socket: Socket, address: string, port: number): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    this.#o.dial(address, port).then(
      (far) => {
        far.on('error', () => socket.destroy());
        socket.once('close', () => far.destroy());
        socket.pipe(far).pipe(socket);
      },
      (error: unknown) => {
        this.#o.logger.debug('a load balancer has nobody behind it', { address, port, error });
        socket.destroy();
      },
    );
  }

  remove(name: string): Promise<void> {
    for (const server of this.#listeners.get(name)?.values() ?? []) server.close();
    this.#listeners.delete(name);
    return Promise.resolve();
  }

  async close(): Promise<void> {
    for (const name of [...this.#listeners.keys()]) await this.remove(name);
    for (const socket of this.#sockets) socket.destroy();
  }
}
