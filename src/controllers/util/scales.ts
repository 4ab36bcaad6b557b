/** `Scales`: reads and writes the scale subresource of whatever kind a reference names, found through discovery. */
import type { KubeObject } from '../../api/object.ts';

import type { DiscoveredResource } from '../../client/discovery.ts';
import { discover, ResourceMapper } from '../../client/discovery.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { resourcePath } from '../../client/typed-client.ts';
import type { Clock } from '../../base/clock.ts';

/** autoscaling/v1 Scale. */
export interface Scale extends KubeObject {
  spec?: { replicas?: number };
  status?: { replicas: number; selector?: string };
}

/** Discovery is asked again for an unknown kind, but no more often than this. */
const rediscoverMs = 30_000;

/** The server has no such kind. */
export class NoKindMatchError extends Error {
  constructor(apiVersion: string, kind: string) {
    super(`no matches for kind ${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)}`);
  }
}

export class Scales {
  readonly #client: TypedClient;
  readonly #clock: Clock;
  #mapper = new ResourceMapper([]);
  #readAt = -Infinity;

  constructor(client: TypedClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** The resource of a kind; throws `NoKindMatchError`. */
  async resource(apiVersion: string, kind: string): Promise<DiscoveredResource> {
    let found = this.#mapper.forKind(apiVersion, kind);
    if (found === undefined && this.#clock.monotonic() - this.#readAt >= rediscoverMs) {
      const { resources } = await discover(this.#client);
      this.#mapper = new ResourceMapper(resources);
      this.#readAt = this.#clock.monotonic();
      found = this.#mapper.forKind(apiVersion, kind);
    }
    if (found === undefined) throw new NoKindMatchError(apiVersion, kind);
    return found;
  }

  async get(resource: DiscoveredResource, name: string, namespace: string | undefined): Promise<Scale> {
    const answer = await this.#client.raw('GET', resourcePath(resource, namespace, name, 'scale'));
    return answer.body as Scale;
  }

  async update(resource: DiscoveredResource, scale: Scale): Promise<Scale> {
    const { name, namespace } = scale.metadata;
    const path = resourcePath(resource, namespace, name, 'scale');
    return (await this.#client.raw('PUT', path, { body: scale })).body as Scale;
  }
}

/** `deployments.apps`, `pods`. */
export function groupResource(resource: { readonly group: string; readonly resource: string }): string {
  return resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
}
