/**
 * OwnerReferencesPermissionEnforcement: owners are changed only by who may delete the object, and an owner's deletion is
 * blocked only by who may set its finalizers.
 */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { OwnerReference } from '../../api/object.ts';
import type { AdmissionAttributes, AdmissionPlugin, AuthorizationAttributes, Authorizer } from '../context.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { metadataOf, refuse } from './attributes.ts';

function isChanged(a: AdmissionAttributes): boolean {
  const now = metadataOf(a.object).ownerReferences ?? [];
  const before = metadataOf(a.oldObject).ownerReferences ?? [];
  return !deepEqual(now, before);
}

/** References that block their owner's deletion and did not before. */
function newlyBlocking(a: AdmissionAttributes): OwnerReference[] {
  const before = metadataOf(a.oldObject).ownerReferences ?? [];
  return (metadataOf(a.object).ownerReferences ?? []).filter(
    (r) => r.blockOwnerDeletion === true && before.find((o) => o.uid === r.uid)?.blockOwnerDeletion !== true,
  );
}

export function ownerReferencesPermissionEnforcement(deps: {
  readonly authorizer: Authorizer;
  readonly directory: ResourceDirectory;
}): AdmissionPlugin {
  const { authorizer, directory } = deps;

  const ask = async (
    a: AdmissionAttributes,
    what: Omit<AuthorizationAttributes, 'user' | 'isResourceRequest' | 'path'>,
  ): Promise<string | undefined> => {
    const { decision, reason } = await authorizer.authorize({
      ...what,
      user: a.user,
      isResourceRequest: true,
      path: '',
    });
    return decision === 'allow' ? undefined : reason;
  };

  const finalizers = async (a: AdmissionAttributes, ref: OwnerReference): Promise<void> => {
    const gv = parseApiVersion(ref.apiVersion);
    const served =
      gv === undefined
        ? []
        : (directory.group(gv.group)?.versions ?? [])
            .filter((v) => v.version === gv.version)
            .flatMap((v) => v.resources)
            .filter((r) => r.kind === ref.kind);
    if (served.length === 0)
      throw refuse(
        a,
        `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion ${ref.apiVersion} Kind ${ref.kind}: no matches for kind ${JSON.stringify(ref.kind)} in version ${JSON.stringify(ref.apiVersion)}`,
      );
    for (const r of served) {
      const reason = await ask(a, {
        verb: 'update',
        group: r.group,
        version: r.version,
        resource: r.resource,
        subresource: 'finalizers',
        namespace: r.namespaced ? a.namespace : '',
        name: ref.name,
      });
      if (reason !== undefined)
        throw refuse(
          a,
          `cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: ${reason}, <nil>`,
        );
    }
  };

  return {
    name: 'OwnerReferencesPermissionEnforcement',
    handles: (operation, group, resource, subresource) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      !(group === '' && resource === 'pods' && subresource === 'status'),
    validate(a) {
      if (!isChanged(a)) return undefined;
      return (async () => {
        if (a.operation !== 'CREATE') {
          const { group, version, resource, subresource, namespace, name } = a;
          const reason = await ask(a, { verb: 'delete', group, version, resource, subresource, namespace, name });
          if (reason !== undefined)
            throw refuse(a, `cannot set an ownerRef on a resource you can't delete: ${reason}, <nil>`);
        }
        const blocking = newlyBlocking(a);
        if (blocking.length === 0) return;
        const anything = await ask(a, {
          verb: 'update',
          group: '*',
          version: '*',
          resource: '*',
          subresource: 'finalizers',
          namespace: '',
          name: '*',
        });
        if (anything === undefined) return;
        for (const ref of blocking) await finalizers(a, ref);
      })();
    },
  };
}
