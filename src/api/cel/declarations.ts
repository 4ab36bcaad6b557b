/** Declarations: variables, and functions with their overloads, implementations and costs. */
import type { CelType } from './types.ts';
import { typeParam } from './types.ts';

export interface IdentDecl {
  readonly name: string;
  readonly type: CelType;
  /** A type name or a constant: no variable. */
  readonly constant?: { readonly value: unknown };
}

/** The part of an evaluation that functions may use. */
export interface CallContext {
  /** Memory of one evaluation for the functions of one library (compiled patterns); made on demand. */
  readonly memo: Map<unknown, unknown>;
}

export type Impl = (args: readonly unknown[], context: CallContext) => unknown;

export interface Overload {
  readonly id: string;
  readonly args: readonly CelType[];
  readonly result: CelType;
  /** Called as `target.fn(...)`; the target is the first argument. */
  readonly member: boolean;
  readonly typeParams: readonly string[];
  /** Absent for operators that the closure compiler knows. */
  readonly impl?: Impl;
  /** The same for a constant second argument, made once; may throw `Failure` for a bad one. */
  readonly prepared?: (second: unknown) => Impl;
  /** Takes values whose elements are of another type than declared. */
  readonly unguarded?: boolean;
}

export interface FunctionDecl {
  readonly name: string;
  readonly overloads: readonly Overload[];
}

function collectParams(type: CelType, into: Set<string>): void {
  if (type.kind === 'typeParam') into.add(type.name);
  for (const p of type.params) collectParams(p, into);
}

function declare(id: string, member: boolean, args: readonly CelType[], result: CelType, impl?: Impl): Overload {
  const params = new Set<string>();
  for (const t of [...args, result]) collectParams(t, params);
  return { id, args, result, member, typeParams: [...params], impl };
}

/** `fn(...)` */
export const global = (id: string, args: readonly CelType[], result: CelType, impl?: Impl): Overload =>
  declare(id, false, args, result, impl);

/** `target.fn(...)`: `args` include the target. */
export const member = (id: string, args: readonly CelType[], result: CelType, impl?: Impl): Overload =>
  declare(id, true, args, result, impl);

export const paramA = typeParam('A');
export const paramB = typeParam('B');

/** What a library adds to an environment. */
export interface Library {
  readonly name: string;
  readonly functions?: Readonly<Record<string, readonly Overload[]>>;
  readonly macros?: readonly (readonly [string, import('./macros.ts').Macro])[];
  /** Types that can be named in source. */
  readonly types?: readonly CelType[];
  readonly constants?: readonly IdentDecl[];
}
