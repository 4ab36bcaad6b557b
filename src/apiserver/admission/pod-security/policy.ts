/** Pod Security Standards: levels, versions, and the policy that a namespace's labels ask for. */
import { invalid, type FieldError } from '../../../api/field-error.ts';

export type Level = 'privileged' | 'baseline' | 'restricted';

const levels: readonly Level[] = ['privileged', 'baseline', 'restricted'];

/** Minor version of Kubernetes 1.x whose rules apply; `latest`: the newest that are known. */
export type Version = number | 'latest';

export interface LevelVersion {
  readonly level: Level;
  readonly version: Version;
}

export interface Policy {
  readonly enforce: LevelVersion;
  readonly audit: LevelVersion;
  readonly warn: LevelVersion;
}

export const labelPrefix = 'pod-security.kubernetes.io/';

export function versionText(version: Version): string {
  return version === 'latest' ? 'latest' : `v1.${version}`;
}

/** `restricted:latest` */
export function levelText({ level, version }: LevelVersion): string {
  return `${level}:${versionText(version)}`;
}

/** Negative, zero or positive as `a` is less strict, as strict or stricter than `b`. */
export function compareLevels(a: Level, b: Level): number {
  return levels.indexOf(a) - levels.indexOf(b);
}

export function sameLevelVersion(a: LevelVersion, b: LevelVersion): boolean {
  return a.level === b.level && a.version === b.version;
}

export function isFullyPrivileged(p: Policy): boolean {
  return p.enforce.level === 'privileged' && p.audit.level === 'privileged' && p.warn.level === 'privileged';
}

function equivalent(a: LevelVersion, b: LevelVersion): boolean {
  return (a.level === 'privileged' && b.level === 'privileged') || sameLevelVersion(a, b);
}

export function equivalentPolicies(a: Policy, b: Policy): boolean {
  return equivalent(a.enforce, b.enforce) && equivalent(a.audit, b.audit) && equivalent(a.warn, b.warn);
}

/** undefined: no level. */
export function readLevel(text: string): Level | undefined {
  return levels.find((l) => l === text);
}

/** undefined: no version. */
export function readVersion(text: string): Version | undefined {
  if (text === 'latest') return 'latest';
  const m = /^v1\.([0-9]|[1-9][0-9]*)$/.exec(text);
  return m === null ? undefined : Number(m[1]);
}

export const levelError = `must be one of ${levels.join(', ')}`;
export const versionError = 'must be "latest" or "v1.x"';

export interface NamespacePolicy {
  /** Always there: what cannot be read counts as the strictest for enforcing, and as nothing for the other modes. */
  readonly policy: Policy;
  readonly errors: readonly FieldError[];
}

export type Labels = Readonly<Record<string, string>> | undefined;

/** What the labels of a namespace ask for, over the defaults. */
export function policyOf(labels: Labels, defaults: Policy): NamespacePolicy {
  if (labels === undefined) return { policy: defaults, errors: [] };
  let any = false;
  for (const key in labels)
    if (key.startsWith(labelPrefix)) {
      any = true;
      break;
    }
  if (!any) return { policy: defaults, errors: [] };
  const errors: FieldError[] = [];
  const level = (name: string, otherwise: Level, bad: Level): { given: boolean; ok: boolean; value: Level } => {
    const text = labels[`${labelPrefix}${name}`];
    if (text === undefined) return { given: false, ok: false, value: otherwise };
    const value = readLevel(text);
    if (value === undefined) errors.push(invalid(`metadata.labels[${labelPrefix}${name}]`, text, levelError));
    return { given: true, ok: value !== undefined, value: value ?? bad };
  };
  const version = (name: string, otherwise: Version): { given: boolean; value: Version } => {
    const text = labels[`${labelPrefix}${name}-version`];
    if (text === undefined) return { given: false, value: otherwise };
    const value = readVersion(text);
    if (value === undefined) errors.push(invalid(`metadata.labels[${labelPrefix}${name}-version]`, text, versionError));
    return { given: true, value: value ?? 'latest' };
  };
  const enforce = level('enforce', defaults.enforce.level, 'restricted');
  const enforceVersion = version('enforce', defaults.enforce.version);
  const audit = level('audit', defaults.audit.level, 'privileged');
  const auditVersion = version('audit', defaults.audit.version);
  const warn = level('warn', defaults.warn.level, 'privileged');
  const warnVersion = version('warn', defaults.warn.version);
  let warning: LevelVersion = { level: warn.value, version: warnVersion.value };
  // Who enforces more than is warned of is warned of it, too.
  if (!warn.given && enforce.ok && compareLevels(enforce.value, warn.value) > 0)
    warning = { level: enforce.value, version: warnVersion.given ? warnVersion.value : enforceVersion.value };
  return {
    policy: {
      enforce: { level: enforce.value, version: enforceVersion.value },
      audit: { level: audit.value, version: auditVersion.value },
      warn: warning,
    },
    errors,
  };
}
