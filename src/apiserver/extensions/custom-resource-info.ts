/** One version of a custom resource as discovery, routes and tables know it. */
import { createHash } from 'node:crypto';
import type { ColumnInfo, ResourceInfo, SubresourceInfo } from '../../api/catalog/resource.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '../../api/types/index.gen.ts';
import { compareVersions } from '../resource-directory.ts';
import { isTrue } from './definition-conditions.ts';

const customVerbs = ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'];
const terminatingVerbs = ['delete', 'deletecollection', 'get', 'list', 'watch'];
const partVerbs = ['get', 'patch', 'update'];

/** Tells clients when the storage version changes (StorageVersionHash). */
function storageVersionHash(group: string, version: string, kind: string): string {
  const sum = createHash('sha256').update(`${group}/${version}/${kind}`).digest();
  return sum.subarray(0, 8).toString('base64');
}

/** What every answer to a request of this version warns of. */
function deprecationWarning(crd: CustomResourceDefinition, v: CustomResourceDefinitionVersion): string {
  if (v.deprecationWarning !== undefined) return v.deprecationWarning;
  const { group, names, versions } = crd.spec;
  const [newer] = versions
    .filter((o) => o.served && o.deprecated !== true && compareVersions(o.name, v.name) < 0)
    .map((o) => o.name)
    .sort(compareVersions);
  const text = `${group}/${v.name} ${names.kind} is deprecated`;
  return newer === undefined ? text : `${text}; use ${group}/${newer} ${names.kind}`;
}

export function customResourceInfo(
  crd: CustomResourceDefinition,
  v: CustomResourceDefinitionVersion,
  storageVersion: string,
  schemaDigest: string,
): ResourceInfo {
  const { spec } = crd;
  const names = crd.status?.acceptedNames?.plural ? crd.status.acceptedNames : spec.names;
  const { kind } = spec.names;
  const subresources: SubresourceInfo[] = [];
  if (v.subresources?.status !== undefined)
    subresources.push({ name: 'status', group: spec.group, version: v.name, kind, verbs: partVerbs });
  if (v.subresources?.scale !== undefined)
    subresources.push({ name: 'scale', group: 'autoscaling', version: 'v1', kind: 'Scale', verbs: partVerbs });
  const columns: ColumnInfo[] = (v.additionalPrinterColumns ?? []).map((c) => ({
    name: c.name,
    type: c.type,
    format: c.format ?? '',
    priority: c.priority ?? 0,
    description:
      c.description === undefined || c.description === ''
        ? `Custom resource definition column (in JSONPath format): ${c.jsonPath}`
        : c.description,
    jsonPath: c.jsonPath,
  }));
  const namespaced = spec.scope === 'Namespaced';
  return {
    group: spec.group,
    version: v.name,
    resource: spec.names.plural,
    singular: names.singular ?? '',
    kind,
    listKind: names.listKind ?? `${kind}List`,
    namespaced,
    verbs: customVerbs,
    ...(isTrue(crd, 'Terminating') ? { shownVerbs: terminatingVerbs } : {}),
    ...(v.deprecated === true ? { warning: deprecationWarning(crd, v) } : {}),
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    subresources,
    columns,
    fieldLabels: [
      'metadata.name',
      ...(namespaced ? ['metadata.namespace'] : []),
      ...(v.selectableFields ?? []).map((f) => f.jsonPath.replace(/^\./, '')),
    ],
    storageVersion,
    storageVersionHash: storageVersionHash(spec.group, storageVersion, kind),
    keyPrefix: `${spec.group}/${spec.names.plural}`,
    definition: '',
    custom: true,
    schemaDigest,
  };
}
