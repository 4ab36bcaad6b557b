/**
 * ConfigMaps and Secrets that pods of this node use. Read on demand; followed by a watch on each single object as long as a
 * pod wants to hear of its changes (the Node authorizer allows no more than single objects).
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import { notFound, StatusError } from '../api/status.ts';
import type { ConfigMap, Secret } from '../api/types/index.gen.ts';
import { Informer } from '../client/informer.ts';
import type { ResourceClient } from '../client/client.ts';
import type { TypedClient } from '../client/typed-client.ts';

export type ObjectKind = 'configmaps' | 'secrets';

interface Followed {
  readonly informer: Informer;
  readonly listeners: Set<() => void>;
}

interface Cached {
  readonly object: KubeObject;
  readonly at: number;
}

const freshMs = 60_000;
const maxCached = 1000;

export class ObjectCache {
  readonly #client: TypedClient;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #followed = new Map<string, Followed>();
  readonly #reading = new Map<string, Promise<KubeObject>>();
  readonly #cached = new Map<string, Cached>();
  #stopped = false;

  constructor(options: { client: TypedClient; clock: Clock; random: Random; logger: Logger }) {
    this.#client = options.client;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger;
  }

  #resource(kind: ObjectKind): ResourceClient {
    return (kind === 'configmaps'
      ? this.#client.core.configmaps
      : this.#client.core.secrets) as unknown as ResourceClient;
  }

  /** Calls `listener` when the object changes, until the returned function is called. */
  follow(kind: ObjectKind, namespace: string, name: string, listener: () => void): () => void {
    const key = `${kind}/${namespace}/${name}`;
    let f = this.#followed.get(key);
    if (f === undefined) {
      const listeners = new Set<() => void>();
      const informer = new Informer({
        client: this.#resource(kind),
        clock: this.#clock,
        random: this.#random,
        logger: this.#logger,
        namespace,
        fieldSelector: `metadata.name=${name}`,
      });
      const tell = () => {
        this.#cached.delete(key);
        for (const l of listeners) l();
      };
      informer.addHandler({ onAdd: (_, initial) => (initial ? undefined : tell()), onUpdate: tell, onDelete: tell });
      if (!this.#stopped) informer.start();
      f = { informer, listeners };
      this.#followed.set(key, f);
    }
    const own = f;
    own.listeners.add(listener);
    return () => {
      own.listeners.delete(listener);
      if (own.listeners.size > 0 || this.#followed.get(key) !== own) return;
      this.#followed.delete(key);
      void own.informer.stop();
    };
  }

  /** The object now: from the watch, or read at most a minute ago, or read. Rejects with the API's error. */
  async get<T extends KubeObject>(kind: ObjectKind, namespace: string, name: string): Promise<T> {
    const key = `${kind}/${namespace}/${name}`;
    const f = this.#followed.get(key);
    if (f !== undefined && f.informer.hasSynced) {
      const object = f.informer.lister.getByKey(`${namespace}/${name}`);
      if (object !== undefined) return object as T;
    } else {
      const cached = this.#cached.get(key);
      if (cached !== undefined && this.#clock.now() - cached.at < freshMs) return cached.object as T;
    }
    let reading = this.#reading.get(key);
    if (reading === undefined) {
      reading = this.#resource(kind)
        .get(name, namespace)
        .then((object) => {
          if (this.#cached.size >= maxCached) this.#cached.delete(this.#cached.keys().next().value!);
          this.#cached.set(key, { object, at: this.#clock.now() });
          return object;
        })
        .catch((error: unknown) => {
          // Upstream's managers name the kind, not the resource.
          throw isMissing(error) ? notFound({ group: '', resource: kind.slice(0, -1) }, name) : error;
        })
        .finally(() => this.#reading.delete(key));
      this.#reading.set(key, reading);
    }
    return (await reading) as T;
  }

  configMap(namespace: string, name: string): Promise<ConfigMap> {
    return this.get<ConfigMap & KubeObject>('configmaps', namespace, name);
  }

  secret(namespace: string, name: string): Promise<Secret> {
    return this.get<Secret & KubeObject>('secrets', namespace, name);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const all = [...this.#followed.values()];
    this.#followed.clear();
    await Promise.all(all.map((f) => f.informer.stop()));
  }
}

/** True for the API's 404. */
export function isMissing(error: unknown): boolean {
  return error instanceof StatusError && error.code === 404;
}

/** The API's text for an error, without class names. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
