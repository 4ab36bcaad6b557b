/** CEL over the claims of a token, and over the user that they make: types, compilation, and claims as values. */
import { declared } from '../../../api/admission/types.ts';
import { op } from '../../../api/cel/ast.ts';
import type { Node } from '../../../api/cel/ast.ts';
import { createEnv } from '../../../api/cel/env.ts';
import { CelError } from '../../../api/cel/errors.ts';
import { escapeName } from '../../../api/cel/escaping.ts';
import { compile } from '../../../api/cel/program.ts';
import type { Program } from '../../../api/cel/program.ts';
import { anyType, boolType, isExactType, listType, mapType, stringType } from '../../../api/cel/types.ts';
import { doubleValue } from '../../../api/cel/values.ts';
import type { UserInfo } from '../../request.ts';

const strings = listType(stringType);
const claimsEnvironment = createEnv({ variables: { claims: mapType(stringType, anyType) } });
const userEnvironment = createEnv({
  variables: {
    user: declared('kubernetes.UserInfo', {
      username: stringType,
      uid: stringType,
      groups: strings,
      extra: mapType(stringType, strings),
    }),
  },
});

export interface CompiledExpression {
  readonly program: Program;
  readonly tree: Node;
}

interface Compilation {
  readonly expression?: CompiledExpression;
  readonly error?: { readonly kind: 'invalid' | 'internal'; readonly detail: string };
}

function compileIn(source: string, environment: typeof claimsEnvironment, condition: boolean): Compilation {
  const compiled = compile(source, environment);
  if (compiled.errors !== undefined) {
    const { stage, message } = compiled.errors;
    return stage === 'check'
      ? { error: { kind: 'invalid', detail: `compilation failed: ${message}` } }
      : { error: { kind: 'internal', detail: `program instantiation failed: ${message}` } };
  }
  if (condition && !isExactType(compiled.type, boolType))
    return { error: { kind: 'invalid', detail: 'must evaluate to bool' } };
  return { expression: { program: compiled.program, tree: compiled.tree } };
}

/** `condition`: it must be a bool; what it is otherwise shows when it is evaluated. */
export function compileClaims(source: string, condition: boolean): Compilation {
  return compileIn(source, claimsEnvironment, condition);
}

export function compileUser(source: string): Compilation {
  return compileIn(source, userEnvironment, true);
}

/** Whether `claims.NAME` or `claims.?NAME` stands anywhere in the expression. */
export function usesClaim({ tree }: CompiledExpression, name: string): boolean {
  const isClaims = (node: Node | undefined): boolean => node?.kind === 'ident' && node.name === 'claims';
  const look = (node: Node | undefined): boolean => {
    switch (node?.kind) {
      case 'select':
        return (node.field === name && isClaims(node.operand)) || look(node.operand);
      case 'call': {
        const [first, second] = node.args;
        if (
          node.target === undefined &&
          node.fn === op.optSelect &&
          isClaims(first) &&
          second?.kind === 'const' &&
          second.value === name
        )
          return true;
        return look(node.target) || node.args.some(look);
      }
      case 'list':
        return node.elements.some(look);
      case 'map':
        return node.entries.some((e) => look(e.key) || look(e.value));
      case 'struct':
        return node.entries.some((e) => look(e.value));
      case 'comprehension':
        return [node.range, node.init, node.condition, node.step, node.result].some(look);
      default:
        return false;
    }
  };
  return look(tree);
}

/** Members whose names are no identifiers answer to their escaped names too (`kubernetes__dot__io`). */
function escaped(object: Record<string, unknown>): Record<string, unknown> {
  const names = new Map<string, string>();
  for (const name of Object.keys(object)) {
    const other = escapeName(name);
    if (other !== undefined && other !== name) names.set(other, name);
  }
  if (names.size === 0) return object;
  const own = (key: string | symbol): string | symbol =>
    typeof key === 'string' && !Object.hasOwn(object, key) ? (names.get(key) ?? key) : key;
  return new Proxy(object, {
    get: (target, key) => Reflect.get(target, own(key)) as unknown,
    has: (target, key) => Reflect.has(target, own(key)),
    getOwnPropertyDescriptor: (target, key) => Reflect.getOwnPropertyDescriptor(target, own(key)),
  });
}

/** A claim as an expression sees it: numbers are doubles, as Go reads JSON. */
function claimValue(value: unknown): unknown {
  if (typeof value === 'number') return doubleValue(value);
  if (Array.isArray(value)) return value.map(claimValue);
  if (typeof value === 'object' && value !== null) {
    const out: Record<string, unknown> = {};
    for (const [name, member] of Object.entries(value)) out[name] = claimValue(member);
    return escaped(out);
  }
  return value;
}

export function claimsValue(claims: Readonly<Record<string, unknown>>): unknown {
  return claimValue(claims);
}

export function userValue(user: UserInfo): unknown {
  return {
    username: user.name,
    uid: user.uid ?? '',
    groups: user.groups,
    extra: escaped({ ...user.extra }),
  };
}

/**
 * The value of an expression.
 * @throws {Error} `expression '…' resulted in error: …`
 */
export function evaluate({ program }: CompiledExpression, variable: 'claims' | 'user', value: unknown): unknown {
  try {
    return program.evaluate({ [variable]: value }).value;
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    throw new Error(`expression '${program.source}' resulted in error: ${error.message}`, { cause: error });
  }
}

const notStrings = 'expression must return a string or a list of strings';

/**
 * A string, a list of strings or null as the strings that are not empty.
 * @throws {Error} for anything else
 */
export function stringsOf(value: unknown): string[] {
  if (value === null) return [];
  if (typeof value === 'string') return value === '' ? [] : [value];
  if (!Array.isArray(value)) throw new Error(notStrings);
  return value.filter((v) => {
    if (typeof v !== 'string') throw new Error(notStrings);
    return v !== '';
  }) as string[];
}
