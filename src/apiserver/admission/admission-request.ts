/** A request as webhooks and the expressions of policies are told of it: the fields of `AdmissionRequest`. */
import type { AdmissionAttributes } from '../context.ts';
import { kindOf } from './matching.ts';
import type { MatchedResource } from './matching.ts';

type Json = Record<string, unknown>;

const groupVersionKind = ({ group, version, kind }: { group: string; version: string; kind: string }): Json => ({
  group,
  version,
  kind,
});

/** `resource` and `kind`: as what the request is seen; `objects`: `object` and `oldObject` where the reader gets them here. */
export function admissionRequest(
  a: AdmissionAttributes,
  resource: MatchedResource['resource'],
  kind: MatchedResource['kind'],
  objects: Json = {},
): Json {
  const { name, uid, groups, extra } = a.user;
  const { force: _force, ...options } = a.options;
  return {
    kind: groupVersionKind(kind),
    resource: { group: resource.group, version: resource.version, resource: resource.resource },
    ...(a.subresource === '' ? {} : { subResource: a.subresource }),
    requestKind: groupVersionKind(kindOf(a)),
    requestResource: { group: a.group, version: a.version, resource: a.resource },
    ...(a.subresource === '' ? {} : { requestSubResource: a.subresource }),
    ...(a.name === '' ? {} : { name: a.name }),
    ...(a.namespace === '' ? {} : { namespace: a.namespace }),
    operation: a.operation,
    userInfo: {
      ...(name === '' ? {} : { username: name }),
      ...(uid === undefined || uid === '' ? {} : { uid }),
      ...(groups.length === 0 ? {} : { groups }),
      ...(extra === undefined || Object.keys(extra).length === 0 ? {} : { extra }),
    },
    ...objects,
    dryRun: a.dryRun,
    options: Object.keys(options).length === 0 ? null : options,
  };
}
