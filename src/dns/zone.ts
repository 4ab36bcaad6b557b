/**
 * What names of Services, endpoints and pods mean: the Kubernetes DNS specification (version 1.1.0) and, where that is silent,
 * CoreDNS' kubernetes plugin. Keeps no records of its own. Where CoreDNS denies names that exist without records of the type asked
 * for (TXT of a namespace, SOA of anything), this says that they exist.
 */
import type { ClusterRecords, Port, ServiceRecord } from './cluster-records.ts';
import { addressTag, namespaceTag, podTag, serviceTag } from './cluster-records.ts';
import type { Reply, Request, Reusable, Rr } from './message.ts';
import { answered, rcodes, types } from './message.ts';
import { addressOfReverse, canonical, dashed, labelsOf, within } from './names.ts';
import { addressData, addressRecord, nameRecord, soaRecord, srvRecord, textRecord } from './rdata.ts';
import type { Stamps } from './stamps.ts';

const schemaVersion = '1.1.0';
const schemaTtl = 28_800;
const maxChain = 10;
const plugin = 'kubernetes';

export type PodMode = 'disabled' | 'insecure' | 'verified';

export interface ZoneOptions {
  readonly records: ClusterRecords;
  readonly stamps: Stamps;
  /** Normalized; the first that is no reverse zone is where reverse names lead. */
  readonly zones: readonly string[];
  readonly primary: string;
  readonly pods: PodMode;
  /** Empty: all. */
  readonly namespaces: ReadonlySet<string>;
  readonly ttl: number;
  readonly endpointPodNames: boolean;
  readonly ignoreEmptyServices: boolean;
  /** Finds what lies outside of the zone, where somebody can be asked. */
  readonly lookup: (request: Request, name: string, type: number) => Promise<Reply>;
}

interface Item {
  readonly data: Buffer;
  readonly text: string;
  readonly port: number;
  readonly target: string;
}

/** What a name stands for. */
type Meaning =
  | { readonly kind: 'missing' }
  | { readonly kind: 'empty' }
  | { readonly kind: 'items'; readonly items: readonly Item[] }
  | { readonly kind: 'external'; readonly target: string };

const missing: Meaning = { kind: 'missing' };
const empty: Meaning = { kind: 'empty' };

const below = (name: string, zone: string): string => (zone === '.' ? `${name}.` : `${name}.${zone}`);

/** What an answer depends on, gathered while it is made. */
class Ties {
  readonly #stamps: Stamps;
  readonly slots: number[] = [];
  readonly values: number[] = [];
  /** Something came from outside. */
  loose = false;

  constructor(stamps: Stamps) {
    this.#stamps = stamps;
  }

  add(name: string): void {
    const slot = this.#stamps.slot(name);
    if (this.slots.includes(slot)) return;
    this.slots.push(slot);
    this.values.push(this.#stamps.value(slot));
  }
}

export class ClusterZone {
  readonly #o: ZoneOptions;
  #lastSoa: { readonly serial: number; readonly record: Rr } | undefined;

  constructor(options: ZoneOptions) {
    this.#o = options;
  }

  /**
   * The answer for a name of `zone`; its code is NXDOMAIN (SERVFAIL before everything has been read) for names that there are none of.
   */
  answer(request: Request, zone: string): Reply | Promise<Reply> {
    const { name, type, asked } = request;
    const ties = new Ties(this.#o.stamps);
    // The zone in the case in which it was asked for.
    const written = asked.slice(asked.length - zone.length);
    if (type === types.AXFR || type === types.IXFR) return this.#refused();
    const apex = name === zone;
    if (apex && type === types.SOA) return this.#found(ties, [this.#soa(written)]);
    if (apex && type === types.NS) return this.#nameServers(request, written, ties);
    if (name === below('ns.dns', zone)) {
      const addresses = this.#serverAddresses(ties);
      if (addresses.length === 0) return this.#denied(written, ties);
      return this.#addresses(written, asked, type, addresses, ties);
    }
    if (type === types.TXT && name === below('dns-version', zone))
      return this.#found(ties, [textRecord(asked, schemaTtl, [schemaVersion])]);
    if (within('in-addr.arpa.', zone) || within('ip6.arpa.', zone)) return this.#reverse(request, zone, written, ties);
    const meaning = this.#meaning(name, zone, written, ties);
    switch (meaning.kind) {
      case 'missing':
        return this.#denied(written, ties);
      case 'empty':
        return this.#nothing(written, ties);
      case 'external':
        return this.#external(request, zone, written, meaning.target, ties);
      case 'items':
        return type === types.SRV
          ? this.#services(written, asked, meaning.items, ties)
          : this.#addresses(written, asked, type, meaning.items, ties);
    }
  }

  #reusable(ties: Ties): Reusable | undefined {
    const { records } = this.#o;
    if (ties.loose || !records.hasSynced) return undefined;
    return { slots: ties.slots, stamps: ties.values, serial: () => records.serial };
  }

  #found(ties: Ties, answers: readonly Rr[], additional: readonly Rr[] = []): Reply {
    return answered(plugin, { answers, additional, reusable: this.#reusable(ties) });
  }

  /** The name exists, records of the type do not. */
  #nothing(written: string, ties: Ties): Reply {
    return answered(plugin, { authority: [this.#soa(written)], reusable: this.#reusable(ties) });
  }

  #denied(written: string, ties: Ties): Reply {
    const rcode = this.#o.records.hasSynced ? rcodes.NXDOMAIN : rcodes.SERVFAIL;
    return answered(plugin, { rcode, authority: [this.#soa(written)], reusable: this.#reusable(ties) });
  }

  #refused(): Reply {
    return { ...answered(plugin, { rcode: rcodes.REFUSED }), authoritative: false };
  }

  /** Made once a change and spelling of the zone: most answers that have one have the same. */
  #soa(zone: string): Rr {
    const { ttl, records } = this.#o;
    const last = this.#lastSoa;
    if (last !== undefined && last.serial === records.serial && last.record.name === zone) return last.record;
    const record = soaRecord(zone, Math.min(ttl, 300), {
      mname: below('ns.dns', zone),
      rname: below('hostmaster', zone),
      serial: records.serial,
      refresh: 7200,
      retry: 1800,
      expire: 86_400,
      minimum: ttl,
    });
    this.#lastSoa = { serial: records.serial, record };
    return record;
  }

  /** This name server by its Service. */
  #serverAddresses(ties: Ties): readonly Item[] {
    ties.add(serviceTag('kube-system', 'kube-dns'));
    const service = this.#o.records.service('kube-system', 'kube-dns');
    return (service?.addresses ?? []).map((a) => ({ ...a, port: -1, target: '' }));
  }

  #nameServers(request: Request, written: string, ties: Ties): Reply {
    const addresses = this.#serverAddresses(ties);
    if (addresses.length === 0) return this.#nothing(written, ties);
    const target = below('kube-dns.kube-system.svc', this.#o.primary);
    const answer = nameRecord(request.asked, types.NS, target, this.#o.ttl);
    return this.#found(
      ties,
      answer === undefined ? [] : [answer],
      addresses.map((a) => addressRecord(target, a.data, this.#o.ttl)),
    );
  }

  #addresses(written: string, asked: string, type: number, items: readonly Item[], ties: Ties): Reply {
    const width = type === types.A ? 4 : type === types.AAAA ? 16 : 0;
    const answers: Rr[] = [];
    if (width > 0) this.#collect(items, asked, width, answers);
    return answers.length === 0 ? this.#nothing(written, ties) : this.#found(ties, answers);
  }

  /** Each address once. */
  #collect(items: readonly Item[], name: string, width: number, answers: Rr[]): void {
    const seen = items.length > 1 ? new Set<string>() : undefined;
    for (const item of items) {
      if (item.data.length !== width || seen?.has(item.text) === true) continue;
      seen?.add(item.text);
      answers.push(addressRecord(name, item.data, this.#o.ttl));
    }
  }

  #services(written: string, asked: string, items: readonly Item[], ties: Ties): Reply {
    const { ttl } = this.#o;
    const weight = Math.max(1, Math.floor(100 / items.length));
    const answers: Rr[] = [];
    const additional: Rr[] = [];
    const told = new Set<string>();
    for (const { data, text, port, target } of items) {
      if (port === -1) continue;
      if (!told.has(`${target} ${port}`)) {
        told.add(`${target} ${port}`);
        const record = srvRecord(asked, ttl, weight, port, target);
        if (record !== undefined) answers.push(record);
      }
      if (!told.has(`${target} ${text}`)) {
        told.add(`${target} ${text}`);
        additional.push(addressRecord(target, data, ttl));
      }
    }
    return answers.length === 0 ? this.#nothing(written, ties) : this.#found(ties, answers, additional);
  }

  /** An ExternalName leads on: within the zone from here, elsewhere by asking. */
  async #external(request: Request, zone: string, written: string, first: string, ties: Ties): Promise<Reply> {
    const { type } = request;
    const chain: Rr[] = [];
    const seen = new Set([request.name]);
    let owner = request.asked;
    let target = first;
    for (;;) {
      const next = target.toLowerCase();
      // A name that leads to itself, or too far, leads nowhere.
      if (seen.has(next) || chain.length > maxChain) return this.#nothing(written, ties);
      seen.add(next);
      const record = nameRecord(owner, types.CNAME, target, this.#o.ttl);
      if (record === undefined) return this.#nothing(written, ties);
      chain.push(record);
      if (type === types.CNAME) return this.#found(ties, chain);
      if (type !== types.A && type !== types.AAAA) return this.#nothing(written, ties);
      if (!within(zone, next)) break;
      const meaning = this.#meaning(next, zone, zone, ties);
      if (meaning.kind === 'external') {
        owner = target;
        target = meaning.target;
        continue;
      }
      const answers: Rr[] = [];
      if (meaning.kind === 'items') this.#collect(meaning.items, target, type === types.A ? 4 : 16, answers);
      if (answers.length === 0) return this.#nothing(written, ties);
      return this.#found(ties, [...chain, ...answers]);
    }
    ties.loose = true;
    const reply = await this.#o.lookup(request, target, type);
    return { ...this.#found(ties, [...chain, ...reply.answers]), truncated: reply.truncated };
  }

  #reverse(request: Request, zone: string, written: string, ties: Ties): Reply {
    if (request.name === zone) return this.#nothing(written, ties);
    const address = addressOfReverse(request.name);
    if (address === undefined) return this.#denied(written, ties);
    ties.add(addressTag(address));
    const pointers = this.#pointers(address);
    if (pointers.length === 0) return this.#denied(written, ties);
    if (request.type !== types.PTR) return this.#nothing(written, ties);
    return this.#found(
      ties,
      pointers.flatMap((p) => nameRecord(request.asked, types.PTR, p, this.#o.ttl) ?? []),
    );
  }

  #pointers(address: string): string[] {
    const { records, primary } = this.#o;
    for (const s of records.servicesAt(address))
      if (this.#exposed(s.metadata.namespace ?? ''))
        return [below(`${s.metadata.name ?? ''}.${s.metadata.namespace ?? ''}.svc`, primary)];
    const out = new Set<string>();
    for (const slice of records.slicesAt(address)) {
      const namespace = slice.metadata.namespace ?? '';
      if (slice.service === '' || !this.#exposed(namespace)) continue;
      for (const e of slice.endpoints)
        if (e.text === address) out.add(below(`${this.#label(e)}.${slice.service}.${namespace}.svc`, primary));
    }
    return [...out];
  }

  /** Whether the Corefile lets names of the namespace out, which need not exist. */
  #exposed(namespace: string): boolean {
    const { namespaces } = this.#o;
    return namespaces.size === 0 || namespaces.has(namespace);
  }

  #label(e: {
    readonly text: string;
    readonly hostname: string | undefined;
    readonly target: string | undefined;
  }): string {
    return e.hostname ?? (this.#o.endpointPodNames ? e.target : undefined) ?? dashed(e.text);
  }

  #meaning(name: string, zone: string, written: string, ties: Ties): Meaning {
    const labels = labelsOf(zone === '.' ? name : name.slice(0, name.length - zone.length));
    if (labels.length === 0) return empty;
    const kind = labels.at(-1);
    if (kind !== 'svc' && kind !== 'pod') return missing;
    const namespace = labels.at(-2);
    if (namespace === undefined) return empty;
    // `port.protocol.service.namespace.svc` and nothing longer.
    if (labels.length > 5) return missing;
    ties.add(namespaceTag(namespace));
    if (!this.#exposed(namespace) || !this.#o.records.hasNamespace(namespace)) return missing;
    if (labels.length === 2) return kind === 'pod' && this.#o.pods === 'disabled' ? missing : empty;
    if (kind === 'pod') return this.#pod(labels.at(-3)!, namespace, ties);
    return this.#service(labels, namespace, written, ties);
  }

  #pod(label: string, namespace: string, ties: Ties): Meaning {
    const { pods, records } = this.#o;
    const v4 = label.split('-').length === 4 && !label.includes('--');
    const address = label.replaceAll('-', v4 ? '.' : ':');
    const data = pods === 'disabled' ? undefined : addressData(address);
    if (data === undefined) return missing;
    if (pods === 'verified') {
      const text = canonical(address);
      ties.add(podTag(text));
      if (!records.podNamespacesAt(text).includes(namespace)) return missing;
    }
    return { kind: 'items', items: [{ data, text: address, port: -1, target: '' }] };
  }

  #service(labels: readonly string[], namespace: string, written: string, ties: Ties): Meaning {
    const { records, ignoreEmptyServices } = this.#o;
    const name = labels.at(-3)!;
    ties.add(serviceTag(namespace, name));
    const service = records.service(namespace, name);
    if (service === undefined) return missing;
    const endpoint = labels.length === 4 ? labels[0]! : undefined;
    const protocol = labels.length === 5 ? labels[1]!.replace(/^_/, '') : undefined;
    const port = labels.length === 5 ? labels[0]!.replace(/^_/, '') : undefined;
    if (service.externalName !== undefined) {
      if (labels.length > 3 || addressData(service.externalName) !== undefined || service.externalName === '')
        return missing;
      return {
        kind: 'external',
        target: service.externalName.endsWith('.') ? service.externalName : `${service.externalName}.`,
      };
    }
    const base = below(`${name}.${namespace}.svc`, written);
    const wanted = (p: Port): boolean =>
      (port === undefined || p.name === port) && (protocol === undefined || p.protocol === protocol);
    if (service.headless || endpoint !== undefined) return this.#endpoints(service, base, endpoint, wanted);
    if (ignoreEmptyServices && this.#endpoints(service, base, undefined, () => true).kind === 'missing') return missing;
    const items: Item[] = [];
    let matched = false;
    for (const p of service.ports) {
      if (!wanted(p)) continue;
      matched = true;
      for (const a of service.addresses) items.push({ data: a.data, text: a.text, port: p.port, target: base });
    }
    if (!matched) return missing;
    return { kind: 'items', items };
  }

  #endpoints(service: ServiceRecord, base: string, label: string | undefined, wanted: (p: Port) => boolean): Meaning {
    const items: Item[] = [];
    const { namespace = '', name = '' } = service.metadata;
    for (const slice of this.#o.records.slices(namespace, name))
      for (const e of slice.endpoints) {
        const own = this.#label(e);
        if (label !== undefined && own.toLowerCase() !== label) continue;
        for (const p of slice.ports)
          if (wanted(p)) items.push({ data: e.data, text: e.text, port: p.port, target: `${own}.${base}` });
      }
    // A headless Service without endpoints has no name (specification 2.4).
    return items.length === 0 ? missing : { kind: 'items', items };
  }
}
