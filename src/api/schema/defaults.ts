/**
 * Defaults of built-in types: constants from the catalogue, conditional ones from `defaults/*.ts`, outer structs before
 * inner ones as upstream applies them; then what the way through upstream's internal types does (`internal-form.ts`). Works
 * on a fresh draft (from `decode`), in place. Custom resources have `defaults-custom.ts`.
 */
import { parseQuantity, newMilliQuantity, formatQuantity, quantityMilli } from '../quantity.ts';
import { copyJson } from './decode.ts';
import { coreHooks } from './defaults/core.ts';
import { earlierVersionHooks } from './defaults/earlier-versions.ts';
import type { DefaultsContext, Draft, Hook } from './defaults/hook.ts';
import { internalFormHooks } from './defaults/internal-form.ts';
import { otherHooks } from './defaults/other.ts';
import { workloadHooks } from './defaults/workloads.ts';
import type { Field, ObjectSchema, Schema } from './schema.ts';

export type { DefaultsContext } from './defaults/hook.ts';

const before: ReadonlyMap<string, Hook> = new Map([
  ...coreHooks,
  ...workloadHooks,
  ...otherHooks,
  ...earlierVersionHooks,
]);
const after: ReadonlyMap<string, Hook> = new Map(internalFormHooks);

interface Step {
  readonly name: string;
  readonly pointer: boolean;
  readonly constant: unknown;
  readonly embeddedStruct: boolean;
  readonly enter: 'object' | 'list' | 'map' | 'resourceList' | undefined;
  readonly child: ObjectSchema | undefined;
}

interface Plan {
  readonly before: Hook | undefined;
  readonly after: Hook | undefined;
  readonly steps: readonly Step[];
}

/** Fills in the defaults of a fresh draft of a built-in type, in place. */
export function applyDefaults(schema: ObjectSchema, draft: object, context: DefaultsContext): void {
  const plan = planOf(schema);
  if (plan !== null) run(plan, draft as Draft, context);
}

function run(plan: Plan, draft: Draft, context: DefaultsContext): void {
  plan.before?.(draft, context);
  for (const step of plan.steps) {
    let value = draft[step.name];
    if (step.constant !== undefined && isUnset(value, step.pointer)) {
      value = typeof step.constant === 'object' ? copyJson(step.constant) : step.constant;
      draft[step.name] = value;
    } else if (value === undefined || value === null) {
      if (!step.embeddedStruct || step.child === undefined) continue;
      // A struct by value exists even when it is not given, so its defaults apply.
      value = {};
      draft[step.name] = value;
    }
    switch (step.enter) {
      case 'object':
        run(planOf(step.child!)!, value as Draft, context);
        break;
      case 'list': {
        const plan = planOf(step.child!)!;
        for (const item of value as Draft[]) run(plan, item, context);
        break;
      }
      case 'map': {
        const plan = planOf(step.child!)!;
        for (const key in value as Draft) run(plan, (value as Draft)[key] as Draft, context);
        break;
      }
      case 'resourceList':
        roundUp(value as Draft);
    }
  }
  plan.after?.(draft, context);
}

/** Pointers keep zero values; for other members Go's zero is unset. */
function isUnset(value: unknown, pointer: boolean): boolean {
  if (value === undefined || value === null) return true;
  if (pointer) return false;
  if (value === '' || value === 0) return true;
  return Array.isArray(value) && value.length === 0;
}

/** Resource quantities are kept to a thousandth, rounded up. */
function roundUp(resources: Draft): void {
  for (const name in resources) {
    const text = resources[name];
    if (typeof text !== 'string' || !/[nu]$|e-/.test(text)) continue;
    const q = parseQuantity(text);
    resources[name] = formatQuantity(newMilliQuantity(quantityMilli(q), q.format));
  }
}

function planOf(schema: ObjectSchema): Plan | null {
  let plan = schema.derived.defaults as Plan | null | undefined;
  if (plan === undefined) {
    // A recursive type (JSONSchemaProps) has no defaults inside itself.
    schema.derived.defaults = null;
    const steps: Step[] = [];
    for (const field of schema.fields.values()) {
      const step = stepOf(field);
      if (step !== undefined) steps.push(step);
    }
    const hookBefore = before.get(schema.name);
    const hookAfter = after.get(schema.name);
    const any = steps.length > 0 || hookBefore !== undefined || hookAfter !== undefined;
    plan = any ? { before: hookBefore, after: hookAfter, steps } : null;
    schema.derived.defaults = plan;
  }
  return plan;
}

function stepOf(field: Field): Step | undefined {
  const [enter, child] = entry(field.schema);
  if (field.default === undefined && enter === undefined) return undefined;
  return {
    name: field.name,
    // Also one that is written as null when it is not set.
    pointer: field.presence === 'pointer' || (field.presence === 'always' && field.zero === null),
    constant: field.default,
    embeddedStruct: field.embeddedStruct,
    enter,
    child,
  };
}

function entry(schema: Schema): [Step['enter'], ObjectSchema | undefined] {
  switch (schema.kind) {
    case 'object':
      return planOf(schema) === null ? [undefined, undefined] : ['object', schema];
    case 'list':
      return schema.items.kind === 'object' && planOf(schema.items) !== null
        ? ['list', schema.items]
        : [undefined, undefined];
    case 'map':
      if (schema.goType === 'v1.ResourceList') return ['resourceList', undefined];
      return schema.values.kind === 'object' && planOf(schema.values) !== null
        ? ['map', schema.values]
        : [undefined, undefined];
    default:
      return [undefined, undefined];
  }
}
