/**
 * `ResourceDirectory`: every resource that this server serves: those of the catalogue whose group versions are enabled, and
 * the custom ones as their definitions come and go. Discovery, OpenAPI and the director read it.
 */
import type { Catalog } from '../api/catalog/catalog.ts';
import type { ResourceInfo } from '../api/catalog/resource.ts';
import type { JSONSchemaProps } from '../api/schema/json-schema.ts';
import type { ResourceResolver } from './director.ts';

export interface ServedVersion {
  readonly group: string;
  readonly version: string;
  readonly resources: readonly ResourceInfo[];
}

export interface ServedGroup {
  readonly group: string;
  readonly preferredVersion: string;
  readonly versions: readonly ServedVersion[];
  readonly custom: boolean;
  /** Made of other groups' objects; stands last. */
  readonly computed?: true;
}

/** Upstream's order of versions (apimachinery version.CompareKubeAwareVersionStrings): GA, beta, alpha, newest first. */
export function compareVersions(a: string, b: string): number {
  const parse = (v: string): [number, number, number] | undefined => {
    const m = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(v);
    if (m === null) return undefined;
    return [m[2] === undefined ? 2 : m[2] === 'beta' ? 1 : 0, Number(m[1]), Number(m[3] ?? 0)];
  };
  const x = parse(a);
  const y = parse(b);
  if (x === undefined || y === undefined) {
    if (x === undefined && y === undefined) return a < b ? -1 : a > b ? 1 : 0;
    return x === undefined ? 1 : -1;
  }
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return y[i]! - x[i]!;
  return 0;
}

/** Built-in APIs that will not be served for ever. */
const deprecated: Readonly<Record<string, string>> = {
  '/v1/componentstatuses': 'v1 ComponentStatus is deprecated in v1.19+',
  '/v1/endpoints': 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
  'admissionregistration.k8s.io/v1alpha1/mutatingadmissionpolicies':
    'admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy is deprecated in v1.35+, unavailable in v1.38+',
  'admissionregistration.k8s.io/v1alpha1/mutatingadmissionpolicybindings':
    'admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding is deprecated in v1.35+, unavailable in v1.38+',
  'certificates.k8s.io/v1alpha1/clustertrustbundles':
    'certificates.k8s.io/v1alpha1 ClusterTrustBundle is deprecated in v1.34+, unavailable in v1.37+',
  'coordination.k8s.io/v1alpha2/leasecandidates':
    'coordination.k8s.io/v1alpha2 LeaseCandidate is deprecated in v1.35+, unavailable in v1.38+',
  'coordination.k8s.io/v1beta1/leasecandidates':
    'coordination.k8s.io/v1beta1 LeaseCandidate is deprecated in v1.36+, unavailable in v1.39+',
  'networking.k8s.io/v1beta1/ipaddresses':
    'networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+',
  'networking.k8s.io/v1beta1/servicecidrs':
    'networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+',
  'resource.k8s.io/v1alpha3/devicetaintrules':
    'resource.k8s.io/v1alpha3 DeviceTaintRule is deprecated in v1.36+, unavailable in v1.39+',
  'resource.k8s.io/v1beta1/deviceclasses':
    'resource.k8s.io/v1beta1 DeviceClass is deprecated in v1.35+, unavailable in v1.38+',
  'resource.k8s.io/v1beta1/resourceclaims':
    'resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.35+, unavailable in v1.38+',
  'resource.k8s.io/v1beta1/resourceclaimtemplates':
    'resource.k8s.io/v1beta1 ResourceClaimTemplate is deprecated in v1.35+, unavailable in v1.38+',
  'resource.k8s.io/v1beta1/resourceslices':
    'resource.k8s.io/v1beta1 ResourceSlice is deprecated in v1.35+, unavailable in v1.38+',
  'resource.k8s.io/v1beta2/deviceclasses':
    'resource.k8s.io/v1beta2 DeviceClass is deprecated in v1.36+, unavailable in v1.39+',
  'resource.k8s.io/v1beta2/resourceclaims':
    'resource.k8s.io/v1beta2 ResourceClaim is deprecated in v1.36+, unavailable in v1.39+',
  'resource.k8s.io/v1beta2/resourceclaimtemplates':
    'resource.k8s.io/v1beta2 ResourceClaimTemplate is deprecated in v1.36+, unavailable in v1.39+',
  'resource.k8s.io/v1beta2/resourceslices':
    'resource.k8s.io/v1beta2 ResourceSlice is deprecated in v1.36+, unavailable in v1.39+',
  'storage.k8s.io/v1beta1/volumeattributesclasses':
    'storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass',
};

export class ResourceDirectory implements ResourceResolver {
  readonly #builtIn: readonly ServedGroup[];
  readonly #builtInVersions = new Set<string>();
  /** `group/resource` */
  readonly #builtInResources = new Set<string>();
  readonly #byPath = new Map<string, ResourceInfo>();
  /** Resources of each definition, all its served versions. */
  readonly #custom = new Map<string, readonly ResourceInfo[]>();
  readonly #schemas = new WeakMap<ResourceInfo, () => JSONSchemaProps | undefined>();
  #generation = 0;
  #groups: readonly ServedGroup[] | undefined;

  /** `serves` decides about each built-in resource; a version without any is not there. */
  constructor(catalog: Catalog, serves: (resource: ResourceInfo) => boolean) {
    const groups: ServedGroup[] = [];
    for (const g of catalog.groups) {
      const versions = g.versions.flatMap((v) => {
        const resources = v.resources.filter(serves);
        if (resources.length === 0) return [];
        return [resources.length === v.resources.length ? v : { ...v, resources }];
      });
      if (versions.length === 0) continue;
      const preferred = versions.some((v) => v.version === g.preferredVersion)
        ? g.preferredVersion
        : versions[0]!.version;
      groups.push({ group: g.group, preferredVersion: preferred, versions, custom: false });
      for (const v of versions) {
        this.#builtInVersions.add(`${g.group}/${v.version}`);
        for (const r of v.resources) {
          this.#builtInResources.add(`${g.group}/${r.resource}`);
          const path = `${g.group}/${v.version}/${r.resource}`;
          const warning = deprecated[path];
          this.#byPath.set(path, warning === undefined ? r : { ...r, warning });
        }
      }
    }
    this.#builtIn = groups;
  }

  /** Grows with every change; what was derived from an older one is stale. */
  get generation(): number {
    return this.#generation;
  }

  resource(group: string, version: string, resource: string): ResourceInfo | undefined {
    return this.#byPath.get(`${group}/${version}/${resource}`);
  }

  builtIn(group: string, version: string): boolean {
    return this.#builtInVersions.has(`${group}/${version}`);
  }

  /** Served in some version, so that no definition can serve it. */
  builtInResource(group: string, resource: string): boolean {
    return this.#builtInResources.has(`${group}/${resource}`);
  }

  /**
   * Serves the versions of a custom resource, in place of those that were served for `definition` (the CRD's name) before.
   * All there is in a group version that is built in is built in. `schema`: the OpenAPI v3 schema of each version, for publication; asked when it is needed.
   */
  setCustom(
    definition: string,
    all: readonly ResourceInfo[],
    schema?: (resource: ResourceInfo) => JSONSchemaProps | undefined,
  ): void {
    this.#forget(definition);
    const resources = all.filter((r) => !this.builtIn(r.group, r.version));
    if (schema !== undefined) for (const r of resources) this.#schemas.set(r, () => schema(r));
    if (resources.length > 0) this.#custom.set(definition, resources);
    for (const r of resources) this.#byPath.set(`${r.group}/${r.version}/${r.resource}`, r);
    this.#changed();
  }

  /** The published schema of a custom resource's version. */
  customSchema(resource: ResourceInfo): JSONSchemaProps | undefined {
    return this.#schemas.get(resource)?.();
  }

  removeCustom(definition: string): void {
    if (!this.#custom.has(definition)) return;
    this.#forget(definition);
    this.#changed();
  }

  #forget(definition: string): void {
    for (const r of this.#custom.get(definition) ?? []) this.#byPath.delete(`${r.group}/${r.version}/${r.resource}`);
    this.#custom.delete(definition);
  }

  #changed(): void {
    this.#generation++;
    this.#groups = undefined;
  }

  /** The core group first, then the built-in ones in discovery's order, then custom groups by name. */
  groups(): readonly ServedGroup[] {
    this.#groups ??= this.#collect();
    return this.#groups;
  }

  group(name: string): ServedGroup | undefined {
    return this.groups().find((g) => g.group === name);
  }

  #collect(): readonly ServedGroup[] {
    const custom = new Map<string, Map<string, ResourceInfo[]>>();
    for (const resources of this.#custom.values()) {
      for (const r of resources) {
        let versions = custom.get(r.group);
        if (versions === undefined) custom.set(r.group, (versions = new Map()));
        const list = versions.get(r.version);
        if (list === undefined) versions.set(r.version, [r]);
        else list.push(r);
      }
    }
    const groups = [...this.#builtIn];
    const last: ServedGroup[] = [];
    for (const group of [...custom.keys()].sort()) {
      const versions = [...custom.get(group)!]
        .sort(([a], [b]) => compareVersions(a, b))
        .map(([version, resources]) => ({
          group,
          version,
          resources: resources.sort((a, b) => (a.resource < b.resource ? -1 : 1)),
        }));
      const own = groups.findIndex((g) => g.group === group);
      if (own >= 0) {
        // Further versions of a built-in group.
        groups[own] = { ...groups[own]!, versions: [...groups[own]!.versions, ...versions] };
        continue;
      }
      const computed = versions.every((v) => v.resources.every((r) => r.computed === true));
      (computed ? last : groups).push({
        group,
        preferredVersion: versions[0]!.version,
        versions,
        custom: true,
        ...(computed ? { computed } : {}),
      });
    }
    return [...groups, ...last];
  }
}
