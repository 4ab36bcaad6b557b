/**
 * The API server's own requests to itself: contexts for reads and writes that admission plugins, allocators and bootstrap
 * make through the registries, under upstream's loopback identity. They pass strategies, admission and storage like any
 * other write, but neither authentication nor authorization.
 */
import type { ResourceInfo } from '../api/catalog/resource.ts';
import type { RequestContext } from './context.ts';
import type { UserInfo } from './request.ts';

/** Upstream's loopback client identity. */
export const loopbackUser: UserInfo = Object.freeze({
  name: 'system:apiserver',
  groups: Object.freeze(['system:authenticated', 'system:masters']),
});

const never = new AbortController().signal;
const noQuery = new URLSearchParams();

export interface LoopbackRequest {
  readonly verb: string;
  readonly resource: ResourceInfo;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
  readonly user?: UserInfo;
  readonly signal?: AbortSignal;
}

const methods: Readonly<Record<string, string>> = {
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  deletecollection: 'DELETE',
};

/** A context as if the API server had sent this request to itself. Warnings and audit annotations go nowhere. */
export function loopbackContext(request: LoopbackRequest): RequestContext {
  const { resource, verb } = request;
  const namespace = request.namespace ?? '';
  const name = request.name ?? '';
  const subresource = request.subresource ?? '';
  const apiPrefix = resource.group === '' ? 'api' : 'apis';
  const parts = [resource.resource, name, subresource].filter((p) => p !== '');
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const path = `${root}${namespace === '' ? '' : `/namespaces/${namespace}`}/${parts.join('/')}`;
  const user = request.user ?? loopbackUser;
  const signal = request.signal ?? never;
  return {
    request: {
      method: methods[verb] ?? 'GET',
      path,
      query: noQuery,
      headers: { 'user-agent': 'kube-apiserver/loopback' },
      body: { kind: 'none' },
      remoteAddress: '127.0.0.1',
      identity: user,
      signal,
      wantsObjects: true,
    },
    info: {
      isResourceRequest: true,
      verb,
      apiPrefix,
      group: resource.group,
      version: resource.version,
      namespace,
      resource: resource.resource,
      subresource,
      name,
      parts,
      path,
      labelSelector: '',
      fieldSelector: '',
    },
    user,
    resource,
    warn() {},
    annotate() {},
    signal,
  };
}
