/**
 * Checks of the OpenAPI v3 schema in a CustomResourceDefinition, beside structurality: what is not supported, extensions that
 * contradict each other, keys of list maps, defaults that do not fit their own schema, and CEL rules (`crd-rules.ts`).
 */
import type { FieldError } from '../field-error.ts';
import { forbiddenField, formatFieldError, invalid, notSupported, required } from '../field-error.ts';
import { CelRules } from './cel-rules.ts';
import type { RulePlace } from './crd-rules.ts';
import { RuleChecks, childPlace } from './crd-rules.ts';
import { fieldPathOf } from './field-path.ts';
import { constraintsOf, fromOpenAPI } from './from-openapi.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import { decodeCustom, EmbeddedError } from './prune.ts';
import type { ObjectSchema, Schema } from './schema.ts';
import { structuralErrors } from './structural.ts';
import { validateConstraints, validateEmbeddedResources } from './validate-structural.ts';
import type { ValidateObjectMeta } from './validate-structural.ts';

export interface CRDSchemaOptions {
  /** metav1.ObjectMeta of the catalogue. */
  readonly objectMeta: ObjectSchema;
  /** Metadata of a resource that is embedded in another one. */
  readonly embeddedMeta: ValidateObjectMeta;
  readonly statusSubresource: boolean;
  /** An update does not change the schema: rules that were accepted may go on costing too much. */
  readonly unchanged?: boolean;
}

/** All violations of `schema`, which stands at `path` (`spec.versions[0].schema.openAPIV3Schema`). */
export function validateCRDSchema(schema: JSONSchemaProps, path: string, options: CRDSchemaOptions): FieldError[] {
  const errors: FieldError[] = [];
  if (options.statusSubresource) rootForStatus(schema, path, errors);
  if (schema.nullable === true) errors.push(forbiddenField(`${path}.nullable`, 'nullable cannot be true at the root'));
  // What cannot be read as a structural schema is not looked at as one.
  const fault = structuralFault(schema);
  const structural = fault === undefined ? structuralErrors(schema, path) : [];
  errors.push(...structural);
  let checks: RuleChecks | undefined;
  if (fault === undefined && structural.length === 0) {
    const before = errors.length;
    defaults(schema, path, options, undefined, errors);
    if (errors.length === before) checks = new RuleChecks(options.unchanged === true);
  }
  const rules: RulePlace | undefined =
    checks === undefined
      ? undefined
      : { schema: rootSchema(schema, options), cardinality: 1, uncorrelatable: undefined };
  openAPISchema(schema, path, { root: true, insideMeta: false, noDefaults: undefined, checks, rules }, errors);
  errors.push(...(checks?.errors ?? []), ...(checks?.totalErrors(path) ?? []));
  if (fault !== undefined && errors.length === 0) errors.push(invalid(path, '', fault));
  return errors;
}

/** The first thing in a schema that upstream has no place for in a structural one, in the order in which it looks. */
function structuralFault(s: JSONSchemaProps): string | undefined {
  const set: readonly (readonly [string, boolean])[] = [
    ['id', (s.id ?? '') !== ''],
    ['schema', (s.$schema ?? '') !== ''],
    ['$ref', (s.$ref ?? '') !== ''],
    ['patternProperties', nonEmpty(s.patternProperties)],
    ['dependencies', nonEmpty(s.dependencies)],
    ['additionalItems', s.additionalItems !== undefined],
    ['definitions', nonEmpty(s.definitions)],
  ];
  const own = set.find(([, there]) => there);
  if (own !== undefined) return `OpenAPIV3Schema '${own[0]}' is not supported`;
  const { items, additionalProperties: additional } = s;
  const values = [...(s.not === undefined ? [] : [s.not]), ...(s.allOf ?? []), ...(s.anyOf ?? []), ...(s.oneOf ?? [])];
  for (const part of values) {
    const fault = structuralFault(part);
    if (fault !== undefined) return fault;
  }
  if (Array.isArray(items)) {
    if (items.length > 0) return "OpenAPIV3Schema 'items' must be a schema, but is an array";
  } else if (items !== undefined) {
    const fault = structuralFault(items);
    if (fault !== undefined) return fault;
  }
  const members = Object.values(s.properties ?? {});
  for (const part of typeof additional === 'object' ? [...members, additional] : members) {
    const fault = structuralFault(part);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** The whole schema as a tree; upstream lets roots pass that are no objects, which no object will ever fit. */
function rootSchema(schema: JSONSchemaProps, options: CRDSchemaOptions): Schema | undefined {
  if (schema.type === 'object') return fromOpenAPI(schema, options);
  return fromOpenAPI({ type: 'object', properties: { root: schema } }, options).fields.get('root')?.schema;
}

const rootMembers = [
  'Description',
  'Type',
  'Format',
  'Title',
  'Maximum',
  'ExclusiveMaximum',
  'Minimum',
  'ExclusiveMinimum',
  'MaxLength',
  'MinLength',
  'Pattern',
  'MaxItems',
  'MinItems',
  'UniqueItems',
  'MultipleOf',
  'Required',
  'Items',
  'Properties',
  'ExternalDocs',
  'Example',
  'XPreserveUnknownFields',
  'XValidations',
];
const rootKeys = new Set([
  ...rootMembers.map((m) => m.charAt(0).toLowerCase() + m.slice(1)),
  'x-kubernetes-preserve-unknown-fields',
  'x-kubernetes-validations',
]);

/** With a status subresource the status part is validated alone, so the root may say little. */
function rootForStatus(schema: JSONSchemaProps, path: string, errors: FieldError[]): void {
  for (const [key, value] of Object.entries(schema)) {
    if (value === undefined || value === null || value === '' || value === false) continue;
    if (key === 'type') {
      if (value !== 'object') {
        const why =
          'only "object" is allowed as the type at the root of the schema if the status subresource is enabled';
        errors.push(invalid(`${path}.type`, value, why));
        return;
      }
    } else if (!rootKeys.has(key)) {
      const why = `only [${rootMembers.join(' ')}] fields are allowed at the root of the schema if the status subresource is enabled`;
      errors.push(invalid(path, schema, why));
      return;
    }
  }
}

interface Place {
  readonly root: boolean;
  readonly insideMeta: boolean;
  /** Why defaults must not be here. */
  readonly noDefaults: string | undefined;
  /** Collects what is wrong with CEL rules; undefined where they are not looked at. */
  readonly checks: RuleChecks | undefined;
  readonly rules: RulePlace | undefined;
}

const openAPITypes = ['array', 'boolean', 'integer', 'number', 'object', 'string'];
const metaFields = new Set(['metadata', 'kind', 'apiVersion']);
const reasons = ['FieldValueDuplicate', 'FieldValueForbidden', 'FieldValueInvalid', 'FieldValueRequired'];
const nonEmpty = (o: object | undefined): boolean => o !== undefined && Object.keys(o).length > 0;

function openAPISchema(s: JSONSchemaProps, path: string, place: Place, errors: FieldError[]): void {
  const before = errors.length;
  const below = (child: Parameters<typeof childPlace>[3]): Pick<Place, 'rules'> => ({
    rules: place.rules === undefined ? undefined : childPlace(place.rules, s, path, child),
  });
  const inner: Place = { ...place, root: false, checks: undefined, rules: undefined };
  const ruled: Place = { ...place, root: false };
  unsupported(s, path, place, errors);
  if (s.uniqueItems === true) {
    const why = 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic';
    errors.push(forbiddenField(`${path}.uniqueItems`, why));
  }
  const additional = s.additionalProperties;
  if (additional !== undefined) {
    if (nonEmpty(s.properties) && additional !== true) {
      const why = 'additionalProperties and properties are mutual exclusive';
      errors.push(forbiddenField(`${path}.additionalProperties`, why));
    }
    if (typeof additional === 'object') {
      const noDefaults = place.insideMeta
        ? 'inside additionalProperties applying to object metadata'
        : inner.noDefaults;
      openAPISchema(additional, `${path}.additionalProperties`, { ...ruled, ...below('values'), noDefaults }, errors);
    }
  }
  for (const [name, property] of Object.entries(s.properties ?? {})) {
    let where: Place = { ...ruled, ...below({ property: name }) };
    if ((place.root || s['x-kubernetes-embedded-resource'] === true) && metaFields.has(name)) {
      where = { ...where, insideMeta: true, noDefaults: place.root ? `in top-level ${name}` : inner.noDefaults };
    }
    openAPISchema(property, `${path}.properties[${name}]`, where, errors);
  }
  if (s.not !== undefined) openAPISchema(s.not, `${path}.not`, inner, errors);
  for (const junctor of ['allOf', 'oneOf', 'anyOf'] as const) {
    s[junctor]?.forEach((v, i) => openAPISchema(v, `${path}.${junctor}[${i}]`, inner, errors));
  }
  const items = Array.isArray(s.items) ? undefined : s.items;
  if (items !== undefined) openAPISchema(items, `${path}.items`, { ...ruled, ...below('items') }, errors);
  if (s['x-kubernetes-preserve-unknown-fields'] === false) {
    errors.push(invalid(`${path}.x-kubernetes-preserve-unknown-fields`, false, 'must be true or undefined'));
  }
  extensionTypes(s, items, path, errors);
  const listType = s['x-kubernetes-list-type'];
  if ((listType === 'set' || listType === 'map') && items?.nullable === true) {
    const why = `cannot be nullable when x-kubernetes-list-type is ${listType}`;
    errors.push(forbiddenField(`${path}.items.nullable`, why));
  }
  listMap(s, items, path, errors);
  rules(s, path, errors);
  const hasRules = (s['x-kubernetes-validations'] ?? []).length > 0;
  if (hasRules && errors.length === before && place.rules !== undefined) place.checks?.node(s, path, place.rules);
}

function unsupported(s: JSONSchemaProps, path: string, place: Place, errors: FieldError[]): void {
  const type = s.type ?? '';
  if (type !== '' && type !== 'null' && !openAPITypes.includes(type)) {
    errors.push(notSupported(`${path}.type`, type, openAPITypes));
  }
  if (s.default !== undefined && s.default !== null && place.noDefaults !== undefined) {
    errors.push(forbiddenField(`${path}.default`, `must not be set ${place.noDefaults}`));
  }
  const refuse = (name: string, set: boolean): void => {
    if (set) errors.push(forbiddenField(`${path}.${name}`, `${name} is not supported`));
  };
  refuse('id', (s.id ?? '') !== '');
  refuse('additionalItems', s.additionalItems !== undefined);
  refuse('patternProperties', nonEmpty(s.patternProperties));
  refuse('definitions', nonEmpty(s.definitions));
  refuse('dependencies', s.dependencies !== undefined);
  refuse('$ref', s.$ref !== undefined);
  if (type === 'null') {
    errors.push(notSupported(`${path}.type`, type, openAPITypes));
    const why = 'type cannot be set to null, use nullable as an alternative';
    errors.push(forbiddenField(`${path}.type`, why));
  }
  if (Array.isArray(s.items) && s.items.length > 0) {
    errors.push(forbiddenField(`${path}.items`, 'items must be a schema object and not an array'));
  }
  if (place.insideMeta && s['x-kubernetes-embedded-resource'] === true) {
    const why = 'must not be used inside of resource meta';
    errors.push(forbiddenField(`${path}.x-kubernetes-embedded-resource`, why));
  }
}

function extensionTypes(
  s: JSONSchemaProps,
  items: JSONSchemaProps | undefined,
  path: string,
  errors: FieldError[],
): void {
  const type = s.type ?? '';
  const mustBe = (wanted: string, extension: string): void => {
    const why = `must be ${wanted} if ${extension} is specified`;
    errors.push(type === '' ? required(`${path}.type`, why) : invalid(`${path}.type`, type, why));
  };
  const mapType = s['x-kubernetes-map-type'];
  if (mapType !== undefined) {
    if (type !== 'object') mustBe('object', 'x-kubernetes-map-type');
    const known = ['atomic', 'granular'];
    if (!known.includes(mapType)) errors.push(notSupported(`${path}.x-kubernetes-map-type`, mapType, known));
  }
  const listType = s['x-kubernetes-list-type'];
  if (listType === undefined) return;
  if (type !== 'array') mustBe('array', 'x-kubernetes-list-type');
  else if (listType === 'set' && items !== undefined) {
    const why = 'must be atomic as item of a list with x-kubernetes-list-type=set';
    const itemList = items['x-kubernetes-list-type'];
    if (items.type === 'array' && itemList !== undefined && itemList !== 'atomic') {
      errors.push(invalid(`${path}.items.x-kubernetes-list-type`, itemList, why));
    }
    if (items.type === 'object' && items['x-kubernetes-map-type'] !== 'atomic') {
      errors.push(invalid(`${path}.items.x-kubernetes-map-type`, itemList ?? null, why));
    }
  }
  const known = ['atomic', 'set', 'map'];
  if (!known.includes(listType)) errors.push(notSupported(`${path}.x-kubernetes-list-type`, listType, known));
}

function listMap(s: JSONSchemaProps, items: JSONSchemaProps | undefined, path: string, errors: FieldError[]): void {
  const listType = s['x-kubernetes-list-type'];
  const keys = s['x-kubernetes-list-map-keys'] ?? [];
  if (keys.length > 0 && listType !== 'map') {
    const why = 'must be map if x-kubernetes-list-map-keys is non-empty';
    const where = `${path}.x-kubernetes-list-type`;
    errors.push(listType === undefined ? required(where, why) : invalid(where, listType, why));
  }
  if (listType !== 'map') return;
  const keysAt = `${path}.x-kubernetes-list-map-keys`;
  if (keys.length === 0) errors.push(required(keysAt, 'must not be empty if x-kubernetes-list-type is map'));
  if (s.items === undefined) {
    errors.push(required(`${path}.items`, 'must have a schema if x-kubernetes-list-type is map'));
  }
  if (items === undefined) return;
  if (items.type !== 'object') {
    const why = "must be object if parent array's x-kubernetes-list-type is map";
    errors.push(invalid(`${path}.items.type`, items.type ?? '', why));
    return;
  }
  const seen = new Set<string>();
  for (const key of keys) {
    const property = items.properties?.[key];
    if (property === undefined) errors.push(invalid(keysAt, keys, 'entries must all be names of item properties'));
    else if (property.type === 'array' || property.type === 'object') {
      const why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
      errors.push(invalid(`${path}.items.properties[${key}].type`, items.type, why));
    }
    if (seen.has(key)) errors.push(invalid(keysAt, keys, 'must not contain duplicate entries'));
    seen.add(key);
  }
  // A key must be there: required, or defaulted.
  for (const key of keys) {
    const property = items.properties?.[key];
    if (property === undefined) continue;
    if (property.default === undefined && !(items.required ?? []).includes(key)) {
      const why = 'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property';
      errors.push(required(`${path}.items.properties[${key}].default`, why));
    }
    if (property.nullable === true) {
      const why = 'this property is in x-kubernetes-list-map-keys, so it cannot be nullable';
      errors.push(forbiddenField(`${path}.items.properties[${key}].nullable`, why));
    }
  }
}

const hasNewlines = (text: string): boolean => /[\n\r]/.test(text);

function rules(s: JSONSchemaProps, path: string, errors: FieldError[]): void {
  s['x-kubernetes-validations']?.forEach((rule, i) => {
    const at = `${path}.x-kubernetes-validations[${i}]`;
    const message = rule.message ?? '';
    const text = rule.rule.trim();
    if (text === '') errors.push(required(`${at}.rule`, 'rule is not specified'));
    else if (message !== '' && message.trim() === '') {
      errors.push(invalid(`${at}.message`, message, 'must be non-empty if specified'));
    } else if (hasNewlines(message.trim()))
      errors.push(invalid(`${at}.message`, message, 'must not contain line breaks'));
    else if (hasNewlines(text) && message.trim() === '') {
      errors.push(required(`${at}.message`, 'message must be specified if rule contains line breaks'));
    }
    if (rule.messageExpression !== undefined && rule.messageExpression !== '' && rule.messageExpression.trim() === '') {
      errors.push(required(`${at}.messageExpression`, 'messageExpression must be non-empty if specified'));
    }
    if (rule.reason !== undefined && !reasons.includes(rule.reason)) {
      errors.push(notSupported(`${at}.reason`, rule.reason, reasons));
    }
    const field = rule.fieldPath ?? '';
    if (field !== '' && field.trim() === '') {
      errors.push(invalid(`${at}.fieldPath`, field, 'must be non-empty if specified'));
    }
    if (hasNewlines(field)) errors.push(invalid(`${at}.fieldPath`, field, 'must not contain line breaks'));
    if (field !== '' && fieldPathOf(field, constraintsOf(s)) === undefined) {
      errors.push(invalid(`${at}.fieldPath`, field, 'must be a valid path'));
    }
  });
}

/** In the metadata or the type of an embedded resource: its schema, and what is around a value there. */
interface InsideMeta {
  readonly resource: JSONSchemaProps;
  readonly around: (value: unknown) => Record<string, unknown>;
}

/** Defaults must be valid, and hold nothing that pruning would take out. `inside` is undefined at the root. */
function defaults(
  s: JSONSchemaProps,
  path: string,
  options: CRDSchemaOptions,
  inside: InsideMeta | 'spec' | undefined,
  errors: FieldError[],
): void {
  if (s.default !== undefined && s.default !== null) {
    errors.push(
      ...(inside === undefined || inside === 'spec'
        ? defaultErrors(s, path, options)
        : metaDefaultErrors(s, path, inside, options)),
    );
  }
  const deeper = (step: (value: unknown) => unknown): InsideMeta | 'spec' =>
    inside === undefined || inside === 'spec' ? 'spec' : { ...inside, around: (v) => inside.around(step(v)) };
  const items = Array.isArray(s.items) ? undefined : s.items;
  if (items !== undefined)
    defaults(
      items,
      `${path}.items`,
      options,
      deeper((v) => [v]),
      errors,
    );
  const embedded = s['x-kubernetes-embedded-resource'] === true;
  for (const [name, property] of Object.entries(s.properties ?? {})) {
    const meta = metaFields.has(name);
    if (inside === undefined && meta) continue;
    const where: InsideMeta | 'spec' =
      embedded && inside !== undefined
        ? meta
          ? { resource: s, around: (v) => ({ apiVersion: 'validation/v1', kind: 'Validation', [name]: v }) }
          : 'spec'
        : deeper((v) => ({ [name]: v }));
    defaults(property, `${path}.properties[${name}]`, options, where, errors);
  }
}

/** The schema as the only member of an object: it is read as it would be in place. */
function holderOf(s: JSONSchemaProps, options: CRDSchemaOptions): ObjectSchema {
  return fromOpenAPI({ type: 'object', properties: { value: { ...s, default: undefined } } }, options);
}

/** What is wrong with the types and metadata of embedded resources; the fields are below `value`. */
function embeddedErrors(holder: ObjectSchema, value: unknown, options: CRDSchemaOptions): readonly FieldError[] {
  try {
    const { object } = decodeCustom(holder, { value }, { objectMeta: options.objectMeta, defaults: false });
    return validateEmbeddedResources(holder, object, options.embeddedMeta);
  } catch (error) {
    if (error instanceof EmbeddedError) return [error.error];
    throw error;
  }
}

function defaultErrors(s: JSONSchemaProps, path: string, options: CRDSchemaOptions): FieldError[] {
  const at = `${path}.default`;
  const holder = holderOf(s, options);
  const { objectMeta } = options;
  const { unknown } = decodeCustom(holder, { value: s.default }, { objectMeta, strict: true, repair: true });
  if (unknown.length > 0) return [invalid(at, s.default, 'must not have unknown fields')];
  const embedded = embeddedErrors(holder, s.default, options);
  if (embedded.length > 0) return embedded.map((e) => ({ ...e, field: e.field.replace(/^value/, () => at) }));
  return valueErrors(s, holder, at);
}

function valueErrors(s: JSONSchemaProps, holder: ObjectSchema, at: string): FieldError[] {
  const wrong = validateConstraints(constraintsOf(s), s.default);
  const errors = wrong.map((e) => ({ ...e, field: e.field === '' || e.field === '<nil>' ? at : `${at}.${e.field}` }));
  const schema = holder.fields.get('value')?.schema;
  if (wrong.length === 0 && schema !== undefined) errors.push(...defaultRules(schema, s.default, at));
  return errors;
}

function metaDefaultErrors(
  s: JSONSchemaProps,
  path: string,
  inside: InsideMeta,
  options: CRDSchemaOptions,
): FieldError[] {
  const at = `${path}.default`;
  const resource = holderOf({ ...inside.resource, 'x-kubernetes-preserve-unknown-fields': true }, options);
  const embedded = embeddedErrors(resource, inside.around(s.default), options);
  if (embedded.length > 0) {
    const texts = embedded.map((e) => formatFieldError({ ...e, field: e.field.replace(/^value\.?/, '') }));
    const why = texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
    return [invalid(at, s.default, `must result in valid metadata: ${why}`)];
  }
  return valueErrors(s, holderOf(s, options), at);
}

/** A default must pass the rules of its node: as a value that was there before, and as one that was not. */
function defaultRules(schema: Schema, value: unknown, path: string): FieldError[] {
  const rules = CelRules.of(schema);
  if (rules === undefined) return [];
  const kept = rules.validate(value, value, { path });
  return kept.length > 0 ? kept : rules.validate(value, undefined, { path });
}
