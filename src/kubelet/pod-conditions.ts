/** The pod conditions that are the kubelet's to say (upstream's `status/generate.go`). Pure. */
import type { ContainerStatus, Pod, PodCondition, PodSpec } from '../api/types/index.gen.ts';

/** A condition without its type, times and generation. */
export type ConditionDraft = Omit<PodCondition, 'type' | 'lastTransitionTime' | 'lastProbeTime' | 'observedGeneration'>;

/** Go's `%s` of a list of strings. */
function goList(names: readonly string[]): string {
  return `[${names.join(' ')}]`;
}

export function containersReady(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
  phase: string,
): ConditionDraft {
  const unknown: string[] = [];
  const unready: string[] = [];
  const look = (name: string, statuses: readonly ContainerStatus[]) => {
    const s = statuses.find((x) => x.name === name);
    if (s === undefined) unknown.push(name);
    else if (!s.ready) unready.push(name);
  };
  for (const c of spec.initContainers ?? []) if (c.restartPolicy === 'Always') look(c.name, init);
  for (const c of spec.containers) look(c.name, regular);
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  const messages: string[] = [];
  if (unknown.length > 0) messages.push(`containers with unknown status: ${goList(unknown)}`);
  if (unready.length > 0) messages.push(`containers with unready status: ${goList(unready)}`);
  if (messages.length > 0) return { status: 'False', reason: 'ContainersNotReady', message: messages.join(', ') };
  return { status: 'True' };
}

export function initialized(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
  phase: string,
): ConditionDraft {
  const unknown: string[] = [];
  const incomplete: string[] = [];
  for (const c of spec.initContainers ?? []) {
    const s = init.find((x) => x.name === c.name);
    if (s === undefined) unknown.push(c.name);
    else if (c.restartPolicy === 'Always' ? s.started !== true : !s.ready) incomplete.push(c.name);
  }
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' };
  if (
    regular.some(
      (s) =>
        s.started === true ||
        s.lastState?.terminated !== undefined ||
        s.state?.running !== undefined ||
        s.state?.terminated !== undefined,
    )
  )
    return { status: 'True' };
  const messages: string[] = [];
  if (unknown.length > 0) messages.push(`containers with unknown status: ${goList(unknown)}`);
  if (incomplete.length > 0) messages.push(`containers with incomplete status: ${goList(incomplete)}`);
  if (messages.length > 0) return { status: 'False', reason: 'ContainersNotInitialized', message: messages.join(', ') };
  return { status: 'True' };
}

export function podReady(pod: Pod, containers: ConditionDraft, conditions: readonly PodCondition[]): ConditionDraft {
  if (containers.status !== 'True') return containers;
  const messages: string[] = [];
  for (const gate of pod.spec!.readinessGates ?? []) {
    const c = conditions.find((x) => x.type === gate.conditionType);
    if (c === undefined)
      messages.push(`corresponding condition of pod readiness gate "${gate.conditionType}" does not exist.`);
    else if (c.status !== 'True')
      messages.push(`the status of pod readiness gate "${gate.conditionType}" is not "True", but ${c.status}`);
  }
  if (messages.length > 0) return { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
  return { status: 'True' };
}

/** Keeps the order that the API has, so that a patch moves nothing. */
export function order(conditions: PodCondition[], like: readonly PodCondition[]): void {
  if (like.length === 0) return;
  const rank = new Map(like.map((c, i) => [c.type, i]));
  const at = (c: PodCondition) => rank.get(c.type) ?? like.length;
  conditions.sort((a, b) => at(a) - at(b));
}
