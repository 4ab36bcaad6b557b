/** Which APIs and features a cluster has: `--runtime-config`, `--feature-gates` and `--emulated-version`, read together. */
import type { Catalog } from '../api/catalog/catalog.ts';
import { FeatureGates } from '../api/features/feature-gates.ts';
import { parseRuntimeConfig, type RuntimeConfig } from '../apiserver/api-enablement.ts';

export interface ApiChoice {
  /** `group/version`, `group/version/resource`, `api/all`, `api/ga`, `api/beta`, `api/alpha`. */
  readonly runtimeConfig?: Readonly<Record<string, string | boolean>> | undefined;
  readonly featureGates?: Readonly<Record<string, string | boolean>> | undefined;
  /** `1.36`, or `kube=1.36`. */
  readonly emulatedVersion?: readonly string[] | undefined;
  readonly minCompatibilityVersion?: readonly string[] | undefined;
}

/** What is neither this release nor, for the least version to get along with, the one before it. */
function checkVersions(flag: string, given: readonly string[] | undefined, allowed: readonly string[]): void {
  for (const text of given ?? []) {
    const [component, version] = text.includes('=') ? text.split('=', 2) : ['kube', text];
    if (component !== 'kube') throw new Error(`--${flag} ${text}: component not registered: ${component}`);
    if (!/^v?\d+\.\d+$/.test(version!))
      throw new Error(`--${flag} ${text}: the version must be major.minor, such as ${allowed.at(-1)}`);
    if (!allowed.includes(version!.replace(/^v/, '')))
      throw new Error(`--${flag} ${text}: version ${version} is not between [${allowed[0]}, ${allowed.at(-1)}]`);
  }
}

function previous(release: string): string {
  const [major, minor] = release.split('.').map(Number);
  return `${major}.${minor! - 1}`;
}

/**
 * @throws {Error} for gates and APIs that are not known, and for versions that cannot be emulated: there is one set of
 * facts, that of the release
 */
export function readApiChoice(
  choice: ApiChoice,
  catalog: Catalog,
): { readonly features: FeatureGates; readonly runtimeConfig: RuntimeConfig } {
  const release = /^v?(\d+\.\d+)/.exec(catalog.release)![1]!;
  checkVersions('emulated-version', choice.emulatedVersion, [release]);
  checkVersions('min-compatibility-version', choice.minCompatibilityVersion, [previous(release), release]);
  return {
    features: new FeatureGates(choice.featureGates ?? {}),
    runtimeConfig: parseRuntimeConfig(choice.runtimeConfig ?? {}, catalog),
  };
}
