/**
 * `KubeletScraper`: reads `/metrics/resource` of the kubelets that are reached over the network every 15 seconds, a few at a time,
 * each within its deadline.
 */
import * as http from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../base/clock.ts';
import { ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Node } from '../../api/types/index.gen.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { parseResourceMetrics } from './exposition.ts';
import { Samples } from './samples.ts';
import type { NodeUsage, PodUsage, UsageSource } from './usage.ts';

const resolutionMs = 15_000;
const secondMs = 5000;
const concurrency = 16;
/** Real time that one kubelet may take. */
const timeoutMs = 10_000;
const maxBytes = 64 * 1024 * 1024;

export interface KubeletScraperOptions {
  /** May list and watch nodes. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** A stream to a kubelet on which HTTP/1.1 is spoken. */
  dial(node: string, address: string, port: number): Promise<Duplex>;
  /** Nodes that are asked in another way. */
  skips(node: string): boolean;
}

export class KubeletScraper implements UsageSource {
  readonly #o: KubeletScraperOptions;
  readonly #nodes: Informer<Node>;
  readonly #samples = new Samples(resolutionMs);
  /** How often in a row a node could not be asked; told once, and not of a kubelet that has only just begun. */
  readonly #failures = new Map<string, number>();
  #second: Timer | undefined;
  #ticker: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: KubeletScraperOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    this.#nodes = new Informer({
      client: client.core.nodes,
      clock,
      random,
      logger,
      transform: (node) =>
        ({
          metadata: node.metadata,
          status: { addresses: node.status?.addresses, daemonEndpoints: node.status?.daemonEndpoints },
        }) as Node,
    });
  }

  async start(): Promise<void> {
    this.#nodes.addHandler({
      onAdd: () => this.#scrape(),
      onDelete: (node) => this.#forget(node.metadata.name!),
    });
    this.#nodes.start();
    await this.#nodes.synced;
    if (!this.#stopped) this.#ticker = this.#o.clock.setTicker(resolutionMs, () => this.#scrape());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#second?.cancel();
    await this.#nodes.stop();
    await this.#running;
  }

  #forget(name: string): void {
    this.#samples.forget(name);
    this.#failures.delete(name);
  }

  /** The second reading of a new node does not wait for the next beat. */
  #soon(): void {
    this.#second ??= this.#o.clock.setTimer(secondMs, () => {
      this.#second = undefined;
      this.#scrape();
    });
  }

  /** One round at a time. */
  #scrape(): void {
    if (this.#running !== undefined || this.#stopped) return;
    this.#running = this.#round().finally(() => (this.#running = undefined));
  }

  async #round(): Promise<void> {
    // Whoever is calling from an informer's delivery goes on first.
    await Promise.resolve();
    const nodes = [...this.#nodes.lister.list()].filter((n) => !this.#o.skips(n.metadata.name!));
    let at = 0;
    const worker = async (): Promise<void> => {
      while (at < nodes.length && !this.#stopped) await this.#one(nodes[at++]!);
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, nodes.length) }, worker));
  }

  async #one(node: Node): Promise<void> {
    const name = node.metadata.name!;
    try {
      const text = await this.#read(node);
      this.#samples.add(name, parseResourceMetrics(text, this.#o.clock.now()));
      this.#failures.delete(name);
      if (this.#samples.node(name) === undefined) this.#soon();
    } catch (error) {
      // What it used when it last answered says nothing about now.
      this.#samples.forget(name);
      const failures = (this.#failures.get(name) ?? 0) + 1;
      this.#failures.set(name, failures);
      if (failures === 2 && !this.#stopped) this.#o.logger.warn('Failed to scrape node', { node: name, error });
    }
  }

  async #read(node: Node): Promise<string> {
    const name = node.metadata.name!;
    const addresses = node.status?.addresses ?? [];
    const address = ['InternalIP', 'ExternalIP', 'Hostname']
      .map((type) => addresses.find((a) => a.type === type)?.address)
      .find((a) => a !== undefined);
    if (address === undefined) throw new Error(`node ${name} has no address`);
    const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? 0;
    const late = new AbortController();
    const cancel = ioTimer(timeoutMs, () => late.abort(new Error('the kubelet did not answer in time')));
    let connection: Duplex | undefined;
    try {
      connection = await this.#o.dial(name, address, port === 0 ? 10_250 : port);
      return await get(connection, address, late.signal);
    } finally {
      cancel();
      connection?.destroy();
    }
  }

  async node(name: string): Promise<NodeUsage | undefined> {
    return this.#samples.node(name);
  }

  async pods(name: string): Promise<ReadonlyMap<string, PodUsage>> {
    return this.#samples.pods(name);
  }
}

function get(connection: Duplex, host: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      path: '/metrics/resource',
      host,
      headers: { connection: 'close' },
      createConnection: () => connection as never,
      signal,
    });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxBytes) request.destroy(new Error('the kubelet says too much'));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks, size).toString('utf8'));
        else reject(new Error(`request failed, status: "${response.statusCode} ${response.statusMessage}"`));
      });
    });
    request.end();
  });
}
