/** Conditions in a status: found by type, replaced without losing when they last changed. Lists are copied, never mutated. */

export interface ConditionLike {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export function findCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((c) => c.type === type);
}

/**
 * The list with `condition` in place of the one of its type. Same status and reason: the list as it is. Same status: the old
 * transition time is kept.
 */
export function setCondition<C extends ConditionLike>(conditions: readonly C[] | undefined, condition: C): C[] {
  const current = findCondition(conditions, condition.type);
  if (current !== undefined && current.status === condition.status && current.reason === condition.reason) {
    return [...conditions!];
  }
  const rest = (conditions ?? []).filter((c) => c.type !== condition.type);
  if (current !== undefined && current.status === condition.status) {
    return [...rest, { ...condition, lastTransitionTime: current.lastTransitionTime }];
  }
  return [...rest, condition];
}

export function withoutCondition<C extends ConditionLike>(conditions: readonly C[] | undefined, type: string): C[] {
  return (conditions ?? []).filter((c) => c.type !== type);
}

/** metav1.Condition: as apimachinery's SetStatusCondition. Only a change of status changes the transition time. */
export function setStatusCondition<C extends ConditionLike>(conditions: readonly C[] | undefined, condition: C): C[] {
  const list = conditions ?? [];
  const at = list.findIndex((c) => c.type === condition.type);
  if (at === -1) return [...list, condition];
  const old = list[at]!;
  return list.with(
    at,
    old.status === condition.status ? { ...condition, lastTransitionTime: old.lastTransitionTime } : condition,
  );
}
