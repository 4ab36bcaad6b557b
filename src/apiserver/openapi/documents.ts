/** The OpenAPI documents: one v3 document a group version, one v2 document for all; each with the definitions it needs. */
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { JSONSchemaProps } from '../../api/schema/json-schema.ts';
import { customDefinitions } from '../../api/schema/openapi-custom.ts';
import type { Describe, OpenAPIObject } from '../../api/schema/openapi.ts';
import { openAPIDefinition, referencedDefinitions } from '../../api/schema/openapi.ts';
import type { ServedGroup, ServedVersion } from '../resource-directory.ts';
import { groupWord, resourcePaths, rootPath, versionWord } from './operations.ts';
import { objectTypes } from '../produced-types.ts';
import { pathItem, simpleGet } from './paths.ts';

type Json = Record<string, unknown>;
type Version = 'v2' | 'v3';

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';

/** Documents of what is no group. */
export const rootNames = ['.well-known/openid-configuration', 'api', 'apis', 'version', 'openid/v1/jwks'] as const;
export type RootName = (typeof rootNames)[number];

export interface DocumentOptions {
  readonly catalog: Catalog;
  readonly describe: Describe;
  readonly gitVersion: string;
  /** The schema of a custom resource's version. */
  readonly customSchema: (resource: ResourceInfo) => JSONSchemaProps | undefined;
}

/** Makes documents from what is served. */
export class OpenAPIDocuments {
  readonly #options: DocumentOptions;

  constructor(options: DocumentOptions) {
    this.#options = options;
  }

  /** Paths of one group version, by path. */
  #versionPaths(v: ServedVersion, version: Version): Json {
    const { catalog } = this.#options;
    const tag = `${groupWord(v.group)}_${v.version}`;
    const paths: Json = {};
    const custom = v.resources.some((r) => r.custom);
    if (!custom)
      paths[`${rootPath(v.group, v.version)}/`] = simpleGet(version, {
        id: `get${versionWord(v.group, v.version)}APIResources`,
        description: 'get available resources',
        tag,
        types: objectTypes,
        answer: { definition: `${meta}.APIResourceList` },
      });
    const definitions = { ofKind: catalog.definitionForKind.bind(catalog) };
    for (const r of v.resources)
      for (const path of resourcePaths(r, definitions)) paths[path.path] = pathItem(path, version, tag, r.custom);
    return paths;
  }

  /** The discovery documents of a group, and of the roots. */
  #rootPaths(name: RootName, version: Version): Json {
    const roots: Readonly<Record<typeof name, [string, string, string, readonly string[], string]>> = {
      api: ['getCoreAPIVersions', 'get available API versions', 'core', objectTypes, `${meta}.APIVersions`],
      apis: ['getAPIVersions', 'get available API versions', 'apis', objectTypes, `${meta}.APIGroupList`],
      version: [
        'getCodeVersion',
        'get the version information for this server',
        'version',
        ['application/json'],
        'io.k8s.apimachinery.pkg.version.Info',
      ],
      '.well-known/openid-configuration': [
        'getServiceAccountIssuerOpenIDConfiguration',
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        'WellKnown',
        ['application/json'],
        '',
      ],
      'openid/v1/jwks': [
        'getServiceAccountIssuerOpenIDKeyset',
        'get service account issuer OpenID JSON Web Key Set (contains public token verification keys)',
        'openid',
        ['application/jwk-set+json'],
        '',
      ],
    };
    const [id, description, tag, types, definition] = roots[name];
    const answer = definition === '' ? ('string' as const) : { definition };
    return { [`/${name}/`]: simpleGet(version, { id, description, tag, types, answer }) };
  }

  #groupPaths(group: string, version: Version): Json {
    const word = groupWord(group);
    return {
      [`/apis/${group}/`]: simpleGet(version, {
        id: `get${word.charAt(0).toUpperCase()}${word.slice(1)}APIGroup`,
        description: 'get information of a group',
        tag: word,
        types: objectTypes,
        answer: { definition: `${meta}.APIGroup` },
      }),
    };
  }

  /** The definitions that the paths lead to, custom ones included. */
  #definitions(paths: Json, custom: Readonly<Record<string, OpenAPIObject>>, version: Version, all: boolean): Json {
    const { catalog, describe } = this.#options;
    const made = new Map<string, OpenAPIObject>();
    const definition = (name: string): OpenAPIObject | undefined => {
      let found = made.get(name);
      if (found === undefined) {
        found = custom[name] ?? openAPIDefinition(catalog, name, { version, describe });
        made.set(name, found);
      }
      return found;
    };
    const parts = all ? [paths, custom] : [paths, Object.keys(custom).map((name) => ({ $ref: `/${name}` }))];
    const names = new Set([...referencedDefinitions(parts, definition), ...Object.keys(custom)]);
    const out: Json = {};
    for (const name of [...names].sort()) out[name] = definition(name);
    return out;
  }

  #custom(resources: readonly ResourceInfo[], version: Version): Record<string, OpenAPIObject> {
    const out: Record<string, OpenAPIObject> = {};
    for (const r of resources) {
      if (!r.custom) continue;
      Object.assign(
        out,
        customDefinitions(
          {
            group: r.group,
            version: r.version,
            kind: r.kind,
            listKind: r.listKind,
            selectableFields: r.fieldLabels.filter((label) => !label.startsWith('metadata.')),
            plural: r.resource,
            schema: this.#options.customSchema(r),
          },
          { version, describe: this.#options.describe },
        ),
      );
    }
    return out;
  }

  #v3(paths: Json, resources: readonly ResourceInfo[], group = '', version = 'v1'): Json {
    const custom = this.#custom(resources, 'v3');
    const schemas = this.#definitions(paths, custom, 'v3', false);
    for (const name of ['DeleteOptions', 'WatchEvent']) {
      const shared = schemas[`${meta}.${name}`] as OpenAPIObject | undefined;
      if (shared !== undefined) schemas[`${meta}.${name}`] = ofVersion(shared, group, version);
    }
    return {
      openapi: '3.0.0',
      info: { title: 'Kubernetes', version: this.#options.gitVersion },
      paths,
      components: {
        schemas,
        securitySchemes: {
          BearerToken: {
            type: 'apiKey',
            description: 'Bearer Token authentication',
            name: 'authorization',
            in: 'header',
          },
        },
      },
    };
  }

  /** The v3 document of a group version. */
  versionDocument(v: ServedVersion): Json {
    return this.#v3(sorted(this.#versionPaths(v, 'v3')), v.resources, v.group, v.version);
  }

  groupDocument(group: string): Json {
    return this.#v3(this.#groupPaths(group, 'v3'), []);
  }

  rootDocument(name: RootName): Json {
    return this.#v3(this.#rootPaths(name, 'v3'), []);
  }

  /** The v2 document of everything that is served. */
  wholeDocument(groups: readonly ServedGroup[]): Json {
    const paths: Json = {};
    for (const name of rootNames) Object.assign(paths, this.#rootPaths(name, 'v2'));
    const { catalog } = this.#options;
    const builtIn = new Set(catalog.definitions());
    const custom: Record<string, OpenAPIObject> = {};
    for (const g of groups) {
      if (g.group !== '' && !g.custom) Object.assign(paths, this.#groupPaths(g.group, 'v2'));
      for (const v of g.versions) {
        const own = this.#custom(v.resources, 'v2');
        const clashing = Object.keys(own).filter((name) => builtIn.has(name));
        const rename = renamer(clashing);
        Object.assign(paths, rename(this.#versionPaths(v, 'v2')));
        for (const [name, definition] of Object.entries(own))
          custom[clashing.includes(name) ? `${name}_v2` : name] = rename(definition);
      }
    }
    const ordered = sorted(paths);
    return {
      swagger: '2.0',
      info: { title: 'Kubernetes', version: this.#options.gitVersion },
      paths: ordered,
      definitions: this.#definitions(ordered, custom, 'v2', true),
      securityDefinitions: {
        BearerToken: {
          description: 'Bearer Token authentication',
          in: 'header',
          name: 'authorization',
          type: 'apiKey',
        },
      },
      security: [{ BearerToken: [] }],
    };
  }
}

/** A kind that is registered everywhere names, in the document of one group version, only that one and the core's. */
function ofVersion(definition: OpenAPIObject, group: string, version: string): OpenAPIObject {
  const key = 'x-kubernetes-group-version-kind';
  const kinds = definition[key] as { group: string; version: string }[] | undefined;
  if (kinds === undefined) return definition;
  const own = kinds.filter(
    (k) => (k.group === group && k.version === version) || (k.group === '' && k.version === 'v1'),
  );
  return { ...definition, [key]: own };
}

/** A custom kind whose definition would be called as a built-in one has it under another name where all are in one document. */
function renamer(names: readonly string[]): <T>(part: T) => T {
  if (names.length === 0) return (part) => part;
  const references = new Set(names.map((name) => `#/definitions/${name}`));
  const rename = (part: unknown): unknown => {
    if (typeof part !== 'object' || part === null) return part;
    if (Array.isArray(part)) return part.map(rename);
    return Object.fromEntries(
      Object.entries(part).map(([key, value]) => [
        key,
        key === '$ref' && references.has(value as string) ? `${value as string}_v2` : rename(value),
      ]),
    );
  };
  return rename as <T>(part: T) => T;
}

function sorted(paths: Json): Json {
  return Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1)));
}
