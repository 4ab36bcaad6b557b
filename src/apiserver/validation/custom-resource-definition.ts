/** CustomResourceDefinitions: names, versions, columns, conversion and their schemas (apiextensions-apiserver validation). */
import { X509Certificate } from 'node:crypto';
import { duplicate, invalid, notSupported, required, tooMany, forbiddenField } from '../../api/field-error.ts';
import { byteLength, isDNS1035Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { JSONSchemaProps } from '../../api/schema/json-schema.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { validateCRDSchema } from '../../api/schema/crd-schema.ts';
import type {
  CustomResourceColumnDefinition,
  CustomResourceConversion,
  CustomResourceDefinition,
  CustomResourceDefinitionNames,
  CustomResourceDefinitionVersion,
} from '../../api/types/index.gen.ts';
import { validateEmbeddedMeta } from '../registry/object-meta.ts';
import { validateWebhookService, validateWebhookUrl } from './webhook-client.ts';
import { type Errors, validateImmutable } from './field.ts';

const columnTypes = 'boolean,date,integer,number,string';
const columnFormats = 'byte,date,date-time,double,float,int32,int64,password';
const reviewVersions = ['v1', 'v1beta1'];
const maxSelectableFields = 8;

export function crdNames(names: CustomResourceDefinitionNames | undefined, field: string): Errors {
  const errors: Errors = [];
  const label = (value: string | undefined, name: string, prefix = ''): void => {
    if (value === undefined) return;
    const wrong = isDNS1035Label(prefix === '' ? value : value.toLowerCase());
    if (wrong.length > 0) errors.push(invalid(`${field}.${name}`, value, prefix + wrong.join(',')));
  };
  const mixed = 'may have mixed case, but should otherwise match: ';
  label(names?.plural || undefined, 'plural');
  label(names?.singular || undefined, 'singular');
  label(names?.kind || undefined, 'kind', mixed);
  label(names?.listKind || undefined, 'listKind', mixed);
  (names?.shortNames ?? []).forEach((s, i) => label(s, `shortNames[${i}]`));
  if (names?.kind && names.kind === names.listKind)
    errors.push(invalid(`${field}.listKind`, names.listKind, 'kind and listKind may not be the same'));
  (names?.categories ?? []).forEach((c, i) => label(c, `categories[${i}]`));
  return errors;
}

function column(c: CustomResourceColumnDefinition, field: string): Errors {
  const errors: Errors = [];
  if (!c.name) errors.push(required(`${field}.name`));
  if (!c.type) errors.push(required(`${field}.type`, `must be one of ${columnTypes}`));
  else if (!columnTypes.split(',').includes(c.type))
    errors.push(invalid(`${field}.type`, c.type, `must be one of ${columnTypes}`));
  if (c.format && !columnFormats.split(',').includes(c.format))
    errors.push(invalid(`${field}.format`, c.format, `must be one of ${columnFormats}`));
  if (!c.jsonPath) errors.push(required(`${field}.JSONPath`));
  else errors.push(...jsonPath(c.jsonPath, `${field}.JSONPath`));
  return errors;
}

/** Upstream asks for little more than a dot at the beginning. */
function jsonPath(path: string, field: string): Errors {
  return path.startsWith('.') ? [] : [invalid(field, path, 'must be a simple json path starting with .')];
}

function replicasPath(path: string | undefined, under: 'spec' | 'status', field: string): Errors {
  if (path === undefined || path === '') return [required(field)];
  const wrong = jsonPath(path, field);
  if (wrong.length > 0) return wrong;
  return path.startsWith(`.${under}.`) ? [] : [invalid(field, path, `should be a json path under .${under}`)];
}

/** What a version may have for itself, or all of them together. */
type VersionPart = Pick<
  CustomResourceDefinitionVersion,
  'schema' | 'subresources' | 'additionalPrinterColumns' | 'selectableFields'
>;
const versionParts = ['schema', 'subresources', 'additionalPrinterColumns', 'selectableFields'] as const;

/**
 * Upstream's internal version has parts that are the same in all versions moved up to the spec, and names them there:
 * `spec.validation.openAPIV3Schema`, but `spec.versions[0].schema.openAPIV3Schema` where two versions differ.
 */
function commonParts(versions: readonly CustomResourceDefinitionVersion[]): ReadonlySet<string> {
  const first = versions[0];
  if (first === undefined) return new Set();
  return new Set(versionParts.filter((part) => versions.every((v) => semanticEqual(v[part], first[part]))));
}

function deprecation(v: CustomResourceDefinitionVersion, field: string): Errors {
  const text = v.deprecationWarning;
  if (text === undefined) return [];
  const wrong: string[] = [];
  if (v.deprecated !== true) wrong.push('can only be set for deprecated versions');
  else {
    if (byteLength(text) > 256) wrong.push('must be <= 256 characters long');
    if (text === '') wrong.push('must not be an empty string');
    const odd = /[^\P{C}]|[^\P{Z} ]/u.exec(text);
    if (odd !== null)
      wrong.push(
        `must only contain printable UTF-8 characters; non-printable character found at index ${byteLength(text.slice(0, odd.index))}`,
      );
  }
  return wrong.map((why) => invalid(`${field}.deprecationWarning`, text, why));
}

function schemaPart(
  v: CustomResourceDefinitionVersion,
  statusSubresource: boolean,
  field: string,
  objectMeta: ObjectSchema,
  old: CustomResourceDefinition | undefined,
): Errors {
  const schema = v.schema?.openAPIV3Schema;
  if (schema === undefined) return [];
  const before = old?.spec.versions.find((o) => o.name === v.name)?.schema?.openAPIV3Schema;
  const unchanged = before !== undefined && semanticEqual(schema, before);
  return validateCRDSchema(schema, `${field}.openAPIV3Schema`, {
    objectMeta,
    embeddedMeta: validateEmbeddedMeta,
    statusSubresource,
    unchanged,
  });
}

function subresourcesPart(v: VersionPart, field: string): Errors {
  const scale = v.subresources?.scale;
  if (scale === undefined) return [];
  const errors: Errors = [
    ...replicasPath(scale.specReplicasPath, 'spec', `${field}.scale.specReplicasPath`),
    ...replicasPath(scale.statusReplicasPath, 'status', `${field}.scale.statusReplicasPath`),
  ];
  const selector = scale.labelSelectorPath;
  if (selector === undefined || selector === '') return errors;
  const at = `${field}.scale.labelSelectorPath`;
  const wrong = jsonPath(selector, at);
  if (wrong.length > 0) errors.push(...wrong);
  else if (!selector.startsWith('.status.') && !selector.startsWith('.spec.'))
    errors.push(invalid(at, selector, 'should be a json path under either .spec or .status'));
  return errors;
}

function columnsPart(v: VersionPart, field: string): Errors {
  return (v.additionalPrinterColumns ?? []).flatMap((c, i) => column(c, `${field}[${i}]`));
}

/** The schema that a selectable field's path leads to. @throws {Error} with upstream's text */
function schemaAt(path: string, schema: JSONSchemaProps): JSONSchemaProps {
  const tokens = path.match(/[.[\]]|[^.[\]]+/g) ?? [];
  let node: JSONSchemaProps = schema;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token === '[') throw new Error('array notation is not allowed');
    if (token !== '.') throw new Error(`expected [ or . but got: ${token}`);
    const name = tokens[++i];
    if (name === undefined) throw new Error('unexpected end of JSON path');
    const { properties, additionalProperties: values } = node;
    const found = properties === undefined ? (typeof values === 'object' ? values : undefined) : own(properties, name);
    if (found === undefined) throw new Error('does not refer to a valid field');
    node = found;
  }
  return node;
}

const own = <T>(members: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(members, name) ? members[name] : undefined;

/** `old`: the version before; too many fields may stay as they were. */
function selectablePart(v: VersionPart, field: string, old: VersionPart | undefined): Errors {
  const errors: Errors = [];
  const fields = v.selectableFields ?? [];
  const schema = v.schema?.openAPIV3Schema;
  if (fields.length === 0 || schema === undefined) return errors;
  const seen = new Set<string>();
  fields.forEach((s, i) => {
    const at = `${field}[${i}].jsonPath`;
    const path = s.jsonPath;
    if (!path) {
      errors.push(required(at));
      return;
    }
    let found: JSONSchemaProps;
    try {
      found = schemaAt(path, schema);
    } catch (error) {
      errors.push(invalid(at, path, `is an invalid path: ${(error as Error).message}`));
      return;
    }
    if (/^\.metadata(\.|$)/.test(path)) errors.push(invalid(at, path, 'must not point to fields in metadata'));
    if (!['string', 'boolean', 'integer'].includes(found.type ?? ''))
      errors.push(
        invalid(
          at,
          path,
          'must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.',
        ),
      );
    if (seen.has(path)) errors.push(duplicate(at, path));
    seen.add(path);
  });
  const before = old?.selectableFields ?? [];
  const kept = before.length > maxSelectableFields && semanticEqual(before, fields);
  if (seen.size > maxSelectableFields && !kept) errors.push(tooMany(field, seen.size, maxSelectableFields));
  return errors;
}

/** The versions as upstream's internal type prints them, where all that can be common is. */
function printedVersions(
  given: readonly CustomResourceDefinitionVersion[] | null | undefined,
  common: ReadonlySet<string>,
): unknown {
  const versions = given ?? [];
  if (versions.length === 0) return given ?? null;
  if (common.size < versionParts.length) return versions;
  return versions.map((v) => ({
    Name: v.name,
    Served: v.served,
    Storage: v.storage,
    Deprecated: v.deprecated ?? false,
    DeprecationWarning: v.deprecationWarning ?? null,
    Schema: null,
    Subresources: null,
    AdditionalPrinterColumns: null,
    SelectableFields: null,
  }));
}

function conversionReviewVersions(versions: readonly string[], field: string, recognized: boolean): Errors {
  if (versions.length === 0) return [required(field)];
  const errors: Errors = [];
  const seen = new Set<string>();
  versions.forEach((v, i) => {
    if (seen.has(v)) {
      errors.push(invalid(`${field}[${i}]`, v, 'duplicate version'));
      return;
    }
    seen.add(v);
    for (const wrong of isDNS1035Label(v)) errors.push(invalid(`${field}[${i}]`, v, wrong));
  });
  if (recognized && !versions.some((v) => reviewVersions.includes(v)))
    errors.push(invalid(field, versions, `must include at least one of ${reviewVersions.join(', ')}`));
  return errors;
}

/** `old`: what was before; what was wrong with it already is not held against it. */
function conversion(
  c: CustomResourceConversion | undefined,
  field: string,
  old: CustomResourceDefinition | undefined,
): Errors {
  if (c === undefined) return [];
  const errors: Errors = [];
  if (!c.strategy) errors.push(required(`${field}.strategy`));
  else if (c.strategy !== 'None' && c.strategy !== 'Webhook')
    errors.push(notSupported(`${field}.strategy`, c.strategy, ['None', 'Webhook']));
  const config = c.webhook?.clientConfig;
  const at = `${field}.webhookClientConfig`;
  const versions = c.webhook?.conversionReviewVersions ?? [];
  if (c.strategy === 'Webhook') {
    if (config === undefined) errors.push(required(at, 'required when strategy is set to Webhook'));
    else {
      const { url, service, caBundle } = config;
      if ((url === undefined) === (service === undefined))
        errors.push(required(at, 'exactly one of url or service is required'));
      else if (url !== undefined) errors.push(...validateWebhookUrl(url, `${at}.url`));
      else errors.push(...validateWebhookService(service!, `${at}.service`));
      if (caBundle !== undefined && caBundle !== '' && checksBundle(old))
        errors.push(...bundleErrors(caBundle, `${at}.caBundle`));
    }
    const before = old?.spec.conversion?.webhook?.conversionReviewVersions ?? [];
    const recognized = before.length === 0 || before.some((v) => reviewVersions.includes(v));
    errors.push(...conversionReviewVersions(versions, `${field}.conversionReviewVersions`, recognized));
  } else {
    if (config !== undefined) errors.push(forbiddenField(at, 'should not be set when strategy is not set to Webhook'));
    if (versions.length > 0)
      errors.push(
        forbiddenField(`${field}.conversionReviewVersions`, 'should not be set when strategy is not set to Webhook'),
      );
  }
  return errors;
}

/** Authorities are looked at once a definition is established, unless they were no good before. */
function checksBundle(old: CustomResourceDefinition | undefined): boolean {
  if (old === undefined || !established(old)) return false;
  return !hasInvalidBundle(old);
}

/** Whether the authorities for its webhook are there and are none. */
export function hasInvalidBundle(crd: CustomResourceDefinition): boolean {
  const caBundle = crd.spec.conversion?.webhook?.clientConfig?.caBundle ?? '';
  return caBundle !== '' && bundleErrors(caBundle, '').length > 0;
}

function bundleErrors(caBundle: string, field: string): Errors {
  const pem = Buffer.from(caBundle, 'base64').toString('latin1');
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  const wrong = (why: string): Errors => [
    invalid(field, caBundle, `unable to load root certificates: unable to parse bytes as PEM block${why}`),
  ];
  if (blocks.length === 0) return wrong('');
  try {
    for (const block of blocks) void new X509Certificate(block);
  } catch (error) {
    return [invalid(field, caBundle, `unable to load root certificates: ${(error as Error).message}`)];
  }
  return [];
}

const approvedAnnotation = 'api-approved.kubernetes.io';
const approvalDocument = 'see https://github.com/kubernetes/enhancements/pull/1111';

export type Approval = 'missing' | 'unapproved' | 'approved' | 'invalid';

export function approvalOf(crd: CustomResourceDefinition): Approval {
  const text = crd.metadata.annotations?.[approvedAnnotation] ?? '';
  if (text === '') return 'missing';
  if (text.startsWith('unapproved')) return 'unapproved';
  return URL.canParse(text) && new URL(text).host !== '' ? 'approved' : 'invalid';
}

export function isProtectedGroup(group: string | undefined): boolean {
  return /(^|\.)(k8s|kubernetes)\.io$/.test(group ?? '');
}

/** Groups of the Kubernetes community need an approval; who had none before may go on without. */
function apiApproval(crd: CustomResourceDefinition, old: CustomResourceDefinition | undefined): Errors {
  if (!isProtectedGroup(crd.spec.group)) return [];
  const approval = approvalOf(crd);
  if (old !== undefined && approvalOf(old) === approval) return [];
  const field = `metadata.annotations[${approvedAnnotation}]`;
  const wanted = `protected groups must have approval annotation "${approvedAnnotation}"`;
  if (approval === 'missing') return [required(field, `${wanted}, ${approvalDocument}`)];
  if (approval === 'invalid')
    return [
      invalid(
        field,
        crd.metadata.annotations?.[approvedAnnotation],
        `${wanted} with either a URL or a reason starting with "unapproved", ${approvalDocument}`,
      ),
    ];
  return [];
}

/** `objectMeta`: the schema of metadata, which embedded resources are judged by. */
export function validateCustomResourceDefinition(
  crd: CustomResourceDefinition,
  objectMeta: ObjectSchema,
  old?: CustomResourceDefinition,
): Errors {
  const spec = crd.spec;
  const errors: Errors = [];
  const wanted = `${spec.names?.plural ?? ''}.${spec.group ?? ''}`;
  for (const member of ['generateName', 'name'] as const) {
    const name = crd.metadata[member] ?? '';
    if (name !== '' && name !== wanted)
      errors.push(invalid(`metadata.${member}`, name, 'must be spec.names.plural+"."+spec.group'));
  }
  if (!spec.group) errors.push(required('spec.group'));
  else {
    const wrong = isDNS1123Subdomain(spec.group);
    if (wrong.length > 0) errors.push(invalid('spec.group', spec.group, wrong.join(',')));
    else if (!spec.group.includes('.'))
      errors.push(invalid('spec.group', spec.group, 'should be a domain with at least one dot'));
  }
  if (!spec.scope) errors.push(required('spec.scope'));
  else if (spec.scope !== 'Cluster' && spec.scope !== 'Namespaced')
    errors.push(notSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced']));
  const versions = spec.versions ?? [];
  const common = commonParts(versions);
  versions.forEach((v, i) => {
    if (v.schema?.openAPIV3Schema === undefined) errors.push(required(`spec.versions[${i}].schema.openAPIV3Schema`));
  });
  versions.forEach((v, i) => {
    const at = `spec.versions[${i}]`;
    const wrong = isDNS1035Label(v.name ?? '');
    if (wrong.length > 0) errors.push(invalid(`${at}.name`, v.name ?? '', wrong.join(',')));
    errors.push(...deprecation(v, at));
    const status = v.subresources?.status !== undefined;
    if (!common.has('schema')) errors.push(...schemaPart(v, status, `${at}.schema`, objectMeta, old));
    if (!common.has('subresources')) errors.push(...subresourcesPart(v, `${at}.subresources`));
    if (!common.has('additionalPrinterColumns')) errors.push(...columnsPart(v, `${at}.additionalPrinterColumns`));
    const before = old?.spec.versions.find((o) => o.name === v.name);
    if (!common.has('selectableFields')) errors.push(...selectablePart(v, `${at}.selectableFields`, before));
  });
  if (new Set(versions.map((v) => v.name)).size !== versions.length)
    errors.push(invalid('spec.versions', printedVersions(spec.versions, common), 'must contain unique version names'));
  if (versions.filter((v) => v.storage).length !== 1)
    errors.push(
      invalid(
        'spec.versions',
        printedVersions(spec.versions, common),
        'must have exactly one version marked as storage version',
      ),
    );
  // Internally the first version has a place of its own too.
  const version = versions[0]?.name ?? '';
  const wrongVersion = version === '' ? [] : isDNS1035Label(version);
  if (wrongVersion.length > 0) errors.push(invalid('spec.version', version, wrongVersion.join(',')));
  for (const name of ['plural', 'singular', 'kind', 'listKind'] as const)
    if (!spec.names?.[name]) errors.push(required(`spec.names.${name}`));
  errors.push(...crdNames(spec.names, 'spec.names'));
  const first = versions[0];
  if (first !== undefined) {
    const status = versions.some((v) => v.subresources?.status !== undefined);
    if (common.has('schema')) errors.push(...schemaPart(first, status, 'spec.validation', objectMeta, old));
    if (common.has('subresources')) errors.push(...subresourcesPart(first, 'spec.subresources'));
    if (common.has('additionalPrinterColumns')) errors.push(...columnsPart(first, 'spec.additionalPrinterColumns'));
    if (common.has('selectableFields'))
      errors.push(...selectablePart(first, 'spec.selectableFields', old?.spec.versions[0]));
  }
  const { strategy } = spec.conversion ?? {};
  if (strategy !== undefined && strategy !== 'None' && spec.preserveUnknownFields === true)
    errors.push(invalid('spec.conversion.strategy', strategy, 'must be None if spec.preserveUnknownFields is true'));
  errors.push(...conversion(spec.conversion, 'spec.conversion', old));
  errors.push(...storedVersions(crd), ...apiApproval(crd, old));
  if (spec.preserveUnknownFields === true)
    errors.push(
      invalid(
        'spec.preserveUnknownFields',
        true,
        'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead',
      ),
    );
  return errors;
}

function storedVersions(crd: CustomResourceDefinition): Errors {
  const field = 'status.storedVersions';
  const stored = crd.status?.storedVersions ?? [];
  if (stored.length === 0) return [invalid(field, null, 'must have at least one stored version')];
  const errors: Errors = [];
  const left = new Set(stored);
  for (const v of crd.spec.versions ?? []) {
    if (v.storage && !left.has(v.name)) errors.push(invalid(field, stored, `must have the storage version ${v.name}`));
    left.delete(v.name);
  }
  stored.forEach((s, i) => {
    if (!crd.spec.versions?.some((v) => v.name === s))
      errors.push(
        invalid(
          `${field}[${i}]`,
          s,
          `missing from spec.versions; ${s} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${s} and removes ${s} from status.storedVersions`,
        ),
      );
  });
  return errors;
}

function established(crd: CustomResourceDefinition): boolean {
  return crd.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True') ?? false;
}

export function validateCustomResourceDefinitionUpdate(
  crd: CustomResourceDefinition,
  old: CustomResourceDefinition,
  objectMeta: ObjectSchema,
): Errors {
  const errors = validateCustomResourceDefinition(crd, objectMeta, old);
  if (established(old))
    errors.push(
      ...validateImmutable(crd.spec.scope, old.spec.scope, 'spec.scope'),
      ...validateImmutable(crd.spec.names.kind, old.spec.names.kind, 'spec.names.kind'),
    );
  errors.push(
    ...validateImmutable(crd.spec.group, old.spec.group, 'spec.group'),
    ...validateImmutable(crd.spec.names.plural, old.spec.names.plural, 'spec.names.plural'),
  );
  return errors;
}

export function validateCustomResourceDefinitionStatusUpdate(crd: CustomResourceDefinition): Errors {
  return crdNames(crd.status?.acceptedNames, 'status.acceptedNames');
}
