/** What the closure compiler makes of a node, and what it knows of the environment. */
import type { Attribute } from './attribute.ts';
import type { FunctionDecl } from './declarations.ts';
import { fail } from './errors.ts';
import type { Eval } from './frame.ts';
import { printValue } from './print.ts';
import type { CelType } from './types.ts';
import type { KeyIndex } from './values.ts';
import { Double, keyIndex } from './values.ts';

/** A compiled node: its closure, and what parents may use of it. */
export interface Plan {
  readonly eval: Eval;
  readonly constant?: { readonly value: unknown };
  readonly attribute?: Attribute;
}

/** What the compiler knows of the environment. */
export interface PlanScope {
  fn(name: string): FunctionDecl | undefined;
  readonly features: { readonly strictPresence: boolean };
  /** Makes an object of a declared type (`Type{field: value}`). */
  construct(type: CelType, fields: ReadonlyMap<string, unknown>): unknown;
}

export const constantPlan = (value: unknown): Plan => ({ eval: () => value, constant: { value } });

/** What a key of a map is found by. Fails for what cannot be one. */
export function mapKeyIndex(key: unknown): KeyIndex {
  const index = key instanceof Double ? undefined : keyIndex(key);
  if (index === undefined || (typeof index === 'number' && !Number.isSafeInteger(index))) {
    return fail(`unsupported key type: ${printValue(key, true)}`);
  }
  return index;
}
