/** Conditional defaults of the remaining groups. */
import { isEmpty, isUnset, listOf, setIfEmpty, setIfUnset, struct } from './hook.ts';
import type { Hook } from './hook.ts';

const rbacGroup = 'rbac.authorization.k8s.io';

const roleBinding: Hook = (draft) => setIfEmpty(struct(draft, 'roleRef'), 'apiGroup', rbacGroup);

const subject: Hook = (draft) => {
  if (draft['kind'] === 'User' || draft['kind'] === 'Group') setIfEmpty(draft, 'apiGroup', rbacGroup);
};

const networkPolicy: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  if (isEmpty(spec['policyTypes'])) {
    spec['policyTypes'] = listOf(spec, 'egress').length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  }
};

const deviceRequest: Hook = (draft) => {
  setIfEmpty(draft, 'allocationMode', 'ExactCount');
  if (draft['allocationMode'] === 'ExactCount') setIfEmpty(draft, 'count', 1);
};

const deviceTaint: Hook = (draft, context) => {
  if (isUnset(draft['timeAdded'])) draft['timeAdded'] = context.now();
};

const customResourceDefinition: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  const names = struct(spec, 'names');
  const kind = typeof names['kind'] === 'string' ? names['kind'] : '';
  setIfEmpty(names, 'singular', kind.toLowerCase());
  if (kind !== '') setIfEmpty(names, 'listKind', `${kind}List`);
  setIfUnset(spec, 'conversion', { strategy: 'None' });
  const status = struct(draft, 'status');
  if (isEmpty(status['storedVersions'])) {
    const storage = listOf(spec, 'versions').find((v) => v['storage'] === true);
    if (storage !== undefined) status['storedVersions'] = [storage['name']];
  }
};

export const otherHooks: readonly (readonly [string, Hook])[] = [
  ['io.k8s.api.rbac.v1.RoleBinding', roleBinding],
  ['io.k8s.api.rbac.v1.ClusterRoleBinding', roleBinding],
  ['io.k8s.api.rbac.v1.Subject', subject],
  ['io.k8s.api.networking.v1.NetworkPolicy', networkPolicy],
  ['io.k8s.api.resource.v1.ExactDeviceRequest', deviceRequest],
  ['io.k8s.api.resource.v1.DeviceSubRequest', deviceRequest],
  ['io.k8s.api.resource.v1.DeviceTaint', deviceTaint],
  ['io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition', customResourceDefinition],
];
