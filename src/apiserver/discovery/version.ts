/** `/version`: which release this is. The build metadata keeps version constraints of clients true. */
import { noSuchMethod } from '../director.ts';
import { earlier, type EffectiveVersion } from '../../api/features/emulation.ts';
import type { Handler } from '../filters/scope.ts';
import { checkProduced } from '../produced-types.ts';

export interface VersionOptions {
  /** `v1.36.4+knarr.1` */
  readonly gitVersion: string;
  /** `major.minor` that is emulated, and the oldest to get along with; this release and the one before it when left out. */
  readonly effective?: Pick<EffectiveVersion, 'emulation' | 'minCompatibility'> | undefined;
}

/** version.Info as upstream's `/version` answers it. */
export function versionInfo(options: VersionOptions): Record<string, string> {
  const m = /^v(\d+)\.(\d+)/.exec(options.gitVersion);
  const major = m?.[1] ?? '1';
  const minor = m?.[2] ?? '36';
  const { emulation, minCompatibility } = options.effective ?? {
    emulation: `${major}.${minor}`,
    minCompatibility: earlier(`${major}.${minor}`, 1),
  };
  const [emulationMajor = '', emulationMinor = ''] = emulation.split('.');
  const [minCompatibilityMajor = '', minCompatibilityMinor = ''] = minCompatibility.split('.');
  return {
    major,
    minor,
    emulationMajor,
    emulationMinor,
    minCompatibilityMajor,
    minCompatibilityMinor,
    gitVersion: options.gitVersion,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: `node${process.versions.node}`,
    compiler: 'v8',
    platform: `${process.platform === 'win32' ? 'windows' : process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  };
}

export function versionHandler(options: VersionOptions): Handler {
  const bytes = Buffer.from(JSON.stringify(versionInfo(options), null, 2));
  return ({ request }) => {
    if (request.method !== 'GET') throw noSuchMethod();
    checkProduced(request.headers['accept'], ['application/json']);
    return { status: 200, body: { kind: 'bytes', contentType: 'application/json', bytes } };
  };
}
