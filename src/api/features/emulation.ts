/**
 * Behaving as an earlier release (`--emulated-version`, `--min-compatibility-version`): the feature gates as they stood then,
 * and without the APIs that came later. What the APIs that are left do and how they are stored is this release's.
 */
import releases from './releases.json' with { type: 'json' };

type Stage = 'Alpha' | 'Beta' | 'GA' | 'Deprecated';

export interface GateThen {
  readonly default: boolean;
  readonly stage: Stage;
  readonly locked: boolean;
}

/** `major.minor` */
export interface EffectiveVersion {
  readonly emulation: string;
  readonly minCompatibility: string;
  /** Later versions of APIs that are served are served as well. */
  readonly forwardCompatible: boolean;
  /** Later APIs may be asked for by `--runtime-config`. */
  readonly runtimeConfigForwardCompatible: boolean;
}

const gates = releases.gates as Readonly<Record<string, Readonly<Record<string, string | null>>>>;
const introduced: Readonly<Record<string, string>> = releases.introduced;

/** The gate in an earlier release: undefined where it is as it is now, null where there was none. */
export function gateIn(release: string, name: string): GateThen | null | undefined {
  const of = gates[release];
  if (of === undefined || !Object.hasOwn(of, name)) return undefined;
  const text = of[name];
  if (text === null || text === undefined) return null;
  const [value, stage, locked] = text.split(' ');
  return { default: value === 'on', stage: stage as Stage, locked: locked === 'locked' };
}

/** -1, 0, 1 as `a` is older than, the same as or newer than `b`. */
export function compareReleases(a: string, b: string): number {
  const [x = [], y = []] = [a, b].map((text) => text.split('.').map(Number));
  return Math.sign(x[0]! - y[0]! || x[1]! - y[1]!);
}

/** The release a kind came with, where that is among those that can be emulated. */
export function introducedIn(group: string, version: string, kind: string): string | undefined {
  return introduced[`${group}/${version}/${kind}`];
}

/** `release` less so many minor versions. */
export function earlier(release: string, by: number): string {
  const [major, minor] = release.split('.').map(Number);
  return `${major}.${minor! - by}`;
}
