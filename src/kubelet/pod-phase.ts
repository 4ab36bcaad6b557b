/** A pod's phase by upstream's counting of its containers (`getPhase`). Pure. */
import { shouldRestart } from '../api/helpers/container-restart.ts';
import type { Container, ContainerState, ContainerStatus, Pod } from '../api/types/index.gen.ts';
import { isStaticPod } from './pod-util.ts';
import { restartingAll } from './restart-all.ts';

export interface PhaseInput {
  readonly pod: Pod;
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
  /** All containers are dead and none will be started again. */
  readonly terminal: boolean;
  /** A regular container of the present sandbox has been started. */
  readonly started: boolean;
}

type Terminated = NonNullable<ContainerState['terminated']>;

export function podPhase(input: PhaseInput): string {
  const { pod, init, regular } = input;
  const spec = pod.spec!;
  const restarts = (c: Container, t: Terminated): boolean =>
    shouldRestart(c, spec, t.exitCode) || t.reason === restartingAll.name;
  let pendingInit = 0;
  let pendingSidecars = 0;
  let failedForGood = 0;
  let unknown = 0;
  let running = 0;
  let waiting = 0;
  let stopped = 0;
  let stoppedForGood = 0;
  let succeeded = 0;
  for (const c of spec.initContainers ?? []) {
    const s = init.find((x) => x.name === c.name);
    if (c.restartPolicy === 'Always') {
      if (s === undefined) unknown++;
      else if (s.state?.running !== undefined) {
        if (s.started !== true) pendingSidecars++;
        running++;
      } else if (s.state?.waiting !== undefined && s.lastState?.terminated === undefined) {
        pendingSidecars++;
        waiting++;
      }
      continue;
    }
    const exit = s?.state?.terminated ?? (s?.state?.waiting === undefined ? undefined : s.lastState?.terminated);
    if (exit === undefined) pendingInit++;
    else if (exit.exitCode !== 0 && !restarts(c, exit)) failedForGood++;
  }
  for (const c of spec.containers) {
    const s = regular.find((x) => x.name === c.name);
    const exit = s?.state?.terminated ?? (s?.state?.waiting === undefined ? undefined : s.lastState?.terminated);
    if (s?.state?.running !== undefined) running++;
    else if (exit !== undefined) {
      stopped++;
      if (!restarts(c, exit)) stoppedForGood++;
      if (s?.state?.terminated?.exitCode === 0) succeeded++;
    } else if (s?.state?.waiting !== undefined) waiting++;
    else unknown++;
  }
  if (failedForGood > 0) return 'Failed';
  if (pendingInit > 0 || (pendingSidecars > 0 && !input.started) || waiting > 0) return 'Pending';
  if (running > 0 && unknown === 0) return 'Running';
  if (running > 0 || stopped === 0 || unknown > 0) return 'Pending';
  // A static pod that the node ends begins anew.
  if (input.terminal && !isStaticPod(pod)) return stopped === succeeded ? 'Succeeded' : 'Failed';
  if (stopped !== stoppedForGood) return 'Running';
  return stopped === succeeded ? 'Succeeded' : 'Failed';
}
