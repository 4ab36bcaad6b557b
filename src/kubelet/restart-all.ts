/**
 * RestartAllContainers (KEP-5532): a container whose exit meets a rule with that action takes all containers of the pod with it. They
 * are killed and removed, those that have met the rule last, and the pod begins again with its first init container.
 */
import { mayRestartAll, restartRule } from '../api/helpers/container-restart.ts';
import type { Container, Pod, PodStatus } from '../api/types/index.gen.ts';
import type { ConditionDraft } from './pod-conditions.ts';
import type { RuntimeView } from './runtime-view.ts';
import { newestOf } from './runtime-view.ts';
import type { ContainerStatus as RuntimeContainer } from './runtime/container-runtime.ts';

const action = 'RestartAllContainers';

/** What the status of a removed container says. */
export const restartingAll = {
  name: 'RestartingAllContainers',
  message: 'The container is removed because RestartAllContainers in place',
} as const;

function* restartable(pod: Pod): Generator<Container> {
  yield* pod.spec!.initContainers ?? [];
  yield* pod.spec!.containers;
}

/** Whether all containers of the pod are to be restarted. `told`: the status that others were last told. */
export function restartsAll(pod: Pod, view: RuntimeView, told: PodStatus): boolean {
  if (!mayRestartAll(pod.spec!)) return false;
  if (told.conditions?.some((c) => c.type === 'AllContainersRestarting' && c.status === 'True') === true) return true;
  const statuses = [...(told.initContainerStatuses ?? []), ...(told.containerStatuses ?? [])];
  for (const c of restartable(pod)) {
    const now = newestOf(view, c.name);
    if (now?.state === 'CONTAINER_EXITED' && restartRule(c, now.exitCode)?.action === action) return true;
    const before = statuses.find((s) => s.name === c.name)?.state?.terminated;
    if (now === undefined && before !== undefined && before.reason !== restartingAll.name)
      if (restartRule(c, before.exitCode)?.action === action) return true;
  }
  return false;
}

/** Every instance of the pod's containers, in the order in which they go. */
export function toReset(
  pod: Pod,
  view: RuntimeView,
): { readonly container: Container; readonly status: RuntimeContainer }[] {
  const targets: ReturnType<typeof toReset> = [];
  const sources: ReturnType<typeof toReset> = [];
  for (const list of [pod.spec!.containers, pod.spec!.initContainers ?? []])
    for (const container of list.toReversed())
      for (const status of view.containers) {
        if (status.metadata.name !== container.name) continue;
        const met = status.state === 'CONTAINER_EXITED' && restartRule(container, status.exitCode)?.action === action;
        (met ? sources : targets).push({ container, status });
      }
  return [...targets, ...sources];
}

/** The condition AllContainersRestarting. */
export function restartingCondition(pod: Pod, view: RuntimeView, phase: string, restarting: boolean): ConditionDraft {
  if (phase === 'Succeeded') return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  if (!restarting || ![...restartable(pod)].some((c) => newestOf(view, c.name) !== undefined))
    return { status: 'False' };
  return {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  };
}
