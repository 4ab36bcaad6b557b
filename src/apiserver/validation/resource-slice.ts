/** Validation of ResourceSlice, DeviceTaintRule and ResourcePoolStatusRequest. */
import {
  forbiddenField,
  invalid,
  notFoundField,
  required,
  tooLong,
  tooMany,
  type FieldError,
} from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { byteLength, isDNS1123Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import {
  addQuantity,
  compareQuantity,
  formatQuantity,
  parseQuantity,
  quantitySign,
  quantityValue,
  type Quantity,
} from '../../api/quantity.ts';
import type {
  CapacityRequestPolicy,
  CapacityRequestPolicyRange,
  Counter,
  CounterSet,
  Device,
  DeviceAttribute,
  DeviceCapacity,
  DeviceCounterConsumption,
  DeviceTaint,
  ResourcePool,
  ResourceSliceSpec,
} from '../../api/types/resource-v1.gen.ts';
import { validateConditions, type GivenCondition } from './conditions.ts';
import {
  maxDomainLength,
  maxIdLength,
  validateAttributeName,
  validateBindingConditions,
  validateDeviceTaint,
  validateDriverName,
  validateEntries,
  validateList,
  validatePoolName,
  validateSet,
  type Given,
} from './devices.ts';
import { validateNodeSelector } from './pod-scheduling.ts';
import { isNativeResource } from './resource-names.ts';
import { invalidEach, specOf, statusOf, validateDnsLabel, validateImmutable } from './field.ts';

const maxDevices = 128;
const maxAdvancedDevices = 64;
const maxCounterSets = 8;
const maxCounters = 32;
const maxConsumptions = 2;
const maxAttributesAndCapacities = 32;
const maxAttributeValues = 48;
const maxValueBytes = 64;
const maxTaints = 16;
const maxPolicyOptions = 10;
const maxRuleConditions = 8;
const labelLength = 63;
const keyLength = maxDomainLength + 1 + maxIdLength;

function validateCounters(counters: Readonly<Record<string, Counter>> | undefined, path: string): FieldError[] {
  if (Object.keys(counters ?? {}).length === 0) return [required(path)];
  return validateEntries(counters, maxCounters, labelLength, validateDnsLabel, () => [], path);
}

function validateCounterSet(set: Given<CounterSet>, path: string): FieldError[] {
  const name = set.name ?? '';
  const at = `${path}.name`;
  return [
    ...(name === '' ? [required(at)] : validateDnsLabel(name, at)),
    ...validateCounters(set.counters, `${path}.counters`),
  ];
}

function validateConsumption(consumption: Given<DeviceCounterConsumption>, path: string): FieldError[] {
  const set = consumption.counterSet ?? '';
  const at = `${path}.counterSet`;
  return [
    ...(set === '' ? [required(at)] : validateDnsLabel(set, at)),
    ...validateCounters(consumption.counters, `${path}.counters`),
  ];
}

function validateStringValue(value: string, path: string): FieldError[] {
  return byteLength(value) > maxValueBytes ? [tooLong(path, maxValueBytes)] : [];
}

const semver =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$/;

function validateVersionValue(value: string, path: string): FieldError[] {
  return [
    ...(semver.test(value) ? [] : [invalid(path, value, 'must be a string compatible with semver.org spec 2.0.0')]),
    ...validateStringValue(value, path),
  ];
}

const attributeMembers = ['bool', 'int', 'string', 'version', 'bools', 'ints', 'strings', 'versions'] as const;

function validateAttribute(attribute: DeviceAttribute, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (attribute.string !== undefined) errors.push(...validateStringValue(attribute.string, `${path}.string`));
  if (attribute.version !== undefined) errors.push(...validateVersionValue(attribute.version, `${path}.version`));
  for (const member of ['bools', 'ints', 'strings', 'versions'] as const) {
    const values = attribute[member];
    if (values === undefined) continue;
    const at = `${path}.${member}`;
    if (values.length === 0) errors.push(invalid(at, values, 'must not be empty if specified'));
    if (member === 'strings')
      errors.push(...(values as string[]).flatMap((v, i) => validateStringValue(v, `${at}[${i}]`)));
    if (member === 'versions')
      errors.push(...(values as string[]).flatMap((v, i) => validateVersionValue(v, `${at}[${i}]`)));
  }
  const count = attributeMembers.filter((m) => attribute[m] !== undefined).length;
  if (count !== 1) errors.push(invalid(path, count === 0 ? '' : attribute, 'exactly one value must be specified'));
  return errors;
}

const text = formatQuantity;

function validateValidValues(chosen: Quantity, most: Quantity, values: readonly string[], path: string): FieldError[] {
  const parsed = values.map((v) => parseQuantity(v));
  const errors: FieldError[] = [];
  for (let i = 1; i < parsed.length; i++)
    if (compareQuantity(parsed[i - 1]!, parsed[i]!) > 0)
      errors.push(invalid(`${path}[${i}]`, text(parsed[i]!), 'values must be sorted in ascending order'));
  errors.push(
    ...validateSet(
      parsed,
      maxPolicyOptions,
      (v, at) =>
        compareQuantity(v, most) > 0
          ? [invalid(at, text(v), `option is larger than capacity value: ${text(most)}`)]
          : [],
      (v) => String(quantityValue(v)),
      path,
    ),
  );
  if (!parsed.some((v) => compareQuantity(v, chosen) === 0) || parsed.length > maxPolicyOptions)
    errors.push(invalid(path, text(chosen), 'default value is not valid according to the requestPolicy'));
  return errors;
}

function validateStep(value: Quantity, min: Quantity, step: Quantity, path: string): FieldError[] {
  const by = quantityValue(step);
  if (by !== 0 && (quantityValue(value) - quantityValue(min)) % by === 0) return [];
  return [invalid(path, text(value), `value is not a multiple of a given step (${text(step)}) from (${text(min)})`)];
}

function validateRange(
  chosen: Quantity,
  most: Quantity,
  range: Given<CapacityRequestPolicyRange>,
  path: string,
): FieldError[] {
  if (range.min === undefined) return [required(`${path}.min`, 'required when validRange is defined')];
  const min = parseQuantity(range.min);
  const errors: FieldError[] = [];
  const minAt = `${path}.min`;
  if (compareQuantity(min, most) > 0)
    errors.push(invalid(minAt, text(min), `min is larger than capacity value: ${text(most)}`));
  if (compareQuantity(chosen, min) < 0)
    errors.push(invalid(minAt, text(chosen), `default is less than min: ${text(min)}`));
  const max = range.max === undefined ? undefined : parseQuantity(range.max);
  if (max !== undefined) {
    const at = `${path}.max`;
    if (compareQuantity(min, max) > 0) errors.push(invalid(at, text(min), `min is larger than max: ${text(max)}`));
    if (compareQuantity(max, most) > 0)
      errors.push(invalid(at, text(max), `max is larger than capacity value: ${text(most)}`));
    if (compareQuantity(chosen, max) > 0)
      errors.push(invalid(at, text(chosen), `default is more than max: ${text(max)}`));
  }
  if (range.step !== undefined) {
    const step = parseQuantity(range.step);
    const at = `${path}.step`;
    const first = addQuantity(min, step);
    if (compareQuantity(first, most) > 0)
      errors.push(invalid(at, text(step), `one step ${text(first)} is larger than capacity value: ${text(most)}`));
    errors.push(...validateStep(chosen, min, step, at));
    if (max !== undefined) errors.push(...validateStep(max, min, step, at));
  }
  return errors;
}

function validatePolicy(most: Quantity, policy: CapacityRequestPolicy, path: string): FieldError[] {
  const values = policy.validValues ?? [];
  if (values.length > 0 && policy.validRange !== undefined)
    return [
      forbiddenField(
        path,
        'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time',
      ),
    ];
  const which = values.length > 0 ? 'validValues' : policy.validRange !== undefined ? 'validRange' : undefined;
  if (which === undefined) return [];
  // Written as null when it is not set.
  if ((policy.default ?? undefined) === undefined)
    return [required(`${path}.default`, `required when ${which} is defined`)];
  const chosen = parseQuantity(policy.default!);
  return which === 'validValues'
    ? validateValidValues(chosen, most, values, `${path}.validValues`)
    : validateRange(chosen, most, policy.validRange!, `${path}.validRange`);
}

function validateCapacity(capacity: Given<DeviceCapacity>, path: string, shared: boolean): FieldError[] {
  const policy = capacity.requestPolicy;
  if (policy === undefined) return [];
  const at = `${path}.requestPolicy`;
  if (!shared) return [forbiddenField(at, 'allowMultipleAllocations must be true')];
  return validatePolicy(parseQuantity(capacity.value ?? '0'), policy, at);
}

function validateMappings(device: Given<Device>, path: string): FieldError[] {
  return Object.entries(device.nodeAllocatableResourceMappings ?? {}).flatMap(([name, mapping]) => {
    const at = `${path}[${name}]`;
    const { allocationMultiplier, capacityKey } = mapping;
    const errors: FieldError[] = [];
    if (!isNativeResource(name)) errors.push(invalid(at, name, 'must be a node allocatable resource name'));
    if (allocationMultiplier === undefined && capacityKey === undefined)
      errors.push(invalid(at, '', 'at least one of allocationMultiplier or capacityKey must be set'));
    if (allocationMultiplier !== undefined && quantitySign(parseQuantity(allocationMultiplier)) <= 0)
      errors.push(invalid(`${at}.allocationMultiplier`, allocationMultiplier, 'must be positive'));
    if (capacityKey === '') errors.push(invalid(`${at}.capacityKey`, '', 'capacityKey must not be an empty string'));
    else if (capacityKey !== undefined && !Object.hasOwn(device.capacity ?? {}, capacityKey))
      errors.push(notFoundField(`${at}.capacityKey`, capacityKey));
    return errors;
  });
}

/** Where a device, or the devices of a slice, can be reached from: exactly one way of telling. */
interface Reach {
  readonly nodeName?: string | undefined;
  readonly nodeSelector?: ResourceSliceSpec['nodeSelector'] | undefined;
  readonly allNodes?: boolean | undefined;
}

const validateNodeName = (name: string, path: string): FieldError[] =>
  invalidEach(path, name, isDNS1123Subdomain(name));

function validateDeviceReach(device: Reach, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const set: string[] = [];
  if (device.nodeName !== undefined) {
    const at = `${path}.nodeName`;
    if (device.nodeName === '') errors.push(invalid(at, '', 'must not be empty'));
    else {
      set.push('`nodeName`');
      errors.push(...validateNodeName(device.nodeName, at));
    }
  }
  if (device.nodeSelector !== undefined) {
    set.push('`nodeSelector`');
    errors.push(...validateNodeSelector(device.nodeSelector, `${path}.nodeSelector`));
  }
  if (device.allNodes !== undefined) {
    if (device.allNodes) set.push('`allNodes`');
    else errors.push(invalid(`${path}.allNodes`, false, 'must be either unset or set to true'));
  }
  const message =
    'exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec';
  if (set.length === 0) errors.push(required(path, message));
  else if (set.length > 1) errors.push(invalid(path, `{${set.join(', ')}}`, message));
  return errors;
}

function attributeValues(device: Given<Device>): number {
  let count = 0;
  for (const a of Object.values(device.attributes ?? {}))
    count += (a.bools?.length ?? 0) + (a.ints?.length ?? 0) + (a.strings?.length ?? 0) + (a.versions?.length ?? 0) || 1;
  return count;
}

function validateDevice(
  device: Given<Device>,
  old: Given<Device> | undefined,
  path: string,
  perDevice: boolean,
): FieldError[] {
  const shared = device.allowMultipleAllocations === true;
  const errors = invalidEach(`${path}.name`, device.name ?? '', isDNS1123Label(device.name ?? ''));
  const members = Object.keys(device.attributes ?? {}).length + Object.keys(device.capacity ?? {}).length;
  if (members > maxAttributesAndCapacities)
    errors.push(
      invalid(
        path,
        members,
        `the total number of attributes and capacities must not exceed ${maxAttributesAndCapacities}`,
      ),
    );
  const values = attributeValues(device);
  if (values > maxAttributeValues)
    errors.push(invalid(path, values, `the total number of attribute values must not exceed ${maxAttributeValues}`));
  errors.push(
    ...validateEntries(
      device.attributes,
      -1,
      keyLength,
      validateAttributeName,
      validateAttribute,
      `${path}.attributes`,
    ),
    ...validateEntries(
      device.capacity,
      -1,
      keyLength,
      validateAttributeName,
      (c, at) => validateCapacity(c, at, shared),
      `${path}.capacity`,
    ),
  );
  if (old === undefined || !semanticEqual(old.taints, device.taints))
    errors.push(
      ...validateList(device.taints, maxTaints, (t, at) => validateDeviceTaint(t, undefined, at), `${path}.taints`),
    );
  errors.push(
    ...validateSet(
      device.consumesCounters,
      maxConsumptions,
      validateConsumption,
      (c) => c.counterSet ?? '',
      `${path}.consumesCounters`,
    ),
  );
  if (perDevice) errors.push(...validateDeviceReach(device, path));
  else if (device.nodeName !== undefined || device.nodeSelector !== undefined || device.allNodes !== undefined)
    errors.push(
      invalid(
        path,
        null,
        '`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec',
      ),
    );
  return [
    ...errors,
    ...validateBindingConditions(device as Device, path),
    ...validateMappings(device, `${path}.nodeAllocatableResourceMappings`),
  ];
}

function validatePool(pool: Given<ResourcePool>, path: string): FieldError[] {
  const { name = '', resourceSliceCount = 0, generation = 0 } = pool;
  const errors = validatePoolName(name, `${path}.name`);
  if (resourceSliceCount <= 0)
    errors.push(invalid(`${path}.resourceSliceCount`, resourceSliceCount, 'must be greater than zero'));
  if (generation < 0) errors.push(invalid(`${path}.generation`, generation, 'must be greater than or equal to zero'));
  return errors;
}

function validateSliceReach(spec: Given<ResourceSliceSpec>): FieldError[] {
  const errors: FieldError[] = [];
  const set: string[] = [];
  if (spec.nodeName !== undefined) {
    if (spec.nodeName === '')
      errors.push(invalid('spec.nodeName', '', 'must be either unset or set to a non-empty string'));
    else {
      set.push('`nodeName`');
      errors.push(...validateNodeName(spec.nodeName, 'spec.nodeName'));
    }
  }
  if (spec.nodeSelector !== undefined) {
    set.push('`nodeSelector`');
    errors.push(...validateNodeSelector(spec.nodeSelector, 'spec.nodeSelector'));
    const terms = spec.nodeSelector.nodeSelectorTerms ?? null;
    if (terms?.length !== 1)
      errors.push(invalid('spec.nodeSelector.nodeSelectorTerms', terms, 'must have exactly one node selector term'));
  }
  for (const member of ['allNodes', 'perDeviceNodeSelection'] as const) {
    if (spec[member] === true) set.push(`\`${member}\``);
    else if (spec[member] === false)
      errors.push(invalid(`spec.${member}`, false, 'must be either unset or set to true'));
  }
  const message = 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required';
  if (set.length === 0) errors.push(required('spec', message));
  else if (set.length > 1)
    errors.push(invalid('spec', `{${set.join(', ')}}`, `${message}, but multiple fields are set`));
  return errors;
}

const isAdvanced = (device: Given<Device>): boolean =>
  (device.taints ?? []).length > 0 ||
  (device.consumesCounters ?? []).length > 0 ||
  Object.values(device.attributes ?? {}).some(
    (a) => a.bools !== undefined || a.ints !== undefined || a.strings !== undefined || a.versions !== undefined,
  );

export function validateResourceSlice(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const spec = specOf<ResourceSliceSpec>(object);
  const before = old === undefined ? undefined : specOf<ResourceSliceSpec>(old);
  const errors = [
    ...validateDriverName(spec.driver ?? '', 'spec.driver'),
    ...validatePool(spec.pool ?? {}, 'spec.pool'),
  ];
  if (before !== undefined)
    errors.push(
      ...validateImmutable(spec.pool?.name, before.pool?.name, 'spec.pool.name', 's'),
      ...validateImmutable(spec.driver, before.driver, 'spec.driver', 's'),
      ...validateImmutable(spec.nodeName, before.nodeName, 'spec.nodeName'),
    );
  errors.push(...validateSliceReach(spec));
  if (spec.sharedCounters !== undefined && spec.devices !== undefined)
    errors.push(invalid('spec', '', 'only one of `sharedCounters` or `devices` is allowed'));
  const max = (spec.devices ?? []).some(isAdvanced) ? maxAdvancedDevices : maxDevices;
  const perDevice = spec.perDeviceNodeSelection === true;
  return [
    ...errors,
    ...validateSet(
      spec.devices,
      max,
      (d, at) =>
        validateDevice(
          d,
          before?.devices?.find((o) => o.name === d.name),
          at,
          perDevice,
        ),
      (d) => d.name ?? '',
      'spec.devices',
    ),
    ...validateSet(spec.sharedCounters, maxCounterSets, validateCounterSet, (s) => s.name ?? '', 'spec.sharedCounters'),
  ];
}

export function resourceSliceWarnings(object: KubeObject): string[] {
  const driver = specOf<ResourceSliceSpec>(object).driver ?? '';
  return driver === driver.toLowerCase()
    ? []
    : [`spec.driver: driver names should be lowercase; ${JSON.stringify(driver)} contains uppercase characters`];
}

// Kinds that are served by --runtime-config alone ----------------------------------------------------------------------

interface TaintRuleSpec {
  readonly deviceSelector?: { readonly driver?: string; readonly pool?: string; readonly device?: string };
  readonly taint?: DeviceTaint;
}

export function validateDeviceTaintRule(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { deviceSelector = {}, taint } = specOf<TaintRuleSpec>(object);
  const { driver, pool, device } = deviceSelector;
  const at = 'spec.deviceSelector';
  return [
    ...(driver === undefined ? [] : validateDriverName(driver, `${at}.driver`)),
    ...(pool === undefined ? [] : validatePoolName(pool, `${at}.pool`)),
    ...(device === undefined ? [] : validateDnsLabel(device, `${at}.device`)),
    ...validateDeviceTaint(
      taint ?? {},
      old === undefined ? undefined : (specOf<TaintRuleSpec>(old).taint ?? {}),
      'spec.taint',
    ),
  ];
}

export function validateDeviceTaintRuleStatus(object: KubeObject): FieldError[] {
  const { conditions = [] } = statusOf<{ conditions: readonly GivenCondition[] }>(object);
  const errors = validateConditions(conditions, 'status.conditions');
  if (conditions.length > maxRuleConditions)
    errors.push(tooMany('status.conditions', conditions.length, maxRuleConditions));
  return errors;
}

/** The declarative rules, which count bytes, and tell which part of a pool's name is wrong. */
const inBytes = (message: string): string => message.replace(/^(must be no more than \d+) characters$/, '$1 bytes');

function longNameCaseless(value: string): string[] {
  return isDNS1123Subdomain(value.toLowerCase()).map((m) =>
    inBytes(m)
      .replace('a lowercase RFC', 'an RFC')
      .replace('lower case alphanumeric', 'alphanumeric')
      .replace("'example.com'", "'Example.com'"),
  );
}

function poolNameErrors(name: string, field: string): FieldError[] {
  const long = byteLength(name) > 253 ? [tooLong(field, 253)] : [];
  const wrong = name.split('/').flatMap((segment, i) => {
    const why = segment === '' ? ['must not be empty'] : isDNS1123Subdomain(segment).map(inBytes);
    return why.map((m) => invalid(field, name, `segment ${i}: ${m}`));
  });
  return [...long, ...wrong];
}

interface PoolRequestSpec {
  readonly driver?: string;
  readonly poolName?: string;
  readonly limit?: number;
}

const maxPools = 1000;

export function validateResourcePoolStatusRequest(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  if (old !== undefined) return validateImmutable(object['spec'], old['spec'], 'spec');
  const { driver = '', poolName, limit } = specOf<PoolRequestSpec>(object);
  const errors: FieldError[] = [];
  if (driver === '') errors.push(required('spec.driver'));
  else errors.push(...invalidEach('spec.driver', driver, longNameCaseless(driver)));
  if (poolName !== undefined) errors.push(...poolNameErrors(poolName, 'spec.poolName'));
  if (limit !== undefined && limit < 1) errors.push(invalid('spec.limit', limit, 'must be greater than or equal to 1'));
  if (limit !== undefined && limit > maxPools)
    errors.push(invalid('spec.limit', limit, `must be less than or equal to ${maxPools}`));
  return errors;
}

/** A request that was answered stays as it is. */
export function validateResourcePoolStatus(object: KubeObject, old: KubeObject): FieldError[] {
  if (old['status'] !== undefined) return validateImmutable(object['status'], old['status'], 'status');
  return validateConditions(
    statusOf<{ conditions: readonly GivenCondition[] }>(object).conditions,
    'status.conditions',
  );
}
