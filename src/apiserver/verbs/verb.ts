/** What the verb handlers share: their dependencies, and the shape of a handler. */
import type { Catalog } from '../../api/catalog/catalog.ts';
import { apiVersionOf } from '../../api/object.ts';
import { notFound } from '../../api/status.ts';
import type { Clock } from '../../base/clock.ts';
import type { Admission, RequestContext } from '../context.ts';
import type { GenericRegistry } from '../registry/generic.ts';
import type { RegistriesImpl } from '../registry/registries.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import type { Committed, OutgoingResponse } from '../request.ts';
import type { BodyReader, ProtobufReader } from './body.ts';
import type { VirtualFields } from './virtual-fields.ts';

export interface VerbDeps {
  readonly registries: RegistriesImpl;
  readonly catalog: Catalog;
  readonly clock: Clock;
  /** For what is not stored (reviews, bindings, evictions). */
  readonly admission: () => Admission | undefined;
  readonly protobuf?: ProtobufReader;
  /** WatchList is on, which it is by default. */
  readonly watchList?: boolean;
  /** ClearingNominatedNodeNameAfterBinding is on, which it is by default. */
  readonly clearsNomination?: boolean;
  /** CBORServingAndStorage is on. */
  readonly cbor?: boolean;
}

export interface VerbContext extends VerbDeps {
  readonly body: BodyReader;
  readonly virtualFields: VirtualFields;
}

export type VerbHandler = (verbs: VerbContext, ctx: RequestContext) => Promise<OutgoingResponse> | OutgoingResponse;

/** The registry of the request's resource. */
export function registryOf(verbs: VerbContext, ctx: RequestContext): GenericRegistry {
  const { group, resource, version } = ctx.resource!;
  const registry = verbs.registries.registry(group, resource, version);
  if (registry === undefined) throw notFound({ group, resource }, ctx.info.name);
  return registry;
}

/** Type support of the request's version. */
export function typesOf(registry: GenericRegistry, ctx: RequestContext): TypeSupport {
  return registry.types(apiVersionOf(ctx.resource!)) ?? registry.support.hub;
}

export function answer(status: number, committed: Committed): OutgoingResponse {
  return { status, body: { kind: 'committed', committed } };
}
