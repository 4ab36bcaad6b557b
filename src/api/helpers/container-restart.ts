/** Which containers are started again when they end: restart rules, the container's own policy, the pod's (KEP-5307, KEP-5532). */
import type { Container, ContainerRestartRule, PodSpec } from '../types/index.gen.ts';

/** The first of a container's restart rules that its exit code meets. */
export function restartRule(container: Container, exitCode: number): ContainerRestartRule | undefined {
  return container.restartPolicyRules?.find((rule) => {
    const listed = rule.exitCodes?.values?.includes(exitCode) ?? false;
    const operator = rule.exitCodes?.operator;
    return operator === 'In' ? listed : operator === 'NotIn' && !listed;
  });
}

/** Whether a container that exited with `exitCode` is started again (restart rules, then the container's, then the pod's policy). */
export function shouldRestart(container: Container, spec: PodSpec, exitCode: number): boolean {
  if (container.restartPolicy !== undefined) {
    const action = restartRule(container, exitCode)?.action;
    if (action === 'Restart' || action === 'RestartAllContainers') return true;
    if (container.restartPolicy === 'Always') return true;
    if (container.restartPolicy === 'Never') return false;
    return exitCode !== 0;
  }
  if (spec.restartPolicy === 'Never') return false;
  if (spec.restartPolicy === 'OnFailure') return exitCode !== 0;
  return true;
}

/** Whether a rule of the pod can have all its containers restarted. */
export function mayRestartAll(spec: PodSpec): boolean {
  return [...(spec.initContainers ?? []), ...spec.containers].some(
    (c) => c.restartPolicyRules?.some((r) => r.action === 'RestartAllContainers') === true,
  );
}
