/** What a Job's podFailurePolicy says of a failed pod, and whether its successPolicy is met. */
import type {
  ContainerStatus,
  Job,
  Pod,
  PodFailurePolicy,
  PodFailurePolicyOnExitCodesRequirement,
  SuccessPolicy,
} from '../../api/types/index.gen.ts';
import type { Intervals } from './intervals.ts';
import { countIndexes, overlap, parseIntervals } from './intervals.ts';

export interface FailureVerdict {
  readonly action?: string;
  /** The failure counts towards backoffLimit. */
  readonly counts: boolean;
  /** Why the whole Job fails, when it does. */
  readonly failJob?: string;
}

const counted: FailureVerdict = { counts: true };

/** The first rule that matches a failed pod decides; without one the failure counts. */
export function failureVerdict(policy: PodFailurePolicy | undefined, pod: Pod): FailureVerdict {
  if (policy === undefined) return counted;
  const where = `${pod.metadata.namespace}/${pod.metadata.name}`;
  for (const [index, rule] of policy.rules.entries()) {
    let message: string | undefined;
    if (rule.onExitCodes !== undefined) {
      const status =
        exitCodeMatch(pod.status?.containerStatuses, rule.onExitCodes) ??
        exitCodeMatch(pod.status?.initContainerStatuses, rule.onExitCodes);
      if (status !== undefined) {
        const code = status.state?.terminated?.exitCode;
        message = `Container ${status.name} for pod ${where} failed with exit code ${code} matching ${rule.action} rule at index ${index}`;
      }
    } else if (rule.onPodConditions !== undefined) {
      const condition = pod.status?.conditions?.find((c) =>
        rule.onPodConditions!.some((p) => p.type === c.type && (p.status ?? 'True') === c.status),
      );
      if (condition !== undefined) {
        message = `Pod ${where} has condition ${condition.type} matching ${rule.action} rule at index ${index}`;
      }
    }
    if (message === undefined) continue;
    switch (rule.action) {
      case 'Ignore':
        return { action: rule.action, counts: false };
      case 'FailIndex':
      case 'Count':
        return { action: rule.action, counts: true };
      case 'FailJob':
        return { action: rule.action, counts: true, failJob: message };
    }
  }
  return counted;
}

function exitCodeMatch(
  statuses: readonly ContainerStatus[] | undefined,
  wanted: PodFailurePolicyOnExitCodesRequirement,
): ContainerStatus | undefined {
  return statuses?.find((s) => {
    const code = s.state?.terminated?.exitCode;
    if (code === undefined || code === 0) return false;
    if (wanted.containerName !== undefined && wanted.containerName !== s.name) return false;
    if (wanted.operator === 'In') return wanted.values.includes(code);
    return wanted.operator === 'NotIn' && !wanted.values.includes(code);
  });
}

/** The message of the first rule that is met; undefined when none is. */
export function successPolicyMet(
  policy: SuccessPolicy | undefined,
  completions: number,
  succeeded: Intervals,
): string | undefined {
  if (policy === undefined || succeeded.length === 0) return undefined;
  for (const [index, rule] of policy.rules.entries()) {
    let met = false;
    if (rule.succeededIndexes !== undefined) {
      const required = parseIntervals(rule.succeededIndexes, completions);
      if (required.length === 0) continue;
      const n = overlap(required, succeeded);
      met = n === countIndexes(required) || (rule.succeededCount !== undefined && n >= rule.succeededCount);
    } else met = rule.succeededCount !== undefined && countIndexes(succeeded) >= rule.succeededCount;
    if (met) return `Matched rules at index ${index}`;
  }
  return undefined;
}

/** Pods in deletion are replaced only when they have really ended. */
export function onlyReplaceFailed(job: Job): boolean {
  return job.spec?.podReplacementPolicy === 'Failed' || job.spec?.podFailurePolicy !== undefined;
}

/** The pod has failed, or is as good as failed because it is being deleted. */
export function isJobPodFailed(pod: Pod, job: Job): boolean {
  const phase = pod.status?.phase;
  if (phase === 'Failed') return true;
  if (onlyReplaceFailed(job)) return false;
  return pod.metadata.deletionTimestamp !== undefined && phase !== 'Succeeded';
}
