/**
 * Endpoints of an etcd cluster that are not reached by the machine's own network: each gets a Unix socket, in a directory that
 * nobody else may enter, and what connects to it goes on over a stream that a dialer opens. gRPC dials sockets alone.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { Logger } from '../base/logger.ts';

/** Opens a plain stream to a host. */
export type EtcdDial = (host: string, port: number) => Promise<Duplex>;

/** Connections that one endpoint has at a time; gRPC opens one. */
const maxConnections = 16;

export class DialledEndpoints {
  readonly #directory: string;
  readonly #servers: Server[] = [];
  readonly #streams = new Set<Duplex>();
  readonly #dial: EtcdDial;
  readonly #log: Logger;
  #closed = false;

  private constructor(directory: string, dial: EtcdDial, logger: Logger) {
    this.#directory = directory;
    this.#dial = dial;
    this.#log = logger;
  }

  static async open(dial: EtcdDial, logger: Logger): Promise<DialledEndpoints> {
    return new DialledEndpoints(await mkdtemp(join(tmpdir(), 'knarr-etcd-')), dial, logger);
  }

  /** The path of a socket that leads to this host. */
  async path(host: string, port: number): Promise<string> {
    const path = join(this.#directory, String(this.#servers.length));
    const server = createServer((near) => void this.#connect(near, host, port));
    server.maxConnections = maxConnections;
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    return path;
  }

  async #connect(near: Socket, host: string, port: number): Promise<void> {
    this.#keep(near);
    // What is written before the way is open waits in the socket; when it goes, its other end is told by the pipeline.
    near.on('error', () => near.destroy());
    let far: Duplex;
    try {
      far = await this.#dial(host, port);
    } catch (error) {
      near.destroy();
      if (!this.#closed) this.#log.warn('cannot reach etcd by its proxy', { host, port, error });
      return;
    }
    this.#keep(far);
    if (this.#closed || near.destroyed) {
      far.destroy();
      return;
    }
    const ended = (): void => {
      near.destroy();
      far.destroy();
    };
    pipeline(near, far, ended);
    pipeline(far, near, ended);
  }

  #keep(stream: Duplex): void {
    this.#streams.add(stream);
    stream.once('close', () => this.#streams.delete(stream));
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stream of this.#streams) stream.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
    await rm(this.#directory, { recursive: true, force: true });
  }
}
