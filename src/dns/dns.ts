/**
 * `createDns`: the cluster's name server, as CoreDNS is one. It reads its Corefile, follows the cluster, answers over UDP and TCP on
 * ports of this machine and in-process for simulated pods, and puts a changed Corefile in the old one's place when that works.
 */
import type { Clock } from '../base/clock.ts';
import { ioTimer } from '../base/io-time.ts';
import { formatIp, parseIp } from '../base/ip.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { Chain, defaultPort } from './chain.ts';
import type { Corefile, CorefileSource } from './corefile-source.ts';
import { defaultCorefile } from './corefile/default.ts';
import { HttpListeners } from './http.ts';
import type { Reply, TypeName } from './message.ts';
import { types } from './message.ts';
import type { MetricFamily } from './metrics.ts';
import { Metrics } from './metrics.ts';
import { NameServer } from './name-server.ts';
import { fqdn, normalize } from './names.ts';
import type { HttpWish } from './plugin.ts';
import { addressOf } from './rdata.ts';
import { RecordsPool } from './records-pool.ts';
import type { SocketAddress } from './server.ts';
import { DnsSockets } from './server.ts';
import { Stamps } from './stamps.ts';

export interface DnsOptions {
  /** As `system:serviceaccount:kube-system:coredns`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /**
   * Where the Corefile's port 53 is answered; port 0 picks a free one. Other ports that a Corefile names are opened beside it. Left out:
   * answers in-process only.
   */
  readonly bind?: SocketAddress;
  /** Where the Corefile is; by default, and where that has none, it is kubeadm's with the two options below. */
  readonly corefile?: CorefileSource;
  /** `address[:port]` of name servers for other names; default those of the machine. */
  readonly upstreams?: readonly string[];
  readonly pods?: 'insecure' | 'verified' | 'disabled';
  /**
   * Where health, readiness and metrics are served: each there, nowhere (null), or where the Corefile wants it (left out). Without this
   * option they are served nowhere.
   */
  readonly http?: Readonly<Partial<Record<HttpWish['role'], Omit<HttpWish, 'role'> | null>>>;
  /** Metrics of the process around it. */
  readonly families?: readonly MetricFamily[];
}

export interface Dns {
  /** Resolves when names can be answered and the sockets are open. Rejects for a Corefile that is a file and wrong. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Where it listens, if it does. */
  readonly address: SocketAddress | undefined;
  /** Where health, readiness or metrics are served. */
  httpAddress(role: HttpWish['role']): SocketAddress | undefined;
  /** Answers a question in-process, from what is here: nobody outside is asked. */
  query(name: string, type: TypeName): Promise<Reply>;
  /** Addresses of a name as a pod of that namespace resolves it, along its search path; empty when there are none. */
  lookup(name: string, namespace?: string): Promise<readonly string[]>;
}

/** Names with fewer dots are tried along the search path first (`ndots:5`). */
const ndots = 5;
/** So long a Corefile that is not in use any more may still answer what came before. */
const drainMs = 6000;

class ClusterDns implements Dns {
  readonly #o: DnsOptions;
  readonly #metrics = new Metrics();
  readonly #stamps = new Stamps();
  readonly #server: NameServer;
  readonly #records: RecordsPool;
  readonly #http: HttpListeners;
  readonly #sockets = new Map<number, DnsSockets>();
  readonly #retired = new Set<Chain>();
  #version = '';
  #noted = '';
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: DnsOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    this.#records = new RecordsPool({ client, clock, random, logger, stamps: this.#stamps });
    this.#server = new NameServer({ clock, random, logger, stamps: this.#stamps, metrics: this.#metrics });
    this.#http = new HttpListeners({
      logger,
      host: options.bind?.address ?? '127.0.0.1',
      notReady: () => this.#server.chain?.notReady ?? ['corefile'],
      families: () => [...this.#metrics.families(), ...(options.families ?? [])],
    });
  }

  get address(): SocketAddress | undefined {
    return this.#sockets.get(defaultPort)?.address;
  }

  httpAddress(role: HttpWish['role']): SocketAddress | undefined {
    return this.#http.address(role);
  }

  #default(): Corefile {
    const { clusterDomain, upstreams, pods } = this.#o;
    return {
      text: defaultCorefile({
        domain: clusterDomain ?? 'cluster.local',
        ...(upstreams === undefined ? {} : { upstreams }),
        ...(pods === undefined ? {} : { pods }),
      }),
      file: 'Corefile',
      directory: '/etc/coredns',
      load: () => undefined,
      version: 'default',
    };
  }

  #chain(corefile: Corefile): Chain {
    const { client, clock, random, logger } = this.#o;
    return new Chain({
      corefile: corefile.text,
      file: corefile.file,
      directory: corefile.directory,
      load: corefile.load,
      client,
      clock,
      random,
      logger,
      stamps: this.#stamps,
      metrics: this.#metrics,
      records: this.#records,
    });
  }

  async start(): Promise<void> {
    const { corefile: source, logger } = this.#o;
    const corefile = (await source?.read()) ?? this.#default();
    if (this.#stopped) return;
    try {
      await this.#install(corefile);
    } catch (error) {
      if (this.#stopped) return;
      // A cluster comes up with names for its Services, whatever its Corefile says; only a file of one's own must be right.
      if (source === undefined || corefile.file !== 'Corefile' || corefile.version === 'default') throw error;
      logger.error(`DNS cannot use its Corefile, the default one is used: ${(error as Error).message}`);
      await this.#install(this.#default());
    }
    if (this.#stopped) return;
    this.#version = corefile.version;
    this.#told(corefile.version);
    source?.follow(
      (changed) => {
        this.#working = this.#o.clock.activity.track(this.#working.then(() => this.#reload(changed)));
      },
      () => this.#server.chain?.reloadMs,
    );
  }

  #told(version: string): void {
    this.#metrics.reloadInfo.reset();
    this.#metrics.reloadInfo.of({ hash: 'sha512', value: version }).value = 1;
  }

  async #reload(changed: Corefile): Promise<void> {
    if (this.#stopped || changed.version === this.#version) return;
    const { logger } = this.#o;
    if (this.#server.chain?.reloadMs === undefined) {
      if (this.#noted !== changed.version)
        logger.info("DNS: the Corefile has changed, which takes effect with the next start: it has no 'reload'");
      this.#noted = changed.version;
      return;
    }
    // The same text is not tried twice, right or wrong.
    this.#version = changed.version;
    try {
      await this.#install(changed);
      this.#told(changed.version);
      logger.info('DNS: the Corefile has changed and is in use');
    } catch (error) {
      this.#metrics.reloadFailures.of({}).value++;
      logger.error(`DNS: Corefile changed but reload failed: ${(error as Error).message}`);
    }
  }

  /** Puts a Corefile into use; the one before stays when that fails. */
  async #install(corefile: Corefile): Promise<void> {
    const chain = this.#chain(corefile);
    const opened = new Map<number, DnsSockets>();
    try {
      await chain.start();
      if (this.#stopped) throw new Error('stopped');
      await this.#open(chain, opened);
    } catch (error) {
      await Promise.all([...opened.values()].map((s) => s.close()));
      await chain.stop();
      throw error;
    }
    const before = this.#server.chain;
    this.#server.use(chain);
    for (const [port, sockets] of opened) this.#sockets.set(port, sockets);
    for (const [port, sockets] of this.#sockets)
      if (!chain.ports.includes(port) && port !== defaultPort) {
        this.#sockets.delete(port);
        await sockets.close();
      }
    await this.#serveHttp(chain);
    if (before !== undefined) this.#retire(before);
    if (this.#stopped) await this.#close();
  }

  /** What is being answered is answered to its end. */
  #retire(chain: Chain): void {
    this.#retired.add(chain);
    const end = (): void => {
      cancel();
      if (!this.#retired.delete(chain)) return;
      chain.stop().catch((error: unknown) => this.#o.logger.warn('DNS could not end what was in use', { error }));
    };
    const cancel = ioTimer(drainMs, end);
    void chain.idle().then(end);
  }

  async #serveHttp(chain: Chain): Promise<void> {
    const { http } = this.#o;
    if (http === undefined) return;
    const wishes = chain.http.filter((w) => http[w.role] === undefined);
    for (const role of ['health', 'ready', 'metrics'] as const) {
      const at = http[role];
      if (at !== undefined && at !== null) wishes.push({ role, ...at });
    }
    await this.#http.serve(wishes);
  }

  /** Opens the ports that are not open yet. */
  async #open(chain: Chain, opened: Map<number, DnsSockets>): Promise<void> {
    const { bind, logger } = this.#o;
    if (bind === undefined) return;
    for (const port of new Set([defaultPort, ...chain.ports])) {
      if (this.#sockets.has(port)) continue;
      const sockets = new DnsSockets(this.#server, port, logger);
      opened.set(port, sockets);
      const at = await sockets.bind(port === defaultPort ? bind : { address: bind.address, port });
      logger.info('DNS listens', { address: at.address, port: at.port });
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#o.corefile?.stop();
    await this.#working;
    await this.#close();
  }

  async #close(): Promise<void> {
    const chain = this.#server.chain;
    this.#server.use(undefined);
    await Promise.all([this.#http.close(), ...[...this.#sockets.values()].map((s) => s.close())]);
    this.#sockets.clear();
    await Promise.all([chain?.stop(), ...[...this.#retired].map((c) => c.stop())]);
    this.#retired.clear();
  }

  query(name: string, type: TypeName): Promise<Reply> {
    return this.#server.ask(fqdn(name), types[type]);
  }

  async lookup(name: string, namespace?: string): Promise<readonly string[]> {
    const ip = parseIp(name);
    if (ip !== undefined) return [formatIp(ip)];
    const domain = normalize(this.#o.clusterDomain ?? 'cluster.local');
    const search =
      namespace === undefined ? [] : [`${namespace}.svc.${domain}`, `svc.${domain}`, domain].map((d) => `${name}.${d}`);
    const dots = name.split('.').length - 1;
    const candidates = name.endsWith('.') ? [name] : dots < ndots ? [...search, name] : [name, ...search];
    for (const candidate of candidates) {
      const found = await Promise.all((['A', 'AAAA'] as const).map((type) => this.query(candidate, type)));
      const addresses = found.flatMap((reply) =>
        reply.answers.filter((r) => r.type === types.A || r.type === types.AAAA).map(addressOf),
      );
      if (addresses.length > 0) return addresses;
    }
    return [];
  }
}

export function createDns(options: DnsOptions): Dns {
  return new ClusterDns(options);
}
