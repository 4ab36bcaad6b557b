/** Validation of NetworkPolicy. */
import { forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isValidPortName, isValidPortNum } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelSelector, type LabelSelector } from '../../api/selector.ts';
import type {
  IPBlock,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../api/types/networking-v1.gen.ts';
import { parseRange, rangeContains } from '../allocators/address.ts';
import { invalidEach, specOf } from './field.ts';
import { cidrWarnings, validateCidr } from './ip.ts';

const protocols = ['TCP', 'UDP', 'SCTP'];

/** What an older server let pass, and may stay. */
interface Allowed {
  readonly labelValues: boolean;
  readonly cidrs: readonly string[];
}

function validatePort(given: NetworkPolicyPort, path: string): FieldError[] {
  const { protocol, port, endPort } = given;
  const errors: FieldError[] = [];
  if (protocol !== undefined && !protocols.includes(protocol))
    errors.push(notSupported(`${path}.protocol`, protocol, protocols));
  const end = `${path}.endPort`;
  if (port === undefined) {
    if (endPort !== undefined) errors.push(invalid(end, endPort, 'may not be specified when `port` is not specified'));
  } else if (typeof port === 'number') {
    errors.push(...invalidEach(`${path}.port`, port, isValidPortNum(port)));
    if (endPort !== undefined) {
      if (endPort < port) errors.push(invalid(end, port, 'must be greater than or equal to `port`'));
      errors.push(...invalidEach(end, endPort, isValidPortNum(endPort)));
    }
  } else {
    if (endPort !== undefined) errors.push(invalid(end, endPort, 'may not be specified when `port` is non-numeric'));
    errors.push(...invalidEach(`${path}.port`, port, isValidPortName(port)));
  }
  return errors;
}

function validateBlock(block: IPBlock, allowed: Allowed, path: string): FieldError[] {
  if ((block.cidr ?? '') === '') return [required(`${path}.cidr`)];
  const errors = validateCidr(block.cidr, `${path}.cidr`, allowed.cidrs);
  const whole = parseRange(block.cidr);
  if (whole === undefined) return errors;
  (block.except ?? []).forEach((text, i) => {
    const at = `${path}.except[${i}]`;
    errors.push(...validateCidr(text, at, allowed.cidrs));
    const part = parseRange(text);
    if (part === undefined) return;
    if (!rangeContains(whole, { family: part.family, value: part.base }) || whole.bits >= part.bits)
      errors.push(invalid(at, text, 'must be a strict subset of `cidr`'));
  });
  return errors;
}

function validatePeer(peer: NetworkPolicyPeer, allowed: Allowed, path: string): FieldError[] {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  const options = { allowInvalidLabelValueInSelector: allowed.labelValues };
  const errors = [
    ...validateLabelSelector(podSelector as LabelSelector | undefined, `${path}.podSelector`, options),
    ...validateLabelSelector(namespaceSelector as LabelSelector | undefined, `${path}.namespaceSelector`, options),
    ...(ipBlock === undefined ? [] : validateBlock(ipBlock, allowed, `${path}.ipBlock`)),
  ];
  const selects = podSelector !== undefined || namespaceSelector !== undefined;
  if (!selects && ipBlock === undefined) errors.push(required(path, 'must specify a peer'));
  else if (selects && ipBlock !== undefined)
    errors.push(forbiddenField(path, 'may not specify both ipBlock and another peer'));
  return errors;
}

/** All rules of a policy with the path of each, the peers by their own name. */
function rulesOf(spec: Partial<NetworkPolicySpec>): {
  readonly path: string;
  readonly ports: readonly NetworkPolicyPort[];
  readonly peers: readonly NetworkPolicyPeer[];
  readonly peersPath: string;
}[] {
  return [
    ...(spec.ingress ?? []).map((rule, i) => ({
      path: `spec.ingress[${i}]`,
      ports: rule.ports ?? [],
      peers: rule.from ?? [],
      peersPath: `spec.ingress[${i}].from`,
    })),
    ...(spec.egress ?? []).map((rule, i) => ({
      path: `spec.egress[${i}]`,
      ports: rule.ports ?? [],
      peers: rule.to ?? [],
      peersPath: `spec.egress[${i}].to`,
    })),
  ];
}

function validateSpec(spec: Partial<NetworkPolicySpec>, allowed: Allowed): FieldError[] {
  const errors = validateLabelSelector(spec.podSelector as LabelSelector | undefined, 'spec.podSelector', {
    allowInvalidLabelValueInSelector: allowed.labelValues,
  });
  for (const { path, ports, peers, peersPath } of rulesOf(spec)) {
    ports.forEach((port, i) => errors.push(...validatePort(port, `${path}.ports[${i}]`)));
    peers.forEach((peer, i) => errors.push(...validatePeer(peer, allowed, `${peersPath}[${i}]`)));
  }
  const types = spec.policyTypes ?? [];
  if (types.length > 2)
    return [...errors, invalid('spec.policyTypes', types, 'may not specify more than two policyTypes')];
  types.forEach((type, i) => {
    if (type !== 'Ingress' && type !== 'Egress')
      errors.push(notSupported(`spec.policyTypes[${i}]`, type, ['Ingress', 'Egress']));
  });
  return errors;
}

export function validateNetworkPolicy(object: KubeObject): FieldError[] {
  return validateSpec(specOf<NetworkPolicySpec>(object), { labelValues: false, cidrs: [] });
}

export function validateNetworkPolicyUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const before = specOf<NetworkPolicySpec>(old);
  return validateSpec(specOf<NetworkPolicySpec>(object), {
    labelValues: validateLabelSelector(before.podSelector as LabelSelector | undefined, '').length > 0,
    cidrs: rulesOf(before).flatMap(({ peers }) =>
      peers.flatMap(({ ipBlock }) => (ipBlock === undefined ? [] : [ipBlock.cidr, ...(ipBlock.except ?? [])])),
    ),
  });
}

export function networkPolicyWarnings(object: KubeObject): string[] {
  return rulesOf(specOf<NetworkPolicySpec>(object)).flatMap(({ peers, peersPath }) =>
    peers.flatMap(({ ipBlock }, i) => {
      if (ipBlock === undefined) return [];
      const path = `${peersPath}[${i}].ipBlock`;
      return [
        ...cidrWarnings(ipBlock.cidr, `${path}.cidr`),
        ...(ipBlock.except ?? []).flatMap((text, j) => cidrWarnings(text, `${path}.except[${j}]`)),
      ];
    }),
  );
}
