/** Which pods of a DaemonSet a rolling update deletes now, and on which nodes it makes new ones beside old ones. */
import { isPodAvailable } from '../../api/helpers/pod-status.ts';
import type { DaemonSet, Pod } from '../../api/types/index.gen.ts';
import { rollingLimits } from './pods.ts';

export interface RollingUpdateInput {
  readonly set: DaemonSet;
  readonly now: number;
  /** Pods by node; nodes that want a pod and have none are there with an empty list. */
  readonly byNode: ReadonlyMap<string, readonly Pod[]>;
  /** Nodes that want a pod. */
  readonly desired: ReadonlySet<string>;
  readonly isUpdated: (pod: Pod) => boolean;
}

export interface Changes {
  readonly remove: readonly Pod[];
  readonly createOn: readonly string[];
}

interface OnNode {
  readonly node: string;
  readonly fresh: Pod | undefined;
  readonly old: Pod | undefined;
  /** More than one of a kind: first the ordinary work has to clear up. */
  readonly excess: boolean;
}

function* nodes(input: RollingUpdateInput): Generator<OnNode> {
  for (const [node, pods] of input.byNode) {
    const alive = pods.filter((p) => p.metadata.deletionTimestamp === undefined);
    const fresh = alive.filter(input.isUpdated);
    const old = alive.filter((p) => !input.isUpdated(p));
    yield { node, fresh: fresh[0], old: old[0], excess: fresh.length > 1 || old.length > 1 };
  }
}

export function rollingUpdate(input: RollingUpdateInput): Changes {
  const limits = rollingLimits(input.set, input.desired.size);
  return limits.maxSurge === 0 ? withoutSurge(input, limits.maxUnavailable) : withSurge(input, limits.maxSurge);
}

/** Old pods go first; their successors are made when they are gone. */
function withoutSurge(input: RollingUpdateInput, maxUnavailable: number): Changes {
  const minReady = input.set.spec?.minReadySeconds ?? 0;
  const available = (pod: Pod): boolean => isPodAvailable(pod, minReady, input.now);
  let unavailable = 0;
  const broken: Pod[] = [];
  const candidates: Pod[] = [];
  for (const { fresh, old, excess } of nodes(input)) {
    if (excess || (fresh === undefined) === (old === undefined)) unavailable++;
    else if (fresh !== undefined) {
      if (!available(fresh)) unavailable++;
    } else if (!available(old!)) {
      // Replacing it takes nothing away.
      broken.push(old!);
      unavailable++;
    } else if (unavailable < maxUnavailable) candidates.push(old!);
  }
  const more = Math.max(0, maxUnavailable - unavailable);
  return { remove: [...broken, ...candidates.slice(0, more)], createOn: [] };
}

/** New pods come first; an old one goes when its successor is available. */
function withSurge(input: RollingUpdateInput, maxSurge: number): Changes {
  const minReady = input.set.spec?.minReadySeconds ?? 0;
  const available = (pod: Pod): boolean => isPodAvailable(pod, minReady, input.now);
  let surge = 0;
  let availableCount = 0;
  const remove: Pod[] = [];
  const unwanted: Pod[] = [];
  const allowed: string[] = [];
  const candidates: string[] = [];
  for (const { node, fresh, old, excess } of nodes(input)) {
    if (excess) {
      surge++;
      continue;
    }
    const present = old ?? fresh;
    if (present !== undefined && available(present)) availableCount++;
    if (old === undefined) continue;
    if (fresh !== undefined) {
      if (available(fresh)) remove.push(old);
      else surge++;
      continue;
    }
    const wanted = input.desired.has(node);
    if (!available(old)) {
      if (wanted) allowed.push(node);
      else remove.push(old);
    } else if (!wanted) unwanted.push(old);
    else if (surge < maxSurge) candidates.push(node);
  }
  const spare = Math.max(0, availableCount - input.desired.size);
  remove.push(...unwanted.slice(0, spare));
  const more = Math.max(0, maxSurge - surge);
  return { remove, createOn: [...allowed, ...candidates.slice(0, more)] };
}
