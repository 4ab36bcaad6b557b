/** Which members a message has, by the numbers of its fields: JSON has some of them inline that protobuf has in messages. */
import type { Field, ObjectSchema } from './schema/schema.ts';

/** A message's field: a member, or a message that holds members which JSON has inline. */
export interface PlanEntry {
  readonly number: number;
  readonly field?: Field;
  readonly inline?: Plan;
  /** What is written where the member is not there; worked out when that is first so. */
  absent?: Buffer;
}

export interface Plan {
  /** By ascending number. */
  readonly entries: PlanEntry[];
  readonly byNumber: Map<number, PlanEntry>;
}

/** The plan of a message type. */
export function makePlan(schema: ObjectSchema): Plan {
  const root: Plan = { entries: [], byNumber: new Map() };
  for (const field of schema.fields.values()) {
    if (field.number === 0) continue;
    let plan = root;
    for (const number of field.within ?? []) {
      let holder = plan.byNumber.get(number);
      if (holder === undefined) {
        holder = { number, inline: { entries: [], byNumber: new Map() } };
        plan.byNumber.set(number, holder);
      }
      plan = holder.inline!;
    }
    plan.byNumber.set(field.number, { number: field.number, field });
  }
  finish(root);
  return root;
}

function finish(plan: Plan): void {
  plan.entries.push(...[...plan.byNumber.values()].sort((a, b) => a.number - b.number));
  for (const entry of plan.entries) if (entry.inline !== undefined) finish(entry.inline);
}
