/**
 * What a node is shown of pods that are not its own: what network policies speak of (labels, addresses, node, named ports), and nothing
 * that runs in them: no environment, no volumes, no images, no annotations. Upstream's nodes may not list such pods at all; here
 * joined machines enforce network policies with their nodes' identity.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { Scope } from '../filters/scope.ts';
import type { KubeObjectLike } from '../request.ts';

const nodePrefix = 'system:node:';

/** Whether the request lists or watches, as a node, pods that it has not narrowed down to its own. */
export function seesAddressesAlone(scope: Scope, resource: ResourceInfo): boolean {
  const { verb, subresource, fieldSelector } = scope.info;
  if (resource.resource !== 'pods' || resource.group !== '' || subresource !== '') return false;
  if (verb !== 'list' && verb !== 'watch') return false;
  const { user } = scope;
  if (!user.name.startsWith(nodePrefix) || !user.groups.includes('system:nodes')) return false;
  const node = user.name.slice(nodePrefix.length);
  const isOwn = (selector: string): boolean =>
    selector.split(',').some((term) => term === `spec.nodeName=${node}` || term === `spec.nodeName==${node}`);
  // As the authorizer has read it, and as the list will.
  return !isOwn(fieldSelector) || !isOwn(scope.request.query.get('fieldSelector') ?? '');
}

type Fields = Readonly<Record<string, unknown>>;

/** The members of these names that are there. */
function only(from: Fields | undefined, ...names: readonly string[]): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const name of names) if (from?.[name] !== undefined) out[name] = from[name];
  return out;
}

const containers = (from: unknown): Fields[] =>
  ((from ?? []) as readonly Fields[]).map((c) => only(c, 'name', 'ports', 'restartPolicy'));

/** A pod with nothing else. */
export function podAddresses(pod: KubeObjectLike): KubeObjectLike {
  const spec = pod['spec'] as Fields | undefined;
  const status = pod['status'] as Fields | undefined;
  return {
    kind: pod.kind,
    apiVersion: pod.apiVersion,
    metadata: only(
      pod.metadata,
      'name',
      'namespace',
      'uid',
      'resourceVersion',
      'creationTimestamp',
      'deletionTimestamp',
      'labels',
    ),
    spec: {
      ...only(spec, 'nodeName', 'hostNetwork'),
      ...(spec?.['initContainers'] === undefined ? {} : { initContainers: containers(spec['initContainers']) }),
      containers: containers(spec?.['containers']),
    },
    status: only(status, 'phase', 'podIP', 'podIPs'),
  };
}
