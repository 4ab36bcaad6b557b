/** Strategies of discovery.k8s.io and networking.k8s.io, and of Endpoints. */
import type { Draft, ResourceStrategies } from '../strategy.ts';
import {
  endpointSliceWarnings,
  endpointsWarnings,
  validateEndpoints,
  validateEndpointSlice,
  validateEndpointSliceUpdate,
} from '../validation/endpoints.ts';
import {
  ingressStatusWarnings,
  ingressWarnings,
  validateIngress,
  validateIngressClass,
  validateIngressClassUpdate,
  validateIngressStatusUpdate,
  validateIngressUpdate,
} from '../validation/ingress.ts';
import {
  networkPolicyWarnings,
  validateNetworkPolicy,
  validateNetworkPolicyUpdate,
} from '../validation/network-policy.ts';
import {
  validateIpAddress,
  validateIpAddressName,
  validateIpAddressUpdate,
  validateServiceCidr,
  validateServiceCidrUpdate,
} from '../validation/service-range.ts';
import { bumpForEmptyLists, bumpWhenChanged, plainKind } from './common.ts';

export function endpointsStrategies(): ResourceStrategies {
  return plainKind({
    allowCreateOnUpdate: true,
    validate: (object) => validateEndpoints(object),
    validateUpdate: validateEndpoints,
    warnings: endpointsWarnings,
  });
}

/** `v1` has the member only to keep what once was written. */
function withoutTopology(object: Draft): void {
  const endpoints = object['endpoints'] as readonly Record<string, unknown>[] | undefined;
  if (endpoints?.some((e) => e['deprecatedTopology'] !== undefined) === true)
    object['endpoints'] = endpoints.map(({ deprecatedTopology: _, ...rest }) => rest);
}

export function discoveryStrategies(): Record<string, ResourceStrategies> {
  return {
    endpointslices: plainKind({
      generation: ['endpoints', 'ports', 'addressType'],
      create: withoutTopology,
      update(object, old) {
        // What is dropped was a change all the same.
        bumpWhenChanged(object, old, ['endpoints']);
        withoutTopology(object);
        bumpWhenChanged(
          { ...object, metadata: object.metadata, labels: object.metadata.labels },
          { ...old, labels: old.metadata.labels },
          ['labels'],
        );
      },
      validate: validateEndpointSlice,
      validateUpdate: validateEndpointSliceUpdate,
      warnings: endpointSliceWarnings,
    }),
  };
}

export function networkingStrategies(): Record<string, ResourceStrategies> {
  return {
    ingresses: plainKind(
      {
        status: true,
        generation: ['spec'],
        validate: validateIngress,
        validateUpdate: validateIngressUpdate,
        warnings: ingressWarnings,
      },
      { validateUpdate: validateIngressStatusUpdate, warnings: ingressStatusWarnings },
    ),
    ingressclasses: plainKind({
      generation: ['spec'],
      validate: validateIngressClass,
      validateUpdate: validateIngressClassUpdate,
    }),
    ipaddresses: plainKind({
      validateName: validateIpAddressName,
      validate: validateIpAddress,
      validateUpdate: validateIpAddressUpdate,
    }),
    networkpolicies: plainKind({
      generation: ['spec'],
      update: bumpForEmptyLists('spec'),
      validate: validateNetworkPolicy,
      validateUpdate: validateNetworkPolicyUpdate,
      warnings: networkPolicyWarnings,
    }),
    servicecidrs: plainKind(
      { status: true, validate: validateServiceCidr, validateUpdate: validateServiceCidrUpdate },
      { keepsMetadata: true },
    ),
  };
}
