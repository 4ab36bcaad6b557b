/**
 * Validates a custom resource against the CEL rules of its CRD (`x-kubernetes-validations`): all rules of all nodes, within one
 * budget, with transition rules, message expressions, reasons, field paths, and ratcheting of what did not change.
 */
import { perCallLimit, perRequestBudget } from '../cel/costs.ts';
import { escapeName } from '../cel/escaping.ts';
import { CelError } from '../cel/errors.ts';
import type { Evaluated, Program } from '../cel/program.ts';
import { schemaType } from '../cel/schema-type.ts';
import { none, optionalOf } from '../cel/values.ts';
import type { FieldError } from '../field-error.ts';
import { duplicate, forbiddenField, formatFieldError, invalid, omitted, required } from '../field-error.ts';
import type { CompiledRule } from './cel-rule.ts';
import { compileRules } from './cel-rule.ts';
import { Correlated, MapList } from './correlation.ts';
import type { Constraints, Schema, ValidationRule } from './schema.ts';

/** The largest text that a messageExpression may make. */
const maxMessage = 5 * 1024;

/** The rules of one schema node and of all below it. */
interface RuleNode {
  readonly constraints: Constraints;
  /** As OpenAPI names it; empty where a node has no type. */
  readonly type: string;
  readonly rules: readonly CompiledRule[];
  readonly properties: ReadonlyMap<string, RuleNode>;
  readonly values: RuleNode | undefined;
  readonly items: RuleNode | undefined;
  readonly allOf: readonly RuleNode[];
}

/** What is known of the value before an update, at one node. */
interface Ratchet {
  readonly current: Correlated | undefined;
  readonly parent: Correlated | undefined;
}

const noRatchet: Ratchet = { current: undefined, parent: undefined };

/** The rules of a CRD's version, compiled when first asked for. */
export class CelRules {
  readonly #schema: Schema;
  #root: RuleNode | undefined;

  private constructor(schema: Schema) {
    this.#schema = schema;
  }

  /** Undefined when the schema has no rules. */
  static of(schema: Schema): CelRules | undefined {
    return schema.constraints !== undefined && hasRules(schema.constraints) ? new CelRules(schema) : undefined;
  }

  /**
   * All violations. `old` is the object before an update; failures that an update does not change go to `warn` instead (and
   * without `warn` they are errors). `budget` is what all rules together may cost, `path` where the object stands.
   */
  validate(
    object: unknown,
    old?: unknown,
    options: { readonly warn?: (text: string) => void; readonly budget?: number; readonly path?: string } = {},
  ): FieldError[] {
    const constraints = this.#schema.constraints!;
    this.#root ??= compileNode(this.#schema, constraints);
    if (this.#root === undefined) return [];
    const run = new Run(options.budget ?? perRequestBudget, options.warn);
    const current =
      old === undefined || old === null || options.warn === undefined
        ? undefined
        : new Correlated(object, old, constraints);
    run.node(this.#root, object, old, options.path ?? '', { current, parent: undefined });
    return run.errors;
  }
}

/** Whether there is a rule at a node or below, along members, values and items. */
function hasRules(c: Constraints): boolean {
  if (c.rules !== undefined && c.rules.length > 0) return true;
  if (c.items !== undefined && hasRules(c.items)) return true;
  if (typeof c.additionalProperties === 'object' && hasRules(c.additionalProperties)) return true;
  for (const property of c.properties?.values() ?? []) if (hasRules(property)) return true;
  return false;
}

/** Compiles a node. `constraints` holds its rules; within `allOf` they stand beside the schema's own. */
function compileNode(schema: Schema, constraints: Constraints): RuleNode | undefined {
  const properties = new Map<string, RuleNode>();
  if (schema.kind === 'object') {
    for (const [name, inner] of constraints.properties ?? []) {
      const field = schema.fields.get(name);
      if (field === undefined) continue;
      // Metadata is no part of a CRD's own schema: only what rules of the CRD say of it counts.
      const node = compileNode(field.schema, inner);
      if (node !== undefined && (escapeName(name) === undefined || schemaType(field.schema) !== undefined)) {
        properties.set(name, node);
      }
    }
  }
  const values =
    schema.kind === 'map' && typeof constraints.additionalProperties === 'object'
      ? compileNode(schema.values, constraints.additionalProperties)
      : undefined;
  const items =
    schema.kind === 'list' && constraints.items !== undefined
      ? compileNode(schema.items, constraints.items)
      : undefined;
  const allOf = (constraints.allOf ?? []).flatMap((c) => compileNode(schema, c) ?? []);
  const type =
    constraints.rules === undefined || constraints.rules.length === 0 ? undefined : schemaType(schema, 'selfType');
  const spine = schema.constraints ?? constraints;
  const rules = type === undefined ? [] : compileRules({ ...spine, rules: constraints.rules }, type);
  if (rules.length + properties.size + allOf.length === 0 && values === undefined && items === undefined)
    return undefined;
  const [only, ...more] = spine.types;
  return {
    constraints: spine,
    type: more.length === 0 ? (only ?? '') : '',
    rules,
    properties,
    values,
    items,
    allOf,
  };
}

const ruleText = (rule: ValidationRule): string => (rule.message ? rule.message : rule.rule).trim();

/** One validation: its errors and what is left of its budget. */
class Run {
  readonly errors: FieldError[] = [];
  readonly #warn: ((text: string) => void) | undefined;
  /** Below zero: no further rules are run. */
  #budget: number;

  constructor(budget: number, warn: ((text: string) => void) | undefined) {
    this.#budget = budget;
    this.#warn = warn;
  }

  node(node: RuleNode, value: unknown, old: unknown, path: string, ratchet: Ratchet): void {
    if (value === null || value === undefined) return;
    this.#rules(node, value, old ?? undefined, path, ratchet);
    for (const alternative of node.allOf) {
      if (this.#budget < 0) return;
      this.node(alternative, value, old, path, { current: undefined, parent: ratchet.parent });
    }
    if (Array.isArray(value)) this.#list(node, value, old, path, ratchet);
    else if (typeof value === 'object') this.#object(node, value as Record<string, unknown>, old, path, ratchet);
  }

  #list(node: RuleNode, value: readonly unknown[], old: unknown, path: string, ratchet: Ratchet): void {
    if (node.items === undefined) return;
    const oldItems = new MapList(node.constraints, old);
    for (let i = 0; i < value.length && this.#budget >= 0; i++) {
      const inner =
        ratchet.current === undefined ? ratchet : { current: ratchet.current.index(i), parent: ratchet.current };
      this.node(node.items, value[i], oldItems.get(value[i]), `${path}[${i}]`, inner);
    }
  }

  #object(node: RuleNode, value: Record<string, unknown>, old: unknown, path: string, ratchet: Ratchet): void {
    const before =
      typeof old === 'object' && old !== null && !Array.isArray(old) ? (old as Record<string, unknown>) : {};
    const { values, properties } = node;
    for (const key of Object.keys(value)) {
      const inner = properties.get(key) ?? values;
      if (inner === undefined) continue;
      if (this.#budget < 0) return;
      const member = properties.has(key) ? (path === '' ? key : `${path}.${key}`) : `${path}[${key}]`;
      const oldValue = Object.hasOwn(before, key) ? before[key] : undefined;
      this.node(inner, value[key], oldValue, member, keyRatchet(ratchet, key));
    }
  }

  #rules(node: RuleNode, self: unknown, old: unknown, path: string, ratchet: Ratchet): void {
    if (node.rules.length === 0 || this.#budget < 0) return;
    const at = path === '' ? '<nil>' : path;
    const fail = (detail: string): void => void this.errors.push(invalid(at, node.type, detail));
    if (this.#budget === 0) {
      fail('validation failed due to running out of cost budget, no further validation rules will be run');
      this.#budget = -1;
      return;
    }
    const anyOld = node.rules.some((r) => r.usesOldSelf);
    const oldSelf = anyOld ? old : undefined;
    const optionalOldSelf = !anyOld ? undefined : old === undefined ? none : optionalOf(old);
    for (const compiled of node.rules) {
      const { rule, program } = compiled;
      if (compiled.error !== undefined) {
        fail(`rule compile error: ${compiled.error}`);
        continue;
      }
      if (program === undefined) continue;
      const optional = rule.optionalOldSelf === true;
      if (compiled.usesOldSelf && old === undefined && !optional) continue;
      const activation = { self, oldSelf: optional ? optionalOldSelf : oldSelf };
      const result = this.#evaluate(program, activation);
      if (result instanceof CelError) {
        if (this.#spend(result.cost, fail)) this.#failed(result, rule, fail);
        if (this.#budget < 0) return;
        continue;
      }
      if (!this.#spend(result.cost, fail)) return;
      if (result.value === true) continue;
      this.#violation(compiled, activation, node, self, path, ratchet);
      if (this.#budget < 0) return;
    }
  }

  #evaluate(program: Program, activation: Record<string, unknown>): Evaluated | CelError {
    try {
      return program.evaluate(activation, { budget: perCallLimit });
    } catch (error) {
      if (error instanceof CelError) return error;
      throw error;
    }
  }

  /** Takes the cost off the budget; false when there is not enough. */
  #spend(cost: number, fail: (detail: string) => void): boolean {
    if (cost > this.#budget) {
      fail('validation failed due to running out of cost budget, no further validation rules will be run');
      this.#budget = -1;
      return false;
    }
    this.#budget -= cost;
    return true;
  }

  #failed(error: CelError, rule: ValidationRule, fail: (detail: string) => void): void {
    const text = ruleText(rule);
    if (error.kind === 'cost') {
      fail(
        `'${error.message}': no further validation rules will be run due to call cost exceeds limit for rule: ${text}`,
      );
      this.#budget = -1;
    } else if (error.message.startsWith('no such overload')) {
      const why = 'call arguments did not match a supported operator, function or macro signature for rule: ';
      fail(`'${error.message}': ${why}${text}`);
    } else fail(`${error.message} evaluating rule: ${text}`);
  }

  #violation(
    compiled: CompiledRule,
    activation: Record<string, unknown>,
    node: RuleNode,
    self: unknown,
    path: string,
    ratchet: Ratchet,
  ): void {
    const { rule, fieldPath } = compiled;
    const below = fieldPath === undefined || fieldPath === '' ? path : path === '' ? fieldPath : `${path}.${fieldPath}`;
    const at = below === '' ? '<nil>' : below;
    const add = (error: FieldError): void => {
      const unchanged = ratchet.current === undefined ? ratchet.parent?.unchanged : ratchet.current.unchanged;
      if (!compiled.usesOldSelf && unchanged === true) this.#warn?.(formatFieldError(error));
      else this.errors.push(error);
    };
    let detail: string | undefined;
    if (compiled.message !== undefined) {
      const message = this.#message(compiled.message, rule, activation);
      if (typeof message === 'object') {
        add(invalid(at, node.type, message.error));
        this.#budget = -1;
        return;
      }
      detail = message;
    }
    detail ??= rule.message ? rule.message.trim() : `failed rule: ${ruleText(rule)}`;
    const value = node.type === 'object' || node.type === 'array' ? omitted : self;
    add(errorFor(at, value, detail, rule.reason));
  }

  /** The text of a messageExpression; undefined when it has none to give, an error when it ends the validation. */
  #message(
    program: Program,
    rule: ValidationRule,
    activation: Record<string, unknown>,
  ): string | undefined | { readonly error: string } {
    const result = this.#evaluate(program, activation);
    if (result.cost > this.#budget) {
      const error =
        'messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run';
      return { error };
    }
    if (result instanceof CelError && result.kind === 'cost') {
      const why = 'no further validation rules will be run due to call cost exceeds limit for messageExpression: ';
      return { error: why + JSON.stringify(rule.messageExpression) };
    }
    this.#budget -= result.cost;
    if (result instanceof CelError || typeof result.value !== 'string') return undefined;
    const text = result.value.trim();
    const usable = text !== '' && !text.includes('\n') && new TextEncoder().encode(text).length <= maxMessage;
    return usable ? text : undefined;
  }
}

function keyRatchet(ratchet: Ratchet, key: string): Ratchet {
  if (ratchet.current === undefined) return ratchet;
  // The type header of an object is the same before and after: it was converted.
  if (ratchet.parent === undefined && (key === 'apiVersion' || key === 'kind')) return noRatchet;
  return { current: ratchet.current.key(key), parent: ratchet.current };
}

function errorFor(field: string, value: unknown, detail: string, reason: string | undefined): FieldError {
  switch (reason) {
    case 'FieldValueForbidden':
      return forbiddenField(field, detail);
    case 'FieldValueRequired':
      return required(field, detail);
    case 'FieldValueDuplicate':
      return duplicate(field, value);
    default:
      return invalid(field, value, detail);
  }
}
