/** Validation of ObjectMeta and what every create and update does to it (upstream api/validation/objectmeta.go, rest/*.go). */
import type { FieldError } from '../../api/field-error.ts';
import { forbiddenField, invalid, required, tooLong } from '../../api/field-error.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { byteLength, isDNS1123Label, isQualifiedName, nameIsPathSegment } from '../../api/names.ts';
import type { KubeObject, ObjectMeta, OwnerReference } from '../../api/object.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import { validateLabels } from '../../api/selector.ts';
import { badRequest } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import { validateKubeFinalizer } from '../validation/field.ts';
import { validateAnnotations } from '../validation/template-meta.ts';

const maxManagerLength = 128;
const maxSubresourceLength = 256;

export const orphanFinalizer = 'orphan';
export const foregroundFinalizer = 'foregroundDeletion';

function validateOwnerReferences(references: readonly OwnerReference[] | undefined, path: string): FieldError[] {
  if (references === undefined) return [];
  const errors: FieldError[] = [];
  let controller = '';
  for (const ref of references) {
    const { apiVersion = '', kind = '', name = '', uid = '' } = ref;
    // The version of `group/version`; upstream splits at the only slash and takes anything else for no version.
    const slashes = apiVersion.split('/');
    const version = slashes.length === 1 ? apiVersion : slashes.length === 2 ? slashes[1]! : '';
    if (version === '') errors.push(invalid(`${path}.apiVersion`, apiVersion, 'version must not be empty'));
    if (kind === '') errors.push(invalid(`${path}.kind`, kind, 'must not be empty'));
    if (name === '') errors.push(invalid(`${path}.name`, name, 'must not be empty'));
    if (uid === '') errors.push(invalid(`${path}.uid`, uid, 'must not be empty'));
    if (apiVersion === 'v1' && kind === 'Event') {
      errors.push(invalid(path, ref, '/v1, Kind=Event is disallowed from being an owner'));
    }
    if (ref.controller === true) {
      const current = `${kind}/${name}`;
      if (controller !== '') {
        errors.push(
          invalid(
            path,
            references,
            `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${current}`,
          ),
        );
      } else controller = current;
    }
  }
  return errors;
}

function validateFinalizers(finalizers: readonly string[] | undefined, path: string): FieldError[] {
  if (finalizers === undefined) return [];
  const errors: FieldError[] = [];
  for (const name of finalizers) for (const message of isQualifiedName(name)) errors.push(invalid(path, name, message));
  if (finalizers.includes(orphanFinalizer) && finalizers.includes(foregroundFinalizer)) {
    errors.push(
      invalid(path, finalizers, `finalizer ${orphanFinalizer} and ${foregroundFinalizer} cannot be both set`),
    );
  }
  return errors;
}

/** Field errors of a field manager's name. */
export function validateFieldManager(manager: string, path: string): FieldError[] {
  const errors: FieldError[] = [];
  // As nearly all are: a name in ASCII.
  if (manager.length <= maxManagerLength && /^[ -~]*$/.test(manager)) return errors;
  if (byteLength(manager) > maxManagerLength) errors.push(tooLong(path, maxManagerLength));
  let at = 0;
  for (const ch of manager) {
    if (ch !== ' ' && /^[\p{C}\p{Z}]$/u.test(ch)) {
      const code = ch.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
      errors.push(invalid(path, manager, `invalid character U+${code} (at position ${at})`));
    }
    at += byteLength(ch);
  }
  return errors;
}

/** Field errors of who is said to own what. */
export function validateManagedFields(meta: ObjectMeta, path: string): FieldError[] {
  const errors: FieldError[] = [];
  meta.managedFields?.forEach((entry, i) => {
    const at = `${path}[${i}]`;
    if (entry.operation !== 'Apply' && entry.operation !== 'Update') {
      errors.push(invalid(`${at}.operation`, entry.operation ?? '', 'must be `Apply` or `Update`'));
    }
    if (entry.fieldsType !== undefined && entry.fieldsType !== '' && entry.fieldsType !== 'FieldsV1') {
      errors.push(invalid(`${at}.fieldsType`, entry.fieldsType, 'must be `FieldsV1`'));
    }
    errors.push(...validateFieldManager(entry.manager ?? '', `${at}.manager`));
    if (byteLength(entry.subresource ?? '') > maxSubresourceLength) {
      errors.push(tooLong(`${at}.subresource`, maxSubresourceLength));
    }
  });
  return errors;
}

/**
 * Who looks at a kind's metadata: `kube`, all rules, and finalizers are qualified or standard ones; `generic`, the same without
 * the last; `path`, names need only fit into a path, and that is looked at when everything else is right.
 */
type MetadataRules = 'kube' | 'generic' | 'path';

const genericGroups: ReadonlySet<string> = new Set([
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
]);
const rulesByResource: Readonly<Record<string, MetadataRules>> = {
  'coordination.k8s.io/leases': 'generic',
  'coordination.k8s.io/leasecandidates': 'generic',
  'node.k8s.io/runtimeclasses': 'generic',
  '/events': 'path',
  'policy/poddisruptionbudgets': 'path',
};

export function metadataRulesOf(resource: ResourceInfo): MetadataRules {
  if (resource.custom || genericGroups.has(resource.group)) return 'generic';
  return rulesByResource[`${resource.group}/${resource.resource}`] ?? 'kube';
}

export function validateKubeFinalizers(meta: ObjectMeta): FieldError[] {
  return (meta.finalizers ?? []).flatMap((f, i) => validateKubeFinalizer(f, `metadata.finalizers[${i}]`));
}

/** What the kind's own rules and those of metadata find, in upstream's order. */
export function withMetadataErrors(
  meta: ObjectMeta,
  resource: ResourceInfo,
  rule: KindNameRule,
  own: readonly FieldError[],
): readonly FieldError[] {
  const rules = metadataRulesOf(resource);
  if (rules === 'path') return own.length > 0 ? own : validateObjectMeta(meta, resource.namespaced, nameIsPathSegment);
  const errors = validateObjectMeta(meta, resource.namespaced, rule);
  if (rules === 'kube') errors.push(...validateKubeFinalizers(meta));
  return errors.length === 0 ? own : [...errors, ...own];
}

/** A kind's rule for names; `prefix`: it is a generateName. */
export type KindNameRule = (name: string, prefix: boolean) => readonly string[];

/** Field errors of labels, annotations and owners. */
export function ownerAndLabelErrors(meta: ObjectMeta, path = 'metadata'): FieldError[] {
  return [
    ...validateLabels(meta.labels, `${path}.labels`),
    ...validateAnnotations(meta.annotations, `${path}.annotations`),
    ...validateOwnerReferences(meta.ownerReferences, `${path}.ownerReferences`),
  ];
}

/** Field errors of the metadata of a new object (and, with the ones below, of an updated one). */
export function validateObjectMeta(
  meta: ObjectMeta,
  namespaced: boolean,
  rule: KindNameRule,
  path = 'metadata',
  /** What the rest was found to be, where the names alone are to be looked at again. */
  rest?: readonly FieldError[],
): FieldError[] {
  const errors: FieldError[] = [];
  const { generateName = '', name = '', namespace = '' } = meta;
  if (generateName !== '') {
    for (const message of rule(generateName, true)) errors.push(invalid(`${path}.generateName`, generateName, message));
  }
  if (name === '') errors.push(required(`${path}.name`, 'name or generateName is required'));
  else for (const message of rule(name, false)) errors.push(invalid(`${path}.name`, name, message));
  if (rest !== undefined) return [...errors, ...rest.filter((e) => e.field !== `${path}.name`)];
  if (namespaced) {
    if (namespace === '') errors.push(required(`${path}.namespace`));
    else for (const message of isDNS1123Label(namespace)) errors.push(invalid(`${path}.namespace`, namespace, message));
  } else if (namespace !== '') errors.push(forbiddenField(`${path}.namespace`, 'not allowed on this type'));
  if (meta.generation !== undefined && meta.generation < 0) {
    errors.push(invalid(`${path}.generation`, meta.generation, 'must be greater than or equal to 0'));
  }
  errors.push(...ownerAndLabelErrors(meta, path));
  errors.push(...validateFinalizers(meta.finalizers, `${path}.finalizers`));
  errors.push(...validateManagedFields(meta, `${path}.managedFields`));
  return errors;
}

const immutable = 'field is immutable';

/** Field errors of changed metadata, beyond those of `validateObjectMeta`. */
export function validateObjectMetaUpdate(meta: ObjectMeta, old: ObjectMeta): FieldError[] {
  const path = 'metadata';
  const errors: FieldError[] = [];
  if (old.deletionTimestamp !== undefined && meta.finalizers !== old.finalizers) {
    const before = new Set(old.finalizers);
    const added = [...new Set(meta.finalizers)].filter((f) => !before.has(f)).sort();
    if (added.length > 0) {
      const list = added.map((f) => JSON.stringify(f)).join(', ');
      errors.push(
        forbiddenField(
          `${path}.finalizers`,
          `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`,
        ),
      );
    }
  }
  if ((meta.generation ?? 0) < (old.generation ?? 0)) {
    errors.push(invalid(`${path}.generation`, meta.generation ?? 0, 'must not be decremented'));
  }
  const same = (member: keyof ObjectMeta, zero: unknown): void => {
    if ((meta[member] ?? zero) !== (old[member] ?? zero)) {
      errors.push(invalid(`${path}.${member}`, meta[member] ?? zero, immutable));
    }
  };
  same('name', '');
  same('namespace', '');
  same('uid', '');
  same('creationTimestamp', null);
  same('deletionTimestamp', null);
  same('deletionGracePeriodSeconds', null);
  return errors;
}

/** What a client may not set on a new object is forgotten. */
export function wipeSystemFields(meta: ObjectMeta): ObjectMeta {
  if (
    meta.creationTimestamp === undefined &&
    meta.uid === undefined &&
    meta.deletionTimestamp === undefined &&
    meta.deletionGracePeriodSeconds === undefined &&
    meta.selfLink === undefined
  ) {
    return meta;
  }
  const { creationTimestamp: _c, uid: _u, deletionTimestamp: _d, deletionGracePeriodSeconds: _g, ...rest } = meta;
  const { selfLink: _s, ...clean } = rest;
  return clean;
}

/**
 * The object with the namespace of its request.
 * @throws {StatusError} 400 when it names another
 */
export function withRequestNamespace(object: KubeObject, namespace: string): KubeObject {
  const own = object.metadata.namespace ?? '';
  if (own === namespace) return object;
  if (own === '') {
    const { name, generateName, ...rest } = object.metadata;
    const metadata: ObjectMeta = {};
    if (name !== undefined) metadata.name = name;
    if (generateName !== undefined) metadata.generateName = generateName;
    metadata.namespace = namespace;
    for (const key in rest) if (key !== 'namespace') setMeta(metadata, key, rest[key as keyof typeof rest]);
    return { ...object, metadata };
  }
  if (namespace === '') {
    const { namespace: _dropped, ...metadata } = object.metadata;
    return { ...object, metadata };
  }
  throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
}

function setMeta(meta: ObjectMeta, key: string, value: unknown): void {
  (meta as Record<string, unknown>)[key] = value;
}

/** Equal owner references are written once; the client is told. */
export function dedupOwnerReferences(ctx: RequestContext, object: KubeObject, afterAdmission: boolean): KubeObject {
  const references = object.metadata.ownerReferences;
  if (references === undefined || references.length < 2) return object;
  const kept: OwnerReference[] = [];
  const duplicates: string[] = [];
  for (const ref of references) {
    if (kept.some((k) => k.uid === ref.uid && jsonEqual(k, ref))) duplicates.push(ref.uid);
    else kept.push(ref);
  }
  if (duplicates.length === 0) return object;
  const list = duplicates.join(', ');
  ctx.warn(
    afterAdmission
      ? `.metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${list}`
      : `.metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${list}`,
  );
  return { ...object, metadata: { ...object.metadata, ownerReferences: kept } };
}

/** Metadata of an embedded resource: a name is not asked for, and a namespace makes it namespaced. */
export function validateEmbeddedMeta(metadata: Readonly<Record<string, unknown>>, path: string): FieldError[] {
  const meta = metadata as ObjectMeta;
  const named = meta.name === undefined || meta.name === '' ? { ...meta, name: 'embedded' } : meta;
  return validateObjectMeta(named, (meta.namespace ?? '') !== '', nameIsPathSegment, path);
}
