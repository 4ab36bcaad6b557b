/** Validation of Endpoints and EndpointSlice. */
import { duplicate, invalid, required, tooMany, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Label, isDNS1123Subdomain, isLabelValue, isValidPortNum } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabels } from '../../api/selector.ts';
import type { EndpointAddress, EndpointPort, EndpointSubset } from '../../api/types/core-v1.gen.ts';
import type { Endpoint, EndpointHints, EndpointPort as SlicePort } from '../../api/types/discovery-v1.gen.ts';
import {
  invalidEach,
  validateDnsLabel,
  validateDnsSubdomain,
  validateImmutable,
  validateQualifiedName,
  validateDefaultedEnum,
  validateRequiredEnum,
} from './field.ts';
import { ipWarnings, isIpv6, validateCanonicalIp, validateEndpointIp, validateIp } from './ip.ts';

const protocols = ['SCTP', 'TCP', 'UDP'];

function validateAddress(address: EndpointAddress, path: string): FieldError[] {
  const { ip = '', hostname = '', nodeName } = address;
  return [
    ...validateIp(ip, `${path}.ip`),
    ...(hostname === '' ? [] : validateDnsLabel(hostname, `${path}.hostname`)),
    ...(nodeName === undefined ? [] : validateDnsSubdomain(nodeName, `${path}.nodeName`)),
    ...validateEndpointIp(ip, `${path}.ip`),
  ];
}

function validatePort(port: EndpointPort, needsName: boolean, path: string): FieldError[] {
  const { name = '', port: number = 0, protocol, appProtocol } = port;
  const errors: FieldError[] = [];
  if (name !== '') errors.push(...validateDnsLabel(name, `${path}.name`));
  else if (needsName) errors.push(required(`${path}.name`));
  errors.push(
    ...invalidEach(`${path}.port`, number, isValidPortNum(number)),
    ...validateRequiredEnum(protocol, protocols, `${path}.protocol`),
  );
  if (appProtocol !== undefined) errors.push(...validateQualifiedName(appProtocol, `${path}.appProtocol`));
  return errors;
}

function subsetsOf(object: KubeObject): readonly EndpointSubset[] {
  return (object['subsets'] ?? []) as readonly EndpointSubset[];
}

export function validateEndpoints(object: KubeObject, old?: KubeObject): FieldError[] {
  const errors = subsetsOf(object).flatMap((subset, i) => {
    const path = `subsets[${i}]`;
    const { addresses, notReadyAddresses, ports } = subset;
    const ready = addresses ?? [];
    const notReady = notReadyAddresses ?? [];
    return [
      ...(ready.length + notReady.length === 0
        ? [required(path, 'must specify `addresses` or `notReadyAddresses`')]
        : []),
      ...ready.flatMap((a, j) => validateAddress(a, `${path}.addresses[${j}]`)),
      ...notReady.flatMap((a, j) => validateAddress(a, `${path}.notReadyAddresses[${j}]`)),
      ...(ports ?? []).flatMap((p, j, all) => validatePort(p, all.length > 1, `${path}.ports[${j}]`)),
    ];
  });
  return old !== undefined && errors.length > 0 && semanticEqual(object['subsets'], old['subsets']) ? [] : errors;
}

export function endpointsWarnings(object: KubeObject): string[] {
  if (object.metadata.labels?.['endpoints.kubernetes.io/managed-by'] === 'endpoint-controller') return [];
  return subsetsOf(object).flatMap((subset, i) =>
    (['addresses', 'notReadyAddresses'] as const).flatMap((member) =>
      (subset[member] ?? []).flatMap((a, j) => ipWarnings(a.ip, `subsets[${i}].${member}[${j}].ip`)),
    ),
  );
}

/** A name of a host with at least two parts. */
function validateDomain(given: string, path: string): FieldError[] {
  if (given === '') return [required(path)];
  const name = given.endsWith('.') ? given.slice(0, -1) : given;
  const wrong = isDNS1123Subdomain(name);
  if (wrong.length > 0) return [invalid(path, name, wrong.join(','))];
  const labels = name.split('.');
  if (labels.length < 2)
    return [invalid(path, name, 'should be a domain with at least two segments separated by dots')];
  for (const label of labels) {
    const bad = isDNS1123Label(label);
    if (bad.length > 0) return [invalid(path, label, bad.join(','))];
  }
  return [];
}

function validateSliceAddress(address: string, type: string, list: string, path: string): FieldError[] {
  if (type === 'FQDN') return validateDomain(address, path);
  if (type !== 'IPv4' && type !== 'IPv6') return [];
  const errors = type === 'IPv4' ? validateIp(address, path) : validateCanonicalIp(address, path);
  if (errors.length > 0) return errors;
  if (isIpv6(address) !== (type === 'IPv6'))
    errors.push(invalid(list, address, type === 'IPv4' ? 'must be an IPv4 address' : 'must be an IPv6 address'));
  return [...errors, ...validateEndpointIp(address, path)];
}

/** Hints for zones or nodes, at most eight of a kind. */
function validateHints(hints: EndpointHints, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const lists = [
    ['forZones', isLabelValue],
    ['forNodes', isDNS1123Subdomain],
  ] as const;
  for (const [member, rule] of lists) {
    const list = hints[member] ?? [];
    if (list.length > 8) return [...errors, tooMany(`${path}.${member}`, list.length, 8)];
    const names = new Set<string>();
    list.forEach(({ name }, i) => {
      const at = `${path}.${member}[${i}].name`;
      if (names.has(name)) errors.push(duplicate(at, name));
      names.add(name);
      errors.push(...invalidEach(at, name, rule(name)));
    });
  }
  return errors;
}

function validateSliceEndpoint(endpoint: Endpoint, type: string, path: string): FieldError[] {
  const { addresses, nodeName, deprecatedTopology, hostname, hints } = endpoint;
  const list = `${path}.addresses`;
  const given = addresses ?? [];
  const errors: FieldError[] = [];
  if (given.length === 0) errors.push(required(list, 'must contain at least 1 address'));
  else if (given.length > 100) errors.push(tooMany(list, given.length, 100));
  errors.push(...given.flatMap((a, i) => validateSliceAddress(a, type, list, `${list}[${i}]`)));
  if (nodeName !== undefined) errors.push(...validateDnsSubdomain(nodeName, `${path}.nodeName`));
  const topology = `${path}.deprecatedTopology`;
  const keys = Object.keys(deprecatedTopology ?? {});
  if (keys.length > 16) errors.push(tooMany(topology, keys.length, 16));
  errors.push(...validateLabels(deprecatedTopology, topology));
  if (hostname !== undefined) errors.push(...validateDnsLabel(hostname, `${path}.hostname`));
  if (hints !== undefined) errors.push(...validateHints(hints, `${path}.hints`));
  return errors;
}

function validateSliceEndpoints(object: KubeObject): FieldError[] {
  const endpoints = (object['endpoints'] ?? []) as readonly Endpoint[];
  if (endpoints.length > 1000) return [tooMany('endpoints', endpoints.length, 1000)];
  const type = (object['addressType'] ?? '') as string;
  return endpoints.flatMap((e, i) => validateSliceEndpoint(e, type, `endpoints[${i}]`));
}

function validateSlicePorts(object: KubeObject): FieldError[] {
  const ports = (object['ports'] ?? []) as readonly SlicePort[];
  if (ports.length > 20_000) return [tooMany('ports', ports.length, 20_000)];
  const names = new Set<string>();
  return ports.flatMap((port, i) => {
    const path = `ports[${i}]`;
    const { name = '', appProtocol } = port;
    const errors = name === '' ? [] : validateDnsLabel(name, `${path}.name`);
    if (names.has(name)) errors.push(duplicate(`${path}.name`, name));
    names.add(name);
    errors.push(...validateDefaultedEnum(port.protocol, protocols, `${path}.protocol`));
    if (appProtocol !== undefined) errors.push(...validateQualifiedName(appProtocol, `${path}.appProtocol`));
    return errors;
  });
}

export function validateEndpointSlice(object: KubeObject): FieldError[] {
  return [
    ...validateRequiredEnum(object['addressType'] as string | undefined, ['FQDN', 'IPv4', 'IPv6'], 'addressType'),
    ...validateSlicePorts(object),
    ...validateSliceEndpoints(object),
  ];
}

export function validateEndpointSliceUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const type = object['addressType'] as string | undefined;
  return [
    ...validateRequiredEnum(type, ['FQDN', 'IPv4', 'IPv6'], 'addressType'),
    ...validateSlicePorts(object),
    // What was stored by an older server may stay.
    ...(semanticEqual(object['endpoints'], old['endpoints']) ? [] : validateSliceEndpoints(object)),
    ...validateImmutable(type, old['addressType'], 'addressType'),
  ];
}

const controllers: ReadonlySet<string | undefined> = new Set([
  'endpointslice-controller.k8s.io',
  'endpointslicemirroring-controller.k8s.io',
]);

export function endpointSliceWarnings(object: KubeObject, old: KubeObject | undefined): string[] {
  const warnings =
    old === undefined && object['addressType'] === 'FQDN' ? ['spec.addressType: FQDN endpoints are deprecated'] : [];
  if (controllers.has(object.metadata.labels?.['endpointslice.kubernetes.io/managed-by'])) return warnings;
  ((object['endpoints'] ?? []) as readonly Endpoint[]).forEach((endpoint, i) => {
    (endpoint.addresses ?? []).forEach((a, j) => warnings.push(...ipWarnings(a, `endpoints[${i}].addresses[${j}]`)));
  });
  return warnings;
}
