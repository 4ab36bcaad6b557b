/**
 * Which APIs a server serves: the release's default, changed by `--runtime-config` (`api/all`, `api/ga`, `api/beta`,
 * `api/alpha`, `group/version`, `group/version/resource`), less the kinds whose feature gate is off.
 */
import type { Catalog } from '../api/catalog/catalog.ts';
import type { ResourceInfo } from '../api/catalog/resource.ts';
import type { FeatureGateName, FeatureGates } from '../api/features/feature-gates.ts';
import { compareReleases, introducedIn, type EffectiveVersion } from '../api/features/emulation.ts';
import { parseBool } from '../base/parse-bool.ts';

const stability: readonly (readonly [name: string, versions: RegExp])[] = [
  ['api/all', /./],
  ['api/ga', /^v\d+$/],
  ['api/beta', /^v\d+beta\d+$/],
  ['api/alpha', /^v\d+alpha\d+$/],
];

/** What was told cannot be. */
export class RuntimeConfigError extends Error {}

/** By `group/version`, and by `group/version/resource` where a resource is switched by itself. */
export type RuntimeConfig = ReadonlyMap<string, boolean>;

/**
 * Reads `--runtime-config`, in upstream's order: by stability first, then one version, then one resource.
 * @throws {RuntimeConfigError}
 */
export function parseRuntimeConfig(
  given: Readonly<Record<string, string | boolean>>,
  catalog: Catalog,
): Map<string, boolean> {
  const out = new Map<string, boolean>();
  const text = (name: string): string => String(given[name]);
  const value = (name: string): boolean => {
    // A name alone switches it on.
    const on = text(name) === '' ? true : parseBool(text(name));
    if (on !== undefined) return on;
    const quoted = JSON.stringify(text(name));
    throw new RuntimeConfigError(
      `invalid value of ${name}: ${text(name)}, err: strconv.ParseBool: parsing ${quoted}: invalid syntax`,
    );
  };
  const names = Object.keys(given);
  if (names.length === 1 && text('api/all') === 'false')
    throw new RuntimeConfigError('invalid runtime-config with only api/all=false');
  for (const [name, versions] of stability) {
    if (given[name] === undefined) continue;
    if (text(name) !== 'true' && text(name) !== 'false')
      throw new RuntimeConfigError(`invalid value ${name}=${text(name)}`);
    // Nothing works without the core group: it is switched by its own name alone.
    for (const v of catalog.groupVersions)
      if (versions.test(v.version) && (v.group !== '' || value(name))) out.set(`${v.group}/${v.version}`, value(name));
  }
  const single = names.filter((n) => !stability.some(([name]) => name === n));
  const unknown: string[] = [];
  const resources: (readonly [key: string, on: boolean])[] = [];
  for (const name of single) {
    const [first = '', second, third, ...more] = name === 'v1' || name === 'api/v1' ? ['', 'v1'] : name.split('/');
    if (second === undefined || more.length > 0) throw new RuntimeConfigError(`runtime-config invalid key ${name}`);
    const group = first === 'core' ? '' : first;
    const known = catalog.groups.find((g) => g.group === group);
    if (known === undefined) {
      unknown.push(`${first}/${second}`);
      continue;
    }
    const version = known.versions.find((v) => v.version === second);
    if (version === undefined)
      throw new RuntimeConfigError(`group version ${first}/${second} that has not been registered`);
    const key = `${group}/${second}`;
    if (third === undefined) out.set(key, value(name));
    else if (third !== third.toLowerCase())
      throw new RuntimeConfigError(
        `invalid key ${name}: group/version/resource and resource is always lowercase plural, not ${JSON.stringify(third)}`,
      );
    else resources.push([`${key}/${third}`, value(name)]);
  }
  if (unknown.length > 0) throw new RuntimeConfigError(`unknown api groups ${unknown.sort().join(',')}`);
  for (const [key, on] of resources) out.set(key, on);
  return out;
}

/** Kinds that are served only with a feature, by `group/resource`. */
const gated: Readonly<Record<string, FeatureGateName>> = {
  'certificates.k8s.io/clustertrustbundles': 'ClusterTrustBundle',
  'certificates.k8s.io/podcertificaterequests': 'PodCertificateRequest',
  'scheduling.k8s.io/workloads': 'GenericWorkload',
  'scheduling.k8s.io/podgroups': 'GenericWorkload',
  'storagemigration.k8s.io/storageversionmigrations': 'StorageVersionMigrator',
};

/** Decides about each built-in resource of each version. */
export function servedResources(
  catalog: Catalog,
  config: RuntimeConfig | undefined,
  features: FeatureGates,
  effective?: EffectiveVersion,
): (resource: ResourceInfo) => boolean {
  const enabled = enabledResources(catalog, config, features);
  if (effective === undefined) return enabled;
  const later = laterThan(effective);
  return (resource) => {
    if (!enabled(resource)) return false;
    if (!later(resource)) return true;
    const { group, version, resource: plural } = resource;
    const isAlpha = version.includes('alpha');
    if (effective.forwardCompatible && !isAlpha) {
      const others = catalog.resources.filter((r) => r.group === group && r.resource === plural);
      if (others.some((r) => !r.version.includes('alpha') && !later(r) && enabled(r))) return true;
    }
    const asked = config?.get(`${group}/${version}/${plural}`) ?? config?.get(`${group}/${version}`);
    return effective.runtimeConfigForwardCompatible && asked === true;
  };
}

/** Whether a kind came only after the release that is emulated. */
function laterThan({ emulation }: EffectiveVersion): (resource: ResourceInfo) => boolean {
  return ({ group, version, kind }) => {
    const release = introducedIn(group, version, kind);
    return release !== undefined && compareReleases(release, emulation) > 0;
  };
}

/**
 * Refuses APIs of a later release that were asked for by name.
 * @throws {RuntimeConfigError}
 */
export function checkEmulatedApis(
  asked: Iterable<string>,
  config: RuntimeConfig,
  catalog: Catalog,
  effective: EffectiveVersion,
): void {
  if (effective.runtimeConfigForwardCompatible) return;
  const later = laterThan(effective);
  for (const name of asked) {
    if (name.startsWith('api/') || config.get(name) !== true) continue;
    const [group, version, plural] = name.split('/');
    const resources = catalog.resources.filter(
      (r) => r.group === group && r.version === version && (plural === undefined || r.resource === plural),
    );
    if (resources.length === 0 || !resources.every(later)) continue;
    const since = introducedIn(resources[0]!.group, resources[0]!.version, resources[0]!.kind);
    throw new RuntimeConfigError(
      plural === undefined
        ? `cannot enable version ${name} in runtime-config because all the resources have been introduced after the current version ${effective.emulation}. Consider setting --runtime-config-emulation-forward-compatible=true`
        : `cannot enable resource ${group}/${version}, Resource=${plural} in runtime-config because it is introduced at ${since} after the current version ${effective.emulation}. Consider setting --runtime-config-emulation-forward-compatible=true`,
    );
  }
}

function enabledResources(
  catalog: Catalog,
  config: RuntimeConfig | undefined,
  features: FeatureGates,
): (resource: ResourceInfo) => boolean {
  return ({ group, version, resource }) => {
    const key = `${group}/${version}`;
    const on = config?.get(`${key}/${resource}`) ?? config?.get(key) ?? catalog.isEnabled(group, version);
    if (!on) return false;
    const gate = gated[`${group}/${resource}`];
    return gate === undefined || features.enabled(gate);
  };
}
