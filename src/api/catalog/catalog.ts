/**
 * The catalogue of the built-in API: groups and versions in discovery order, resources, and the `Schema` of each type, made
 * of `catalog.json` on first use. Immutable once loaded, so one catalogue may serve many clusters.
 */
import type { GroupVersion, GroupVersionKind } from '../object.ts';
import { lazyField, listSchema, mapSchema, objectSchema, scalarSchema } from '../schema/build.ts';
import type { Field, ObjectSchema, ScalarSchema, ScalarType, Schema } from '../schema/schema.ts';
import catalogJson from './catalog.json' with { type: 'json' };
import { parseDefinition } from './definition-text.ts';
import type { FieldText } from './definition-text.ts';
import type { ColumnInfo, ResourceInfo, SubresourceInfo } from './resource.ts';

export interface VersionInfo extends GroupVersion {
  /** False for the alpha and beta versions that upstream serves only when asked to (`--runtime-config`). */
  readonly enabledByDefault: boolean;
  readonly resources: readonly ResourceInfo[];
}

export interface GroupInfo {
  readonly group: string;
  readonly preferredVersion: string;
  /** Newest first, as discovery lists them. */
  readonly versions: readonly VersionInfo[];
}

export interface Catalog {
  /** `1.36`. */
  readonly release: string;
  /** The core group first, then as discovery orders them. */
  readonly groups: readonly GroupInfo[];
  /** Every version, in the same order. */
  readonly groupVersions: readonly VersionInfo[];
  /** Every resource of every version, off-by-default ones too (see `isEnabled`). */
  readonly resources: readonly ResourceInfo[];
  isEnabled(group: string, version: string): boolean;
  resource(group: string, version: string, plural: string): ResourceInfo | undefined;
  byKind(group: string, version: string, kind: string): ResourceInfo | undefined;
  preferredVersion(group: string): string | undefined;
  /** Throws for a definition that is not in the catalogue. */
  schema(definition: string): ObjectSchema;
  /** Also kinds without a resource: lists, options, reviews, Scale, Eviction, Status, WatchEvent, Table. */
  schemaForKind(gvk: GroupVersionKind): ObjectSchema | undefined;
  definitionForKind(gvk: GroupVersionKind): string | undefined;
  /** The group, version and kind that a definition is registered under first, if it is a kind. */
  kindOfDefinition(definition: string): GroupVersionKind | undefined;
  /** Names of all definitions, by package. */
  definitions(): string[];
  /** `x-kubernetes-unions` of a definition, for OpenAPI. */
  unions(definition: string): unknown;
}

interface ResourceText {
  resource: string;
  singular: string;
  kind: string;
  namespaced: boolean;
  verbs: string[];
  shortNames?: string[];
  categories?: string[];
  subresources?: SubresourceInfo[];
  columns: [string, string, string, number][];
  fieldLabels?: string[];
  storageVersion: string;
  storageGroup?: string;
  keyPrefix: string;
  definition: string;
  storageVersionHash?: string;
}

interface CatalogText {
  release: string;
  packages: Record<string, string>;
  groups: {
    group: string;
    preferred: string;
    versions: { version: string; enabled: boolean; resources: ResourceText[] }[];
  }[];
  atomic: string[];
  unions: Record<string, unknown>;
  kinds: Record<string, string>;
  definitions: Record<string, Record<string, string>>;
}

const scalarTypes: Record<string, ScalarType> = {
  string: 'string',
  bool: 'boolean',
  int32: 'int32',
  int64: 'int64',
  double: 'double',
  bytes: 'bytes',
  quantity: 'quantity',
  time: 'time',
  microTime: 'microTime',
  duration: 'duration',
  intOrString: 'intOrString',
};

/** Structs in Go that look like scalars in JSON: what they are written as when unset. */
const structZero: Record<string, unknown> = {
  quantity: '0',
  time: null,
  microTime: null,
  duration: '0s',
  intOrString: 0,
  raw: null,
  json: null,
};

const scalarZero: Record<string, unknown> = { string: '', bool: false, int32: 0, int64: 0, double: 0, bytes: null };

const metaPackage = 'io.k8s.apimachinery.pkg.apis.meta.v1';
/** Kinds that upstream registers in every group and version. */
const everywhere = new Set([
  'WatchEvent',
  'ListOptions',
  'GetOptions',
  'DeleteOptions',
  'CreateOptions',
  'UpdateOptions',
  'PatchOptions',
]);
/** Kinds of package meta that belong to v1 alone. */
const unversioned = new Set(['Status', 'APIVersions', 'APIGroupList', 'APIGroup', 'APIResourceList']);
/** Groups of packages that have no resources. */
const packageGroups: Record<string, string> = {
  'admission/v1': 'admission.k8s.io',
  'apidiscovery/v2': 'apidiscovery.k8s.io',
  'apidiscovery/v2beta1': 'apidiscovery.k8s.io',
  'meta/v1': 'meta.k8s.io',
  'meta/v1beta1': 'meta.k8s.io',
};

class BuiltinCatalog implements Catalog {
  readonly release: string;
  readonly groups: readonly GroupInfo[];
  readonly groupVersions: readonly VersionInfo[];
  readonly resources: readonly ResourceInfo[];
  readonly #text: CatalogText;
  readonly #byResource = new Map<string, ResourceInfo>();
  readonly #byKind = new Map<string, ResourceInfo>();
  readonly #versions = new Map<string, VersionInfo>();
  readonly #schemas = new Map<string, ObjectSchema>();
  readonly #scalars = new Map<string, ScalarSchema>();
  readonly #aliases: ReadonlyMap<string, string>;
  readonly #atomic: ReadonlySet<string>;
  /** `core/v1` → `/v1`. */
  readonly #groupOfAlias = new Map<string, string>();
  #kindsOf: Map<string, GroupVersionKind> | undefined;

  constructor(text: CatalogText) {
    this.#text = text;
    this.release = text.release;
    this.#aliases = new Map(Object.entries(text.packages).map(([alias, pkg]) => [pkg, alias]));
    this.#atomic = new Set(text.atomic);
    this.groups = text.groups.map((g) => ({
      group: g.group,
      preferredVersion: g.preferred,
      versions: g.versions.map((v) => ({
        group: g.group,
        version: v.version,
        enabledByDefault: v.enabled,
        resources: v.resources.map((r) => this.#resource(g.group, v.version, r)),
      })),
    }));
    this.groupVersions = this.groups.flatMap((g) => g.versions);
    this.resources = this.groupVersions.flatMap((v) => v.resources);
    for (const v of this.groupVersions) this.#versions.set(`${v.group}/${v.version}`, v);
    for (const r of this.resources) {
      this.#byResource.set(`${r.group}/${r.version}/${r.resource}`, r);
      this.#byKind.set(`${r.group}/${r.version}/${r.kind}`, r);
      this.#groupOfAlias.set(this.#aliasOf(r.definition), `${r.group}/${r.version}`);
    }
    for (const [alias, group] of Object.entries(packageGroups)) {
      this.#groupOfAlias.set(alias, `${group}/${alias.slice(alias.indexOf('/') + 1)}`);
    }
  }

  isEnabled(group: string, version: string): boolean {
    return this.#versions.get(`${group}/${version}`)?.enabledByDefault === true;
  }

  resource(group: string, version: string, plural: string): ResourceInfo | undefined {
    return this.#byResource.get(`${group}/${version}/${plural}`);
  }

  byKind(group: string, version: string, kind: string): ResourceInfo | undefined {
    return this.#byKind.get(`${group}/${version}/${kind}`);
  }

  preferredVersion(group: string): string | undefined {
    return this.groups.find((g) => g.group === group)?.preferredVersion;
  }

  schema(definition: string): ObjectSchema {
    let schema = this.#schemas.get(definition);
    if (schema === undefined) {
      const alias = this.#aliasOf(definition);
      const local = definition.slice(definition.lastIndexOf('.') + 1);
      const text = this.#text.definitions[alias]?.[local];
      if (text === undefined) throw new Error(`no definition ${definition} in the catalogue`);
      schema = this.#build(definition, alias, local, text);
      this.#schemas.set(definition, schema);
    }
    return schema;
  }

  schemaForKind(gvk: GroupVersionKind): ObjectSchema | undefined {
    const definition = this.definitionForKind(gvk);
    return definition === undefined ? undefined : this.schema(definition);
  }

  definitionForKind({ group, version, kind }: GroupVersionKind): string | undefined {
    const known = this.#text.kinds[`${group}/${version}/${kind}`];
    if (known !== undefined) {
      const dot = known.indexOf('.');
      return `${this.#text.packages[known.slice(0, dot)]}.${known.slice(dot + 1)}`;
    }
    const gv = `${group}/${version}`;
    if (everywhere.has(kind) && this.#versions.has(gv)) return `${metaPackage}.${kind}`;
    if (gv === '/v1' && unversioned.has(kind)) return `${metaPackage}.${kind}`;
    for (const [alias, owner] of this.#groupOfAlias) {
      if (owner !== gv) continue;
      const definitions = this.#text.definitions[alias];
      if (definitions !== undefined && Object.hasOwn(definitions, kind) && definitions[kind]!.startsWith('kind 0 ')) {
        return `${this.#text.packages[alias]}.${kind}`;
      }
    }
    return undefined;
  }

  kindOfDefinition(definition: string): GroupVersionKind | undefined {
    if (this.#kindsOf === undefined) {
      this.#kindsOf = new Map();
      for (const [key, value] of Object.entries(this.#text.kinds)) {
        const [group, version, kind] = key.split('/') as [string, string, string];
        const dot = value.indexOf('.');
        const name = `${this.#text.packages[value.slice(0, dot)]}.${value.slice(dot + 1)}`;
        if (!this.#kindsOf.has(name)) this.#kindsOf.set(name, { group, version, kind });
      }
    }
    return this.#kindsOf.get(definition);
  }

  definitions(): string[] {
    return Object.entries(this.#text.definitions).flatMap(([alias, locals]) =>
      Object.keys(locals).map((local) => `${this.#text.packages[alias]}.${local}`),
    );
  }

  unions(definition: string): unknown {
    return this.#text.unions[`${this.#aliasOf(definition)}.${definition.slice(definition.lastIndexOf('.') + 1)}`];
  }

  #aliasOf(definition: string): string {
    return this.#aliases.get(definition.slice(0, definition.lastIndexOf('.'))) ?? '';
  }

  #resource(group: string, version: string, r: ResourceText): ResourceInfo {
    const columns: ColumnInfo[] = r.columns.map(([name, type, format, priority]) => ({ name, type, format, priority }));
    return {
      group,
      version,
      resource: r.resource,
      singular: r.singular,
      kind: r.kind,
      listKind: `${r.kind}List`,
      namespaced: r.namespaced,
      verbs: r.verbs,
      shortNames: r.shortNames ?? [],
      categories: r.categories ?? [],
      subresources: r.subresources ?? [],
      columns,
      fieldLabels: r.fieldLabels ?? ['metadata.name', 'metadata.namespace'],
      storageVersion: r.storageVersion,
      storageGroup: r.storageGroup,
      keyPrefix: r.keyPrefix,
      definition: r.definition,
      storageVersionHash: r.storageVersionHash,
      custom: false,
    };
  }

  #build(definition: string, alias: string, local: string, text: string): ObjectSchema {
    const fields = parseDefinition(text).map((f, index) => this.#field(f, index, alias));
    return objectSchema(
      {
        name: definition,
        atomic: this.#atomic.has(`${alias}.${local}`),
        embedded: text.startsWith('kind 0 '),
      },
      fields,
    );
  }

  #field(f: FieldText, index: number, alias: string): Field {
    const isStruct = !f.type.startsWith('[') && !f.type.startsWith('{') && !(f.type in scalarTypes);
    const isEither = f.type.includes('|');
    const embeddedStruct =
      isStruct && !isEither && (f.presence === 'o' || f.presence === 'a') && /^[A-Z]|\//.test(f.type);
    let zero: unknown;
    if (f.presence === 'n') zero = null;
    else if (f.presence === 'a' || f.presence === 'o') {
      if (embeddedStruct) zero = {};
      else if (f.type in structZero) zero = structZero[f.type];
      else if (f.presence === 'a') zero = f.type in scalarZero ? scalarZero[f.type] : null;
    }
    const presence = { p: 'pointer', o: 'omitempty', a: 'always', z: 'omitzero', n: 'always' } as const;
    return lazyField(
      {
        name: f.name,
        index,
        required: f.required,
        presence: presence[f.presence],
        zero,
        embeddedStruct,
        omitEmpty: zero === undefined,
        number: f.number,
        within: f.within,
        withinNames: f.withinNames,
        default: f.default,
        enum: f.enum,
        patchStrategy: f.patchStrategy as Field['patchStrategy'],
        patchMergeKey: f.patchMergeKey,
        published:
          f.listType !== undefined || f.mapType !== undefined || f.shown !== undefined
            ? { listType: f.listType, mapType: f.mapType, default: f.shown }
            : undefined,
      },
      () => this.#type(f.type, f.goType, alias, f),
    );
  }

  /** The schema of a type word; list and map facts of the field belong to its outermost list or map. */
  #type(type: string, goType: string | undefined, alias: string, f?: FieldText): Schema {
    if (type.startsWith('[]') || type.startsWith('[w]')) {
      const wrapped = type.startsWith('[w]');
      const inner = goType?.startsWith('[]') === true ? goType.slice(2).replace(/^\*/, '') : undefined;
      const items = this.#type(type.slice(type.indexOf(']') + 1), inner, alias);
      const listType = f?.listType === 'set' || f?.listType === 'map' ? f.listType : 'atomic';
      return listSchema(items, {
        listType,
        mapKeys: f?.mapKeys ?? [],
        ...(wrapped ? { wrapped } : {}),
        ...(goType !== undefined ? { goType } : {}),
      });
    }
    if (type.startsWith('{}')) {
      const inner = goType?.startsWith('map[') === true ? goType.slice(goType.indexOf(']') + 1) : undefined;
      return mapSchema(this.#type(type.slice(2), inner, alias), {
        atomic: f?.mapType === 'atomic',
        ...(goType !== undefined ? { goType } : {}),
      });
    }
    const bar = type.indexOf('|');
    if (bar >= 0) {
      const other = this.#type(type.slice(bar + 1), undefined, alias);
      if (other.kind !== 'scalar' && other.kind !== 'list') throw new Error(`unsupported alternative ${type}`);
      return { kind: 'either', object: this.#definition(type.slice(0, bar), alias), other };
    }
    const scalar = scalarTypes[type];
    if (scalar !== undefined) return this.#scalar(scalar, goType);
    if (type === 'raw') return { kind: 'any', raw: 'rawExtension' };
    if (type === 'fieldsV1') return { kind: 'any', raw: 'fieldsV1' };
    if (type === 'json') return { kind: 'any', raw: 'json' };
    if (type === 'any') return { kind: 'any' };
    const definition = this.#definition(type, alias);
    // A map type on the member decides whether apply takes the struct as one value, whatever it is elsewhere.
    if (f?.mapType === undefined || definition.atomic === (f.mapType === 'atomic')) return definition;
    return { ...definition, atomic: f.mapType === 'atomic' };
  }

  #definition(type: string, alias: string): ObjectSchema {
    const dot = type.indexOf('.');
    const owner = dot < 0 ? alias : type.slice(0, dot);
    return this.schema(`${this.#text.packages[owner]}.${dot < 0 ? type : type.slice(dot + 1)}`);
  }

  #scalar(type: ScalarType, goType: string | undefined): ScalarSchema {
    const key = goType === undefined ? type : `${type} ${goType}`;
    let schema = this.#scalars.get(key);
    if (schema === undefined) {
      schema = scalarSchema(type, goType === undefined ? {} : { goType });
      this.#scalars.set(key, schema);
    }
    return schema;
  }
}

/** Reads the catalogue; a few milliseconds, and schemas are made on demand. */
export function loadCatalog(): Catalog {
  return new BuiltinCatalog(catalogJson as unknown as CatalogText);
}
