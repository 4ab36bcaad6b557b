/**
 * The API server's own requests to itself: contexts for reads and writes that admission plugins, allocators and bootstrap
 * make through the registries, under upstream's loopback identity. They pass strategies, admission and storage like any
 * other write, but neither authentication nor authorization.
 */
import type { ResourceInfo } from '../api/catalog/resource.ts';
import { StatusError } from '../api/status.ts';
import type { RequestContext } from './context.ts';
import type { DeleteRequestOptions, Registry, WriteRequestOptions } from './registry.ts';
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

/** What upstream's API server is called in managedFields. */
const fieldManager = 'kube-apiserver';

export const loopbackCreateOptions: WriteRequestOptions = Object.freeze({
  dryRun: false,
  fieldManager,
  subresource: '',
  options: {},
});

/** Options of a write that replaces what is there, by the API server's own hand. */
export function loopbackUpdateOptions(subresource = ''): Parameters<Registry['update']>[4] {
  return { ...loopbackCreateOptions, subresource, apply: false, createIfMissing: false };
}

/** Deletes as a request without a body and a query does: the kind's own grace period and propagation. */
export const loopbackDeleteOptions: DeleteRequestOptions = Object.freeze({
  dryRun: false,
  gracePeriodSeconds: undefined,
  propagationPolicy: undefined,
  orphanDependents: undefined,
  preconditions: undefined,
  options: {},
});

/** Deletes an object; one that is not there is fine. */
export async function deleteIfPresent(registry: Registry, namespace: string, name: string): Promise<void> {
  const ctx = loopbackContext({ verb: 'delete', resource: registry.resource, namespace, name });
  try {
    await registry.delete(ctx, namespace, name, loopbackDeleteOptions);
  } catch (error) {
    if (!(error instanceof StatusError && error.code === 404)) throw error;
  }
}
