/**
 * The verbs of the API: finds the handler for a request to a resource or subresource. Connections (logs, exec, proxy, …) are
 * not here; what is computed instead of stored is handed in.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { methodNotSupported, notFound } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { OutgoingResponse } from '../request.ts';
import type { VirtualResources } from '../virtual.ts';
import { handleBinding } from './binding.ts';
import { handleCreate } from './create.ts';
import { handleDelete } from './delete.ts';
import { handleDeleteCollection } from './deletecollection.ts';
import { handleEviction } from './eviction.ts';
import { handleGet } from './get.ts';
import { handleList } from './list.ts';
import { handlePatch } from './patch.ts';
import { handleScale } from './scale.ts';
import { handleUpdate } from './update.ts';
import type { VerbContext, VerbDeps, VerbHandler } from './verb.ts';
import { handleVirtual } from './virtual.ts';
import { VirtualFields } from './virtual-fields.ts';
import { handleWatch } from './watch.ts';

export interface VerbsOptions extends VerbDeps {
  /** Reviews and tokens, by `group/resource[/subresource]`. */
  readonly virtual?: VirtualResources;
  /** Handlers that take the whole request, by `group/resource[/subresource]`; asked first. */
  readonly extra?: ReadonlyMap<string, (ctx: RequestContext) => Promise<OutgoingResponse>>;
}

export interface Verbs {
  handle(ctx: RequestContext): Promise<OutgoingResponse> | OutgoingResponse;
}

const ofObject: Readonly<Record<string, VerbHandler>> = {
  get: handleGet,
  list: handleList,
  watch: handleWatch,
  create: handleCreate,
  update: handleUpdate,
  patch: handlePatch,
  delete: handleDelete,
  deletecollection: handleDeleteCollection,
};

/** Verbs of subresources whose bodies are the object itself. */
const ofPart: Readonly<Record<string, VerbHandler>> = {
  get: handleGet,
  update: handleUpdate,
  patch: handlePatch,
};

export function createVerbs(options: VerbsOptions): Verbs {
  const { virtual, extra } = options;
  const verbs: VerbContext = {
    ...options,
    virtualFields: new VirtualFields(),
    body: { catalog: options.catalog, protobuf: options.protobuf, cbor: options.cbor ?? false },
  };
  const find = (ctx: RequestContext): VerbHandler | undefined => {
    const { verb, subresource } = ctx.info;
    const { group, resource } = ctx.resource!;
    switch (subresource) {
      case '':
        if (group === '' && resource === 'bindings') return verb === 'create' ? handleBinding : undefined;
        return ofObject[verb];
      case 'scale':
        return verb === 'get' || verb === 'update' || verb === 'patch' ? handleScale : undefined;
      case 'binding':
        return verb === 'create' ? handleBinding : undefined;
      case 'eviction':
        return verb === 'create' ? handleEviction : undefined;
      default: {
        const registry = options.registries.registry(group, resource);
        return registry?.support.strategies.subresources[subresource] === undefined ? undefined : ofPart[verb];
      }
    }
  };
  const keys = new WeakMap<ResourceInfo, string>();
  const keyOf = (info: ResourceInfo, subresource: string): string => {
    let key = keys.get(info);
    if (key === undefined) keys.set(info, (key = `${info.group}/${info.resource}`));
    return subresource === '' ? key : `${key}/${subresource}`;
  };
  return {
    // Not async: a promise around the handler's own would cost three turns of the microtask queue.
    handle(ctx) {
      const { group, resource } = ctx.resource!;
      const { subresource, verb } = ctx.info;
      const key = keyOf(ctx.resource!, subresource);
      const own = extra?.get(key);
      if (own !== undefined) return own(ctx);
      const computed = virtual?.get(key);
      if (computed !== undefined) {
        if (verb !== 'create') throw methodNotSupported({ group, resource }, verb);
        return handleVirtual(verbs, ctx, computed);
      }
      const handler = find(ctx);
      if (handler === undefined) {
        if (subresource === '') throw methodNotSupported({ group, resource }, verb);
        throw notFound({ group, resource: `${resource}/${subresource}` }, ctx.info.name);
      }
      return handler(verbs, ctx);
    },
  };
}
