/** Defaults of alpha and beta versions, where the facts of their types do not carry them. */
import { isEmpty, isUnset, listOf, setIfEmpty, setIfUnset } from './hook.ts';
import type { Hook } from './hook.ts';

// resource.k8s.io ------------------------------------------------------------------------------------------------------

const exactRequest: Hook = (draft) => {
  setIfEmpty(draft, 'allocationMode', 'ExactCount');
  if (draft['allocationMode'] === 'ExactCount') setIfEmpty(draft, 'count', 1);
};

/** v1beta1 has the members of a request and its alternatives side by side: without a class it has alternatives. */
const flatRequest: Hook = (draft, context) => {
  if (!isEmpty(draft['deviceClassName'])) exactRequest(draft, context);
};

const taint: Hook = (draft, context) => {
  if (isUnset(draft['timeAdded'])) draft['timeAdded'] = context.now();
};

const toleration: Hook = (draft) => setIfEmpty(draft, 'operator', 'Equal');
const mapping: Hook = (draft) => setIfUnset(draft, 'allocationMultiplier', '1');

// admissionregistration.k8s.io -----------------------------------------------------------------------------------------

const mutatingPolicy: Hook = (draft) => setIfUnset(draft, 'failurePolicy', 'Fail');

const matchResources: Hook = (draft) => {
  setIfUnset(draft, 'matchPolicy', 'Equivalent');
  setIfUnset(draft, 'namespaceSelector', {});
  setIfUnset(draft, 'objectSelector', {});
  for (const member of ['resourceRules', 'excludeResourceRules'])
    for (const rule of listOf(draft, member)) setIfUnset(rule, 'scope', '*');
};

const paramRef: Hook = (draft) => setIfUnset(draft, 'parameterNotFoundAction', 'Deny');

export const earlierVersionHooks: readonly (readonly [string, Hook])[] = [
  ['io.k8s.api.resource.v1beta1.DeviceRequest', flatRequest],
  ['io.k8s.api.resource.v1beta2.ExactDeviceRequest', exactRequest],
  ...['v1beta1', 'v1beta2'].flatMap((version): [string, Hook][] => [
    [`io.k8s.api.resource.${version}.DeviceSubRequest`, exactRequest],
    [`io.k8s.api.resource.${version}.DeviceToleration`, toleration],
    [`io.k8s.api.resource.${version}.NodeAllocatableResourceMapping`, mapping],
  ]),
  ...['v1beta1', 'v1beta2', 'v1alpha3'].map((v): [string, Hook] => [`io.k8s.api.resource.${v}.DeviceTaint`, taint]),
  ...['v1beta1', 'v1alpha1'].flatMap((version): [string, Hook][] => [
    [`io.k8s.api.admissionregistration.${version}.MutatingAdmissionPolicySpec`, mutatingPolicy],
    [`io.k8s.api.admissionregistration.${version}.MatchResources`, matchResources],
  ]),
  ['io.k8s.api.admissionregistration.v1alpha1.ParamRef', paramRef],
];
