/** CustomResourceDefinitions: names, versions, columns, conversion and their schemas (apiextensions-apiserver validation). */
import { duplicate, invalid, notSupported, required, tooMany, forbiddenField } from '../../api/field-error.ts';
import { isDNS1035Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { validateCRDSchema } from '../../api/schema/crd-schema.ts';
import type {
  CustomResourceColumnDefinition,
  CustomResourceConversion,
  CustomResourceDefinition,
  CustomResourceDefinitionNames,
  CustomResourceDefinitionVersion,
} from '../../api/types/index.gen.ts';
import type { Errors } from './common.ts';
import { immutable, nonNegative } from './common.ts';

const columnTypes = 'boolean,date,integer,number,string';
const columnFormats = 'byte,date,date-time,double,float,int32,int64,password';
const reviewVersions = ['v1', 'v1beta1'];

export function crdNames(names: CustomResourceDefinitionNames | undefined, field: string): Errors {
  const errors: Errors = [];
  const label = (value: string | undefined, name: string, prefix = ''): void => {
    if (value === undefined || value === '') return;
    const wrong = isDNS1035Label(prefix === '' ? value : value.toLowerCase());
    if (wrong.length > 0) errors.push(invalid(`${field}.${name}`, value, prefix + wrong.join(',')));
  };
  const mixed = 'may have mixed case, but should otherwise match: ';
  label(names?.plural, 'plural');
  label(names?.singular, 'singular');
  label(names?.kind, 'kind', mixed);
  label(names?.listKind, 'listKind', mixed);
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
  return errors;
}

function simplePath(path: string | undefined, under: string, field: string): Errors {
  if (!path) return [required(field)];
  if (!/^(\.[A-Za-z0-9_$-]+(\[\d+\])?)+$/.test(path))
    return [invalid(field, path, 'is an invalid path: only simple paths of members are allowed')];
  if (!path.startsWith(`.${under}.`)) return [invalid(field, path, `should be a json path under .${under}`)];
  return [];
}

function version(v: CustomResourceDefinitionVersion, field: string, objectMeta: ObjectSchema): Errors {
  const errors: Errors = [];
  if (v.deprecationWarning !== undefined) {
    const at = `${field}.deprecationWarning`;
    if (v.deprecationWarning === '') errors.push(invalid(at, '', 'must not be empty if set'));
    if (v.deprecationWarning.length > 256)
      errors.push(invalid(at, v.deprecationWarning, 'must be <= 256 characters long'));
    if (v.deprecated !== true)
      errors.push(invalid(at, v.deprecationWarning, 'can only be set for deprecated versions'));
  }
  const schema = v.schema?.openAPIV3Schema;
  if (schema === undefined) errors.push(required(`${field}.schema.openAPIV3Schema`, 'schemas are required'));
  else
    errors.push(
      ...validateCRDSchema(schema, `${field}.schema.openAPIV3Schema`, {
        objectMeta,
        statusSubresource: v.subresources?.status !== undefined,
      }),
    );
  const scale = v.subresources?.scale;
  if (scale !== undefined) {
    errors.push(...simplePath(scale.specReplicasPath, 'spec', `${field}.subresources.scale.specReplicasPath`));
    errors.push(...simplePath(scale.statusReplicasPath, 'status', `${field}.subresources.scale.statusReplicasPath`));
    const selector = scale.labelSelectorPath;
    if (selector && !selector.startsWith('.status.') && !selector.startsWith('.spec.'))
      errors.push(
        invalid(
          `${field}.subresources.scale.labelSelectorPath`,
          selector,
          'should be a json path under either .spec or .status',
        ),
      );
  }
  (v.additionalPrinterColumns ?? []).forEach((c, i) =>
    errors.push(...column(c, `${field}.additionalPrinterColumns[${i}]`)),
  );
  const selectable = new Set<string>();
  (v.selectableFields ?? []).forEach((s, i) => {
    const at = `${field}.selectableFields[${i}].jsonPath`;
    if (!s.jsonPath) errors.push(required(at));
    else if (s.jsonPath.startsWith('.metadata.'))
      errors.push(invalid(at, s.jsonPath, 'must not point to fields in metadata'));
    else if (selectable.has(s.jsonPath)) errors.push(duplicate(at, s.jsonPath));
    selectable.add(s.jsonPath);
  });
  if (selectable.size > 8) errors.push(tooMany(`${field}.selectableFields`, selectable.size, 8));
  return errors;
}

function conversion(c: CustomResourceConversion | undefined, field: string): Errors {
  if (c === undefined) return [];
  const errors: Errors = [];
  if (!c.strategy) errors.push(required(`${field}.strategy`));
  else if (c.strategy !== 'None' && c.strategy !== 'Webhook')
    errors.push(notSupported(`${field}.strategy`, c.strategy, ['None', 'Webhook']));
  const config = c.webhook?.clientConfig;
  if (c.strategy === 'Webhook') {
    if (config === undefined)
      errors.push(required(`${field}.webhookClientConfig`, 'required when strategy is set to Webhook'));
    else if ((config.url === undefined) === (config.service === undefined))
      errors.push(required(`${field}.webhookClientConfig`, 'exactly one of url or service is required'));
    const versions = c.webhook?.conversionReviewVersions ?? [];
    if (versions.length === 0) errors.push(required(`${field}.conversionReviewVersions`));
    else if (!versions.some((v) => reviewVersions.includes(v)))
      errors.push(
        invalid(
          `${field}.conversionReviewVersions`,
          versions,
          `must include at least one of ${reviewVersions.join(', ')}`,
        ),
      );
  } else {
    if (config !== undefined)
      errors.push(
        forbiddenField(`${field}.webhookClientConfig`, 'should not be set when strategy is not set to Webhook'),
      );
    if ((c.webhook?.conversionReviewVersions ?? []).length > 0)
      errors.push(
        forbiddenField(`${field}.conversionReviewVersions`, 'should not be set when strategy is not set to Webhook'),
      );
  }
  return errors;
}

/** `objectMeta`: the schema of metadata, which embedded resources are judged by. */
export function validateCustomResourceDefinition(crd: CustomResourceDefinition, objectMeta: ObjectSchema): Errors {
  const spec = crd.spec;
  const errors: Errors = [];
  const wanted = `${spec.names?.plural ?? ''}.${spec.group ?? ''}`;
  if (crd.metadata.name !== wanted)
    errors.push(invalid('metadata.name', crd.metadata.name ?? '', 'must be spec.names.plural+"."+spec.group'));
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
  versions.forEach((v, i) => {
    const wrong = isDNS1035Label(v.name ?? '');
    if (wrong.length > 0) errors.push(invalid(`spec.versions[${i}].name`, v.name ?? '', wrong.join(',')));
    errors.push(...version(v, `spec.versions[${i}]`, objectMeta));
  });
  if (new Set(versions.map((v) => v.name)).size !== versions.length)
    errors.push(invalid('spec.versions', versions, 'must contain unique version names'));
  if (versions.filter((v) => v.storage).length !== 1)
    errors.push(invalid('spec.versions', versions, 'must have exactly one version marked as storage version'));
  for (const name of ['plural', 'singular', 'kind', 'listKind'] as const)
    if (!spec.names?.[name]) errors.push(required(`spec.names.${name}`));
  errors.push(...crdNames(spec.names, 'spec.names'), ...conversion(spec.conversion, 'spec.conversion'));
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
  if (stored.length === 0) return [invalid(field, stored, 'must have at least one stored version')];
  const errors: Errors = [];
  const storage = crd.spec.versions.find((v) => v.storage)?.name;
  if (storage !== undefined && !stored.includes(storage))
    errors.push(invalid(field, stored, `must have the storage version ${storage}`));
  stored.forEach((s, i) => {
    if (!crd.spec.versions.some((v) => v.name === s))
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
  const errors = validateCustomResourceDefinition(crd, objectMeta);
  if (established(old))
    errors.push(
      ...immutable(crd.spec.scope, old.spec.scope, 'spec.scope'),
      ...immutable(crd.spec.names.kind, old.spec.names.kind, 'spec.names.kind'),
    );
  errors.push(
    ...immutable(crd.spec.group, old.spec.group, 'spec.group'),
    ...immutable(crd.spec.names.plural, old.spec.names.plural, 'spec.names.plural'),
  );
  errors.push(...storedVersions(crd));
  return errors;
}

export function validateCustomResourceDefinitionStatusUpdate(crd: CustomResourceDefinition): Errors {
  return [
    ...crdNames(crd.status?.acceptedNames, 'status.acceptedNames'),
    ...storedVersions(crd),
    ...nonNegative(crd.status?.observedGeneration, 'status.observedGeneration'),
  ];
}
