/** `--version` of a component: what it prints, or the version that it is to tell of itself from then on. */
import { gitVersion, kubernetesVersion } from '../version.ts';
import { StartError } from './environment.ts';

const semantic = /^v(\d+)\.(\d+)\.(\d+)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;

/** As Go writes upstream's `version.Info`, of what is known here. */
function raw(): string {
  const [, major, minor] = semantic.exec(kubernetesVersion)!;
  return `version.Info{Major:"${major}", Minor:"${minor}", GitVersion:"${gitVersion}", Platform:"${process.platform}/${process.arch}"}`;
}

/** `print`: to be printed, and that is all. @throws {StartError} */
export function reportedVersion(flag: string | undefined): { readonly print?: string; readonly told?: string } {
  if (flag === undefined) return {};
  if (flag === 'raw') return { print: raw() };
  if (flag.startsWith('v')) {
    if (flag === gitVersion) return {};
    const given = semantic.exec(flag);
    if (given === null) throw new StartError(`could not parse ${JSON.stringify(flag)} as version (--version)`);
    const own = semantic.exec(kubernetesVersion)!;
    if (given[1] !== own[1] || given[2] !== own[2] || given[3] !== own[3])
      throw new StartError(
        `version ${JSON.stringify(flag)} must match major/minor/patch of default version ${JSON.stringify(gitVersion)} (--version)`,
      );
    return { told: flag };
  }
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(flag)) return { print: `Kubernetes ${gitVersion}` };
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(flag)) return {};
  throw new StartError(
    `invalid argument ${JSON.stringify(flag)} for "--version" flag: strconv.ParseBool: parsing ${JSON.stringify(flag)}: invalid syntax`,
  );
}
