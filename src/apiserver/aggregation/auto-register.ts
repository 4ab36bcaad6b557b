/**
 * The APIServices of what this server serves itself: one for each built-in group version, made at start, and one for each
 * version of custom resources, which comes and goes with their definitions (upstream's autoregister and CRD registration
 * controllers).
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject } from '../../api/object.ts';
import type { APIService, APIServiceSpec } from '../../api/types/apiregistration-v1.gen.ts';
import type { CustomResourceDefinition } from '../../api/types/index.gen.ts';
import { BootstrapWriter } from '../bootstrap/writer.ts';
import type { Registries } from '../registry.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { apiServiceGroup, apiServiceResource } from './api-services.ts';
import type { ApiServices } from './api-services.ts';
import { builtInPriority, customPriority } from './priorities.ts';

const label = 'kube-aggregator.kubernetes.io/automanaged';
const onStart = 'onstart';
const always = 'true';
const retryMs = 1000;

export interface AutoRegisterOptions {
  readonly registries: Registries;
  readonly directory: ResourceDirectory;
  readonly services: ApiServices;
  readonly clock: Clock;
  readonly logger: Logger;
}

function apiService(
  group: string,
  version: string,
  priority: { group: number; version: number },
  managed: string,
): KubeObject {
  const spec: APIServiceSpec = {
    ...(group === '' ? {} : { group }),
    version,
    groupPriorityMinimum: priority.group,
    versionPriority: priority.version,
  };
  return {
    apiVersion: `${apiServiceGroup}/v1`,
    kind: 'APIService',
    metadata: { name: `${version}.${group}`, labels: { [label]: managed } },
    spec,
  };
}

function managedAs(service: APIService | undefined): string | undefined {
  return service?.metadata.labels?.[label];
}

export class AutoRegister {
  readonly #o: AutoRegisterOptions;
  readonly #writer: BootstrapWriter;
  /** Served versions by definition: `version.group`. */
  readonly #definitions = new Map<string, readonly string[]>();
  readonly #pending = new Set<string>();
  #unfollow: (() => void) | undefined;
  #retry: Timer | undefined;
  #running = false;
  #started = false;
  #closed = false;

  constructor(options: AutoRegisterOptions) {
    this.#o = options;
    this.#writer = new BootstrapWriter(options.registries);
    options.services.onChange((name) => {
      if (this.#started) this.#enqueue(name);
    });
  }

  /** Puts the built-in ones in place; resolves when they are. */
  async registerBuiltIn(): Promise<void> {
    const wanted = new Map<string, KubeObject>();
    for (const g of this.#o.directory.groups()) {
      if (g.custom) continue;
      for (const { version } of g.versions) {
        const priority = builtInPriority(g.group, version);
        if (priority !== undefined)
          wanted.set(`${version}.${g.group}`, apiService(g.group, version, priority, onStart));
      }
    }
    const work: Promise<unknown>[] = [];
    for (const [name, object] of wanted) work.push(this.#ensure(name, object));
    for (const service of this.#o.services.all()) {
      const name = service.metadata.name!;
      if (managedAs(service) === onStart && !wanted.has(name)) work.push(this.#delete(service));
    }
    await Promise.all(work);
  }

  /** Follows the definitions of custom resources. */
  async start(): Promise<void> {
    this.#unfollow = await this.#o.registries.follow(
      'apiextensions.k8s.io',
      'customresourcedefinitions',
      (type, committed) => {
        const before = this.#definitions.get(committed.name) ?? [];
        let now: readonly string[] = [];
        if (type === 'delete') this.#definitions.delete(committed.name);
        else {
          const { spec } = committed.object() as unknown as CustomResourceDefinition;
          now = spec.versions.filter((v) => v.served).map((v) => `${v.name}.${spec.group}`);
          this.#definitions.set(committed.name, now);
        }
        for (const name of new Set([...before, ...now])) this.#enqueue(name);
      },
    );
    this.#started = true;
    for (const service of this.#o.services.all())
      if (managedAs(service) === always) this.#pending.add(service.metadata.name!);
    this.#run();
  }

  close(): void {
    this.#closed = true;
    this.#unfollow?.();
    this.#retry?.cancel();
  }

  #enqueue(name: string): void {
    if (this.#closed) return;
    this.#pending.add(name);
    this.#run();
  }

  #run(): void {
    if (this.#closed || this.#running || !this.#started || this.#pending.size === 0) return;
    this.#running = true;
    const done = this.#o.clock.activity.begin();
    void this.#drain().finally(() => {
      this.#running = false;
      done();
    });
  }

  async #drain(): Promise<void> {
    await Promise.resolve();
    while (this.#pending.size > 0 && !this.#closed) {
      const names = [...this.#pending];
      this.#pending.clear();
      const results = await Promise.all(names.map((name) => this.#sync(name)));
      // What failed waits for its retry.
      if (results.includes(false)) return;
    }
  }

  async #sync(name: string): Promise<boolean> {
    try {
      const dot = name.indexOf('.');
      const [version, group] = [name.slice(0, dot), name.slice(dot + 1)];
      const current = this.#o.services.get(name);
      // Not ours to manage: a built-in one, or one that leads elsewhere.
      if (current !== undefined && managedAs(current) !== always) return true;
      const wanted = [...this.#definitions.values()].some((names) => names.includes(name));
      if (wanted) await this.#ensure(name, apiService(group, version, customPriority, always));
      else if (current !== undefined) await this.#delete(current);
      return true;
    } catch (error) {
      if (this.#closed) return false;
      this.#o.logger.warn('registering an APIService failed', { name, error });
      this.#pending.add(name);
      this.#retry ??= this.#o.clock.setTimer(retryMs, () => {
        this.#retry = undefined;
        for (const waiting of [...this.#pending]) this.#enqueue(waiting);
      });
      return false;
    }
  }

  async #ensure(name: string, object: KubeObject): Promise<void> {
    const current = this.#o.services.get(name);
    if (current === undefined) {
      await this.#writer.create(apiServiceGroup, apiServiceResource, object);
      return;
    }
    const managed = managedAs(current);
    if (managed !== onStart && managed !== always) return;
    if (semanticEqual(current.spec, object['spec'])) return;
    await this.#writer.update(apiServiceGroup, apiServiceResource, current.metadata, (c) => ({
      ...c,
      spec: object['spec'],
    }));
  }

  async #delete(service: APIService): Promise<void> {
    await this.#writer.delete(apiServiceGroup, apiServiceResource, service.metadata);
  }
}
