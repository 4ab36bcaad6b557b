/**
 * `CustomResources`: what makes CustomResourceDefinitions work inside the API server. It accepts names, establishes, serves and
 * withdraws the resources they define, and empties them before a definition goes (apiextensions-apiserver's controllers).
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { fromOpenAPI } from '../../api/schema/from-openapi.ts';
import { forbidden, StatusError } from '../../api/status.ts';
import { timeMs } from '../../api/time.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionCondition } from '../../api/types/index.gen.ts';
import type { JSONSchemaProps } from '../../api/schema/json-schema.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { structuralErrors } from '../../api/schema/structural.ts';
import type { WebhookClients } from '../connect/webhook-client.ts';
import { loopbackContext, loopbackDeleteOptions, loopbackUpdateOptions } from '../loopback.ts';
import type { CustomVersions } from '../registry/builtin-types.ts';
import { CustomTypeSupport } from '../registry/custom-types.ts';
import { defaultStrategiesFor } from '../registry/default-strategy.ts';
import type { CustomVersion, RegistriesImpl } from '../registry/registries.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import type { ResourceStrategies } from '../strategy.ts';
import { customResourceInfo } from './custom-resource-info.ts';
import {
  acceptNames,
  approvalCondition,
  conditionOf,
  establishedCondition,
  isTrue,
  nonStructuralCondition,
  plainNames,
  withCondition,
} from './definition-conditions.ts';
import { ConversionMetrics, WebhookConversion } from './webhook-conversion.ts';

const group = 'apiextensions.k8s.io';
const resource = 'customresourcedefinitions';
const finalizer = 'customresourcecleanup.apiextensions.k8s.io';
const objectMetaName = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
/** Waiting before a failed reconciliation is tried again: doubled up to the bound. */
const retryMs = 50;
const maxRetryMs = 30_000;
/** Definitions that are reconciled at the same time. */
const maxReconciling = 64;
/** How often is looked whether the last instances have gone. */
const checkEveryMs = 5000;

export interface CustomResourcesOptions {
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** How conversion webhooks are called. */
  readonly clients: () => WebhookClients;
}

type NamedDefinition = Pick<CustomResourceDefinition, 'status'> & {
  readonly metadata: { readonly uid?: string | undefined };
  readonly spec: { readonly group: string };
};

interface Served {
  readonly uid: string;
  readonly generation: number | undefined;
  readonly state: unknown;
  readonly plural: string;
  readonly group: string;
  readonly versions: readonly string[];
}

type Status = NonNullable<CustomResourceDefinition['status']>;

/** Built-in resources that lie in the store where instances of such a definition would. */
const overlapping: ReadonlySet<string> = new Set([
  'apiservices.apiregistration.k8s.io',
  'customresourcedefinitions.apiextensions.k8s.io',
]);

/** Waiting this long for instances is told. */
const checkMs = 60_000;

/** Instances with finalizers are still there. */
class InstancesLeft extends Error {}

/** What instances there are cannot be told. */
class InstancesUnread extends Error {}

/** Nothing is created any more of a definition that is going. */
function closed(strategies: ResourceStrategies, info: ResourceInfo): ResourceStrategies {
  return {
    ...strategies,
    main: {
      ...strategies.main,
      prepareForCreate(_ctx, object) {
        const { group: of, resource: plural } = info;
        const why = 'create not allowed while custom resource definition is terminating';
        throw forbidden({ group: of, resource: plural }, object.metadata.name ?? '', why);
      },
    },
  };
}

// What lives as long as a version is served holds on to nothing of its definition: these are functions for that reason.

function knownVersions(
  makers: ReadonlyMap<string, () => ObjectSchema>,
  conversion: WebhookConversion | undefined,
  subresources: ReadonlyMap<string, readonly string[]>,
): CustomVersions {
  return {
    withSubresource: (name) => [...subresources].filter(([, names]) => names.includes(name)).map(([v]) => v),
    schema: (apiVersion) => makers.get(apiVersion)?.(),
    convert:
      conversion === undefined
        ? undefined
        : async (object, apiVersion) => (await conversion.convert([object], apiVersion))[0]!,
  };
}

function resets(strategies: ResourceStrategies): (subresource: string) => readonly (readonly string[])[] {
  return (subresource) =>
    (subresource === '' ? strategies.main : strategies.subresources[subresource])?.resetFields ?? [];
}

export class CustomResources {
  readonly metrics = new ConversionMetrics();
  readonly #o: CustomResourcesOptions;
  /** What there is, without the schemas: names that are decided on but not written yet count as accepted. */
  readonly #definitions = new Map<string, NamedDefinition>();
  /** What is served now, by definition name, with the state it was made of. */
  readonly #served = new Map<string, Served>();
  readonly #pending = new Set<string>();
  readonly #reconciling = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Set<{ cancel(): void }>();
  #running = false;
  #closed = false;
  #unfollow: (() => void) | undefined;

  constructor(options: CustomResourcesOptions) {
    this.#o = options;
  }

  /** Serves what is established already, then follows the definitions. */
  async start(): Promise<void> {
    this.#unfollow = await this.#o.registries.follow(group, resource, (type, committed) => {
      const name = committed.name;
      if (type === 'delete') {
        const gone = this.#definitions.get(name);
        this.#definitions.delete(name);
        this.#withdraw(name);
        for (const [other, d] of this.#definitions) if (d.spec.group === gone?.spec.group) this.#enqueue(other);
        return;
      }
      const crd = committed.object() as unknown as CustomResourceDefinition;
      this.#definitions.set(name, {
        metadata: { uid: crd.metadata.uid },
        spec: { group: crd.spec.group },
        status: crd.status,
      });
      // Serving is synchronous: who sees Established finds the resource.
      this.#serve(name, crd);
      this.#enqueue(name);
    });
  }

  close(): void {
    this.#closed = true;
    this.#unfollow?.();
    for (const t of this.#timers) t.cancel();
    this.#timers.clear();
  }

  #enqueue(name: string): void {
    if (this.#closed) return;
    this.#pending.add(name);
    if (this.#running) return;
    this.#running = true;
    const done = this.#o.clock.activity.begin();
    void this.#drain().finally(() => {
      this.#running = false;
      done();
    });
  }

  async #drain(): Promise<void> {
    // Whoever is calling from a delivery of the watch cache goes on first.
    await Promise.resolve();
    while (this.#pending.size > 0 && !this.#closed) {
      for (const name of this.#pending) {
        // One at a time of each definition; writes of different ones share the store's flushes.
        if (this.#reconciling.has(name)) continue;
        if (this.#reconciling.size >= maxReconciling) break;
        this.#pending.delete(name);
        const work = this.#attempt(name).finally(() => void this.#reconciling.delete(name));
        this.#reconciling.set(name, work);
      }
      await Promise.race(this.#reconciling.values());
    }
    await Promise.all(this.#reconciling.values());
    // What came up with the last of them.
    if (this.#pending.size > 0 && !this.#closed) await this.#drain();
  }

  async #attempt(name: string): Promise<void> {
    try {
      await this.#reconcile(name);
      this.#failures.delete(name);
    } catch (error) {
      const failures = (this.#failures.get(name) ?? 0) + 1;
      this.#failures.set(name, failures);
      const waits = error instanceof InstancesLeft;
      if (!waits) this.#o.logger.warn('reconciling a CustomResourceDefinition failed', { name, error });
      const most = waits ? checkEveryMs : maxRetryMs;
      const timer = this.#o.clock.setTimer(Math.min(retryMs * 2 ** failures, most), () => {
        this.#timers.delete(timer);
        this.#enqueue(name);
      });
      this.#timers.add(timer);
    }
  }

  /** The definition as it is now. */
  #definition(name: string): CustomResourceDefinition | undefined {
    const found = this.#o.registries.cachedGet(group, resource, '', name);
    return found?.object() as unknown as CustomResourceDefinition | undefined;
  }

  async #reconcile(name: string): Promise<void> {
    const crd = this.#definition(name);
    if (crd === undefined) {
      this.#failures.delete(name);
      return;
    }
    if (crd.metadata.deletionTimestamp !== undefined) {
      await this.#finalize(name, crd);
      return;
    }
    const status = this.#status(crd);
    if (status === undefined) return;
    const before = this.#definitions.get(name);
    if (before !== undefined) this.#definitions.set(name, { ...before, status: { ...crd.status, ...status } });
    try {
      await this.#writeStatus(name, (current) => ({ ...current, ...status }));
    } catch (error) {
      if (before !== undefined && this.#definitions.has(name)) this.#definitions.set(name, before);
      throw error;
    }
  }

  /** The status this definition should have; undefined when it has it. */
  #status(crd: CustomResourceDefinition): Partial<Status> | undefined {
    const now = this.#o.clock.now();
    const { accepted, condition } = acceptNames(crd, this.#definitions.values());
    const before = crd.status?.conditions ?? [];
    let conditions: readonly CustomResourceDefinitionCondition[] = before;
    const wanted = [
      condition,
      establishedCondition(crd, condition.status === 'True'),
      nonStructuralCondition(crd),
      approvalCondition(crd),
    ];
    for (const w of wanted) if (w !== undefined) conditions = withCondition(conditions, w, now);
    if (wanted[2] === undefined && conditions.some((c) => c.type === 'NonStructuralSchema'))
      conditions = conditions.filter((c) => c.type !== 'NonStructuralSchema');
    if (semanticEqual(plainNames(crd.status?.acceptedNames), plainNames(accepted)) && conditions === before)
      return undefined;
    return { acceptedNames: accepted, conditions: [...conditions] };
  }

  async #writeStatus(
    name: string,
    change: (status: Status) => Status,
    finalizers: (list: readonly string[]) => readonly string[] = (list) => list,
  ): Promise<void> {
    const registry = this.#o.registries.registry(group, resource)!;
    const subresource = 'status';
    const context = loopbackContext({ verb: 'update', resource: registry.resource, name, subresource });
    try {
      await registry.update(
        context,
        '',
        name,
        (current) => {
          if (current === undefined) throw new StatusError(404, 'NotFound', `${resource}.${group} "${name}" not found`);
          const before = current.metadata.finalizers ?? [];
          const list = finalizers(before);
          return {
            ...current,
            ...(list === before
              ? {}
              : { metadata: { ...current.metadata, finalizers: list.length === 0 ? undefined : [...list] } }),
            status: change((current['status'] ?? {}) as Status),
          } as KubeObject;
        },
        loopbackUpdateOptions(subresource),
      );
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return;
      throw error;
    }
  }

  #tell(name: string, status: 'True' | 'False', reason: string, message: string): Promise<void> {
    return this.#writeStatus(name, this.#terminating(status, reason, message));
  }

  #terminating(status: 'True' | 'False', reason: string, message: string): (s: Status) => Status {
    return (s) => ({
      ...s,
      conditions: [
        ...withCondition(s.conditions ?? [], { type: 'Terminating', status, reason, message }, this.#o.clock.now()),
      ],
    });
  }

  /** Deletes the instances of a definition that is going, then lets it go. */
  async #finalize(name: string, crd: CustomResourceDefinition): Promise<void> {
    if (!(crd.metadata.finalizers ?? []).includes(finalizer)) return;
    const going = conditionOf(crd, 'Terminating')?.reason;
    if (going === 'InstanceDeletionPending')
      await this.#tell(name, 'True', 'InstanceDeletionInProgress', 'CustomResource deletion is in progress');
    let reason = 'NeverEstablished';
    let message = 'resource was never established';
    if (overlapping.has(name)) {
      reason = 'OverlappingBuiltInResource';
      message = 'instances overlap with built-in resources in storage';
    } else if (isTrue(crd, 'Established')) {
      reason = 'InstanceDeletionCompleted';
      message = 'removed all instances';
      try {
        await this.#deleteInstances(crd);
      } catch (error) {
        if (!(error instanceof InstancesLeft)) {
          const what = error instanceof InstancesUnread ? 'list instances' : 'issue all deletes';
          const why = `could not ${what}: ${(error as Error).message}`;
          await this.#tell(name, 'True', 'InstanceDeletionFailed', why);
        } else if (this.#o.clock.now() - timeMs(crd.metadata.deletionTimestamp!) > checkMs) {
          const why = 'could not confirm zero CustomResources remaining: context deadline exceeded';
          await this.#tell(name, 'True', 'InstanceDeletionCheck', why);
        }
        throw error;
      }
    }
    await this.#writeStatus(name, this.#terminating('False', reason, message), (list) =>
      list.filter((f) => f !== finalizer),
    );
  }

  async #deleteInstances(crd: CustomResourceDefinition): Promise<void> {
    const { registries } = this.#o;
    const plural = crd.spec.names.plural;
    const registry = registries.registry(crd.spec.group, plural);
    // Behind the name of a built-in resource are no instances of the definition.
    if (registry === undefined || this.#o.directory.builtInResource(crd.spec.group, plural)) return;
    if (!registry.cache.ready) {
      await registry.cache.start().catch((cause: unknown) => {
        throw new InstancesUnread((cause as Error).message, { cause });
      });
    }
    const all = {
      namespace: '',
      labelSelector: '',
      fieldSelector: '',
      limit: 0,
      continue: '',
      resourceVersion: '',
      resourceVersionMatch: '',
    };
    const context = loopbackContext({ verb: 'deletecollection', resource: registry.resource });
    await registry.deleteCollection(context, all, loopbackDeleteOptions);
    const left = [...registries.cached(crd.spec.group, plural)].length;
    if (left > 0) throw new InstancesLeft(`${left} ${plural} have finalizers and are waited for`);
  }

  #withdraw(name: string): void {
    const was = this.#served.get(name);
    if (was === undefined) return;
    this.#served.delete(name);
    this.metrics.documented(name, was.group, was.versions, 'remove');
    this.#o.registries.removeCustom(was.group, was.plural);
    this.#o.directory.removeCustom(name);
  }

  #serve(name: string, crd: CustomResourceDefinition): void {
    const { group, names } = crd.spec;
    // What is built in stays what it is, whatever else a definition says of it.
    if (!isTrue(crd, 'Established') || this.#o.directory.builtInResource(group, names.plural)) {
      this.#withdraw(name);
      return;
    }
    const uid = crd.metadata.uid ?? '';
    const { generation } = crd.metadata;
    const was = this.#served.get(name);
    const state = [crd.status?.acceptedNames, isTrue(crd, 'Terminating')];
    if (was !== undefined && was.uid === uid && was.generation === generation && semanticEqual(was.state, state))
      return;
    if (was !== undefined && was.uid !== uid) this.#withdraw(name);
    const storage = crd.spec.versions.find((v) => v.storage);
    if (storage === undefined) return;
    const conversion = this.#conversion(crd);
    const versions = this.#versions(crd, storage.name, conversion);
    this.#o.registries.addCustom({ versions, storageVersion: storage.name, conversion });
    this.#o.directory.setCustom(
      name,
      versions.filter((v) => v.served).map((v) => v.resource),
      (r) => this.#published(name, r.version),
    );
    const served = crd.spec.versions.filter((v) => v.served).map((v) => v.name);
    this.metrics.documented(name, group, served, was === undefined ? 'add' : 'update');
    this.#served.set(name, { uid, generation, state, plural: names.plural, group, versions: served });
  }

  /** The schema of a version as the definition has it now. */
  #schema(name: string, version: string): JSONSchemaProps | undefined {
    return this.#definition(name)?.spec.versions.find((v) => v.name === version)?.schema?.openAPIV3Schema;
  }

  /** What clients are told of it: nothing, where it is not structural, which it may be only in what older API versions have stored. */
  #published(name: string, version: string): JSONSchemaProps | undefined {
    const schema = this.#schema(name, version);
    return schema === undefined || structuralErrors(schema, '').length > 0 ? undefined : schema;
  }

  #versions(
    crd: CustomResourceDefinition,
    storageVersion: string,
    conversion: WebhookConversion | undefined,
  ): CustomVersion[] {
    const { spec } = crd;
    const name = crd.metadata.name ?? '';
    const open = spec.preserveUnknownFields === true;
    const terminating = isTrue(crd, 'Terminating');
    const makers = new Map<string, () => ObjectSchema>();
    const subresources = new Map<string, readonly string[]>();
    const known = knownVersions(makers, conversion, subresources);
    const versions: CustomVersion[] = [];
    for (const v of spec.versions) {
      const digest = createHash('sha1')
        .update(JSON.stringify([v.schema, v.selectableFields, open, spec.scope, spec.names.kind]))
        .digest('base64');
      const resource = customResourceInfo(crd, v, storageVersion, digest);
      const make = this.#maker(name, v.name, open);
      makers.set(apiVersionOf(resource), make);
      subresources.set(
        apiVersionOf(resource),
        resource.subresources.map((s) => s.name),
      );
      const usual = defaultStrategiesFor(resource);
      const strategies = terminating ? closed(usual, resource) : usual;
      const scale = v.subresources?.scale;
      const types = new CustomTypeSupport({
        catalog: this.#o.catalog,
        resource,
        schema: make,
        fieldManaging: this.#o.registries.fieldManaging,
        resetFields: resets(strategies),
        versions: known,
        ...(scale === undefined ? {} : { scale: { ...scale } }),
      });
      versions.push({ resource, types, strategies, served: v.served, reading: [digest] });
    }
    return versions;
  }

  /** Makes the schema of a version when it is first asked for. The definition itself is not held on to. */
  #maker(name: string, version: string, open: boolean): () => ObjectSchema {
    const { catalog } = this.#o;
    let schema: ObjectSchema | undefined;
    return () => {
      if (schema !== undefined) return schema;
      const own = fromOpenAPI(this.#schema(name, version), { objectMeta: catalog.schema(objectMetaName) });
      return (schema = open ? { ...own, preserveUnknown: true } : own);
    };
  }

  #conversion(crd: CustomResourceDefinition): WebhookConversion | undefined {
    const { conversion } = crd.spec;
    if (conversion?.strategy !== 'Webhook') return undefined;
    const { clients, random } = this.#o;
    return new WebhookConversion({
      name: crd.metadata.name ?? '',
      conversion,
      clients: clients(),
      random,
      metrics: this.metrics,
    });
  }
}
