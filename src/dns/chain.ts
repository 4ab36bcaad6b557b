/**
 * A Corefile made to work: for each port the zones that it serves, for each zone the chain of plugins that answers it. One instance is
 * one Corefile; a changed Corefile is another instance, put in its place when it has started.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ClusterRecords } from './cluster-records.ts';
import { recordsKey } from './cluster-records.ts';
import type { ParseOptions, ServerBlock } from './corefile/parser.ts';
import { parseCorefile } from './corefile/parser.ts';
import { errorAt } from './corefile/tokens.ts';
import { parseZone } from './corefile/values.ts';
import type { Handler, Reply, Request } from './message.ts';
import { failure, rcodes, types } from './message.ts';
import type { Metrics } from './metrics.ts';
import type { BlockContext, BlockWishes, HttpWish, Plugin } from './plugin.ts';
import { plugins, unsupported } from './plugins.ts';
import type { RecordsPool } from './records-pool.ts';
import type { Stamps } from './stamps.ts';

/** The port that names are answered at where a Corefile says nothing else. */
export const defaultPort = 53;
const maxDepth = 8;
const maxPayload = 65_535;

export interface Block {
  readonly zone: string;
  /** `dns://:53` */
  readonly server: string;
  readonly handler: Handler;
  readonly wishes: Readonly<BlockWishes>;
}

interface Port {
  readonly blocks: Map<string, Block>;
  /** Questions of other classes than IN are passed on. */
  otherClasses: boolean;
}

export interface ChainOptions {
  readonly corefile: string;
  readonly file: string;
  readonly directory: string;
  readonly load?: ParseOptions['load'];
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stamps: Stamps;
  readonly metrics: Metrics;
  readonly records: RecordsPool;
}

export class Chain {
  readonly #o: ChainOptions;
  readonly #ports = new Map<number, Port>();
  readonly #plugins: { readonly plugin: Plugin; readonly server: string }[] = [];
  readonly #taken = new Map<string, ClusterRecords>();
  readonly #wishes: BlockWishes[] = [];
  readonly #wereReady = new Set<Plugin>();
  #running = 0;
  #idle: (() => void)[] = [];

  /** Throws `CorefileError`; nothing is left behind then. */
  constructor(options: ChainOptions) {
    this.#o = options;
    try {
      const blocks = parseCorefile(options.corefile, {
        file: options.file,
        ...(options.load === undefined ? {} : { load: options.load }),
        environment: process.env,
        known: (name) => plugins.has(name) || unsupported.has(name),
      });
      for (const block of blocks) this.#block(block);
    } catch (error) {
      this.#release();
      for (const { plugin } of this.#plugins) void plugin.stop?.();
      throw error;
    }
  }

  #block(block: ServerBlock): void {
    const { clock, random, logger, client, stamps, metrics, directory } = this.#o;
    const served: { zone: string; port: number }[] = [];
    for (const key of block.keys) {
      const at = parseZone(key);
      if (at === undefined) throw errorAt(block, `zone is not a valid domain name: ${key}`);
      if (at.transport !== 'dns') throw errorAt(block, `'${at.transport}://' is not supported by knarr: ${key}`);
      for (const zone of at.zones) served.push({ zone, port: at.port ?? defaultPort });
    }
    const zones = [...new Set(served.map((s) => s.zone))];
    const port = served[0]?.port ?? defaultPort;
    const wishes: BlockWishes = { http: [], metered: false, shuffle: false, maxPayload, reload: undefined };
    this.#wishes.push(wishes);
    const made = new Map<string, Plugin>();
    const server = `dns://:${port}`;
    const context: BlockContext = {
      client,
      clock,
      random,
      logger,
      stamps,
      metrics,
      zones,
      server,
      directory,
      records: (wanted) => {
        const key = recordsKey(wanted);
        let records = this.#taken.get(key);
        if (records === undefined) {
          records = this.#o.records.take(wanted);
          this.#taken.set(key, records);
        }
        return records;
      },
      lookup: async (request, name, type) => this.#lookup(request, name, type, port),
      find: (name) => made.get(name),
      wishes,
    };
    for (const d of block.directives)
      if (unsupported.has(d.name)) throw errorAt(d, `directive '${d.name}' is not supported by knarr`);
    for (const [name, setup] of plugins) {
      const own = block.directives.filter((d) => d.name === name);
      if (own.length === 0) continue;
      const plugin = setup(own, context);
      made.set(name, plugin);
      this.#plugins.push({ plugin, server });
    }
    let handler: Handler | undefined;
    for (const plugin of [...made.values()].toReversed()) {
      if (plugin.wrap === undefined) continue;
      const { name } = plugin;
      const end: Handler = () => failure(name, rcodes.SERVFAIL, new Error(`plugin/${name}: no next plugin found`));
      handler = plugin.wrap(handler ?? end);
    }
    const answer: Handler = handler ?? (() => failure('', rcodes.REFUSED));
    for (const { zone, port: at } of served) {
      let known = this.#ports.get(at);
      if (known === undefined) this.#ports.set(at, (known = { blocks: new Map(), otherClasses: false }));
      if (known.blocks.has(zone)) throw errorAt(block, `cannot serve dns://${zone}:${at} - it is already defined`);
      known.blocks.set(zone, { zone, server: `dns://:${at}`, handler: answer, wishes });
      if (made.has('forward')) known.otherClasses = true;
      for (const name of made.keys()) metrics.plugins.of({ server: `dns://:${at}`, zone, view: '', name }).value = 1;
    }
  }

  get ports(): readonly number[] {
    return [...this.#ports.keys()];
  }

  /** The shortest time between looks at a Corefile that is a file; undefined: no block wants it looked at again. */
  get reloadMs(): number | undefined {
    const all = this.#wishes.flatMap((w) => w.reload ?? []);
    return all.length === 0 ? undefined : Math.min(...all);
  }

  get http(): readonly HttpWish[] {
    return this.#wishes.flatMap((w) => w.http);
  }

  /** The plugins that cannot answer yet. One that could once is not asked again, as CoreDNS' `until-ready`. */
  get notReady(): readonly string[] {
    const names: string[] = [];
    for (const { plugin } of this.#plugins) {
      if (plugin.ready === undefined || this.#wereReady.has(plugin)) continue;
      if (plugin.ready()) this.#wereReady.add(plugin);
      else names.push(plugin.name);
    }
    return names;
  }

  otherClasses(port: number): boolean {
    return this.#ports.get(port)?.otherClasses === true;
  }

  /** The block that is responsible for a name. */
  find(port: number, name: string, type: number): Block | undefined {
    const blocks = this.#ports.get(port)?.blocks;
    if (blocks === undefined) return undefined;
    let rest = name;
    // A delegation is the parent's matter.
    let first: Block | undefined;
    for (;;) {
      const block = blocks.get(rest);
      if (block !== undefined) {
        if (type !== types.DS) return block;
        if (first !== undefined) return block;
        first = block;
      }
      if (rest === '.') return first;
      const dot = rest.indexOf('.');
      rest = dot < 0 || dot === rest.length - 1 ? '.' : rest.slice(dot + 1);
    }
  }

  #lookup(request: Request, name: string, type: number, port: number): Reply | Promise<Reply> {
    const lower = name.toLowerCase();
    const block = request.depth >= maxDepth ? undefined : this.find(port, lower, type);
    if (block === undefined) return failure('', request.depth >= maxDepth ? rcodes.SERVFAIL : rcodes.REFUSED);
    return block.handler({ ...request, name: lower, asked: name, type, depth: request.depth + 1 });
  }

  /** Marks the start of an answer that takes time; what is returned marks its end. */
  begin(): () => void {
    this.#running++;
    return () => {
      if (--this.#running > 0) return;
      for (const resolve of this.#idle.splice(0)) resolve();
    };
  }

  /** Resolves when no answer is being made. */
  idle(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Resolves when it can answer; rejects with what keeps it from it. */
  async start(): Promise<void> {
    await Promise.all(this.#plugins.map(({ plugin }) => plugin.start?.()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#plugins.map(({ plugin }) => plugin.stop?.()));
    await this.#release();
  }

  async #release(): Promise<void> {
    const keys = [...this.#taken.keys()];
    this.#taken.clear();
    await Promise.all(keys.map((key) => this.#o.records.give(key)));
  }
}
