/** A Deployment's status: counts from its sets, and the conditions Available, Progressing and ReplicaFailure. */
import { timeMs } from '../../api/time.ts';
import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '../../api/types/index.gen.ts';
import { findCondition, setCondition, withoutCondition } from '../util/conditions.ts';
import { hasProgressDeadline, maxUnavailable, sumReplicas, sumStatus, sumTerminating, wantedOf } from './revisions.ts';

type Sets = readonly (ReplicaSet | undefined)[];

export function newCondition(
  type: string,
  status: string,
  reason: string,
  message: string,
  time: string,
): DeploymentCondition {
  return { type, status, lastUpdateTime: time, lastTransitionTime: time, reason, message };
}

/** Counts and the Available condition. `time`: now, as written into conditions. */
export function calculateStatus(
  all: Sets,
  newest: ReplicaSet | undefined,
  d: Deployment,
  time: string,
): DeploymentStatus {
  const available = sumStatus(all, 'availableReplicas');
  const terminating = sumTerminating(all);
  const enough = available >= wantedOf(d) - maxUnavailable(d);
  const status: DeploymentStatus = {
    observedGeneration: d.metadata.generation ?? 0,
    replicas: sumStatus(all, 'replicas'),
    updatedReplicas: sumStatus([newest], 'replicas'),
    readyReplicas: sumStatus(all, 'readyReplicas'),
    availableReplicas: available,
    unavailableReplicas: Math.max(sumReplicas(all) - available, 0),
    ...(terminating === undefined ? {} : { terminatingReplicas: terminating }),
    ...(d.status?.collisionCount === undefined ? {} : { collisionCount: d.status.collisionCount }),
    conditions: setCondition(
      d.status?.conditions,
      enough
        ? newCondition('Available', 'True', 'MinimumReplicasAvailable', 'Deployment has minimum availability.', time)
        : newCondition(
            'Available',
            'False',
            'MinimumReplicasUnavailable',
            'Deployment does not have minimum availability.',
            time,
          ),
    ),
  };
  return status;
}

/** Everything updated and available, nothing old left. */
export function isComplete(d: Deployment, s: DeploymentStatus | undefined): boolean {
  const wanted = wantedOf(d);
  return (
    (s?.updatedReplicas ?? 0) === wanted &&
    (s?.replicas ?? 0) === wanted &&
    (s?.availableReplicas ?? 0) === wanted &&
    (s?.observedGeneration ?? 0) >= (d.metadata.generation ?? 0)
  );
}

function isProgressing(old: DeploymentStatus | undefined, s: DeploymentStatus): boolean {
  const oldBefore = (old?.replicas ?? 0) - (old?.updatedReplicas ?? 0);
  const oldNow = (s.replicas ?? 0) - (s.updatedReplicas ?? 0);
  return (
    (s.updatedReplicas ?? 0) > (old?.updatedReplicas ?? 0) ||
    oldNow < oldBefore ||
    (s.readyReplicas ?? 0) > (old?.readyReplicas ?? 0) ||
    (s.availableReplicas ?? 0) > (old?.availableReplicas ?? 0)
  );
}

function hasTimedOut(d: Deployment, s: DeploymentStatus, now: number): boolean {
  const c = findCondition(s.conditions, 'Progressing');
  // A finished rollout does not time out; the next one sets the condition anew.
  if (c === undefined || c.reason === 'NewReplicaSetAvailable') return false;
  if (c.reason === 'ProgressDeadlineExceeded') return true;
  return timeMs(c.lastUpdateTime) + (d.spec?.progressDeadlineSeconds ?? 0) * 1000 < now;
}

/** The whole status in the course of a rollout. */
export function rolloutStatus(
  all: Sets,
  newest: ReplicaSet | undefined,
  d: Deployment,
  now: number,
  time: string,
): DeploymentStatus {
  const status = calculateStatus(all, newest, d, time);
  let conditions = status.conditions ?? [];
  if (!hasProgressDeadline(d)) conditions = withoutCondition(conditions, 'Progressing');
  const current = findCondition(d.status?.conditions, 'Progressing');
  const finished =
    (status.replicas ?? 0) === (status.updatedReplicas ?? 0) && current?.reason === 'NewReplicaSetAvailable';
  if (hasProgressDeadline(d) && !finished) {
    const what = newest === undefined ? `Deployment "${d.metadata.name}"` : `ReplicaSet "${newest.metadata.name}"`;
    if (isComplete(d, status)) {
      conditions = setCondition(
        conditions,
        newCondition('Progressing', 'True', 'NewReplicaSetAvailable', `${what} has successfully progressed.`, time),
      );
    } else if (isProgressing(d.status, status)) {
      const c = newCondition('Progressing', 'True', 'ReplicaSetUpdated', `${what} is progressing.`, time);
      // With the same reason too: the time of the last progress is what the deadline counts from.
      if (current?.status === 'True') c.lastTransitionTime = current.lastTransitionTime;
      conditions = [...withoutCondition(conditions, 'Progressing'), c];
    } else if (hasTimedOut(d, status, now)) {
      conditions = setCondition(
        conditions,
        newCondition('Progressing', 'False', 'ProgressDeadlineExceeded', `${what} has timed out progressing.`, time),
      );
    }
  }
  const failure = replicaFailure(all, newest);
  conditions =
    failure === undefined ? withoutCondition(conditions, 'ReplicaFailure') : setCondition(conditions, failure);
  return { ...status, conditions };
}

/** The failure of the new set, else of any other. */
function replicaFailure(all: Sets, newest: ReplicaSet | undefined): DeploymentCondition | undefined {
  for (const rs of [newest, ...all]) {
    const c = findCondition(rs?.status?.conditions, 'ReplicaFailure');
    if (c !== undefined) {
      return {
        type: c.type,
        status: c.status,
        ...(c.lastTransitionTime === undefined
          ? {}
          : { lastTransitionTime: c.lastTransitionTime, lastUpdateTime: c.lastTransitionTime }),
        ...(c.reason === undefined ? {} : { reason: c.reason }),
        ...(c.message === undefined ? {} : { message: c.message }),
      };
    }
  }
  return undefined;
}
