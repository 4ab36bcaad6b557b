/**
 * `ClusterRecords`: what names are made of, followed by informers: Services, EndpointSlices, Namespaces and, where pods are verified,
 * pods. Each object is cut down to what is answered as it arrives; whatever changes is told to the stamps, so that answers that
 * depend on it are made anew.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import type { EndpointSlice, Namespace, Pod, Service } from '../api/types/index.gen.ts';
import type { ResourceClient } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import type { InformerHandler } from '../client/informer.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { canonical } from './names.ts';
import { addressData } from './rdata.ts';
import type { Stamps } from './stamps.ts';

export interface Port {
  readonly name: string;
  /** In lower case. */
  readonly protocol: string;
  readonly port: number;
}

export interface Address {
  readonly text: string;
  readonly data: Buffer;
}

export interface ServiceRecord extends KubeObject {
  readonly headless: boolean;
  /** Undefined: not of type ExternalName. */
  readonly externalName: string | undefined;
  readonly addresses: readonly Address[];
  /** Never empty: a Service without ports has one with number -1, which SRV records leave out. */
  readonly ports: readonly Port[];
}

export interface EndpointRecord extends Address {
  readonly hostname: string | undefined;
  readonly target: string | undefined;
}

export interface SliceRecord extends KubeObject {
  /** Name of the Service; empty: of none. */
  readonly service: string;
  /** Ready ones. */
  readonly endpoints: readonly EndpointRecord[];
  readonly ports: readonly Port[];
}

interface PodRecord extends KubeObject {
  readonly addresses: readonly string[];
}

const byService = 'service';
const byAddress = 'address';
const serviceLabel = 'kubernetes.io/service-name';
const noPort: Port = { name: '', protocol: '', port: -1 };
const none: Iterable<never> = [];

function head(object: KubeObject): { metadata: KubeObject['metadata'] } {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return {
    metadata: {
      ...(name === undefined ? {} : { name }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
  };
}

function address(text: string): Address[] {
  const data = addressData(text);
  return data === undefined ? [] : [{ text: canonical(text), data }];
}

function serviceRecord(s: Service): ServiceRecord {
  const spec = s.spec;
  const ips = spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
  const external = spec?.type === 'ExternalName';
  const ports = (spec?.ports ?? []).map((p) => ({
    name: (p.name ?? '').toLowerCase(),
    protocol: (p.protocol ?? 'TCP').toLowerCase(),
    port: p.port,
  }));
  return {
    ...head(s as KubeObject),
    headless: !external && ips[0] === 'None',
    externalName: external ? (spec?.externalName ?? '') : undefined,
    addresses: external ? [] : ips.flatMap(address),
    ports: ports.length === 0 ? [noPort] : ports,
  } as ServiceRecord;
}

function sliceRecord(s: EndpointSlice): SliceRecord {
  const wanted = s.addressType === 'IPv4' || s.addressType === 'IPv6';
  const ports = (s.ports ?? []).map((p) => ({
    name: (p.name ?? '').toLowerCase(),
    protocol: (p.protocol ?? '').toLowerCase(),
    port: p.port ?? -1,
  }));
  return {
    ...head(s as KubeObject),
    service: s.metadata?.labels?.[serviceLabel] ?? '',
    endpoints: (wanted ? (s.endpoints ?? []) : [])
      .filter((e) => e.conditions?.ready !== false)
      .flatMap((e) => {
        const target = e.targetRef?.name;
        return e.addresses.flatMap((a) =>
          address(a).map((known) => ({
            ...known,
            hostname: e.hostname === '' ? undefined : e.hostname,
            // Names that are no label cannot be given.
            target: target !== undefined && target.length < 64 ? target : undefined,
          })),
        );
      }),
    ports: ports.length === 0 ? [noPort] : ports,
  } as SliceRecord;
}

function podRecord(p: Pod): PodRecord {
  const going = p.metadata?.deletionTimestamp !== undefined;
  const ips = p.status?.podIPs?.map((i) => i.ip ?? '') ?? (p.status?.podIP === undefined ? [] : [p.status.podIP]);
  return { ...head(p as KubeObject), addresses: going ? [] : ips.filter((i) => i !== '').map(canonical) } as PodRecord;
}

export interface ClusterRecordsOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stamps: Stamps;
  readonly labels?: string | undefined;
  readonly namespaceLabels?: string | undefined;
  readonly pods: boolean;
  readonly endpoints: boolean;
}

/** Two stanzas of a Corefile that want the same follow it once. */
export function recordsKey(
  o: Pick<ClusterRecordsOptions, 'labels' | 'namespaceLabels' | 'pods' | 'endpoints'>,
): string {
  return JSON.stringify([o.labels ?? '', o.namespaceLabels ?? '', o.pods, o.endpoints]);
}

export class ClusterRecords {
  readonly #services: Informer<ServiceRecord>;
  readonly #slices: Informer<SliceRecord> | undefined;
  readonly #namespaces: Informer;
  readonly #pods: Informer<PodRecord> | undefined;
  readonly #clock: Clock;
  /** Seconds since the epoch of the last change, which never goes back. */
  #serial: number;

  constructor(options: ClusterRecordsOptions) {
    const { client, clock, random, logger, stamps } = options;
    this.#clock = clock;
    this.#serial = Math.floor(clock.now() / 1000);
    const shared = {
      clock,
      random,
      logger,
      ...(options.labels === undefined ? {} : { labelSelector: options.labels }),
    };
    // An informer keeps what its transform makes of the objects: from here on they are records.
    const informer = <O, R extends KubeObject>(from: ResourceClient<never>, make: (object: O) => R): Informer<R> =>
      new Informer<R>({
        ...shared,
        client: from as unknown as ResourceClient<R>,
        transform: (object) => make(object as unknown as O),
      });
    this.#services = informer(client.core.services as unknown as ResourceClient<never>, serviceRecord);
    this.#slices = options.endpoints
      ? informer(client.discovery.endpointslices as unknown as ResourceClient<never>, sliceRecord)
      : undefined;
    this.#pods = options.pods ? informer(client.core.pods as unknown as ResourceClient<never>, podRecord) : undefined;
    this.#namespaces = new Informer<KubeObject>({
      clock,
      random,
      logger,
      ...(options.namespaceLabels === undefined ? {} : { labelSelector: options.namespaceLabels }),
      client: client.core.namespaces as unknown as ResourceClient<KubeObject>,
      transform: (object: KubeObject): KubeObject => head(object as Namespace as KubeObject) as KubeObject,
    });
    this.#services.addIndex(byAddress, (s) => s.addresses.map((a) => a.text));
    this.#slices?.addIndex(byService, (s) => (s.service === '' ? [] : [`${s.metadata.namespace ?? ''}/${s.service}`]));
    this.#slices?.addIndex(byAddress, (s) => [...new Set(s.endpoints.map((e) => e.text))]);
    this.#pods?.addIndex(byAddress, (p) => p.addresses);

    const touched = (): void => {
      this.#serial = Math.max(this.#serial, Math.floor(clock.now() / 1000));
    };
    const followed = <T>(tell: (object: T) => void, changes: boolean): InformerHandler<T> => ({
      onAdd: (object) => {
        tell(object);
        if (changes) touched();
      },
      onUpdate: (old, object) => {
        tell(old);
        tell(object);
        if (changes) touched();
      },
      onDelete: (object, previous) => {
        tell(previous);
        tell(object);
        if (changes) touched();
      },
    });
    this.#services.addHandler(
      followed<ServiceRecord>((s) => {
        stamps.changed(serviceTag(s.metadata.namespace ?? '', s.metadata.name ?? ''));
        for (const a of s.addresses) stamps.changed(addressTag(a.text));
      }, true),
    );
    this.#slices?.addHandler(
      followed<SliceRecord>((s) => {
        if (s.service !== '') stamps.changed(serviceTag(s.metadata.namespace ?? '', s.service));
        for (const e of s.endpoints) stamps.changed(addressTag(e.text));
      }, true),
    );
    this.#namespaces.addHandler(
      followed<KubeObject>((n) => stamps.changed(namespaceTag(n.metadata.name ?? '')), false),
    );
    this.#pods?.addHandler(
      followed<PodRecord>((p) => {
        for (const a of p.addresses) stamps.changed(podTag(a));
      }, false),
    );
  }

  #all(): readonly (Informer<never> | undefined)[] {
    return [this.#services, this.#slices, this.#namespaces, this.#pods] as unknown as (Informer<never> | undefined)[];
  }

  start(): void {
    for (const i of this.#all()) i?.start();
  }

  /** Resolves when everything has been read once; rejects when stopped before. */
  async synced(): Promise<void> {
    await Promise.all(this.#all().map((i) => i?.synced));
  }

  get hasSynced(): boolean {
    return this.#all().every((i) => i?.hasSynced !== false);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all().map((i) => i?.stop()));
  }

  /** For SOA records. */
  get serial(): number {
    return this.#serial;
  }

  hasNamespace(name: string): boolean {
    return this.#namespaces.lister.get(name) !== undefined;
  }

  service(namespace: string, name: string): ServiceRecord | undefined {
    return this.#services.lister.get(name, namespace);
  }

  slices(namespace: string, service: string): Iterable<SliceRecord> {
    return this.#slices?.lister.byIndex(byService, `${namespace}/${service}`) ?? none;
  }

  servicesAt(text: string): Iterable<ServiceRecord> {
    return this.#services.lister.byIndex(byAddress, text);
  }

  slicesAt(text: string): Iterable<SliceRecord> {
    return this.#slices?.lister.byIndex(byAddress, text) ?? none;
  }

  /** The namespaces of the pods with an address. */
  podNamespacesAt(text: string): string[] {
    const out: string[] = [];
    for (const pod of this.#pods?.lister.byIndex(byAddress, text) ?? none) out.push(pod.metadata.namespace ?? '');
    return out;
  }

  get clock(): Clock {
    return this.#clock;
  }
}

export const serviceTag = (namespace: string, name: string): string => `s/${namespace}/${name}`;
export const namespaceTag = (name: string): string => `n/${name}`;
export const addressTag = (text: string): string => `a/${text}`;
export const podTag = (text: string): string => `p/${text}`;
