/** Validation of StorageClass, VolumeAttributesClass, CSIDriver, CSINode, CSIStorageCapacity and VolumeAttachment. */
import {
  duplicate,
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooLong,
  type FieldError,
} from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { byteLength, inclusiveRangeError, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelName, validateLabelSelector, type LabelSelector } from '../../api/selector.ts';
import type { TopologySelectorTerm } from '../../api/types/core-v1.gen.ts';
import type {
  CSIDriverSpec,
  CSINodeDriver,
  CSINodeSpec,
  TokenRequest,
  VolumeAttachmentSpec,
  VolumeAttachmentStatus,
  VolumeError,
} from '../../api/types/storage-v1.gen.ts';
import {
  invalidEach,
  specOf,
  statusOf,
  validateDnsSubdomain,
  validateEnum,
  validateImmutable,
  validateNonnegative,
  validateQualifiedName,
  validateDefaultedEnum,
} from './field.ts';
import { deprecatedNodeLabels } from './node-labels.ts';
import { validateInlineVolumeSpec } from './persistent-volume.ts';
import { validateNonnegativeQuantity } from './resource-names.ts';

const maxBytes = 256 * 1024;

function validateProvisioner(name: string, path: string): FieldError[] {
  return name === '' ? [required(path)] : validateQualifiedName(name.toLowerCase(), path);
}

function mapBytes(map: Readonly<Record<string, string>>): number {
  return Object.entries(map).reduce((n, [key, value]) => n + byteLength(key) + byteLength(value), 0);
}

function validateParameters(object: KubeObject, needed: boolean): FieldError[] {
  const parameters = (object['parameters'] ?? {}) as Readonly<Record<string, string>>;
  const keys = Object.keys(parameters);
  if (keys.length > 512) return [tooLong('parameters', 512)];
  return [
    ...(keys.includes('') ? [invalid('parameters', '', 'field can not be empty.')] : []),
    ...(mapBytes(parameters) > maxBytes ? [tooLong('parameters', maxBytes)] : []),
    ...(needed && keys.length === 0 ? [required('parameters', 'must contain at least one key/value pair')] : []),
  ];
}

function validateTopologies(terms: readonly TopologySelectorTerm[]): FieldError[] {
  const errors: FieldError[] = [];
  const seen: Record<string, string[]>[] = [];
  terms.forEach((term, i) => {
    const path = `allowedTopologies[${i}].matchLabelExpressions`;
    const expressions: Record<string, string[]> = {};
    (term.matchLabelExpressions ?? []).forEach(({ key, values }, j) => {
      const at = `${path}[${j}]`;
      const unique = new Set<string>();
      if ((values ?? []).length === 0) errors.push(required(`${at}.values`));
      (values ?? []).forEach((value, n) => {
        if (unique.has(value)) errors.push(duplicate(`${at}.values[${n}]`, value));
        unique.add(value);
      });
      errors.push(...validateLabelName(key, `${at}.key`));
      if (Object.hasOwn(expressions, key)) errors.push(duplicate(`${at}.key`, key));
      expressions[key] = [...unique].toSorted();
    });
    // A term without expressions equals those that upstream has not looked at yet.
    const empty = Object.keys(expressions).length === 0;
    if (empty || seen.some((other) => semanticEqual(other, expressions))) errors.push(duplicate(path, ''));
    seen.push(expressions);
  });
  return errors;
}

const classMember = (object: KubeObject, member: string): string => (object[member] ?? '') as string;

export function validateStorageClass(object: KubeObject): FieldError[] {
  return [
    ...validateProvisioner(classMember(object, 'provisioner'), 'provisioner'),
    ...validateParameters(object, false),
    ...validateEnum(classMember(object, 'reclaimPolicy') || undefined, ['Delete', 'Retain'], 'reclaimPolicy'),
    ...validateDefaultedEnum(
      object['volumeBindingMode'] as string | undefined,
      ['Immediate', 'WaitForFirstConsumer'],
      'volumeBindingMode',
    ),
    ...validateTopologies((object['allowedTopologies'] ?? []) as readonly TopologySelectorTerm[]),
  ];
}

export function validateStorageClassUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [
    ...validateStorageClass(object),
    ...(semanticEqual(object['parameters'], old['parameters'])
      ? []
      : validateImmutable(object['parameters'], old['parameters'], 'parameters', '{}s')),
    ...['provisioner', 'reclaimPolicy', 'volumeBindingMode'].flatMap((member) =>
      validateImmutable(object[member], old[member], member),
    ),
  ];
}

export function storageClassWarnings(object: KubeObject): string[] {
  return ((object['allowedTopologies'] ?? []) as readonly TopologySelectorTerm[]).flatMap((term, i) =>
    (term.matchLabelExpressions ?? []).flatMap(({ key }, j) => {
      const text = deprecatedNodeLabels.get(key);
      return text === undefined ? [] : [`allowedTopologies[${i}].matchLabelExpressions[${j}].key: ${text}`];
    }),
  );
}

export function validateVolumeAttributesClass(object: KubeObject): FieldError[] {
  return [...validateProvisioner(classMember(object, 'driverName'), 'driverName'), ...validateParameters(object, true)];
}

export function validateVolumeAttributesClassUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const changed = ['driverName', 'parameters'].filter((member) => !semanticEqual(object[member], old[member]));
  return [
    ...changed.map((member) => forbiddenField(member, `updates to ${member} are forbidden.`)),
    ...validateVolumeAttributesClass(object),
  ];
}

function validateDriverName(name: string, path: string): FieldError[] {
  if (name === '') return [required(path)];
  return [
    ...(byteLength(name) > 63 ? [tooLong(path, 63)] : []),
    ...invalidEach(path, name, isDNS1123Subdomain(name.toLowerCase())),
  ];
}

function validateTokenRequests(requests: readonly TokenRequest[]): FieldError[] {
  const audiences = new Set<string>();
  return requests.flatMap(({ audience = '', expirationSeconds: seconds }, i) => {
    const path = `spec.tokenRequests[${i}]`;
    if (audiences.has(audience)) return [duplicate(`${path}.audience`, audience)];
    audiences.add(audience);
    if (seconds === undefined) return [];
    const at = `${path}.expirationSeconds`;
    if (seconds < 600) return [invalid(at, seconds, 'may not specify a duration less than 10 minutes')];
    if (seconds > 2 ** 32) return [invalid(at, seconds, 'may not specify a duration larger than 2^32 seconds')];
    return [];
  });
}

export function validateCsiDriver(object: KubeObject): FieldError[] {
  const spec = specOf<CSIDriverSpec>(object);
  const errors: FieldError[] = [];
  // Upstream's path has the typo.
  if (spec.attachRequired === undefined) errors.push(required('spec.attachedRequired'));
  if (spec.podInfoOnMount === undefined) errors.push(required('spec.podInfoOnMount'));
  if (spec.storageCapacity === undefined) errors.push(required('spec.storageCapacity'));
  errors.push(
    ...validateEnum(spec.fsGroupPolicy, ['File', 'None', 'ReadWriteOnceWithFSType'], 'spec.fsGroupPolicy'),
    ...validateTokenRequests(spec.tokenRequests ?? []),
  );
  const modes = ['Persistent', 'Ephemeral'];
  for (const mode of spec.volumeLifecycleModes ?? [])
    if (!modes.includes(mode)) errors.push(notSupported('spec.volumeLifecycleModes', mode, modes));
  if (spec.seLinuxMount === undefined) errors.push(required('spec.seLinuxMount'));
  const period = spec.nodeAllocatableUpdatePeriodSeconds;
  if (period !== undefined && period < 10)
    errors.push(
      invalid('spec.nodeAllocatableUpdatePeriodSeconds', period, 'must be greater than or equal to 10 seconds'),
    );
  const inSecrets = spec.serviceAccountTokenInSecrets;
  if (inSecrets !== undefined && (spec.tokenRequests ?? []).length === 0)
    errors.push(
      invalid(
        'spec.serviceAccountTokenInSecrets',
        inSecrets,
        'serviceAccountTokenInSecrets is set but no tokenRequests are specified',
      ),
    );
  return errors;
}

export function validateCsiDriverUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const spec = specOf<CSIDriverSpec>(object);
  const before = specOf<CSIDriverSpec>(old);
  return [
    ...validateCsiDriver(object),
    ...validateImmutable(spec.attachRequired, before.attachRequired, 'spec.attachedRequired'),
    ...validateImmutable(spec.volumeLifecycleModes, before.volumeLifecycleModes, 'spec.volumeLifecycleModes', '[]s'),
  ];
}

export function csiDriverWarnings(object: KubeObject, old: KubeObject | undefined): string[] {
  const spec = specOf<CSIDriverSpec>(object);
  const requests = spec.tokenRequests ?? [];
  if (requests.length === 0 || spec.serviceAccountTokenInSecrets !== undefined) return [];
  if (old !== undefined && semanticEqual(specOf<CSIDriverSpec>(old).tokenRequests, requests)) return [];
  return [
    'spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes',
  ];
}

function validateNodeDriver(driver: CSINodeDriver, names: Set<string>, path: string): FieldError[] {
  const { name = '', nodeID = '', allocatable, topologyKeys } = driver;
  const errors = validateDriverName(name, `${path}.name`);
  if (nodeID === '') errors.push(required(`${path}.nodeID`));
  if (byteLength(nodeID) > 256) errors.push(invalid(`${path}.nodeID`, nodeID, 'must be 256 characters or less'));
  errors.push(...validateNonnegative(allocatable?.count, `${path}.allocatable.count`));
  if (names.has(name)) errors.push(duplicate(`${path}.name`, name));
  names.add(name);
  const keys = new Set<string>();
  for (const key of topologyKeys ?? []) {
    if (key === '') errors.push(required(path));
    if (keys.has(key)) errors.push(duplicate(path, key));
    keys.add(key);
    errors.push(...validateQualifiedName(key, path));
  }
  return errors;
}

export function validateCsiNode(object: KubeObject): FieldError[] {
  const names = new Set<string>();
  return (specOf<CSINodeSpec>(object).drivers ?? []).flatMap((driver, i) =>
    validateNodeDriver(driver, names, `spec.drivers[${i}]`),
  );
}

/** A driver that stays on the node changes nothing but how many volumes it may attach. */
export function validateCsiNodeUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const errors = validateCsiNode(object);
  const withoutCount = ({ allocatable: _, ...rest }: CSINodeDriver): Omit<CSINodeDriver, 'allocatable'> => rest;
  for (const before of specOf<CSINodeSpec>(old).drivers ?? [])
    for (const driver of specOf<CSINodeSpec>(object).drivers ?? [])
      if (driver.name === before.name)
        errors.push(...validateImmutable(withoutCount(driver), withoutCount(before), 'spec.drivers'));
  return errors;
}

export function validateCsiStorageCapacity(object: KubeObject, old?: KubeObject): FieldError[] {
  const topology = object['nodeTopology'] as LabelSelector | undefined;
  const allowInvalid =
    old !== undefined && validateLabelSelector(old['nodeTopology'] as LabelSelector | undefined, '').length > 0;
  const errors = validateLabelSelector(topology, 'nodeTopology', { allowInvalidLabelValueInSelector: allowInvalid });
  const className = classMember(object, 'storageClassName');
  errors.push(...validateDnsSubdomain(className, 'storageClassName'));
  const capacity = object['capacity'] as string | undefined;
  if (capacity !== undefined) errors.push(...validateNonnegativeQuantity(capacity, 'capacity'));
  if (old === undefined) return errors;
  return [
    ...errors,
    ...(semanticEqual(topology, old['nodeTopology'])
      ? []
      : [invalid('nodeTopology', topology ?? null, 'field is immutable')]),
    ...validateImmutable(className, classMember(old, 'storageClassName'), 'storageClassName'),
  ];
}

export function csiStorageCapacityWarnings(object: KubeObject): string[] {
  const topology = object['nodeTopology'] as LabelSelector | undefined;
  const expressions = (topology?.matchExpressions ?? []).flatMap(({ key }, i) => {
    const text = deprecatedNodeLabels.get(key);
    return text === undefined ? [] : [`nodeTopology.matchExpressions[${i}].key: ${key} is ${text}`];
  });
  const labels = Object.keys(topology?.matchLabels ?? {}).flatMap((key) => {
    const text = deprecatedNodeLabels.get(key);
    return text === undefined ? [] : [`nodeTopology.matchLabels.${key}: ${text}`];
  });
  return [...expressions, ...labels];
}

function validateVolumeError(error: VolumeError | undefined, path: string): FieldError[] {
  if (error === undefined || error === null) return [];
  const { message = '', errorCode } = error;
  return [
    // The limit is 1024 bytes; the number in the message is upstream's.
    ...(byteLength(message) > 1024 ? [tooLong(`${path}.message`, maxBytes)] : []),
    ...(errorCode !== undefined && errorCode < 0
      ? [invalid(`${path}.errorCode`, errorCode, inclusiveRangeError(0, 2147483647))]
      : []),
  ];
}

export function validateVolumeAttachment(object: KubeObject): FieldError[] {
  const spec = specOf<VolumeAttachmentSpec>(object);
  const status = statusOf<VolumeAttachmentStatus>(object);
  const { inlineVolumeSpec, persistentVolumeName } = spec.source ?? {};
  const errors = validateDriverName(spec.attacher ?? '', 'spec.attacher');
  const source = 'spec.source';
  const one = 'must specify exactly one of inlineVolumeSpec and persistentVolumeName';
  if (inlineVolumeSpec === undefined && persistentVolumeName === undefined) errors.push(required(source, one));
  else if (inlineVolumeSpec !== undefined && persistentVolumeName !== undefined)
    errors.push(forbiddenField(source, one));
  else if (persistentVolumeName === '')
    errors.push(required(`${source}.persistentVolumeName`, 'must specify non empty persistentVolumeName'));
  else if (inlineVolumeSpec !== undefined)
    errors.push(...validateInlineVolumeSpec(inlineVolumeSpec, `${source}.inlineVolumeSpec`));
  errors.push(...validateDnsSubdomain(spec.nodeName ?? '', 'spec.nodeName'));
  if (mapBytes((status.attachmentMetadata ?? {}) as Record<string, string>) > maxBytes)
    errors.push(tooLong('status.attachmentMetadata', maxBytes));
  errors.push(
    ...validateVolumeError(status.attachError, 'status.attachError'),
    ...validateVolumeError(status.detachError, 'status.detachError'),
  );
  if (persistentVolumeName !== undefined)
    errors.push(...validateDnsSubdomain(persistentVolumeName, `${source}.persistentVolumeName`));
  return errors;
}

export function validateVolumeAttachmentUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [
    ...validateVolumeAttachment(object),
    ...validateImmutable(object['spec'], old['spec'], 'spec', 'storage.VolumeAttachmentSpec'),
  ];
}
