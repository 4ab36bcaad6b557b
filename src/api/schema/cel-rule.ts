/** One `x-kubernetes-validations` rule compiled against the type it stands at, with its worst-case costs. */
import type { Node } from '../cel/ast.ts';
import { walk } from '../cel/ast.ts';
import { createEnv } from '../cel/env.ts';
import type { Env } from '../cel/env.ts';
import { estimateCost } from '../cel/estimate.ts';
import type { Program } from '../cel/program.ts';
import { compile } from '../cel/program.ts';
import type { CelType } from '../cel/types.ts';
import { optionalType } from '../cel/types.ts';
import { fieldPathOf } from './field-path.ts';
import type { Constraints, ValidationRule } from './schema.ts';

const maxRequestSize = 3 * 1024 * 1024;

/** What compiling a rule came to. Without program and error the rule is empty. */
export interface CompiledRule {
  readonly rule: ValidationRule;
  readonly program?: Program;
  readonly error?: string;
  /** The rule compares with the value before an update. */
  readonly usesOldSelf: boolean;
  readonly maxCost: number;
  readonly message?: Program;
  readonly messageError?: string;
  readonly messageMaxCost: number;
  /** Where the error of the rule belongs, below the value. */
  readonly fieldPath?: string;
}

/** How often a rule can run at worst where nothing bounds the lists and maps around it. */
export const maxCardinality = (type: CelType): number => Math.trunc(maxRequestSize / ((type.facts?.minSize ?? 0) + 1));

/** Compiles all rules of one schema node, whose values have `type`. */
export function compileRules(constraints: Constraints, type: CelType): CompiledRule[] {
  const envs = {
    plain: createEnv({ variables: { self: type, oldSelf: type } }),
    optional: createEnv({ variables: { self: type, oldSelf: optionalType(type) } }),
  };
  return (constraints.rules ?? []).map((rule) =>
    compileRule(rule, rule.optionalOldSelf === true ? envs.optional : envs.plain, type, constraints),
  );
}

function compileRule(rule: ValidationRule, env: Env, type: CelType, constraints: Constraints): CompiledRule {
  const none = { rule, usesOldSelf: false, maxCost: 0, messageMaxCost: 0 };
  if ((rule.rule ?? '').trim() === '') return none;
  const compiled = compile(rule.rule, env);
  if (compiled.errors !== undefined) {
    const { stage, message } = compiled.errors;
    const what = stage === 'check' ? 'compilation failed' : 'program instantiation failed';
    return { ...none, error: `${what}: ${message}` };
  }
  if (compiled.type.kind !== 'bool') return { ...none, error: 'cel expression must evaluate to a bool' };
  const found = {
    rule,
    program: compiled.program,
    usesOldSelf: mentions(compiled.tree, 'oldSelf'),
    maxCost: estimateCost(compiled.tree, type).max,
    fieldPath: rule.fieldPath ? fieldPathOf(rule.fieldPath, constraints) : undefined,
  };
  return { ...found, ...compileMessage(rule, env, type) };
}

type Message = Pick<CompiledRule, 'message' | 'messageError' | 'messageMaxCost'>;

function compileMessage(rule: ValidationRule, env: Env, type: CelType): Message {
  if (!rule.messageExpression) return { messageMaxCost: 0 };
  const compiled = compile(rule.messageExpression, env);
  const wrong = (messageError: string): Message => ({ messageError, messageMaxCost: 0 });
  if (compiled.errors !== undefined) {
    const { stage, message } = compiled.errors;
    return wrong(`messageExpression ${stage === 'check' ? 'compilation' : 'instantiation'} failed: ${message}`);
  }
  if (compiled.type.kind !== 'string') return wrong('messageExpression must evaluate to a string');
  return { message: compiled.program, messageMaxCost: estimateCost(compiled.tree, type).max };
}

function mentions(tree: Node, name: string): boolean {
  let found = false;
  walk(tree, (node) => {
    found ||= node.kind === 'ident' && node.name === name;
  });
  return found;
}
