/**
 * APIs whose objects another component of this process makes of stored objects at the moment they are asked for (metrics.k8s.io
 * of pods and nodes): read alone, with the selection, discovery, tables and authorization of any other API. Each is served as long
 * as its APIService is there and does not lead to a server of its own.
 */
import type { ResourceInfo } from '../api/catalog/resource.ts';
import { apiVersionOf } from '../api/object.ts';
import type { JSONSchemaProps } from '../api/schema/json-schema.ts';
import { notFound } from '../api/status.ts';
import type { ApiServices } from './aggregation/api-services.ts';
import type { RequestContext } from './context.ts';
import { loopbackContext } from './loopback.ts';
import type { Registries } from './registry.ts';
import type { KubeObjectLike, OutgoingResponse } from './request.ts';
import type { ResourceDirectory } from './resource-directory.ts';
import { namespaceOf, readListQuery } from './verbs/options.ts';

export interface ComputedResource {
  /** With `computed` and `custom` set; its verbs are get and list. */
  readonly resource: ResourceInfo;
  /** For OpenAPI. */
  readonly schema: JSONSchemaProps;
  /** The stored kind that these objects are about. */
  readonly of: { readonly group: string; readonly resource: string };
  /** What a missing one is called in its 404. */
  readonly missing: string;
  /** One for each stored object, in their order, without a type header; undefined where there is nothing to tell. */
  make(objects: readonly KubeObjectLike[]): Promise<readonly (KubeObjectLike | undefined)[]>;
}

export interface ComputedApi {
  readonly group: string;
  readonly version: string;
  readonly resources: readonly ComputedResource[];
}

export interface ComputedApisOptions {
  readonly apis: readonly ComputedApi[];
  readonly registries: Registries;
  readonly directory: ResourceDirectory;
}

export class ComputedApis {
  readonly #o: ComputedApisOptions;
  /** By `group/resource`. */
  readonly handlers: ReadonlyMap<string, (ctx: RequestContext) => Promise<OutgoingResponse>>;

  constructor(options: ComputedApisOptions) {
    this.#o = options;
    const handlers = new Map<string, (ctx: RequestContext) => Promise<OutgoingResponse>>();
    for (const api of options.apis)
      for (const r of api.resources)
        handlers.set(`${api.group}/${r.resource.resource}`, (ctx) =>
          ctx.info.verb === 'list' ? this.#list(ctx, r) : this.#get(ctx, r),
        );
    this.handlers = handlers;
  }

  /** Serves each API as its APIService says. Before the services are started. */
  follow(services: ApiServices): void {
    for (const api of this.#o.apis) {
      const name = `${api.version}.${api.group}`;
      let served = false;
      services.onChange((changed, service) => {
        if (changed !== name) return;
        const serve = service !== undefined && service.spec?.service === undefined;
        if (serve === served) return;
        served = serve;
        if (!serve) this.#o.directory.removeCustom(name);
        else
          this.#o.directory.setCustom(
            name,
            api.resources.map((r) => r.resource),
            (info) => api.resources.find((r) => r.resource === info)?.schema,
          );
      });
    }
  }

  async #list(ctx: RequestContext, r: ComputedResource): Promise<OutgoingResponse> {
    const { list } = readListQuery(ctx, false);
    const registry = this.#o.registries.registry(r.of.group, r.of.resource)!;
    const context = loopbackContext({ verb: 'list', resource: registry.resource, namespace: list.namespace });
    // What is measured has no history, and no pages.
    const found = await registry.list(context, {
      ...list,
      limit: 0,
      continue: '',
      resourceVersion: '0',
      resourceVersionMatch: '',
    });
    const objects: KubeObjectLike[] = [];
    for (const committed of found.items) objects.push(committed.object());
    const items = (await r.make(objects)).filter((o) => o !== undefined);
    const { resource } = r;
    return {
      status: 200,
      body: {
        kind: 'object',
        object: { kind: resource.listKind, apiVersion: apiVersionOf(resource), metadata: {}, items },
      },
    };
  }

  async #get(ctx: RequestContext, r: ComputedResource): Promise<OutgoingResponse> {
    const { resource } = r;
    const namespace = namespaceOf(ctx);
    const { name } = ctx.info;
    const committed = this.#o.registries.cachedGet(r.of.group, r.of.resource, namespace, name);
    const made = committed === undefined ? undefined : (await r.make([committed.object()]))[0];
    if (made === undefined)
      throw notFound(
        { group: resource.group, resource: r.missing },
        resource.namespaced ? `${namespace}/${name}` : name,
      );
    return {
      status: 200,
      body: { kind: 'object', object: { kind: resource.kind, apiVersion: apiVersionOf(resource), ...made } },
    };
  }
}
