/** Validation of PersistentVolume. */
import { forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { parseQuantity, quantitySign, quantityValue } from '../../api/quantity.ts';
import type { PersistentVolumeSpec, SecretReference, VolumeNodeAffinity } from '../../api/types/core-v1.gen.ts';
import { internalDifference } from './difference.ts';
import { internalForm } from './internal-form.ts';
import { validateNodeSelector } from './pod-scheduling.ts';
import {
  invalidEach,
  specOf,
  validateDnsLabel,
  validateDnsSubdomain,
  validateEnum,
  validateImmutable,
} from './field.ts';
import { hostPathTypes } from './local-path.ts';

type Spec = Partial<PersistentVolumeSpec>;
const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

/** Volume types in the order upstream looks at them, with the path its errors name. */
const sources = [
  ['hostPath', 'hostPath'],
  ['gcePersistentDisk', 'gcePersistentDisk'],
  ['awsElasticBlockStore', 'awsElasticBlockStore'],
  ['glusterfs', 'glusterfs'],
  ['flocker', 'flocker'],
  ['nfs', 'nfs'],
  ['rbd', 'rbd'],
  ['quobyte', 'quobyte'],
  ['cephfs', 'cephFS'],
  ['iscsi', 'iscsi'],
  ['cinder', 'cinder'],
  ['fc', 'fc'],
  ['flexVolume', 'flexVolume'],
  ['azureFile', 'azureFile'],
  ['vsphereVolume', 'vsphereVolume'],
  ['photonPersistentDisk', 'photonPersistentDisk'],
  ['portworxVolume', 'portworxVolume'],
  ['azureDisk', 'azureDisk'],
  ['scaleIO', 'scaleIO'],
  ['local', 'local'],
  ['storageos', 'storageos'],
  ['csi', 'csi'],
] as const;

type SourceName = (typeof sources)[number][0];
type Source = Readonly<Record<string, unknown>>;

const text = (s: Source, member: string): string => (typeof s[member] === 'string' ? (s[member] as string) : '');

function need(s: Source, members: readonly string[], path: string): FieldError[] {
  return members.filter((m) => text(s, m) === '').map((m) => required(`${path}.${m}`));
}

function noBacksteps(value: string, path: string): FieldError[] {
  return value.split('/').includes('..') ? [invalid(path, value, "must not contain '..'")] : [];
}

function partition(s: Source, path: string): FieldError[] {
  const p = (s['partition'] ?? 0) as number;
  return p < 0 || p > 255 ? [invalid(`${path}.partition`, p, 'must be between 0 and 255, inclusive')] : [];
}

function secretReference(ref: SecretReference | undefined, path: string): FieldError[] {
  if (ref === undefined) return [];
  const { name = '', namespace = '' } = ref;
  return [
    ...(name === '' ? [required(`${path}.name`)] : validateDnsSubdomain(name, `${path}.name`)),
    ...(namespace === '' ? [required(`${path}.namespace`)] : validateDnsLabel(namespace, `${path}.namespace`)),
  ];
}

const iqnForm = /^iqn\.\d{4}-\d{2}\.([a-z0-9.-]+)(:[^,;*&$|\s]+)?$/i;
const euiForm = /^eui\.[0-9a-f]{16}$/i;
const naaForm = /^naa\.[0-9a-f]{32}$/i;

function iscsiName(name: string, path: string): FieldError[] {
  const good =
    (name.startsWith('iqn') && iqnForm.test(name)) ||
    (name.startsWith('eui') && euiForm.test(name)) ||
    (name.startsWith('naa') && naaForm.test(name));
  return good ? [] : [invalid(path, name, 'must be valid format')];
}

function validateIscsi(s: Source, name: string, path: string): FieldError[] {
  const errors = need(s, ['targetPortal'], path);
  const initiator = s['initiatorName'] as string | undefined;
  const portal = text(s, 'targetPortal');
  if (initiator !== undefined && `${name}:${portal}`.length > 64)
    errors.push(
      invalid(
        `${path}.targetportal`,
        portal,
        'Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.',
      ),
    );
  const iqn = text(s, 'iqn');
  errors.push(...(iqn === '' ? [required(`${path}.iqn`)] : iscsiName(iqn, `${path}.iqn`)));
  const lun = (s['lun'] ?? 0) as number;
  if (lun < 0 || lun > 255) errors.push(invalid(`${path}.lun`, lun, 'must be between 0 and 255, inclusive'));
  const secret = s['secretRef'] as SecretReference | undefined;
  if ((s['chapAuthDiscovery'] === true || s['chapAuthSession'] === true) && secret === undefined)
    errors.push(required(`${path}.secretRef`));
  if (secret !== undefined && (secret.name ?? '') === '') errors.push(required(`${path}.secretRef.name`));
  if (initiator !== undefined) errors.push(...iscsiName(initiator, `${path}.initiatorname`));
  return errors;
}

function validateCsi(s: Source, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const driver = text(s, 'driver');
  if (driver === '') errors.push(required(`${path}.driver`));
  else {
    if (driver.length > 63)
      errors.push({ type: 'FieldValueTooLong', field: `${path}.driver`, detail: 'may not be more than 63 bytes' });
    errors.push(...invalidEach(`${path}.driver`, driver, isDNS1123Subdomain(driver.toLowerCase())));
  }
  errors.push(...need(s, ['volumeHandle'], path));
  for (const member of [
    'controllerPublishSecretRef',
    'controllerExpandSecretRef',
    'nodePublishSecretRef',
    'nodeExpandSecretRef',
  ])
    errors.push(...secretReference(s[member] as SecretReference | undefined, `${path}.${member}`));
  return errors;
}

function validateSource(name: SourceName, s: Source, pvName: string): FieldError[] {
  const path = `spec.${name}`;
  switch (name) {
    case 'hostPath':
      if (text(s, 'path') === '') return [required(`${path}.path`)];
      return [
        ...noBacksteps(text(s, 'path'), `${path}.path`),
        ...validateEnum(s['type'] as string | undefined, hostPathTypes, `${path}.type`),
      ];
    case 'gcePersistentDisk':
      return [...need(s, ['pdName'], 'spec.persistentDisk'), ...partition(s, 'spec.persistentDisk')];
    case 'awsElasticBlockStore':
      return [...need(s, ['volumeID'], path), ...partition(s, path)];
    case 'glusterfs':
      return need(s, ['endpoints', 'path'], path);
    case 'nfs': {
      const errors = need(s, ['server', 'path'], path);
      if (!text(s, 'path').startsWith('/'))
        errors.push(invalid(`${path}.path`, text(s, 'path'), 'must be an absolute path'));
      return errors;
    }
    case 'rbd':
      return [
        ...((s['monitors'] as unknown[] | undefined)?.length ? [] : [required(`${path}.monitors`)]),
        ...need(s, ['image'], path),
      ];
    case 'quobyte':
      return need(s, ['registry', 'volume'], path);
    case 'cephfs':
      return (s['monitors'] as unknown[] | undefined)?.length ? [] : [required('spec.cephfs.monitors')];
    case 'iscsi':
      return validateIscsi(s, pvName, path);
    case 'cinder':
      return need(s, ['volumeID'], path);
    case 'fc': {
      const wwns = (s['targetWWNs'] as unknown[] | undefined)?.length ?? 0;
      const wwids = (s['wwids'] as unknown[] | undefined)?.length ?? 0;
      if (wwns === 0 && wwids === 0)
        return [required(`${path}.targetWWNs`, 'must specify either targetWWNs or wwids, but not both')];
      if (wwns > 0 && wwids > 0)
        return [
          invalid(`${path}.targetWWNs`, s['targetWWNs'], 'targetWWNs and wwids can not be specified simultaneously'),
        ];
      return [];
    }
    case 'flexVolume':
      return need(s, ['driver'], path);
    case 'azureFile':
      return need(s, ['secretName', 'shareName'], path);
    case 'vsphereVolume':
      return need(s, ['volumePath'], path);
    case 'photonPersistentDisk':
      return need(s, ['pdID'], path);
    case 'portworxVolume':
      return need(s, ['volumeID'], path);
    case 'azureDisk':
      return need(s, ['diskName', 'diskURI'], path);
    case 'scaleIO':
      return need(s, ['gateway', 'system', 'volumeName'], path);
    case 'local':
      return text(s, 'path') === '' ? [required(`${path}.path`)] : noBacksteps(text(s, 'path'), `${path}.path`);
    case 'storageos':
      return text(s, 'volumeName') === ''
        ? [required(`${path}.volumeName`)]
        : validateDnsLabel(text(s, 'volumeName'), `${path}.volumeName`);
    case 'csi':
      return validateCsi(s, path);
    case 'flocker':
      return text(s, 'datasetName') === '' && text(s, 'datasetUUID') === ''
        ? [required(path, 'one of datasetName and datasetUUID is required')]
        : [];
  }
}

function validateSpec(spec: Spec, name: string): FieldError[] {
  const errors: FieldError[] = [];
  const modes = spec.accessModes ?? [];
  if (modes.length === 0) errors.push(required('spec.accessModes'));
  for (const mode of modes)
    if (!accessModes.includes(mode)) errors.push(notSupported('spec.accessModes', mode, accessModes));
  if (modes.includes('ReadWriteOncePod') && modes.some((m) => m !== 'ReadWriteOncePod' && accessModes.includes(m)))
    errors.push(forbiddenField('spec.accessModes', 'may not use ReadWriteOncePod with other access modes'));
  const capacity = (spec.capacity ?? {}) as Record<string, string>;
  const names = Object.keys(capacity);
  if (names.length === 0) errors.push(required('spec.capacity'));
  if (capacity['storage'] === undefined || names.length > 1)
    errors.push(notSupported('spec.capacity', spec.capacity ?? (null as unknown as string), ['storage']));
  for (const [resource, q] of Object.entries(capacity)) {
    const path = `spec.capacity[${resource}]`;
    const quantity = parseQuantity(q);
    if (quantitySign(quantity) < 0)
      errors.push(invalid(path, quantityValue(quantity), 'must be a valid resource quantity'));
    if (quantitySign(quantity) <= 0) errors.push(invalid(path, q, 'must be greater than zero'));
  }
  errors.push(
    ...validateEnum(
      spec.persistentVolumeReclaimPolicy || undefined,
      ['Delete', 'Recycle', 'Retain'],
      'spec.persistentVolumeReclaimPolicy',
    ),
  );
  if (spec.nodeAffinity !== undefined) {
    if (spec.nodeAffinity.required === undefined)
      errors.push(required('spec.nodeAffinity.required', 'must specify required node constraints'));
    else errors.push(...validateNodeSelector(spec.nodeAffinity.required, 'spec.nodeAffinity.required'));
  }
  let found = 0;
  for (const [member, shown] of sources) {
    const source = spec[member] as Source | undefined;
    if (source === undefined) continue;
    if (found > 0 && member !== 'flexVolume') {
      errors.push(forbiddenField(`spec.${shown}`, 'may not specify more than 1 volume type'));
      continue;
    }
    found++;
    errors.push(...validateSource(member, source, name));
    if (member === 'local' && spec.nodeAffinity === undefined)
      errors.push(required('spec.nodeAffinity', 'Local volume requires node affinity'));
  }
  if (found === 0) errors.push(required('spec', 'must specify a volume type'));
  if (
    spec.hostPath !== undefined &&
    spec.hostPath.path.replace(/\/+/g, '/').replace(/(.)\/$/, '$1') === '/' &&
    spec.persistentVolumeReclaimPolicy === 'Recycle'
  )
    errors.push(
      forbiddenField('spec.persistentVolumeReclaimPolicy', "may not be 'recycle' for a hostPath mount of '/'"),
    );
  if ((spec.storageClassName ?? '') !== '')
    errors.push(...validateDnsSubdomain(spec.storageClassName!, 'spec.storageClassName'));
  errors.push(...validateEnum(spec.volumeMode, ['Block', 'Filesystem'], 'spec.volumeMode'));
  const attributes = spec.volumeAttributesClassName;
  if (attributes !== undefined) {
    const path = 'spec.volumeAttributesClassName';
    if (attributes === '') errors.push(required(path, 'an empty string is disallowed'));
    else errors.push(...validateDnsSubdomain(attributes, path));
    if (spec.csi === undefined)
      errors.push(required('spec.csi', 'has to be specified when using volumeAttributesClassName'));
  }
  return errors;
}

/** A volume that stands in a VolumeAttachment instead of a PersistentVolume: of CSI, and not claimed by anyone. */
export function validateInlineVolumeSpec(spec: Spec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const inline = 'in the context of inline volumes';
  const absent = (member: string): FieldError => forbiddenField(`${path}.${member}`, `may not be specified ${inline}`);
  if (spec.claimRef !== undefined) errors.push(absent('claimRef'));
  if (Object.keys(spec.capacity ?? {}).length > 0) errors.push(absent('capacity'));
  if (spec.csi === undefined) errors.push(required(`${path}.csi`, `has to be specified ${inline}`));
  const modes = spec.accessModes ?? [];
  if (modes.length === 0) errors.push(required(`${path}.accessModes`));
  for (const mode of modes)
    if (!accessModes.includes(mode)) errors.push(notSupported(`${path}.accessModes`, mode, accessModes));
  if ((spec.persistentVolumeReclaimPolicy ?? 'Retain') !== 'Retain')
    errors.push(forbiddenField(`${path}.persistentVolumeReclaimPolicy`, `may only be Retain ${inline}`));
  if (spec.nodeAffinity !== undefined) errors.push(absent('nodeAffinity'));
  for (const [member, shown] of sources)
    if (member !== 'csi' && spec[member] !== undefined && spec.csi !== undefined)
      errors.push(forbiddenField(`${path}.${shown}`, 'may not specify more than 1 volume type'));
  if (spec.csi !== undefined) errors.push(...validateCsi(spec.csi as unknown as Source, `${path}.csi`));
  if ((spec.storageClassName ?? '') !== '') errors.push(absent('storageClassName'));
  if ((spec.volumeMode ?? 'Filesystem') !== 'Filesystem')
    errors.push(forbiddenField(`${path}.volumeMode`, `may not specify volumeMode other than Filesystem ${inline}`));
  return errors;
}

const mountOptionTypes: readonly SourceName[] = [
  'gcePersistentDisk',
  'awsElasticBlockStore',
  'glusterfs',
  'nfs',
  'rbd',
  'quobyte',
  'iscsi',
  'cinder',
  'cephfs',
  'azureFile',
  'vsphereVolume',
  'azureDisk',
  'photonPersistentDisk',
];
const mountOptions = 'volume.beta.kubernetes.io/mount-options';

export function validatePersistentVolume(object: KubeObject): FieldError[] {
  const spec = specOf<PersistentVolumeSpec>(object);
  const errors = validateSpec(spec, object.metadata.name ?? '');
  if (object.metadata.annotations?.[mountOptions] !== undefined)
    if (!mountOptionTypes.some((t) => spec[t] !== undefined))
      errors.push(
        forbiddenField(`metadata.annotations.${mountOptions}`, 'may not specify mount options for this volume type'),
      );
  return errors;
}

/** The volume's source alone. */
function sourceOf(spec: Spec): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [member] of sources) if (spec[member] !== undefined) out[member] = spec[member];
  return out;
}

/** Labels of nodes that were renamed. */
const renamedLabels: ReadonlyMap<string, string> = new Map([
  ['failure-domain.beta.kubernetes.io/zone', 'topology.kubernetes.io/zone'],
  ['failure-domain.beta.kubernetes.io/region', 'topology.kubernetes.io/region'],
  ['beta.kubernetes.io/os', 'kubernetes.io/os'],
  ['beta.kubernetes.io/arch', 'kubernetes.io/arch'],
  ['beta.kubernetes.io/instance-type', 'node.kubernetes.io/instance-type'],
]);

function sameAffinity(now: VolumeNodeAffinity | undefined, old: VolumeNodeAffinity): boolean {
  return canonicalEqual(now, old) || canonicalEqual(now, withRenamed(old, now));
}

/** The old affinity, with the new names of labels where the new one has them. */
function withRenamed(old: VolumeNodeAffinity, now: VolumeNodeAffinity | undefined): VolumeNodeAffinity {
  const terms = now?.required?.nodeSelectorTerms ?? [];
  return {
    ...old,
    required: {
      ...old.required!,
      nodeSelectorTerms: (old.required?.nodeSelectorTerms ?? []).map((term, i) => ({
        ...term,
        matchExpressions: term.matchExpressions?.map((e, j) => {
          const key = terms[i]?.matchExpressions?.[j]?.key;
          return key !== undefined && renamedLabels.get(e.key) === key ? { ...e, key } : e;
        }),
      })),
    },
  };
}

/** `mutableAffinity`: the nodes that reach it may change (MutablePVNodeAffinity). */
export function validatePersistentVolumeUpdate(
  object: KubeObject,
  old: KubeObject,
  mutableAffinity: boolean,
): FieldError[] {
  // Looked at twice, the mount options once.
  const errors = [
    ...validatePersistentVolume(object),
    ...validateSpec(specOf<PersistentVolumeSpec>(object), object.metadata.name ?? ''),
  ];
  const spec = specOf<PersistentVolumeSpec>(object);
  const before = specOf<PersistentVolumeSpec>(old);
  const next = sourceOf(spec);
  if (spec.csi?.controllerExpandSecretRef !== undefined && before.csi !== undefined)
    if (before.csi.controllerExpandSecretRef === undefined) {
      const { controllerExpandSecretRef: _c, ...csi } = spec.csi;
      next['csi'] = csi;
    }
  const last = sourceOf(before);
  if (!canonicalEqual(next, last))
    errors.push(
      forbiddenField(
        'spec.persistentvolumesource',
        `spec.persistentvolumesource is immutable after creation\n${internalDifference('core.PersistentVolumeSource', last, next)}`,
      ),
    );
  errors.push(...validateImmutable(spec.volumeMode, before.volumeMode, 'volumeMode'));
  const affinity = before.nodeAffinity;
  if (!mutableAffinity && affinity !== undefined && !sameAffinity(spec.nodeAffinity, affinity))
    errors.push(
      invalid(
        'nodeAffinity',
        internalForm('*core.VolumeNodeAffinity', spec.nodeAffinity),
        'field is immutable, except for updating from beta label to GA',
      ),
    );
  if (before.volumeAttributesClassName !== undefined && spec.volumeAttributesClassName === undefined)
    errors.push(forbiddenField('spec.volumeAttributesClassName', 'update from non-nil value to nil is forbidden'));
  return errors;
}
