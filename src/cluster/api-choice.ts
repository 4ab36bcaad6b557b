/** Which APIs and features a cluster has: `--runtime-config`, `--feature-gates` and `--emulated-version`, read together. */
import type { Catalog } from '../api/catalog/catalog.ts';
import { compareReleases, earlier, type EffectiveVersion } from '../api/features/emulation.ts';
import { FeatureGates } from '../api/features/feature-gates.ts';
import { checkEmulatedApis, parseRuntimeConfig, type RuntimeConfig } from '../apiserver/api-enablement.ts';

export interface ApiChoice {
  /** `group/version`, `group/version/resource`, `api/all`, `api/ga`, `api/beta`, `api/alpha`. */
  readonly runtimeConfig?: Readonly<Record<string, string | boolean>> | undefined;
  readonly featureGates?: Readonly<Record<string, string | boolean>> | undefined;
  /** `1.35`, or `kube=1.35`. */
  readonly emulatedVersion?: readonly string[] | undefined;
  readonly minCompatibilityVersion?: readonly string[] | undefined;
  readonly emulationForwardCompatible?: boolean | undefined;
  readonly runtimeConfigEmulationForwardCompatible?: boolean | undefined;
}

/** So many releases back can be emulated. */
const emulated = 3;

/** The version given for the cluster. @throws {Error} with upstream's message */
function versionOf(flag: string, given: readonly string[] | undefined): string | undefined {
  let found: string | undefined;
  for (const text of given ?? []) {
    const parts = text.split('=');
    const [component, version] = parts.length === 1 ? ['kube', text] : [parts[0]!, parts.slice(1).join('=')];
    if (component !== 'kube') throw new Error(`component not registered: ${component}`);
    const m = /^v?(\d+)\.(\d+)(\.\d.*)?$/.exec(version);
    if (m === null) throw new Error(`could not parse ${JSON.stringify(version)} as version (--${flag})`);
    if (m[3] !== undefined) throw new Error(`patch version not allowed, got: kube=${version.replace(/^v/, '')}`);
    const read = `${m[1]}.${m[2]}`;
    if (found !== undefined) throw new Error(`duplicate version flag, kube=${found} and kube=${read}`);
    found = read;
  }
  return found;
}

/** @throws {Error} with upstream's message */
function effectiveVersion(choice: ApiChoice, release: string): EffectiveVersion {
  const floor = earlier(release, emulated);
  const emulation = versionOf('emulated-version', choice.emulatedVersion) ?? release;
  const given = versionOf('min-compatibility-version', choice.minCompatibilityVersion);
  const before = earlier(emulation, 1);
  const minCompatibility = given ?? (compareReleases(before, floor) < 0 ? floor : before);
  const errors: string[] = [];
  if (compareReleases(emulation, release) > 0 || compareReleases(emulation, floor) < 0)
    errors.push(`emulation version ${emulation} is not between [${floor}, ${release}.0]`);
  if (compareReleases(minCompatibility, emulation) > 0 || compareReleases(minCompatibility, floor) < 0)
    errors.push(
      `minCompatibilityVersion version ${minCompatibility} is not between [${floor}, ${emulation}${emulation === release ? '.0' : ''}]`,
    );
  const forwardCompatible = choice.emulationForwardCompatible ?? false;
  const runtimeConfigForwardCompatible = choice.runtimeConfigEmulationForwardCompatible ?? false;
  if (emulation === release)
    for (const [name, on] of [
      ['EmulationForwardCompatible', forwardCompatible],
      ['RuntimeConfigEmulationForwardCompatible', runtimeConfigForwardCompatible],
    ] as const)
      if (on)
        errors.push(
          `ServerRunOptions.${name} cannot be set to true if the emulation version is the same as the binary version`,
        );
  if (errors.length === 1) throw new Error(errors[0]);
  if (errors.length > 1) throw new Error(`[${errors.join(', ')}]`);
  return { emulation, minCompatibility, forwardCompatible, runtimeConfigForwardCompatible };
}

/** @throws {Error} for gates and APIs that are not known, and for versions that cannot be emulated */
export function readApiChoice(
  choice: ApiChoice,
  catalog: Catalog,
): {
  readonly features: FeatureGates;
  readonly runtimeConfig: RuntimeConfig;
  readonly effectiveVersion: EffectiveVersion;
} {
  const release = /^v?(\d+\.\d+)/.exec(catalog.release)![1]!;
  const effective = effectiveVersion(choice, release);
  const runtimeConfig = parseRuntimeConfig(choice.runtimeConfig ?? {}, catalog);
  checkEmulatedApis(Object.keys(choice.runtimeConfig ?? {}), runtimeConfig, catalog, effective);
  return {
    features: new FeatureGates(choice.featureGates ?? {}, effective),
    runtimeConfig,
    effectiveVersion: effective,
  };
}
