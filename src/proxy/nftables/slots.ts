/**
 * Which number an endpoint has in the map that a random number chooses from. Who stays keeps its number, so that one endpoint more or
 * less changes one or two elements and not the whole list.
 */

/** `wanted` in an order that keeps as much of `before` in place as can be. */
export function assignSlots(before: readonly string[], wanted: readonly string[]): readonly string[] {
  if (before.length === 0) return wanted;
  const open = new Set(wanted);
  const slots: (string | undefined)[] = [];
  for (let i = 0; i < wanted.length; i++) {
    const kept = before[i];
    slots.push(kept !== undefined && open.delete(kept) ? kept : undefined);
  }
  const rest = open.values();
  return slots.map((s) => s ?? rest.next().value!);
}
