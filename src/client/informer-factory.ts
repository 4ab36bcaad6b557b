/** `InformerFactory`: one shared informer a resource for all controllers of a component. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import type { Client, ResourceRef } from './client.ts';
import { dropManagedFields, Informer } from './informer.ts';
import type { TypedRef } from './resources.ts';

export interface InformerFactoryOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** One namespace instead of all. */
  readonly namespace?: string;
  /** Default: drops managedFields. */
  readonly transform?: <T extends KubeObject>(object: T) => T;
}

/** What tells two informers of one resource apart. */
export interface InformerSelection {
  /** One namespace; default the factory's. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

function metadataKey(ref: ResourceRef): string {
  return `${ref.group}/${ref.version}/${ref.resource}#metadata`;
}

/** What garbage collection and counting need of an object. */
function ownershipOnly(object: KubeObject): KubeObject {
  const m = object.metadata;
  return {
    metadata: {
      ...(m.name === undefined ? {} : { name: m.name }),
      ...(m.namespace === undefined ? {} : { namespace: m.namespace }),
      ...(m.uid === undefined ? {} : { uid: m.uid }),
      ...(m.resourceVersion === undefined ? {} : { resourceVersion: m.resourceVersion }),
      ...(m.deletionTimestamp === undefined ? {} : { deletionTimestamp: m.deletionTimestamp }),
      ...(m.ownerReferences === undefined ? {} : { ownerReferences: m.ownerReferences }),
      ...(m.finalizers === undefined ? {} : { finalizers: m.finalizers }),
    },
  };
}

export class InformerFactory {
  readonly #o: InformerFactoryOptions;
  readonly #informers = new Map<string, Informer<KubeObject>>();
  #started = false;

  constructor(options: InformerFactoryOptions) {
    this.#o = options;
  }

  /** The shared informer of a resource; made on first use, and started at once when the factory is. */
  informer<T extends KubeObject>(ref: TypedRef<T> | ResourceRef, selection: InformerSelection = {}): Informer<T> {
    const { labelSelector, fieldSelector } = selection;
    const scope = selection.namespace === undefined ? '' : `@${selection.namespace}`;
    const key = `${ref.group}/${ref.version}/${ref.resource}${scope}?${labelSelector ?? ''}&${fieldSelector ?? ''}`;
    const existing = this.#informers.get(key);
    if (existing !== undefined) return existing as unknown as Informer<T>;
    const { client, clock, random, logger, transform } = this.#o;
    const namespace = selection.namespace ?? this.#o.namespace;
    const informer = new Informer<T>({
      client: client.resource<T>(ref),
      clock,
      random,
      logger,
      transform: transform ?? dropManagedFields,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    });
    this.#informers.set(key, informer as unknown as Informer<KubeObject>);
    if (this.#started) informer.start();
    return informer;
  }

  /**
   * An informer for those who need names, owners and finalizers alone: a shared full one where there is one already, else one that
   * keeps nothing more. `drop` ends it when the resource is gone.
   */
  metadataInformer(ref: TypedRef | ResourceRef): Informer<KubeObject> {
    const plain = this.#informers.get(`${ref.group}/${ref.version}/${ref.resource}?&`);
    if (plain !== undefined) return plain;
    const key = metadataKey(ref);
    const existing = this.#informers.get(key);
    if (existing !== undefined) return existing;
    const { client, clock, random, logger, namespace } = this.#o;
    const informer = new Informer<KubeObject>({
      client: client.resource(ref),
      clock,
      random,
      logger,
      transform: ownershipOnly,
      ...(namespace === undefined ? {} : { namespace }),
    });
    this.#informers.set(key, informer);
    if (this.#started) informer.start();
    return informer;
  }

  /** Stops the metadata informer of a resource that is no longer served. */
  async dropMetadataInformer(ref: ResourceRef): Promise<void> {
    const key = metadataKey(ref);
    const informer = this.#informers.get(key);
    if (informer === undefined) return;
    this.#informers.delete(key);
    await informer.stop();
  }

  /** Starts all informers made so far and from now on. */
  start(): void {
    this.#started = true;
    for (const informer of this.#informers.values()) informer.start();
  }

  /** Resolves when every informer made so far is in sync. */
  async synced(): Promise<void> {
    await Promise.all([...this.#informers.values()].map((i) => i.synced));
  }

  async stop(): Promise<void> {
    this.#started = false;
    const all = [...this.#informers.values()];
    this.#informers.clear();
    await Promise.all(all.map((i) => i.stop()));
  }
}
