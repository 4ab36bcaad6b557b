/** What the validations of resource.k8s.io share: names of drivers, pools and attributes, selectors, taints, bounded lists. */
import type { DeviceSelectorCompiler } from '../../api/cel/device-selector.ts';
import {
  duplicate,
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
  type FieldError,
} from '../../api/field-error.ts';
import { byteLength, isDNS1123Subdomain, isLabelValue, regexError } from '../../api/names.ts';
import { validateLabelName } from '../../api/selector.ts';
import type {
  DeviceSelector,
  DeviceTaint,
  DeviceToleration,
  OpaqueDeviceConfiguration,
} from '../../api/types/resource-v1.gen.ts';
import { invalidEach } from './field.ts';

export const maxDomainLength = 63;
export const maxIdLength = 32;
const poolNameMaxLength = 253;
const maxSelectors = 32;
const maxExpressionBytes = 10 * 1024;
const maxExpressionCost = 1_000_000;
const maxParametersBytes = 10 * 1024;
const maxBindingConditions = 4;

/** The members of any struct as they are in a request: required ones may be missing. */
export type Given<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** What a request is judged with. */
export interface DeviceRules {
  readonly selectors: DeviceSelectorCompiler;
  /** DRAConsumableCapacity */
  readonly consumableCapacity: boolean;
}

type Judge<T> = (item: T, path: string) => FieldError[];

/** A list of at most `max` items (-1: any number). */
export function validateList<T>(
  list: readonly T[] | undefined,
  max: number,
  judge: Judge<T>,
  path: string,
): FieldError[] {
  const items = list ?? [];
  if (max >= 0 && items.length > max) return [tooMany(path, items.length, max)];
  return items.flatMap((item, i) => judge(item, `${path}[${i}]`));
}

/** The same, with no two items of one key. */
export function validateSet<T>(
  list: readonly T[] | undefined,
  max: number,
  judge: Judge<T>,
  keyOf: (item: T) => string,
  path: string,
): FieldError[] {
  const items = list ?? [];
  if (max >= 0 && items.length > max) return [tooMany(path, items.length, max)];
  const errors = items.flatMap((item, i) => judge(item, `${path}[${i}]`));
  const seen = new Set<string>();
  items.forEach((item, i) => {
    const key = keyOf(item);
    if (seen.has(key)) errors.push(duplicate(`${path}[${i}]`, key));
    seen.add(key);
  });
  return errors;
}

/** A long key is shortened in paths. */
function shortened(key: string, max: number): string {
  if (key.length <= max) return key;
  const left = max - 3;
  return `${key.slice(0, Math.floor((left + 1) / 2))}...${key.slice(key.length - Math.floor(left / 2))}`;
}

export function validateEntries<T>(
  map: Readonly<Record<string, T>> | undefined,
  max: number,
  keyLength: number,
  judgeKey: (key: string, path: string) => FieldError[],
  judge: Judge<T>,
  path: string,
): FieldError[] {
  const entries = Object.entries(map ?? {});
  if (max >= 0 && entries.length > max) return [tooMany(path, entries.length, max)];
  return entries.flatMap(([key, item]) => [
    ...judgeKey(key, path),
    ...judge(item, `${path}[${shortened(key, keyLength)}]`),
  ]);
}

export function validateDriverName(name: string, path: string): FieldError[] {
  if (name === '') return [required(path)];
  return [
    ...(byteLength(name) > maxDomainLength ? [tooLong(path, maxDomainLength)] : []),
    ...invalidEach(path, name, isDNS1123Subdomain(name.toLowerCase())),
  ];
}

export function validatePoolName(name: string, path: string): FieldError[] {
  if (name === '') return [required(path)];
  return [
    ...(byteLength(name) > poolNameMaxLength ? [tooLong(path, poolNameMaxLength)] : []),
    ...name.split('/').flatMap((part) => invalidEach(path, part, isDNS1123Subdomain(part))),
  ];
}

/** RFC 4122's usual form. Other forms that Go's parser takes are known by their length. */
export function validateUid(uid: string, path: string): FieldError[] {
  const plain = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
  const body = /^urn:uuid:/i.test(uid) && uid.length === 45 ? uid.slice(9) : uid;
  const why = (text: string): FieldError[] => [invalid(path, uid, `error validating uid: ${text}`)];
  switch (uid.length) {
    case 36:
      if (!plain.test(uid)) return why('invalid UUID format');
      break;
    case 45:
      if (body === uid) return why(`invalid urn prefix: ${JSON.stringify(uid.slice(0, 9))}`);
      if (!plain.test(body)) return why('invalid UUID format');
      break;
    case 38:
      if (!uid.startsWith('{') || !uid.endsWith('}')) return why('invalid bracketed UUID format');
      if (!plain.test(uid.slice(1, -1))) return why('invalid UUID format');
      break;
    case 32:
      if (!/^[0-9a-f]{32}$/i.test(uid)) return why('invalid UUID format');
      break;
    default:
      return why(`invalid UUID length: ${uid.length}`);
  }
  return uid.length === 36 && uid === uid.toLowerCase()
    ? []
    : [
        invalid(
          path,
          uid,
          'uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters',
        ),
      ];
}

const cIdentifier = '[A-Za-z_][A-Za-z0-9_]*';
const cIdentifierMessage =
  "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";

function validateCIdentifier(id: string, path: string): FieldError[] {
  return [
    ...(byteLength(id) > maxIdLength ? [tooLong(path, maxIdLength)] : []),
    ...(new RegExp(`^${cIdentifier}$`).test(id)
      ? []
      : [invalid(path, id, regexError(cIdentifierMessage, cIdentifier, 'my_name', 'MY_NAME', 'MyName'))]),
  ];
}

/** `name`, or `domain/name`. */
export function validateAttributeName(name: string, path: string): FieldError[] {
  const parts = name.split('/');
  if (parts.length === 1) return validateCIdentifier(name, path);
  if (parts.length > 2) return [];
  const [domain, id] = parts as [string, string];
  return [
    ...(domain === '' ? [invalid(path, '', 'the domain must not be empty')] : validateDriverName(domain, path)),
    ...(id === '' ? [invalid(path, '', 'the name must not be empty')] : validateCIdentifier(id, path)),
  ];
}

export function validateFullAttributeName(name: string, path: string): FieldError[] {
  return [
    ...validateAttributeName(name, path),
    ...(name.includes('/')
      ? []
      : [invalid(path, name, 'a fully qualified name must be a domain and a name separated by a slash')]),
  ];
}

function validateSelector(rules: DeviceRules, selector: DeviceSelector, path: string): FieldError[] {
  if (selector.cel === undefined) return [required(`${path}.cel`)];
  const expression = selector.cel.expression ?? '';
  const at = `${path}.cel.expression`;
  if (byteLength(expression) > maxExpressionBytes) return [tooLong(at, maxExpressionBytes)];
  const compiled = rules.selectors.compile(expression);
  if (typeof compiled === 'string') return [invalid(at, expression, compiled)];
  return compiled.maxCost > maxExpressionCost ? [forbiddenField(at, 'too complex, exceeds cost limit')] : [];
}

export function validateSelectors(
  rules: DeviceRules,
  selectors: readonly DeviceSelector[] | undefined,
  path: string,
): FieldError[] {
  return validateList(selectors, maxSelectors, (s, at) => validateSelector(rules, s, at), path);
}

/** An opaque piece of JSON: an object, of limited size where it is new. */
export function validateRawObject(value: unknown, path: string, stored: boolean, max: number): FieldError[] {
  if (value === undefined || value === null) return [required(path)];
  if (!stored && byteLength(JSON.stringify(value)) > max) return [tooLong(path, max)];
  return typeof value === 'object' && !Array.isArray(value)
    ? []
    : [invalid(path, '<value omitted>', 'must be a valid JSON object')];
}

export function validateDeviceConfiguration(
  config: { readonly opaque?: OpaqueDeviceConfiguration | undefined },
  path: string,
  stored: boolean,
): FieldError[] {
  const at = `${path}.opaque`;
  if (config.opaque === undefined) return [required(at)];
  return [
    ...validateDriverName(config.opaque.driver ?? '', `${at}.driver`),
    ...validateRawObject(config.opaque.parameters, `${at}.parameters`, stored, maxParametersBytes),
  ];
}

const effects = ['NoExecute', 'NoSchedule', 'None'];

export function validateDeviceTaint(
  taint: Given<DeviceTaint>,
  old: Given<DeviceTaint> | undefined,
  path: string,
): FieldError[] {
  const { key = '', value = '', effect = '' } = taint;
  const errors = validateLabelName(key, `${path}.key`);
  if (value !== '') errors.push(...invalidEach(`${path}.value`, value, isLabelValue(value)));
  if (old === undefined || (old.effect ?? '') !== effect) {
    if (effect === '') errors.push(required(`${path}.effect`));
    else if (!effects.includes(effect)) errors.push(notSupported(`${path}.effect`, effect, effects));
  }
  return errors;
}

export function validateDeviceToleration(toleration: DeviceToleration, path: string): FieldError[] {
  const { key = '', operator = '', value = '', effect = '' } = toleration;
  const errors = key === '' ? [] : validateLabelName(key, `${path}.key`);
  switch (operator) {
    case 'Exists':
      if (value !== '') errors.push(invalid(`${path}.value`, value, 'must be empty for operator `Exists`'));
      break;
    case 'Equal':
      errors.push(...invalidEach(`${path}.value`, value, isLabelValue(value)));
      break;
    case '':
      errors.push(required(`${path}.operator`));
      break;
    default:
      errors.push(notSupported(`${path}.operator`, operator, ['Equal', 'Exists']));
  }
  if (effect !== '' && !effects.includes(effect)) errors.push(notSupported(`${path}.effect`, effect, effects));
  return errors;
}

/** The conditions that a driver sets before a pod may be bound, and those by which it gives up. */
export function validateBindingConditions(
  device: { readonly bindingConditions?: readonly string[]; readonly bindingFailureConditions?: readonly string[] },
  path: string,
): FieldError[] {
  const binding = device.bindingConditions ?? [];
  const failure = device.bindingFailureConditions ?? [];
  const bindingAt = `${path}.bindingConditions`;
  const failureAt = `${path}.bindingFailureConditions`;
  const errors = [
    ...validateList(binding, maxBindingConditions, validateLabelName, bindingAt),
    ...validateList(failure, maxBindingConditions, validateLabelName, failureAt),
  ];
  binding.forEach((c, i) => {
    if (binding.indexOf(c) < i) errors.push(duplicate(`${bindingAt}[${i}]`, c));
  });
  failure.forEach((c, i) => {
    if (failure.indexOf(c) < i) errors.push(duplicate(`${failureAt}[${i}]`, c));
    if (binding.includes(c))
      errors.push(invalid(`${failureAt}[${i}]`, c, 'bindingFailureConditions must not overlap with bindingConditions'));
  });
  if (binding.length === 0 && failure.length > 0)
    errors.push(
      invalid(
        bindingAt,
        device.bindingConditions ?? null,
        'bindingConditions are required to use bindingFailureConditions',
      ),
    );
  if (failure.length === 0 && binding.length > 0)
    errors.push(
      invalid(
        failureAt,
        device.bindingFailureConditions ?? null,
        'bindingFailureConditions are required to use bindingConditions',
      ),
    );
  return errors;
}
