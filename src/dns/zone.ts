/**
 * The cluster's zone: what names of Services, endpoints and pods mean, by the Kubernetes DNS specification (version 1.1.0) and, where
 * that is silent, CoreDNS' kubernetes plugin. Reads listers; keeps no records of its own.
 */
import type { Random } from '../base/random.ts';
import { formatIp, parseIp } from '../base/ip.ts';
import type { EndpointSlice, Service } from '../api/types/index.gen.ts';
import type { Lister } from '../client/lister.ts';
import type { DnsAnswer, DnsRecord, RecordType } from './answer.ts';
import { addressOfReverse, dashed, recordTtl, schemaVersion, undashed } from './names.ts';

/** Index of slices by `namespace/service`. */
export const byService = 'service';
/** Index of Services by cluster IP, of slices and pods by address. */
export const byAddress = 'address';

export interface ZoneSources {
  readonly services: Lister<Service>;
  readonly slices: Lister<EndpointSlice>;
  /** Whether a namespace exists. */
  hasNamespace(name: string): boolean;
  /** Whether a pod of the namespace has the address; undefined: every well-formed pod name is answered (CoreDNS' `pods insecure`). */
  readonly hasPod?: (namespace: string, address: string) => boolean;
}

export interface ZoneOptions {
  /** `cluster.local`. */
  readonly domain: string;
  readonly sources: ZoneSources;
  readonly random: Random;
  /** Changes whenever the data does. */
  readonly serial: () => number;
}

interface Endpoint {
  readonly address: string;
  /** Its own name below the Service's. */
  readonly label: string;
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

/** What a name stands for: records by type, or nothing but existing. Undefined: there is no such name. */
interface Node {
  readonly addresses?: readonly string[];
  readonly cname?: string;
  readonly srv?: readonly { readonly port: number; readonly target: string; readonly addresses: readonly string[] }[];
  readonly text?: string;
  readonly ns?: string;
  readonly pointers?: readonly string[];
}

const exists: Node = {};
const maxChain = 8;

export class ClusterZone {
  readonly domain: string;
  readonly #o: ZoneOptions;

  constructor(options: ZoneOptions) {
    this.#o = options;
    this.domain = options.domain.toLowerCase().replace(/\.$/, '');
  }

  /** Whether this zone answers for the name. Names are lower-case and without the dot at the end. */
  owns(name: string): boolean {
    return name === this.domain || name.endsWith(`.${this.domain}`);
  }

  /** The answer for a name of the zone. `asked`: the name as it was written. */
  answer(name: string, type: RecordType, asked = name): DnsAnswer {
    const answers: DnsRecord[] = [];
    const additional: DnsRecord[] = [];
    let at = name;
    let label = asked;
    for (let hop = 0; hop < maxChain; hop++) {
      const node = this.#find(at);
      if (node === undefined) return this.#nothing('NXDOMAIN', answers);
      if (node.cname !== undefined && type !== 'CNAME') {
        answers.push(record(label, 'CNAME', node.cname));
        at = node.cname.toLowerCase();
        label = node.cname;
        // Who asks goes on from there.
        if (!this.owns(at)) return found(answers, additional);
        continue;
      }
      this.#collect(node, type, label, answers, additional);
      return answers.length === 0 ? this.#nothing('NOERROR', answers) : found(answers, additional);
    }
    return { rcode: 'SERVFAIL', authoritative: true, answers: [], authority: [], additional: [] };
  }

  /** PTR records of a reverse name; undefined when the address is none of the cluster's. */
  reverse(name: string, asked = name): DnsAnswer | undefined {
    const address = addressOfReverse(name);
    if (address === undefined) return undefined;
    const pointers = this.#pointers(canonical(address));
    if (pointers.length === 0) return undefined;
    return found(
      pointers.map((p) => record(asked, 'PTR', p)),
      [],
    );
  }

  #collect(node: Node, type: RecordType, name: string, answers: DnsRecord[], additional: DnsRecord[]): void {
    switch (type) {
      case 'A':
      case 'AAAA': {
        const family = type === 'A' ? 4 : 6;
        const own = this.#shuffled((node.addresses ?? []).filter((a) => familyOf(a) === family));
        for (const address of own) answers.push(record(name, type, address));
        return;
      }
      case 'SRV': {
        const targets = node.srv ?? [];
        const weight = Math.max(1, Math.floor(100 / Math.max(targets.length, 1)));
        const told = new Set<string>();
        for (const { port, target, addresses } of this.#shuffled(targets)) {
          answers.push({ name, type, ttl: recordTtl, data: { priority: 0, weight, port, target } });
          for (const address of addresses) {
            if (told.has(`${target} ${address}`)) continue;
            told.add(`${target} ${address}`);
            additional.push(record(target, familyOf(address) === 4 ? 'A' : 'AAAA', address));
          }
        }
        return;
      }
      case 'CNAME':
        if (node.cname !== undefined) answers.push(record(name, type, node.cname));
        return;
      case 'TXT':
        if (node.text !== undefined) answers.push(record(name, type, node.text));
        return;
      case 'NS':
        if (node.ns !== undefined) answers.push(record(name, type, node.ns));
        return;
      case 'PTR':
        for (const p of node.pointers ?? []) answers.push(record(name, type, p));
        return;
      case 'SOA':
        if (node.ns !== undefined) answers.push(this.#soa());
    }
  }

  #nothing(rcode: 'NXDOMAIN' | 'NOERROR', answers: readonly DnsRecord[]): DnsAnswer {
    return { rcode, authoritative: true, answers, authority: [this.#soa()], additional: [] };
  }

  #soa(): DnsRecord {
    return {
      name: this.domain,
      type: 'SOA',
      ttl: recordTtl,
      data: {
        mname: `ns.dns.${this.domain}`,
        rname: `hostmaster.${this.domain}`,
        serial: this.#o.serial(),
        refresh: 7200,
        retry: 1800,
        expire: 86_400,
        minimum: recordTtl,
      },
    };
  }

  /** In another order each time, so that clients which take the first spread. */
  #shuffled<T>(list: readonly T[]): readonly T[] {
    if (list.length < 2) return list;
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.#o.random.int(i + 1);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }

  #find(name: string): Node | undefined {
    if (name === this.domain) return { ns: `ns.dns.${this.domain}` };
    const labels = name.slice(0, -this.domain.length - 1).split('.');
    if (labels.some((l) => l === '')) return undefined;
    const kind = labels.pop();
    switch (kind) {
      case 'dns-version':
        return labels.length === 0 ? { text: schemaVersion } : undefined;
      case 'dns':
        if (labels.length === 0) return exists;
        return labels.length === 1 && labels[0] === 'ns' ? { addresses: this.#dnsAddresses() } : undefined;
      case 'svc':
        return this.#inServices(labels);
      case 'pod':
        return this.#inPods(labels);
      default:
        return undefined;
    }
  }

  #dnsAddresses(): readonly string[] {
    return clusterIPs(this.#o.sources.services.get('kube-dns', 'kube-system'));
  }

  #inPods(labels: readonly string[]): Node | undefined {
    const { sources } = this.#o;
    const namespace = labels.at(-1);
    if (namespace === undefined) return exists;
    if (!sources.hasNamespace(namespace)) return undefined;
    if (labels.length === 1) return exists;
    const text = labels.length === 2 ? undashed(labels[0]!) : undefined;
    const ip = text === undefined ? undefined : parseIp(text);
    if (ip === undefined) return undefined;
    const address = formatIp(ip);
    if (sources.hasPod !== undefined && !sources.hasPod(namespace, address)) return undefined;
    return { addresses: [address] };
  }

  #inServices(labels: readonly string[]): Node | undefined {
    const { sources } = this.#o;
    const namespace = labels.at(-1);
    if (namespace === undefined) return exists;
    if (!sources.hasNamespace(namespace)) return undefined;
    if (labels.length === 1) return exists;
    const service = sources.services.get(labels.at(-2)!, namespace);
    if (service === undefined) return undefined;
    const rest = labels.slice(0, -2);
    const name = `${service.metadata.name ?? ''}.${namespace}.svc.${this.domain}`;
    if (service.spec?.type === 'ExternalName') {
      const target = service.spec.externalName ?? '';
      if (rest.length > 0) return undefined;
      // An address in place of a name is answered as such.
      return parseIp(target) === undefined ? { cname: target.replace(/\.$/, '') } : { addresses: [target] };
    }
    const ips = clusterIPs(service);
    const endpoints = ips.length === 0 ? this.#endpoints(service) : [];
    if (ips.length === 0 && service.spec?.clusterIP !== 'None') return undefined;
    // A headless Service without endpoints has no name (specification 2.4).
    if (ips.length === 0 && endpoints.length === 0) return undefined;
    return this.#belowService(rest, service, name, ips, endpoints);
  }

  #belowService(
    rest: readonly string[],
    service: Service,
    name: string,
    ips: readonly string[],
    endpoints: readonly Endpoint[],
  ): Node | undefined {
    const headless = ips.length === 0;
    const srv = (port: string | undefined, protocol: string | undefined): NonNullable<Node['srv']> => {
      const wanted = (p: { name?: string; protocol?: string }): boolean =>
        (port === undefined || (p.name ?? '') === port) &&
        (protocol === undefined || (p.protocol ?? 'TCP').toLowerCase() === protocol);
      if (!headless)
        return (service.spec?.ports ?? []).filter(wanted).map((p) => ({ port: p.port, target: name, addresses: ips }));
      return endpoints.flatMap((e) =>
        e.ports.filter(wanted).map((p) => ({ port: p.port, target: `${e.label}.${name}`, addresses: [e.address] })),
      );
    };
    if (rest.length === 0)
      return { addresses: headless ? endpoints.map((e) => e.address) : ips, srv: srv(undefined, undefined) };
    const [first = '', second = ''] = rest;
    if (rest.length === 2 && first.startsWith('_') && second.startsWith('_')) {
      const records = srv(first.slice(1), second.slice(1));
      return records.length === 0 ? undefined : { srv: records };
    }
    if (rest.length > 1) return undefined;
    // `_tcp.service` has no records, but names below it.
    if (first.startsWith('_')) return srv(undefined, first.slice(1)).length > 0 ? exists : undefined;
    const own = this.#endpoints(service).filter((e) => e.label === first || dashed(e.address) === first);
    if (own.length === 0) return undefined;
    return {
      addresses: own.map((e) => e.address),
      srv: own.flatMap((e) =>
        e.ports.map((p) => ({ port: p.port, target: `${e.label}.${name}`, addresses: [e.address] })),
      ),
    };
  }

  /** Ready endpoints (or all, as the slices say for publishNotReadyAddresses) of a Service, each address once. */
  #endpoints(service: Service): Endpoint[] {
    const out = new Map<string, Endpoint>();
    const key = `${service.metadata.namespace ?? ''}/${service.metadata.name ?? ''}`;
    for (const slice of this.#o.sources.slices.byIndex(byService, key)) {
      if (slice.addressType !== 'IPv4' && slice.addressType !== 'IPv6') continue;
      const ports = (slice.ports ?? [])
        .filter((p) => p.port !== undefined)
        .map((p) => ({ name: p.name ?? '', protocol: p.protocol ?? 'TCP', port: p.port! }));
      for (const e of slice.endpoints ?? []) {
        if (e.conditions?.ready === false) continue;
        for (const text of e.addresses) {
          const address = canonical(text);
          const before = out.get(address);
          out.set(address, {
            address,
            label: e.hostname ?? before?.label ?? dashed(address),
            ports: before === undefined ? ports : [...before.ports, ...ports],
          });
        }
      }
    }
    return [...out.values()];
  }

  #pointers(address: string): string[] {
    const { services, slices } = this.#o.sources;
    for (const service of services.byIndex(byAddress, address))
      return [`${service.metadata.name ?? ''}.${service.metadata.namespace ?? ''}.svc.${this.domain}`];
    const out = new Set<string>();
    for (const slice of slices.byIndex(byAddress, address)) {
      const service = slice.metadata.labels?.['kubernetes.io/service-name'];
      if (service === undefined) continue;
      for (const e of slice.endpoints ?? []) {
        if (e.conditions?.ready === false || !e.addresses.some((a) => canonical(a) === address)) continue;
        out.add(`${e.hostname ?? dashed(address)}.${service}.${slice.metadata.namespace ?? ''}.svc.${this.domain}`);
      }
    }
    return [...out];
  }
}

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

export function canonical(address: string): string {
  const ip = parseIp(address);
  return ip === undefined ? address : formatIp(ip);
}

/** The cluster IPs of a Service that has some: neither headless nor ExternalName. */
export function clusterIPs(service: Service | undefined): string[] {
  const spec = service?.spec;
  if (spec === undefined || spec.type === 'ExternalName') return [];
  return (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((ip) => ip !== '' && ip !== 'None').map(canonical);
}

function record(name: string, type: RecordType, data: string): DnsRecord {
  return { name, type, ttl: recordTtl, data };
}

function found(answers: readonly DnsRecord[], additional: readonly DnsRecord[]): DnsAnswer {
  return { rcode: 'NOERROR', authoritative: true, answers, authority: [], additional };
}
