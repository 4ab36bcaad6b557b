/**
 * `createDns`: the cluster's name server. Follows Services, EndpointSlices and Namespaces and answers for the cluster's domain and the
 * reverse names of its addresses; other names go to upstream servers where some are configured. Over UDP and TCP on a port of this
 * machine, and in-process for simulated pods.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { formatIp, parseIp } from '../base/ip.ts';
import type { KubeObject } from '../api/object.ts';
import type { EndpointSlice, Namespace, Pod, Service } from '../api/types/index.gen.ts';
import { Informer } from '../client/informer.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { DnsAnswer, RecordType } from './answer.ts';
import { failure } from './answer.ts';
import { Forwarder } from './forward.ts';
import type { SocketAddress } from './server.ts';
import { DnsSockets } from './server.ts';
import type { DnsPacketModule } from './wire.ts';
import { bareAnswer, decodeQuery, encodeAnswer } from './wire.ts';
import { byAddress, byService, canonical, clusterIPs, ClusterZone } from './zone.ts';

export interface DnsOptions {
  /** As `system:serviceaccount:kube-system:coredns`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Where to listen; port 0 picks a free one. Left out: answers in-process only. */
  readonly bind?: SocketAddress;
  /** `address[:port]` of name servers for other names; none by default: such questions are refused. */
  readonly upstreams?: readonly string[];
  /**
   * Names of pods (`10-1-2-3.namespace.pod`): `insecure`, the default, answers every well-formed one, `verified` those of pods that there
   * are, at the price of following all pods.
   */
  readonly pods?: 'insecure' | 'verified' | 'disabled';
}

export interface Dns {
  /** Resolves when names can be answered and the sockets are open. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Where it listens, if it does. */
  readonly address: SocketAddress | undefined;
  /** Answers a question in-process; the name's case and a dot at its end do not matter. */
  query(name: string, type: RecordType): DnsAnswer;
  /** Addresses of a name as a pod of that namespace resolves it, along its search path; empty when there are none. */
  lookup(name: string, namespace?: string): Promise<readonly string[]>;
}

const types = new Set<string>(['A', 'AAAA', 'CNAME', 'NS', 'PTR', 'SOA', 'SRV', 'TXT']);
/** Names with fewer dots are tried along the search path first (`ndots:5`). */
const ndots = 5;

/** Keeps what the zone reads and drops the rest as it arrives. */
function only<T extends KubeObject>(pick: (object: T) => object): (object: T) => T {
  return (object) => {
    const { name, namespace, resourceVersion, labels } = object.metadata;
    const service = labels?.['kubernetes.io/service-name'];
    return {
      metadata: {
        name,
        ...(namespace === undefined ? {} : { namespace }),
        resourceVersion,
        ...(service === undefined ? {} : { labels: { 'kubernetes.io/service-name': service } }),
      },
      ...pick(object),
    } as unknown as T;
  };
}

class ClusterDns implements Dns {
  readonly #o: DnsOptions;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #namespaces: Informer<Namespace>;
  readonly #pods: Informer<Pod> | undefined;
  readonly #zone: ClusterZone;
  readonly #sockets: DnsSockets;
  readonly #forwarder: Forwarder | undefined;
  #codec: DnsPacketModule | undefined;
  #serial: number;

  constructor(options: DnsOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    const shared = { clock, random, logger };
    this.#serial = Math.floor(clock.now() / 1000);
    this.#services = new Informer<Service>({
      ...shared,
      client: client.core.services,
      transform: only((s) => ({
        spec: {
          type: s.spec?.type,
          clusterIP: s.spec?.clusterIP,
          clusterIPs: s.spec?.clusterIPs,
          externalName: s.spec?.externalName,
          ports: s.spec?.ports,
        },
      })),
    });
    this.#slices = new Informer<EndpointSlice>({
      ...shared,
      client: client.discovery.endpointslices,
      transform: only((s) => ({ addressType: s.addressType, endpoints: s.endpoints, ports: s.ports })),
    });
    this.#namespaces = new Informer<Namespace>({
      ...shared,
      client: client.core.namespaces,
      transform: only(() => ({})),
    });
    this.#services.addIndex(byAddress, clusterIPs);
    this.#slices.addIndex(byService, (s) => {
      const name = s.metadata.labels?.['kubernetes.io/service-name'];
      return name === undefined ? [] : [`${s.metadata.namespace ?? ''}/${name}`];
    });
    this.#slices.addIndex(byAddress, (s) => [
      ...new Set((s.endpoints ?? []).flatMap((e) => e.addresses.map(canonical))),
    ]);
    const changed = { onAdd: () => this.#touch(), onUpdate: () => this.#touch(), onDelete: () => this.#touch() };
    this.#services.addHandler(changed);
    this.#slices.addHandler(changed);
    if (options.pods === 'verified') {
      this.#pods = new Informer<Pod>({
        ...shared,
        client: client.core.pods,
        transform: only((p) => ({ status: { podIPs: p.status?.podIPs } })),
      });
      this.#pods.addIndex(byAddress, (p) => (p.status?.podIPs ?? []).map((i) => canonical(i.ip)));
    }
    const pods = this.#pods;
    this.#zone = new ClusterZone({
      domain: options.clusterDomain ?? 'cluster.local',
      random,
      serial: () => this.#serial,
      sources: {
        services: this.#services.lister,
        slices: this.#slices.lister,
        hasNamespace: (name) => this.#namespaces.lister.get(name) !== undefined,
        ...(options.pods === 'disabled' ? { hasPod: () => false } : {}),
        ...(pods === undefined
          ? {}
          : {
              hasPod: (namespace, address) => {
                for (const p of pods.lister.byIndex(byAddress, address))
                  if (p.metadata.namespace === namespace) return true;
                return false;
              },
            }),
      },
    });
    this.#sockets = new DnsSockets((message, transport) => this.#serve(message, transport), logger);
    const upstreams = options.upstreams ?? [];
    this.#forwarder = upstreams.length === 0 ? undefined : new Forwarder(upstreams, random);
  }

  get address(): SocketAddress | undefined {
    return this.#sockets.address;
  }

  #touch(): void {
    this.#serial = Math.max(this.#serial, Math.floor(this.#o.clock.now() / 1000));
  }

  async start(): Promise<void> {
    const informers = [this.#services, this.#slices, this.#namespaces, this.#pods];
    for (const i of informers) i?.start();
    const { bind } = this.#o;
    if (bind !== undefined) {
      // Only a server needs messages in their form on the wire.
      const loaded = (await import('dns-packet')) as DnsPacketModule & { default?: DnsPacketModule };
      this.#codec = loaded.default ?? loaded;
      const bound = await this.#sockets.bind(bind);
      this.#o.logger.info('DNS listens', { address: bound.address, port: bound.port });
    }
    await Promise.all(informers.map((i) => i?.synced));
  }

  async stop(): Promise<void> {
    await Promise.all([
      this.#sockets.close(),
      this.#services.stop(),
      this.#slices.stop(),
      this.#namespaces.stop(),
      this.#pods?.stop(),
    ]);
  }

  query(name: string, type: RecordType): DnsAnswer {
    const asked = name.replace(/\.$/, '');
    return this.#own(asked, type) ?? failure('REFUSED');
  }

  /** The answer from the cluster's own data; undefined for names that are not the cluster's. */
  #own(asked: string, type: RecordType): DnsAnswer | undefined {
    const name = asked.toLowerCase();
    if (this.#zone.owns(name)) return this.#zone.answer(name, type, asked);
    if (!name.endsWith('.arpa')) return undefined;
    const answer = this.#zone.reverse(name, asked);
    if (answer === undefined || type === 'PTR') return answer;
    return { ...answer, answers: [] };
  }

  async #serve(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const codec = this.#codec;
    if (codec === undefined) return undefined;
    const query = decodeQuery(codec, message);
    if (query === undefined) return undefined;
    if (typeof query === 'string') return bareAnswer(message, query);
    const asked = query.question.name.replace(/\.$/, '');
    const known = types.has(query.question.type);
    let answer = this.#own(asked, known ? (query.question.type as RecordType) : 'TXT');
    // Of a type that the zone has none of: the name exists, or it does not.
    if (answer !== undefined && !known)
      answer = { ...answer, answers: answer.answers.filter((a) => a.type === 'CNAME'), additional: [] };
    if (answer === undefined) {
      if (this.#forwarder === undefined)
        answer = failure(asked.toLowerCase().endsWith('.arpa') ? 'NXDOMAIN' : 'REFUSED');
      else
        try {
          return await this.#forwarder.forward(message, transport);
        } catch (error) {
          this.#o.logger.debug('DNS forwarding failed', { name: asked, error });
          answer = failure('SERVFAIL');
        }
    }
    answer = await this.#completed(codec, answer, query.question.type);
    try {
      return encodeAnswer(codec, query, answer, transport, this.#forwarder !== undefined);
    } catch (error) {
      this.#o.logger.warn('DNS answer could not be encoded', { name: asked, error });
      return bareAnswer(message, 'SERVFAIL');
    }
  }

  /** What an ExternalName leads to outside of the cluster, where somebody can be asked: stub resolvers do not go on by themselves. */
  async #completed(codec: DnsPacketModule, answer: DnsAnswer, type: string): Promise<DnsAnswer> {
    const last = answer.answers.at(-1);
    if (this.#forwarder === undefined || last?.type !== 'CNAME' || (type !== 'A' && type !== 'AAAA')) return answer;
    const target = last.data as string;
    const question = {
      id: 0,
      type: 'query' as const,
      flags: codec.RECURSION_DESIRED,
      questions: [{ name: target, type }],
    };
    try {
      const more = codec.decode(await this.#forwarder.forward(codec.encode(question), 'udp')).answers ?? [];
      const records = more
        .filter((a) => a.type === type || a.type === 'CNAME')
        .map((a) => ({ name: a.name, type: a.type as RecordType, ttl: a.ttl ?? 0, data: a.data as string }));
      return { ...answer, answers: [...answer.answers, ...records] };
    } catch (error) {
      this.#o.logger.debug('DNS forwarding failed', { name: target, error });
      return { ...failure('SERVFAIL'), answers: answer.answers };
    }
  }

  lookup(name: string, namespace?: string): Promise<readonly string[]> {
    const ip = parseIp(name);
    if (ip !== undefined) return Promise.resolve([formatIp(ip)]);
    const { domain } = this.#zone;
    const search =
      namespace === undefined ? [] : [`${namespace}.svc.${domain}`, `svc.${domain}`, domain].map((d) => `${name}.${d}`);
    const dots = name.split('.').length - 1;
    const candidates = name.endsWith('.') ? [name] : dots < ndots ? [...search, name] : [name, ...search];
    for (const candidate of candidates) {
      const addresses = (['A', 'AAAA'] as const).flatMap((type) =>
        this.query(candidate, type)
          .answers.filter((a) => a.type === type)
          .map((a) => a.data as string),
      );
      if (addresses.length > 0) return Promise.resolve(addresses);
    }
    return Promise.resolve([]);
  }
}

export function createDns(options: DnsOptions): Dns {
  return new ClusterDns(options);
}
