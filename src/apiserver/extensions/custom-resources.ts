/**
 * `CustomResources`: what makes CustomResourceDefinitions work inside the API server. It accepts names, establishes, serves and
 * withdraws the resources they define, and empties them before a definition goes (apiextensions-apiserver's controllers).
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ColumnInfo, ResourceInfo, SubresourceInfo } from '../../api/catalog/resource.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { fromOpenAPI } from '../../api/schema/from-openapi.ts';
import { StatusError } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
  CustomResourceDefinitionNames,
  CustomResourceDefinitionVersion,
} from '../../api/types/index.gen.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import type { WebhookClients } from '../connect/webhook-client.ts';
import { loopbackContext } from '../loopback.ts';
import type { CustomVersions } from '../registry/builtin-types.ts';
import { CustomTypeSupport } from '../registry/custom-types.ts';
import { defaultStrategiesFor } from '../registry/default-strategy.ts';
import type { CustomVersion, RegistriesImpl } from '../registry/registries.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { ConversionMetrics, WebhookConversion } from './webhook-conversion.ts';

const group = 'apiextensions.k8s.io';
const resource = 'customresourcedefinitions';
const finalizer = 'customresourcecleanup.apiextensions.k8s.io';
const objectMetaName = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
/** Waiting before a failed reconciliation is tried again: doubled up to the bound. */
const retryMs = 50;
const maxRetryMs = 30_000;

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

function condition(crd: CustomResourceDefinition, type: string): CustomResourceDefinitionCondition | undefined {
  return crd.status?.conditions?.find((c) => c.type === type);
}

const isTrue = (crd: CustomResourceDefinition, type: string): boolean => condition(crd, type)?.status === 'True';

/** Names without empty members, for comparison. */
function plain(names: CustomResourceDefinitionNames | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(names ?? {}).filter(([, v]) => v !== '' && !(Array.isArray(v) && v.length === 0)),
  );
}

export class CustomResources {
  readonly metrics = new ConversionMetrics();
  readonly #o: CustomResourcesOptions;
  readonly #definitions = new Map<string, CustomResourceDefinition>();
  /** What is served now, by definition name, with the state it was made of. */
  readonly #served = new Map<
    string,
    { readonly uid: string; readonly spec: unknown; readonly plural: string; readonly group: string }
  >();
  readonly #pending = new Set<string>();
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
        this.#definitions.delete(name);
        this.#withdraw(name);
        for (const other of this.#definitions.keys()) this.#enqueue(other);
        return;
      }
      const crd = committed.object() as unknown as CustomResourceDefinition;
      this.#definitions.set(name, crd);
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
    for (const name of this.#pending) {
      this.#pending.delete(name);
      if (this.#closed) return;
      try {
        await this.#reconcile(name);
        this.#failures.delete(name);
      } catch (error) {
        const failures = (this.#failures.get(name) ?? 0) + 1;
        this.#failures.set(name, failures);
        this.#o.logger.warn('reconciling a CustomResourceDefinition failed', { name, error });
        const timer = this.#o.clock.setTimer(Math.min(retryMs * 2 ** failures, maxRetryMs), () => {
          this.#timers.delete(timer);
          this.#enqueue(name);
        });
        this.#timers.add(timer);
      }
    }
  }

  async #reconcile(name: string): Promise<void> {
    const crd = this.#definitions.get(name);
    if (crd === undefined) return;
    if (crd.metadata.deletionTimestamp !== undefined) {
      await this.#finalize(name, crd);
      return;
    }
    const status = this.#status(crd);
    if (status === undefined) return;
    await this.#writeStatus(name, (current) => ({ ...current, ...status }));
  }

  /** The status this definition should have; undefined when it has it. */
  #status(crd: CustomResourceDefinition): Partial<NonNullable<CustomResourceDefinition['status']>> | undefined {
    const { accepted, reason, message } = this.#accept(crd);
    const ok = reason === 'NoConflicts';
    const now = formatTime(this.#o.clock.now());
    const named: CustomResourceDefinitionCondition = {
      type: 'NamesAccepted',
      status: ok ? 'True' : 'False',
      lastTransitionTime: now,
      reason,
      message,
    };
    let established = condition(crd, 'Established');
    if (established?.status !== 'True')
      established = ok
        ? {
            type: 'Established',
            status: 'True',
            lastTransitionTime: now,
            reason: 'InitialNamesAccepted',
            message: 'the initial names have been accepted',
          }
        : {
            type: 'Established',
            status: 'False',
            lastTransitionTime: now,
            reason: 'NotAccepted',
            message: 'not all names are accepted',
          };
    const conditions = [...(crd.status?.conditions ?? [])];
    for (const wanted of [named, established]) {
      const at = conditions.findIndex((c) => c.type === wanted.type);
      const old = conditions[at];
      if (old === undefined) conditions.push(wanted);
      else if (old.status !== wanted.status || old.reason !== wanted.reason || old.message !== wanted.message)
        conditions[at] =
          old.status === wanted.status ? { ...wanted, lastTransitionTime: old.lastTransitionTime } : wanted;
    }
    if (
      semanticEqual(plain(crd.status?.acceptedNames), plain(accepted)) &&
      semanticEqual(conditions, crd.status?.conditions)
    )
      return undefined;
    return { acceptedNames: accepted, conditions };
  }

  /** Names are first come, first served within a group. */
  #accept(crd: CustomResourceDefinition): { accepted: CustomResourceDefinitionNames; reason: string; message: string } {
    const resources = new Set<string>();
    const kinds = new Set<string>();
    for (const other of this.#definitions.values()) {
      if (other.metadata.uid === crd.metadata.uid || other.spec.group !== crd.spec.group) continue;
      const names = other.status?.acceptedNames;
      if (names === undefined) continue;
      for (const n of [names.plural, names.singular, ...(names.shortNames ?? [])]) if (n) resources.add(n);
      for (const k of [names.kind, names.listKind]) if (k) kinds.add(k);
    }
    const wanted = crd.spec.names;
    const had = crd.status?.acceptedNames;
    const accepted: Record<string, unknown> = { ...plain(had) };
    let reason = 'NoConflicts';
    let message = 'no conflicts found';
    const take = (
      member: 'plural' | 'singular' | 'kind' | 'listKind',
      used: ReadonlySet<string>,
      why: string,
    ): void => {
      const value = wanted[member] ?? '';
      if (value !== had?.[member] && used.has(value)) {
        reason = why;
        message = `${JSON.stringify(value)} is already in use`;
      } else accepted[member] = value;
    };
    take('plural', resources, 'PluralConflict');
    take('singular', resources, 'SingularConflict');
    const taken = (wanted.shortNames ?? []).filter((s) => !(had?.shortNames ?? []).includes(s) && resources.has(s));
    if (taken.length > 0) {
      reason = 'ShortNamesConflict';
      const lines = taken.map((s) => `${JSON.stringify(s)} is already in use`);
      message = lines.length === 1 ? lines[0]! : `[${lines.join(', ')}]`;
    } else if (wanted.shortNames === undefined) delete accepted['shortNames'];
    else accepted['shortNames'] = wanted.shortNames;
    take('kind', kinds, 'KindConflict');
    take('listKind', kinds, 'ListKindConflict');
    if (wanted.categories === undefined) delete accepted['categories'];
    else accepted['categories'] = wanted.categories;
    return { accepted: accepted as unknown as CustomResourceDefinitionNames, reason, message };
  }

  async #writeStatus(
    name: string,
    change: (
      status: NonNullable<CustomResourceDefinition['status']>,
    ) => NonNullable<CustomResourceDefinition['status']>,
    finalizers?: (list: readonly string[]) => readonly string[],
  ): Promise<void> {
    const registry = this.#o.registries.registry(group, resource)!;
    const subresource = finalizers === undefined ? 'status' : '';
    const context = loopbackContext({ verb: 'update', resource: registry.resource, name, subresource });
    try {
      await registry.update(
        context,
        '',
        name,
        (current) => {
          if (current === undefined) throw new StatusError(404, 'NotFound', `${resource}.${group} "${name}" not found`);
          if (finalizers !== undefined) {
            const list = finalizers(current.metadata.finalizers ?? []);
            return {
              ...current,
              metadata: { ...current.metadata, finalizers: list.length === 0 ? undefined : [...list] },
            };
          }
          return {
            ...current,
            status: change((current['status'] ?? {}) as NonNullable<CustomResourceDefinition['status']>),
          } as KubeObject;
        },
        {
          dryRun: false,
          fieldManager: 'kube-apiserver',
          subresource,
          options: {},
          apply: false,
          createIfMissing: false,
        },
      );
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return;
      throw error;
    }
  }

  /** Deletes the instances of a definition that is going, then lets it go. */
  async #finalize(name: string, crd: CustomResourceDefinition): Promise<void> {
    if (!(crd.metadata.finalizers ?? []).includes(finalizer)) return;
    const registry = isTrue(crd, 'Established')
      ? this.#o.registries.registry(crd.spec.group, crd.spec.names.plural)
      : undefined;
    if (registry !== undefined) {
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
      await registry.deleteCollection(context, all, {
        dryRun: false,
        gracePeriodSeconds: undefined,
        propagationPolicy: undefined,
        orphanDependents: undefined,
        preconditions: undefined,
        options: {},
      });
      const left = [...this.#o.registries.cached(crd.spec.group, crd.spec.names.plural)].length;
      if (left > 0) throw new Error(`${left} ${crd.spec.names.plural} have finalizers and are waited for`);
    }
    await this.#writeStatus(
      name,
      (s) => s,
      (list) => list.filter((f) => f !== finalizer),
    );
  }

  #withdraw(name: string): void {
    const was = this.#served.get(name);
    if (was === undefined) return;
    this.#served.delete(name);
    this.#o.registries.removeCustom(was.group, was.plural);
    this.#o.directory.removeCustom(name);
  }

  #serve(name: string, crd: CustomResourceDefinition): void {
    if (!isTrue(crd, 'Established')) {
      this.#withdraw(name);
      return;
    }
    const uid = crd.metadata.uid ?? '';
    const was = this.#served.get(name);
    const spec = [crd.spec, crd.status?.acceptedNames];
    if (was !== undefined && was.uid === uid && semanticEqual(was.spec, spec)) return;
    if (was !== undefined && was.uid !== uid) this.#withdraw(name);
    const storage = crd.spec.versions.find((v) => v.storage);
    if (storage === undefined) return;
    const versions = this.#versions(crd, storage.name);
    this.#o.registries.addCustom({
      versions,
      storageVersion: storage.name,
      conversion: this.#conversion(crd),
    });
    this.#o.directory.setCustom(
      name,
      versions.filter((v) => v.served).map((v) => v.resource),
      (r) => crd.spec.versions.find((v) => v.name === r.version)?.schema?.openAPIV3Schema,
    );
    this.#served.set(name, { uid, spec, plural: crd.spec.names.plural, group: crd.spec.group });
  }

  #versions(crd: CustomResourceDefinition, storageVersion: string): CustomVersion[] {
    const { catalog, registries } = this.#o;
    const objectMeta = catalog.schema(objectMetaName);
    const schemas = new Map<string, ObjectSchema>();
    const conversion = this.#conversion(crd);
    const convert = async (object: KubeObject, apiVersion: string): Promise<KubeObject> =>
      (await conversion!.convert([object], apiVersion))[0]!;
    const known: CustomVersions = {
      schema: (apiVersion) => schemas.get(apiVersion),
      convert: conversion === undefined ? undefined : convert,
    };
    return crd.spec.versions.map((v) => {
      const resource = resourceInfo(crd, v, storageVersion);
      const open = fromOpenAPI(v.schema?.openAPIV3Schema, { objectMeta });
      const schema = crd.spec.preserveUnknownFields === true ? { ...open, preserveUnknown: true } : open;
      schemas.set(apiVersionOf(resource), schema);
      const strategies = defaultStrategiesFor(resource);
      const scale = v.subresources?.scale;
      const types = new CustomTypeSupport({
        catalog,
        resource,
        schema,
        fieldManaging: registries.fieldManaging,
        resetFields: (subresource) =>
          (subresource === '' ? strategies.main : strategies.subresources[subresource])?.resetFields ?? [],
        versions: known,
        ...(scale === undefined ? {} : { scale }),
      });
      const reading = [v.schema, crd.spec.preserveUnknownFields, v.selectableFields, crd.spec.scope, resource.kind];
      return { resource, types, strategies, served: v.served, reading };
    });
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

const customVerbs = ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'];

function resourceInfo(
  crd: CustomResourceDefinition,
  v: CustomResourceDefinitionVersion,
  storageVersion: string,
): ResourceInfo {
  const { spec } = crd;
  const names = crd.status?.acceptedNames?.plural ? crd.status.acceptedNames : spec.names;
  const subresources: SubresourceInfo[] = [];
  if (v.subresources?.status !== undefined)
    subresources.push({
      name: 'status',
      group: spec.group,
      version: v.name,
      kind: spec.names.kind,
      verbs: ['get', 'patch', 'update'],
    });
  if (v.subresources?.scale !== undefined)
    subresources.push({
      name: 'scale',
      group: 'autoscaling',
      version: 'v1',
      kind: 'Scale',
      verbs: ['get', 'patch', 'update'],
    });
  const columns: ColumnInfo[] = (v.additionalPrinterColumns ?? []).map((c) => ({
    name: c.name,
    type: c.type,
    format: c.format ?? '',
    priority: c.priority ?? 0,
    description: c.description ?? '',
    jsonPath: c.jsonPath,
  }));
  const namespaced = spec.scope === 'Namespaced';
  return {
    group: spec.group,
    version: v.name,
    resource: spec.names.plural,
    singular: names.singular ?? '',
    kind: spec.names.kind,
    listKind: names.listKind ?? `${spec.names.kind}List`,
    namespaced,
    verbs: customVerbs,
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    subresources,
    columns,
    fieldLabels: [
      'metadata.name',
      ...(namespaced ? ['metadata.namespace'] : []),
      ...(v.selectableFields ?? []).map((f) => f.jsonPath.replace(/^\./, '')),
    ],
    storageVersion,
    keyPrefix: `${spec.group}/${spec.names.plural}`,
    definition: '',
    custom: true,
  };
}
