/** Holds a pod against a level of the Pod Security Standards as it was in a version. */
import type { ObjectMeta } from '../../../api/object.ts';
import type { PodSpec } from '../../../api/types/core-v1.gen.ts';
import { baselineChecks } from './baseline.ts';
import type { Check, CheckPod, Violation } from './check.ts';
import type { LevelVersion } from './policy.ts';
import { restrictedChecks } from './restricted.ts';

const everyCheck: readonly Check[] = [...baselineChecks, ...restrictedChecks];
const newest = Math.max(...everyCheck.flatMap((c) => c.versions.map((v) => v.since)));

const byId = (a: { readonly id: string }, b: { readonly id: string }): number => (a.id < b.id ? -1 : 1);

/** The revision of each check that applies in a version, by id. */
function inVersion(
  checks: readonly Check[],
  minor: number,
): { id: string; check: CheckPod; overrides: readonly string[] }[] {
  return checks
    .flatMap(({ id, versions }) => {
      const found = versions.findLast((v) => v.since <= minor);
      return found === undefined ? [] : [{ id, check: found.check, overrides: found.overrides ?? [] }];
    })
    .sort(byId);
}

function checksOf(level: 'baseline' | 'restricted', minor: number): readonly CheckPod[] {
  const baseline = inVersion(baselineChecks, minor);
  if (level === 'baseline') return baseline.map((c) => c.check);
  const restricted = inVersion(restrictedChecks, minor);
  const overridden = new Set(restricted.flatMap((c) => c.overrides));
  return [...baseline.filter((c) => !overridden.has(c.id)), ...restricted].map((c) => c.check);
}

const byVersion = {
  baseline: Array.from({ length: newest + 1 }, (_, minor) => checksOf('baseline', minor)),
  restricted: Array.from({ length: newest + 1 }, (_, minor) => checksOf('restricted', minor)),
};

/** Every rule that the pod breaks, baseline ones first; none: it is allowed. */
export function evaluatePod(
  { level, version }: LevelVersion,
  spec: PodSpec,
  metadata: ObjectMeta | undefined,
): readonly Violation[] {
  if (level === 'privileged') return [];
  const checks = byVersion[level][version === 'latest' ? newest : Math.min(version, newest)]!;
  const violations: Violation[] = [];
  for (const check of checks) {
    const violation = check(spec, metadata);
    if (violation !== undefined) violations.push(violation);
  }
  return violations;
}

/** `host namespaces (hostPID=true), privileged (container "a" must not …)` */
export function detailsText(violations: readonly Violation[]): string {
  return violations.map(({ reason, detail }) => (detail === '' ? reason : `${reason} (${detail})`)).join(', ');
}

/** `host namespaces, privileged` */
export function reasonsText(violations: readonly Violation[]): string {
  return violations.map((v) => v.reason).join(', ');
}
