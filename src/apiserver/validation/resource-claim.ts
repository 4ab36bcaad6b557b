/** Validation of ResourceClaim, ResourceClaimTemplate and DeviceClass. */
import {
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
  type FieldError,
} from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { byteLength, isDNS1123Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import type {
  AllocatedDeviceStatus,
  AllocationResult,
  DeviceAllocationConfiguration,
  DeviceClaim,
  DeviceClassSpec,
  DeviceConstraint,
  DeviceRequest,
  DeviceRequestAllocationResult,
  DeviceSubRequest,
  ExactDeviceRequest,
  NetworkDeviceData,
  ResourceClaimConsumerReference,
  ResourceClaimSpec,
  ResourceClaimStatus,
  ResourceClaimTemplateSpec,
} from '../../api/types/resource-v1.gen.ts';
import { formatAddress, parseAddress } from '../allocators/address.ts';
import { validateConditions } from './conditions.ts';
import {
  validateBindingConditions,
  validateDeviceConfiguration,
  validateDeviceToleration,
  validateDriverName,
  validateFullAttributeName,
  validateList,
  validatePoolName,
  validateRawObject,
  validateSelectors,
  validateSet,
  validateUid,
  type DeviceRules,
  type Given,
} from './devices.ts';
import { validateNodeSelector } from './pod-scheduling.ts';
import { validateTemplateMeta } from './template-meta.ts';
import { isExtendedResource } from './resource-names.ts';
import { invalidEach, specOf, statusOf, validateDnsLabel, validateImmutable } from './field.ts';

const maxRequests = 32;
const maxConstraints = 32;
const maxConfig = 32;
const maxFirstAvailable = 8;
const maxReservedFor = 256;
const maxResults = 32;
const maxDeviceConditions = 8;
const maxDeviceDataBytes = 10 * 1024;
const maxInterfaceName = 256;
const maxHardwareAddress = 128;
const maxIps = 16;

const same = (text: string): string => text;

/** Requests of a claim, with the alternatives that each gives. */
type RequestNames = ReadonlyMap<string, readonly string[]>;

function requestNamesOf(devices: DeviceClaim | undefined): RequestNames {
  return new Map(
    (devices?.requests ?? []).map((r) => [r.name ?? '', (r.firstAvailable ?? []).map((s) => s.name ?? '')]),
  );
}

const badReference =
  "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

function validateRequestReference(name: string, path: string, names: RequestNames): FieldError[] {
  const segments = name.split('/');
  if (segments.length > 2) return [invalid(path, name, badReference)];
  const errors = segments.flatMap((s) => invalidEach(path, s, isDNS1123Label(s)));
  const alternatives = names.get(segments[0]!);
  if (alternatives === undefined || (segments.length === 2 && !alternatives.includes(segments[1]!)))
    errors.push(invalid(path, name, badReference));
  return errors;
}

const references =
  (names: RequestNames) =>
  (name: string, path: string): FieldError[] =>
    validateRequestReference(name, path, names);

function validateWanted(
  rules: DeviceRules,
  request: Given<ExactDeviceRequest | DeviceSubRequest>,
  path: string,
): FieldError[] {
  const { deviceClassName = '', selectors, allocationMode = '', count = 0, tolerations = [] } = request;
  const errors: FieldError[] = [];
  const at = `${path}.deviceClassName`;
  if (deviceClassName === '') errors.push(required(at));
  else errors.push(...invalidEach(at, deviceClassName, isDNS1123Subdomain(deviceClassName)));
  errors.push(...validateSelectors(rules, selectors, `${path}.selectors`));
  switch (allocationMode) {
    case 'All':
      if (count !== 0)
        errors.push(invalid(`${path}.count`, count, "must not be specified when allocationMode is 'All'"));
      break;
    case 'ExactCount':
      if (count <= 0) errors.push(invalid(`${path}.count`, count, 'must be greater than zero'));
      break;
    default:
      errors.push(notSupported(`${path}.allocationMode`, allocationMode, ['All', 'ExactCount']));
  }
  return [...errors, ...tolerations.flatMap((t, i) => validateDeviceToleration(t, `${path}.tolerations[${i}]`))];
}

function validateRequest(rules: DeviceRules, request: Given<DeviceRequest>, path: string): FieldError[] {
  const errors = validateDnsLabel(request.name ?? '', `${path}.name`);
  const alternatives = request.firstAvailable ?? [];
  const { exactly } = request;
  if (alternatives.length > 0 && exactly !== undefined)
    errors.push(
      invalid(path, null, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set'),
    );
  else if (alternatives.length > 0)
    errors.push(
      ...validateSet(
        alternatives,
        maxFirstAvailable,
        (s, at) => [...validateDnsLabel(s.name ?? '', `${at}.name`), ...validateWanted(rules, s, at)],
        (s) => s.name ?? '',
        `${path}.firstAvailable`,
      ),
    );
  else if (exactly !== undefined) errors.push(...validateWanted(rules, exactly, `${path}.exactly`));
  else errors.push(required(path, 'exactly one of `exactly` or `firstAvailable` is required'));
  return errors;
}

function validateConstraint(
  rules: DeviceRules,
  constraint: DeviceConstraint,
  path: string,
  names: RequestNames,
): FieldError[] {
  const errors = validateSet(constraint.requests, maxRequests, references(names), same, `${path}.requests`);
  if (constraint.matchAttribute !== undefined)
    errors.push(...validateFullAttributeName(constraint.matchAttribute, `${path}.matchAttribute`));
  else if (constraint.distinctAttribute !== undefined)
    errors.push(...validateFullAttributeName(constraint.distinctAttribute, `${path}.distinctAttribute`));
  else if (rules.consumableCapacity)
    errors.push(
      required(path, 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'),
    );
  else errors.push(required(`${path}.matchAttribute`));
  return errors;
}

function validateClaimSpec(rules: DeviceRules, spec: Given<ResourceClaimSpec>, path: string): FieldError[] {
  const devices = spec.devices ?? {};
  const at = `${path}.devices`;
  const names = requestNamesOf(spec.devices);
  return [
    ...validateSet(
      devices.requests,
      maxRequests,
      (r, p) => validateRequest(rules, r, p),
      (r) => r.name ?? '',
      `${at}.requests`,
    ),
    ...validateList(
      devices.constraints,
      maxConstraints,
      (c, p) => validateConstraint(rules, c, p, names),
      `${at}.constraints`,
    ),
    ...validateList(
      devices.config,
      maxConfig,
      (c, p) => [
        ...validateSet(c.requests, maxRequests, references(names), same, `${p}.requests`),
        ...validateDeviceConfiguration(c, p, false),
      ],
      `${at}.config`,
    ),
  ];
}

export function validateResourceClaim(rules: DeviceRules, object: KubeObject): FieldError[] {
  return validateClaimSpec(rules, specOf<ResourceClaimSpec>(object), 'spec');
}

export function validateResourceClaimUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return validateImmutable(object['spec'], old['spec'], 'spec', 'resource.ResourceClaimSpec');
}

export function validateResourceClaimTemplate(rules: DeviceRules, object: KubeObject): FieldError[] {
  const spec = specOf<ResourceClaimTemplateSpec>(object);
  return [
    ...validateTemplateMeta(spec.metadata as ObjectMeta | undefined, 'spec.metadata'),
    ...validateClaimSpec(rules, spec.spec ?? {}, 'spec.spec'),
  ];
}

/** A device that is given out: by its driver, pool and name, and the share of it. */
export function sharedDeviceId(
  device: Given<Pick<DeviceRequestAllocationResult, 'driver' | 'pool' | 'device' | 'shareID'>>,
): string {
  const id = `${device.driver ?? ''}/${device.pool ?? ''}/${device.device ?? ''}`;
  return device.shareID === undefined ? id : `${id}/${device.shareID}`;
}

function validateConsumer(consumer: Given<ResourceClaimConsumerReference>, path: string): FieldError[] {
  const needed = ['resource', 'name', 'uid'] as const;
  return needed.filter((m) => (consumer[m] ?? '') === '').map((m) => required(`${path}.${m}`));
}

function validateInterfaceAddress(value: string, path: string): FieldError[] {
  const slash = value.indexOf('/');
  const address = slash < 0 ? undefined : parseAddress(value.slice(0, slash));
  const bits = slash < 0 ? '' : value.slice(slash + 1);
  const mapped = value.includes(':') && address?.family === 'IPv4';
  const width = value.includes(':') ? 128 : 32;
  if (address === undefined || !/^[0-9]+$/.test(bits) || Number(bits) > width)
    return [invalid(path, value, 'must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)')];
  const canonical = `${formatAddress(address)}/${mapped && Number(bits) > 32 ? Number(bits) - 96 : Number(bits)}`;
  return value === canonical ? [] : [invalid(path, value, `must be in canonical form (${JSON.stringify(canonical)})`)];
}

function validateNetworkData(data: NetworkDeviceData | undefined, path: string): FieldError[] {
  if (data === undefined) return [];
  const errors: FieldError[] = [];
  if (byteLength(data.interfaceName ?? '') > maxInterfaceName)
    errors.push(tooLong(`${path}.interfaceName`, maxInterfaceName));
  if (byteLength(data.hardwareAddress ?? '') > maxHardwareAddress)
    errors.push(tooLong(`${path}.hardwareAddress`, maxHardwareAddress));
  return [...errors, ...validateSet(data.ips, maxIps, validateInterfaceAddress, same, `${path}.ips`)];
}

function validateDeviceStatus(
  device: Given<AllocatedDeviceStatus>,
  path: string,
  allocated: ReadonlySet<string>,
): FieldError[] {
  const errors = [
    ...validateDriverName(device.driver ?? '', `${path}.driver`),
    ...validatePoolName(device.pool ?? '', `${path}.pool`),
    ...validateDnsLabel(device.device ?? '', `${path}.device`),
    ...(device.shareID === undefined ? [] : validateUid(device.shareID, `${path}.shareID`)),
  ];
  const id = sharedDeviceId(device);
  if (!allocated.has(id)) {
    const { driver = '', pool = '', device: name = '', shareID = '' } = device;
    const printed = { Driver: driver, Pool: pool, Device: name, ShareID: shareID };
    errors.push(invalid(path, printed, 'must be an allocated device in the claim'));
  }
  const conditions = device.conditions ?? [];
  if (conditions.length > maxDeviceConditions)
    errors.push(tooMany(`${path}.conditions`, conditions.length, maxDeviceConditions));
  errors.push(...validateConditions(conditions, `${path}.conditions`));
  if (device.data !== undefined)
    errors.push(...validateRawObject(device.data, `${path}.data`, false, maxDeviceDataBytes));
  return [...errors, ...validateNetworkData(device.networkData, `${path}.networkData`)];
}

function validateResult(result: Given<DeviceRequestAllocationResult>, path: string, names: RequestNames): FieldError[] {
  return [
    ...validateRequestReference(result.request ?? '', `${path}.request`, names),
    ...validateDriverName(result.driver ?? '', `${path}.driver`),
    ...validatePoolName(result.pool ?? '', `${path}.pool`),
    ...validateDnsLabel(result.device ?? '', `${path}.device`),
    ...validateBindingConditions(
      {
        ...(result.bindingConditions === undefined ? {} : { bindingConditions: result.bindingConditions }),
        ...(result.bindingFailureConditions === undefined
          ? {}
          : { bindingFailureConditions: result.bindingFailureConditions }),
      },
      path,
    ),
    ...(result.shareID === undefined ? [] : validateUid(result.shareID, `${path}.shareID`)),
  ];
}

function validateAllocationConfig(
  config: Given<DeviceAllocationConfiguration>,
  path: string,
  names: RequestNames,
): FieldError[] {
  const source = config.source ?? '';
  const sources = ['FromClaim', 'FromClass'];
  const at = `${path}.source`;
  return [
    ...(source === '' ? [required(at)] : sources.includes(source) ? [] : [notSupported(at, source, sources)]),
    ...validateSet(config.requests, maxRequests, references(names), same, `${path}.requests`),
    ...validateDeviceConfiguration(config, path, false),
  ];
}

function validateAllocation(allocation: AllocationResult, path: string, names: RequestNames): FieldError[] {
  const devices = allocation.devices ?? {};
  const at = `${path}.devices`;
  return [
    ...validateList(devices.results, maxResults, (r, p) => validateResult(r, p, names), `${at}.results`),
    ...validateList(devices.config, 2 * maxConfig, (c, p) => validateAllocationConfig(c, p, names), `${at}.config`),
    ...(allocation.nodeSelector === undefined
      ? []
      : validateNodeSelector(allocation.nodeSelector, `${path}.nodeSelector`)),
  ];
}

export function validateResourceClaimStatusUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const names = requestNamesOf(specOf<ResourceClaimSpec>(object).devices);
  const status = statusOf<ResourceClaimStatus>(object);
  const before = statusOf<ResourceClaimStatus>(old);
  const { allocation, reservedFor = [], devices } = status;
  const at = 'status.reservedFor';
  const errors = validateSet(reservedFor, maxReservedFor, validateConsumer, (c) => c.uid ?? '', at);
  const allocated = new Set((allocation?.devices?.results ?? []).map(sharedDeviceId));
  errors.push(
    ...validateSet(
      devices,
      -1,
      (d, path) => validateDeviceStatus(d, path, allocated),
      sharedDeviceId,
      'status.devices',
    ),
  );
  if (reservedFor.length > 0) {
    if (allocation === undefined) errors.push(forbiddenField(at, 'may not be specified when `allocated` is not set'));
    else if (object.metadata.deletionTimestamp !== undefined) {
      const known = before.reservedFor ?? [];
      if (reservedFor.some((c) => !known.some((k) => semanticEqual(k, c))))
        errors.push(
          forbiddenField(
            at,
            'new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set',
          ),
        );
    }
  }
  if (allocation !== undefined) {
    const path = 'status.allocation';
    errors.push(
      ...(before.allocation === undefined
        ? validateAllocation(allocation, path, names)
        : validateImmutable(allocation, before.allocation, path, '*resource.AllocationResult')),
    );
  }
  return errors;
}

export function validateDeviceClass(rules: DeviceRules, object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const spec = specOf<DeviceClassSpec>(object);
  const before = old === undefined ? undefined : specOf<DeviceClassSpec>(old);
  const stored = before !== undefined && semanticEqual(spec.config, before.config);
  const errors = [
    ...validateSelectors(rules, spec.selectors, 'spec.selectors'),
    ...validateList(spec.config, maxConfig, (c, p) => validateDeviceConfiguration(c, p, stored), 'spec.config'),
  ];
  const name = spec.extendedResourceName;
  if (name !== undefined && !isExtendedResource(name))
    errors.push(invalid('spec.extendedResourceName', name, 'must be a valid extended resource name'));
  return errors;
}
