/**
 * Routes to the pods of other nodes, for machines on one network: each node's pod ranges by that node's address. They carry a
 * routing protocol number of their own, so that only these are ever taken away.
 */
import { execFile } from 'node:child_process';
import type { Clock, Timer } from '../../base/clock.ts';
import { parseCidr, parseIp } from '../../base/ip.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Node } from '../../api/types/index.gen.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedClient } from '../../client/typed-client.ts';

/** `proto` of our routes: a number that no routing daemon has (rtnetlink leaves those above 4 to user space). */
const protocol = '118';
const retryMs = 10_000;

function ip(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('ip', args, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new Error(`ip ${args.join(' ')}: ${stderr.trim() === '' ? error.message : stderr.trim()}`, { cause: error }),
        );
    });
  });
}

export interface RoutesOptions {
  /** May list and watch nodes. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly nodeName: string;
}

/** The routes that a node wants to another's pods: range → address. */
export function routesTo(node: Node): Map<string, string> {
  const routes = new Map<string, string>();
  const addresses = (node.status?.addresses ?? []).filter((a) => a.type === 'InternalIP').map((a) => a.address);
  for (const cidr of node.spec?.podCIDRs ?? []) {
    const family = parseCidr(cidr)?.family;
    const via = addresses.find((a) => parseIp(a)?.family === family);
    if (family !== undefined && via !== undefined) routes.set(cidr, via);
  }
  return routes;
}

export class NodeRoutes {
  readonly #o: RoutesOptions;
  readonly #nodes: Informer<Node>;
  /** What stands, range → address. */
  readonly #routes = new Map<string, string>();
  #running: Promise<void> | undefined;
  #again = false;
  #retry: Timer | undefined;
  #stopped = false;

  constructor(options: RoutesOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    this.#nodes = new Informer({
      client: client.core.nodes,
      clock,
      random,
      logger,
      transform: (n: Node) =>
        ({
          metadata: { name: n.metadata.name, resourceVersion: n.metadata.resourceVersion },
          spec: { podCIDRs: n.spec?.podCIDRs },
          status: { addresses: n.status?.addresses },
        }) as Node,
    });
    const wake = (): void => this.#sync();
    this.#nodes.addHandler({ onAdd: wake, onUpdate: wake, onDelete: wake });
  }

  async start(): Promise<void> {
    this.#nodes.start();
    await this.#nodes.synced;
    this.#sync();
  }

  /** Leaves the routes, so that traffic goes on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    await this.#nodes.stop();
    await this.#running;
  }

  #sync(): void {
    if (this.#stopped) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#write().finally(() => {
      this.#running = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#sync();
    });
  }

  async #write(): Promise<void> {
    const wanted = new Map<string, string>();
    for (const node of this.#nodes.lister.list())
      if (node.metadata.name !== this.#o.nodeName) for (const [cidr, via] of routesTo(node)) wanted.set(cidr, via);
    let failed = false;
    for (const [cidr, via] of wanted) {
      if (this.#routes.get(cidr) === via) continue;
      try {
        await ip(['route', 'replace', cidr, 'via', via, 'proto', protocol]);
        this.#routes.set(cidr, via);
      } catch (error) {
        failed = true;
        this.#o.logger.warn('no route to the pods of another node; trying again', {
          range: cidr,
          why: (error as Error).message,
        });
      }
    }
    for (const cidr of [...this.#routes.keys()]) {
      if (wanted.has(cidr)) continue;
      this.#routes.delete(cidr);
      await ip(['route', 'del', cidr, 'proto', protocol]).catch((error: unknown) =>
        this.#o.logger.info('a route had gone already', { range: cidr, why: (error as Error).message }),
      );
    }
    this.#retry?.cancel();
    this.#retry = failed && !this.#stopped ? this.#o.clock.setTimer(retryMs, () => this.#sync()) : undefined;
  }
}

/** Takes all of our routes away. */
export async function removeRoutes(): Promise<void> {
  for (const family of ['-4', '-6']) {
    const text = await ip([family, 'route', 'show', 'proto', protocol]);
    for (const line of text.split('\n')) {
      const cidr = line.trim().split(' ')[0]!;
      if (cidr !== '') await ip([family, 'route', 'del', cidr, 'proto', protocol]);
    }
  }
}
