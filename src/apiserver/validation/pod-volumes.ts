/** Volumes of a pod and how containers mount them (pkg/apis/core/validation). */
import { duplicate, forbiddenField, invalid, notFoundField, notSupported, required } from '../../api/field-error.ts';
import { isQualifiedName } from '../../api/names.ts';
import { formatQuantity, parseQuantity, quantitySign } from '../../api/quantity.ts';
import type {
  ConfigMapVolumeSource,
  Container,
  DownwardAPIVolumeFile,
  KeyToPath,
  ObjectFieldSelector,
  ProjectedVolumeSource,
  ResourceFieldSelector,
  SecretVolumeSource,
  Volume,
} from '../../api/types/index.gen.ts';
import { validateClaimSpecTemplate } from './persistent-volume-claim-spec.ts';
import { type Errors, invalidEach, validateDnsLabel, validateDnsSubdomain } from './field.ts';
import { hostPathTypes, localDescendingPath, localNonReservedPath, noBacksteps } from './local-path.ts';

const fileModeMessage = 'must be a number between 0 and 0777 (octal), both inclusive';
const more = 'may not specify more than 1 volume type';
const propagations = ['Bidirectional', 'HostToContainer', 'None'];

function mode(value: number | undefined, field: string): Errors {
  return value !== undefined && (value > 0o777 || value < 0) ? [invalid(field, value, fileModeMessage)] : [];
}

function keyToPath(item: KeyToPath, field: string): Errors {
  const errors: Errors = [];
  if (!item.key) errors.push(required(`${field}.key`));
  if (!item.path) errors.push(required(`${field}.path`));
  errors.push(...localNonReservedPath(item.path ?? '', `${field}.path`), ...mode(item.mode, `${field}.mode`));
  return errors;
}

function keyed(
  source: SecretVolumeSource | ConfigMapVolumeSource,
  name: string | undefined,
  nameField: string,
  field: string,
): Errors {
  const errors: Errors = [];
  if (!name) errors.push(required(`${field}.${nameField}`));
  errors.push(...mode(source.defaultMode, `${field}.defaultMode`));
  (source.items ?? []).forEach((item, i) => errors.push(...keyToPath(item, `${field}.items[${i}]`)));
  return errors;
}

export const envFieldPaths = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];
const volumeFieldPaths = [
  'metadata.annotations',
  'metadata.labels',
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
];
const downwardLabels = new Set([
  ...envFieldPaths,
  ...volumeFieldPaths,
  'spec.hostNetwork',
  'spec.restartPolicy',
  'spec.schedulerName',
  'status.phase',
  'status.nominatedNodeName',
]);
const resourcePaths = [
  'limits.cpu',
  'limits.ephemeral-storage',
  'limits.memory',
  'requests.cpu',
  'requests.ephemeral-storage',
  'requests.memory',
];
const sizes = '1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei';
const sizeDivisors = new Set(sizes.split(', '));

/** `supported` sorted: the paths this place accepts. */
export function objectFieldSelector(ref: ObjectFieldSelector, supported: readonly string[], field: string): Errors {
  if (!ref.apiVersion) return [required(`${field}.apiVersion`)];
  if (!ref.fieldPath) return [required(`${field}.fieldPath`)];
  const m = /^(.*)\['(.*)'\]$/.exec(ref.fieldPath);
  const converting = (why: string): Errors => [
    invalid(`${field}.fieldPath`, ref.fieldPath, `error converting fieldPath: ${why}`),
  ];
  if (ref.apiVersion !== 'v1') return converting(`unsupported pod version: ${ref.apiVersion}`);
  const path = m?.[1] ?? ref.fieldPath;
  if (m !== null) {
    if (path === 'metadata.annotations')
      return invalidEach(field, m[2]!.toLowerCase(), isQualifiedName(m[2]!.toLowerCase()));
    if (path === 'metadata.labels') return invalidEach(field, m[2]!, isQualifiedName(m[2]!));
    return converting(`field label does not support subscript: ${ref.fieldPath}`);
  }
  if (!downwardLabels.has(path)) return converting(`field label not supported: ${path}`);
  return supported.includes(path) ? [] : [notSupported(`${field}.fieldPath`, path, supported)];
}

export function resourceFieldSelector(ref: ResourceFieldSelector, field: string, volume: boolean): Errors {
  const errors: Errors = [];
  const resource = ref.resource ?? '';
  const huge = resource.startsWith('requests.hugepages-') || resource.startsWith('limits.hugepages-');
  if (volume && !ref.containerName) errors.push(required(`${field}.containerName`));
  else if (resource === '') errors.push(required(`${field}.resource`));
  else if (!resourcePaths.includes(resource) && !huge)
    errors.push(notSupported(`${field}.resource`, resource, resourcePaths));
  if (ref.divisor === undefined) return errors;
  const divisor = parseQuantity(ref.divisor);
  if (quantitySign(divisor) === 0) return errors;
  const text = formatQuantity(divisor);
  const wrong = (what: string, values: string): void =>
    void errors.push(
      invalid(`${field}.divisor`, resource, `only divisor's values ${values} are supported with the ${what} resource`),
    );
  if (resource.endsWith('.cpu')) {
    if (text !== '1m' && text !== '1') wrong('cpu', '1m and 1');
  } else if (resource.endsWith('.memory')) {
    if (!sizeDivisors.has(text)) wrong('memory', sizes);
  } else if (resource.endsWith('.ephemeral-storage')) {
    if (!sizeDivisors.has(text)) wrong('local ephemeral storage', sizes);
  } else if (huge && !sizeDivisors.has(text)) wrong('hugepages', sizes);
  return errors;
}

function downwardFile(file: DownwardAPIVolumeFile, field: string): Errors {
  const errors: Errors = [];
  if (!file.path) errors.push(required(`${field}.path`));
  errors.push(...localNonReservedPath(file.path ?? '', `${field}.path`));
  if (file.fieldRef !== undefined) {
    errors.push(...objectFieldSelector(file.fieldRef, volumeFieldPaths, `${field}.fieldRef`));
    if (file.resourceFieldRef !== undefined)
      errors.push(invalid(field, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously'));
  } else if (file.resourceFieldRef !== undefined)
    errors.push(...resourceFieldSelector(file.resourceFieldRef, `${field}.resourceFieldRef`, true));
  else errors.push(required(field, 'one of fieldRef and resourceFieldRef is required'));
  errors.push(...mode(file.mode, `${field}.mode`));
  return errors;
}

function projected(source: ProjectedVolumeSource, field: string): Errors {
  const errors = mode(source.defaultMode, `${field}.defaultMode`);
  const paths = new Set<string>();
  const claim = (path: string | undefined, owner: string): void => {
    if (!path) return;
    if (paths.has(path)) errors.push(invalid(field, owner, 'conflicting duplicate paths'));
    paths.add(path);
  };
  (source.sources ?? []).forEach((s, i) => {
    const at = `${field}.sources[${i}]`;
    let n = 0;
    for (const kind of ['secret', 'configMap'] as const) {
      const x = s[kind];
      if (x === undefined) continue;
      n++;
      if (!x.name) errors.push(required(`${at}.${kind}.name`));
      (x.items ?? []).forEach((item, j) => {
        errors.push(...keyToPath(item, `${at}.${kind}.items[${j}]`));
        claim(item.path, x.name ?? '');
      });
    }
    if (s.downwardAPI !== undefined) {
      n++;
      (s.downwardAPI.items ?? []).forEach((file) => {
        errors.push(...downwardFile(file, `${at}.downwardAPI`));
        claim(file.path, file.path ?? '');
      });
    }
    const token = s.serviceAccountToken;
    if (token !== undefined) {
      n++;
      const path = `${at}.serviceAccountToken`;
      const seconds = token.expirationSeconds ?? 3600;
      if (seconds < 600)
        errors.push(invalid(`${path}.expirationSeconds`, seconds, 'may not specify a duration less than 10 minutes'));
      if (seconds > 2 ** 32)
        errors.push(
          invalid(`${path}.expirationSeconds`, seconds, 'may not specify a duration larger than 2^32 seconds'),
        );
      if (!token.path) errors.push(required(`${path}.path`));
      else errors.push(...localNonReservedPath(token.path, `${path}.path`));
      claim(token.path, token.path ?? '');
    }
    const bundle = s.clusterTrustBundle;
    if (bundle !== undefined) {
      n++;
      const path = `${at}.clusterTrustBundle`;
      if (bundle.name !== undefined && bundle.signerName !== undefined)
        errors.push(invalid(path, bundle, 'only one of name and signerName may be used'));
      else if (bundle.name === undefined && bundle.signerName === undefined)
        errors.push(required(path, 'either name or signerName must be specified'));
      else if (bundle.name !== undefined) {
        if (bundle.name === '') errors.push(required(`${path}.name`, 'must be a valid object name'));
        if (bundle.labelSelector !== undefined)
          errors.push(
            invalid(`${path}.labelSelector`, bundle.labelSelector, 'labelSelector must be unset if name is specified'),
          );
      }
      if (!bundle.path) errors.push(required(`${path}.path`));
      else errors.push(...localNonReservedPath(bundle.path, `${path}.path`));
      claim(bundle.path, bundle.path ?? '');
    }
    const certificate = s.podCertificate;
    if (certificate !== undefined) {
      n++;
      const path = `${at}.podCertificate`;
      let given = 0;
      for (const key of ['credentialBundlePath', 'keyPath', 'certificateChainPath'] as const) {
        const value = certificate[key];
        if (!value) continue;
        given++;
        errors.push(...localNonReservedPath(value, `${path}.${key}`));
        claim(value, value);
      }
      if (given === 0)
        errors.push(required(path, 'specify at least one of credentialBundlePath, keyPath, and certificateChainPath'));
    }
    if (n > 1) errors.push(forbiddenField(at, 'may not specify more than 1 volume type per source'));
  });
  return errors;
}

/** Sources in upstream's order of looking; a second one is refused where it stands. */
const sourceOrder = [
  'hostPath',
  'gitRepo',
  'gcePersistentDisk',
  'awsElasticBlockStore',
  'secret',
  'nfs',
  'iscsi',
  'glusterfs',
  'flocker',
  'persistentVolumeClaim',
  'rbd',
  'cinder',
  'cephfs',
  'quobyte',
  'downwardAPI',
  'fc',
  'flexVolume',
  'configMap',
  'azureFile',
  'vsphereVolume',
  'photonPersistentDisk',
  'portworxVolume',
  'azureDisk',
  'storageos',
  'projected',
  'scaleIO',
  'csi',
  'ephemeral',
  'image',
] as const;

function oneSource(v: Volume, kind: (typeof sourceOrder)[number], field: string): Errors {
  const errors: Errors = [];
  const need = (value: unknown, name: string): void => {
    if (value === undefined || value === '') errors.push(required(`${field}.${name}`));
  };
  switch (kind) {
    case 'hostPath': {
      const h = v.hostPath!;
      if (!h.path) return [required(`${field}.path`)];
      errors.push(...noBacksteps(h.path, `${field}.path`));
      if (h.type !== undefined && !hostPathTypes.includes(h.type))
        errors.push(notSupported(`${field}.type`, h.type, hostPathTypes));
      return errors;
    }
    case 'secret':
      return keyed(v.secret!, v.secret!.secretName, 'secretName', field);
    case 'configMap':
      return keyed(v.configMap!, v.configMap!.name, 'name', field);
    case 'downwardAPI':
      errors.push(...mode(v.downwardAPI!.defaultMode, `${field}.defaultMode`));
      for (const file of v.downwardAPI!.items ?? []) errors.push(...downwardFile(file, field));
      return errors;
    case 'projected':
      return projected(v.projected!, field);
    case 'persistentVolumeClaim':
      need(v.persistentVolumeClaim!.claimName, 'claimName');
      return errors;
    case 'nfs':
      need(v.nfs!.server, 'server');
      need(v.nfs!.path, 'path');
      if (v.nfs!.path && !v.nfs!.path.startsWith('/'))
        errors.push(invalid(`${field}.path`, v.nfs!.path, 'must be an absolute path'));
      return errors;
    case 'csi': {
      const driver = v.csi!.driver;
      if (!driver) errors.push(required(`${field}.driver`));
      else if (driver.length > 63)
        errors.push({ type: 'FieldValueTooLong', field: `${field}.driver`, detail: 'may not be more than 63 bytes' });
      else errors.push(...validateDnsSubdomain(driver.toLowerCase(), `${field}.driver`));
      if (v.csi!.nodePublishSecretRef !== undefined && !v.csi!.nodePublishSecretRef.name)
        errors.push(required(`${field}.nodePublishSecretRef.name`));
      return errors;
    }
    case 'ephemeral':
      if (v.ephemeral!.volumeClaimTemplate === undefined) return [required(`${field}.volumeClaimTemplate`)];
      return validateClaimSpecTemplate(v.ephemeral!.volumeClaimTemplate.spec, `${field}.volumeClaimTemplate.spec`);
    case 'image':
      need(v.image!.reference, 'reference');
      if (v.image!.pullPolicy !== undefined && !['Always', 'IfNotPresent', 'Never'].includes(v.image!.pullPolicy))
        errors.push(notSupported(`${field}.pullPolicy`, v.image!.pullPolicy, ['Always', 'IfNotPresent', 'Never']));
      return errors;
    case 'gitRepo':
      need(v.gitRepo!.repository, 'repository');
      errors.push(...localDescendingPath(v.gitRepo!.directory ?? '', `${field}.directory`));
      return errors;
    case 'iscsi':
      need(v.iscsi!.targetPortal, 'targetPortal');
      need(v.iscsi!.iqn, 'iqn');
      return errors;
    case 'rbd':
      if ((v.rbd!.monitors ?? []).length === 0) errors.push(required(`${field}.monitors`));
      need(v.rbd!.image, 'image');
      return errors;
    case 'cephfs':
      if ((v.cephfs!.monitors ?? []).length === 0) errors.push(required(`${field}.monitors`));
      return errors;
    case 'flexVolume':
      need(v.flexVolume!.driver, 'driver');
      return errors;
    default:
      return errors;
  }
}

function volumeSource(v: Volume, field: string): Errors {
  const errors: Errors = [];
  let n = 0;
  if (v.emptyDir !== undefined) {
    n++;
    if (v.emptyDir.sizeLimit !== undefined && quantitySign(parseQuantity(v.emptyDir.sizeLimit)) < 0)
      errors.push(forbiddenField(`${field}.emptyDir.sizeLimit`, 'SizeLimit field must be a valid resource quantity'));
  }
  for (const kind of sourceOrder) {
    if (v[kind] === undefined) continue;
    if (n > 0) errors.push(forbiddenField(`${field}.${kind}`, more));
    else {
      n++;
      errors.push(...oneSource(v, kind, `${field}.${kind}`));
    }
  }
  if (n === 0) errors.push(required(field, 'must specify a volume type'));
  return errors;
}

/** The volumes that are sound, by name, and what is wrong with the others. */
export function validateVolumes(
  volumes: readonly Volume[] | undefined,
  podName: string | undefined,
  field: string,
): { byName: ReadonlyMap<string, Volume>; errors: Errors } {
  const byName = new Map<string, Volume>();
  const errors: Errors = [];
  const created = new Set(
    (volumes ?? []).filter((v) => v.ephemeral !== undefined && podName).map((v) => `${podName}-${v.name}`),
  );
  (volumes ?? []).forEach((v, i) => {
    const at = `${field}[${i}]`;
    const own = volumeSource(v, at);
    if (!v.name) own.push(required(`${at}.name`));
    else own.push(...validateDnsLabel(v.name, `${at}.name`));
    if (byName.has(v.name)) own.push(duplicate(`${at}.name`, v.name));
    if (own.length === 0) byName.set(v.name, v);
    errors.push(...own);
    const claimName = v.persistentVolumeClaim?.claimName;
    if (claimName !== undefined && created.has(claimName))
      errors.push(
        invalid(
          `${at}.persistentVolumeClaim.claimName`,
          claimName,
          'must not reference a PVC that gets created for an ephemeral volume',
        ),
      );
  });
  return { byName, errors };
}

export function validateVolumeMounts(c: Container, volumes: ReadonlyMap<string, Volume>, field: string): Errors {
  const errors: Errors = [];
  const paths = new Set<string>();
  const devices = new Map((c.volumeDevices ?? []).map((d) => [d.name, d.devicePath]));
  (c.volumeMounts ?? []).forEach((m, i) => {
    const at = `${field}[${i}]`;
    if (!m.name) errors.push(required(`${at}.name`));
    if (!volumes.has(m.name)) errors.push(notFoundField(`${at}.name`, m.name ?? ''));
    if (!m.mountPath) errors.push(required(`${at}.mountPath`));
    if (paths.has(m.mountPath)) errors.push(invalid(`${at}.mountPath`, m.mountPath, 'must be unique'));
    paths.add(m.mountPath);
    if (devices.has(m.name)) errors.push(invalid(`${at}.name`, m.name, 'must not already exist in volumeDevices'));
    if ([...devices.values()].includes(m.mountPath))
      errors.push(invalid(`${at}.mountPath`, m.mountPath, 'must not already exist as a path in volumeDevices'));
    // Upstream names these without the index.
    if (m.subPath) errors.push(...localDescendingPath(m.subPath, `${field}.subPath`));
    if (m.subPathExpr) {
      if (m.subPath)
        errors.push(invalid(`${at}.subPathExpr`, m.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
      errors.push(...localDescendingPath(m.subPathExpr, `${field}.subPathExpr`));
    }
    if (m.mountPropagation !== undefined) {
      if (!propagations.includes(m.mountPropagation))
        errors.push(notSupported(`${field}.mountPropagation`, m.mountPropagation, propagations));
      if (m.mountPropagation === 'Bidirectional' && c.securityContext?.privileged !== true)
        errors.push(
          forbiddenField(
            `${field}.mountPropagation`,
            'Bidirectional mount propagation is available only to privileged containers',
          ),
        );
    }
    if (m.recursiveReadOnly !== undefined && m.recursiveReadOnly !== 'Disabled') {
      const at2 = `${field}.recursiveReadOnly`;
      if (!['Disabled', 'Enabled', 'IfPossible'].includes(m.recursiveReadOnly))
        errors.push(notSupported(at2, m.recursiveReadOnly, ['Disabled', 'Enabled', 'IfPossible']));
      else {
        if (m.readOnly !== true) errors.push(forbiddenField(at2, 'may only be specified when readOnly is true'));
        if (m.mountPropagation !== undefined && m.mountPropagation !== 'None')
          errors.push(forbiddenField(at2, 'may only be specified when mountPropagation is None or not specified'));
      }
    }
  });
  return errors;
}

export function validateVolumeDevices(c: Container, volumes: ReadonlyMap<string, Volume>, field: string): Errors {
  const errors: Errors = [];
  const names = new Set<string>();
  const paths = new Set<string>();
  const mounts = new Map((c.volumeMounts ?? []).map((m) => [m.name, m.mountPath]));
  (c.volumeDevices ?? []).forEach((d, i) => {
    const at = `${field}[${i}]`;
    const v = volumes.get(d.name);
    if (!d.name) errors.push(required(`${at}.name`));
    if (names.has(d.name)) errors.push(invalid(`${at}.name`, d.name, 'must be unique'));
    if (v !== undefined && v.persistentVolumeClaim === undefined && v.ephemeral === undefined)
      errors.push(
        invalid(
          `${at}.name`,
          d.name,
          'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
        ),
      );
    if (v === undefined) errors.push(notFoundField(`${at}.name`, d.name));
    if (!d.devicePath) errors.push(required(`${at}.devicePath`));
    if (paths.has(d.devicePath)) errors.push(invalid(`${at}.devicePath`, d.devicePath, 'must be unique'));
    if (d.devicePath && d.devicePath.split('/').includes('..'))
      errors.push(invalid(`${at}.devicePath`, d.devicePath, "can not contain backsteps ('..')"));
    else paths.add(d.devicePath);
    if (mounts.has(d.name)) errors.push(invalid(`${at}.name`, d.name, 'must not already exist in volumeMounts'));
    if ([...mounts.values()].includes(d.devicePath))
      errors.push(invalid(`${at}.devicePath`, d.devicePath, 'must not already exist as a path in volumeMounts'));
    if (d.name) names.add(d.name);
  });
  return errors;
}
