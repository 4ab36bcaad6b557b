/**
 * Type checking: gives every node its type, resolves names to declarations and calls to overloads, in the manner (and with the
 * messages) of upstream's checker. Type variables are bound by unification over an undoable substitution.
 */
import type { CallNode, ComprehensionNode, IdentNode, ListNode, MapNode, Node, SelectNode, StructNode } from './ast.ts';
import { op, qualifiedName, walk } from './ast.ts';
import type { FunctionDecl, IdentDecl } from './declarations.ts';
import type { Issues } from './errors.ts';
import { Substitution } from './substitution.ts';
import type { CelType } from './types.ts';
import {
  boolType,
  dynType,
  errorType,
  formatSignature,
  formatType,
  intType,
  isDyn,
  isDynOrError,
  isExactType,
  isOptional,
  listType,
  mapType,
  noFields,
  opaqueType,
  optionalType,
  bytesType,
  doubleType,
  nullType,
  stringType,
  uintType,
} from './types.ts';

/** What names mean in an environment. */
export interface CheckScope {
  readonly container: string;
  ident(name: string): IdentDecl | undefined;
  fn(name: string): FunctionDecl | undefined;
  /** Overloads that are switched off (comparison across number types, before Kubernetes 1.28). */
  readonly disabled: ReadonlySet<string>;
  /** Literals of lists and maps must have elements of one type. */
  readonly homogeneous: boolean;
}

const literalTypes: Readonly<Record<string, CelType>> = {
  bool: boolType,
  bytes: bytesType,
  double: doubleType,
  int: intType,
  null: nullType,
  string: stringType,
  uint: uintType,
};

/** `a.b` in container `x.y` may be `x.y.a.b`, `x.a.b` or `a.b`; with a leading dot it is absolute. */
export function candidateNames(container: string, name: string): string[] {
  if (name.startsWith('.')) return [name.slice(1)];
  const out: string[] = [];
  for (let prefix = container; prefix !== ''; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf('.')))) {
    out.push(`${prefix}.${name}`);
  }
  out.push(name);
  return out;
}

/** Writes types, names and overloads into the tree. The type of the whole expression; errors go to `issues`. */
export function check(root: Node, scope: CheckScope, issues: Issues): CelType {
  const checker = new Checker(scope, issues);
  checker.check(root);
  walk(root, (node) => {
    if (node.type !== undefined) node.type = checker.substitution.apply(node.type, true);
  });
  return root.type ?? errorType;
}

class Checker {
  readonly substitution = new Substitution();
  readonly #scope: CheckScope;
  readonly #issues: Issues;
  /** Variables of macros, innermost last. */
  readonly #locals: { readonly name: string; readonly type: CelType }[] = [];
  #variables = 0;

  constructor(scope: CheckScope, issues: Issues) {
    this.#scope = scope;
    this.#issues = issues;
  }

  check(node: Node): CelType {
    const type = this.#typeOf(node);
    node.type = type;
    return type;
  }

  #typeOf(node: Node): CelType {
    switch (node.kind) {
      case 'const':
        return literalTypes[node.literal]!;
      case 'ident':
        return this.#ident(node);
      case 'select':
        return this.#select(node);
      case 'call':
        return this.#call(node);
      case 'list':
        return this.#list(node);
      case 'map':
        return this.#map(node);
      case 'struct':
        return this.#struct(node);
      case 'comprehension':
        return this.#comprehension(node);
      case 'error':
        return errorType;
    }
  }

  #newVariable(): CelType {
    return this.substitution.fresh(this.#variables++);
  }

  #undeclared(node: Node, name: string): CelType {
    this.#issues.report(node.at, `undeclared reference to '${name}' (in container '${this.#scope.container}')`);
    return errorType;
  }

  #mismatch(node: Node, expected: CelType, actual: CelType): void {
    this.#issues.report(node.at, `expected type '${formatType(expected)}' but found '${formatType(actual)}'`);
  }

  #lookup(name: string): IdentDecl | undefined {
    for (const candidate of candidateNames(this.#scope.container, name)) {
      const local = this.#locals.findLast((l) => l.name === candidate);
      if (local !== undefined) return local;
      const declared = this.#scope.ident(candidate);
      if (declared !== undefined) return declared;
    }
    return undefined;
  }

  #function(name: string): FunctionDecl | undefined {
    for (const candidate of candidateNames(this.#scope.container, name)) {
      const fn = this.#scope.fn(candidate);
      if (fn !== undefined) return fn;
    }
    return undefined;
  }

  #ident(node: IdentNode): CelType {
    const found = this.#lookup(node.name);
    if (found === undefined) return this.#undeclared(node, node.name);
    node.name = found.name;
    if (found.constant !== undefined) node.constant = found.constant;
    return found.type;
  }

  #select(node: SelectNode): CelType {
    const name = qualifiedName(node);
    const found = name === undefined || this.#shadowed(name) ? undefined : this.#lookup(name);
    if (found !== undefined) {
      node.qualified = { kind: 'ident', name: found.name, at: node.at, type: found.type, constant: found.constant };
      return found.type;
    }
    const type = this.#field(node, node.operand, node.field, false);
    return node.test ? boolType : this.substitution.apply(type, false);
  }

  /** `a.b.c` cannot be a declared name where `a` is a variable of a macro. */
  #shadowed(name: string): boolean {
    if (name.startsWith('.')) return false;
    const first = name.split('.', 1)[0];
    return this.#locals.some((l) => l.name === first);
  }

  #field(node: Node, operand: Node, field: string, optional: boolean): CelType {
    const operandType = this.substitution.apply(this.check(operand), false);
    const wasOptional = isOptional(operandType);
    const target = wasOptional ? operandType.params[0]! : operandType;
    let result: CelType;
    switch (target.kind) {
      case 'map':
        result = target.params[1]!;
        break;
      case 'struct': {
        const found = target.fields?.(field);
        if (found === undefined)
          this.#issues.report(
            node.at,
            target.fields === noFields
              ? `unexpected failed resolution of '${target.name}'`
              : `undefined field '${field}'`,
          );
        result = found?.type ?? errorType;
        break;
      }
      case 'typeParam':
        this.substitution.assign(dynType, target);
        result = dynType;
        break;
      default:
        if (!isDynOrError(target)) {
          this.#issues.report(node.at, `type '${formatType(target)}' does not support field selection`);
        }
        result = dynType;
    }
    return wasOptional || optional ? optionalType(result) : result;
  }

  #call(node: CallNode): CelType {
    if (node.fn === op.optSelect) {
      const field = node.args[1]!;
      const name = field.kind === 'const' && typeof field.value === 'string' ? field.value : '';
      field.type = stringType;
      node.overloads = ['select_optional_field'];
      return this.substitution.apply(this.#field(node, node.args[0]!, name, true), false);
    }
    for (const arg of node.args) this.check(arg);
    if (node.target === undefined) {
      const fn = this.#function(node.fn);
      if (fn === undefined) return this.#undeclared(node, node.fn);
      node.fn = fn.name;
      return this.#resolve(node, fn);
    }
    const prefix = qualifiedName(node.target);
    const namespaced = prefix === undefined ? undefined : this.#function(`${prefix}.${node.fn}`);
    if (namespaced !== undefined) {
      node.fn = namespaced.name;
      node.target = undefined;
      return this.#resolve(node, namespaced);
    }
    this.check(node.target);
    const fn = this.#function(node.fn);
    return fn === undefined ? this.#undeclared(node, node.fn) : this.#resolve(node, fn);
  }

  #resolve(node: CallNode, fn: FunctionDecl): CelType {
    const args = node.target === undefined ? node.args : [node.target, ...node.args];
    const types = args.map((a) => a.type ?? errorType);
    if (fn.name === op.and || fn.name === op.or) return this.#logical(node, fn, types);
    const matched: string[] = [];
    let result: CelType | undefined;
    for (const overload of fn.overloads) {
      if (this.#scope.disabled.has(overload.id) || overload.member !== (node.target !== undefined)) continue;
      let { args: wanted, result: gives } = overload;
      if (wanted.length !== types.length) continue;
      if (overload.typeParams.length > 0) {
        const fresh = new Map(overload.typeParams.map((p) => [p, this.#newVariable()]));
        wanted = wanted.map((t) => instantiate(t, fresh));
        gives = instantiate(gives, fresh);
      }
      if (!this.substitution.assignAll(types, wanted)) continue;
      matched.push(overload.id);
      const applied = this.substitution.apply(gives, false);
      if (result === undefined) result = applied;
      else if (!isDyn(result) && !isExactType(applied, result)) result = dynType;
    }
    if (result === undefined) {
      const signature = formatSignature(
        types.map((t) => this.substitution.apply(t, true)),
        node.target !== undefined,
      );
      this.#issues.report(node.at, `found no matching overload for '${fn.name}' applied to '${signature}'`);
      return errorType;
    }
    node.overloads = matched;
    // A sum keeps how its left list adds and compares.
    if (fn.name === op.add && types[0]!.kind === 'list' && types[0]!.facts?.listType !== undefined) {
      return withoutSize(types[0]!);
    }
    return result;
  }

  #logical(node: CallNode, fn: FunctionDecl, types: readonly CelType[]): CelType {
    let wrong = false;
    types.forEach((type, i) => {
      if (this.substitution.assign(type, boolType)) return;
      this.#mismatch(node.args[i]!, boolType, type);
      wrong = true;
    });
    node.overloads = [fn.overloads[0]!.id];
    return wrong ? errorType : boolType;
  }

  /** The type of an element, without the optional around it where it is `?element`. */
  #element(node: Node, optional: boolean): CelType {
    const type = this.check(node);
    if (!optional) return type;
    const applied = this.substitution.apply(type, false);
    if (isOptional(applied)) return applied.params[0]!;
    if (!isDyn(applied)) this.#mismatch(node, optionalType(applied), applied);
    return applied;
  }

  #join(node: Node, previous: CelType | undefined, current: CelType): CelType {
    if (previous === undefined) return current;
    if (this.substitution.assign(previous, current)) return this.substitution.mostGeneral(previous, current);
    if (!this.#scope.homogeneous) return dynType;
    this.#mismatch(node, previous, current);
    return errorType;
  }

  #list(node: ListNode): CelType {
    let element: CelType | undefined;
    node.elements.forEach((e, i) => {
      element = this.#join(e, element, this.#element(e, node.optional.has(i)));
    });
    return listType(element ?? this.#newVariable());
  }

  #map(node: MapNode): CelType {
    let key: CelType | undefined;
    let value: CelType | undefined;
    for (const entry of node.entries) {
      key = this.#join(entry.key, key, this.check(entry.key));
      value = this.#join(entry.value, value, this.#element(entry.value, entry.optional));
    }
    return mapType(key ?? this.#newVariable(), value ?? this.#newVariable());
  }

  #struct(node: StructNode): CelType {
    const found = this.#lookup(node.name);
    if (found === undefined) {
      this.#undeclared(node, node.name);
      for (const entry of node.entries) this.check(entry.value);
      return errorType;
    }
    node.name = found.name;
    let result = errorType;
    if (found.type.kind !== 'type') this.#issues.report(node.at, `'${formatType(found.type)}' is not a type`);
    else {
      const type = found.type.params[0]!;
      if (type.kind === 'struct') result = type;
      else this.#issues.report(node.at, `'${formatType(type)}' is not a message type`);
    }
    for (const entry of node.entries) {
      const field = result.fields?.(entry.field);
      const value = this.#element(entry.value, entry.optional);
      if (result === errorType) continue;
      const at: Node = { kind: 'error', at: entry.at };
      if (field === undefined) this.#issues.report(at.at, `undefined field '${entry.field}'`);
      else if (!this.substitution.assign(field.type, value)) {
        const [wanted, given] = [formatType(field.type), formatType(this.substitution.apply(value, false))];
        const message = `expected type of field '${entry.field}' is '${wanted}' but provided type is '${given}'`;
        this.#issues.report(at.at, message);
      }
    }
    return result;
  }

  #comprehension(node: ComprehensionNode): CelType {
    this.check(node.range);
    const accu = this.check(node.init);
    const range = this.substitution.apply(node.range.type!, false);
    const depth = this.#locals.length;
    this.#locals.push({ name: node.accuVar, type: accu });
    const [first, second] = this.#rangeTypes(node, range);
    this.#locals.push({ name: node.iterVar, type: first });
    if (node.iterVar2 !== '') this.#locals.push({ name: node.iterVar2, type: second });
    this.#assert(node.condition, boolType);
    this.#assert(node.step, accu);
    this.#locals.length = depth + 1;
    const result = this.check(node.result);
    this.#locals.length = depth;
    return this.substitution.apply(result, false);
  }

  #assert(node: Node, type: CelType): void {
    const actual = this.check(node);
    if (!this.substitution.assign(type, actual)) this.#mismatch(node, type, actual);
  }

  #rangeTypes(node: ComprehensionNode, range: CelType): readonly [CelType, CelType] {
    const two = node.iterVar2 !== '';
    switch (range.kind) {
      case 'list':
        return two ? [intType, range.params[0]!] : [range.params[0]!, dynType];
      case 'map':
        return [range.params[0]!, range.params[1]!];
      case 'dyn':
      case 'any':
      case 'error':
      case 'typeParam':
        this.substitution.assign(dynType, range);
        return [dynType, dynType];
      default: {
        const why = 'cannot be range of a comprehension (must be list, map, or dynamic)';
        this.#issues.report(node.range.at, `expression of type '${formatType(range)}' ${why}`);
        return [errorType, errorType];
      }
    }
  }
}

/** The facts of a list that outlive a concatenation. */
function withoutSize(list: CelType): CelType {
  const { listType: kind, mapKeys } = list.facts!;
  return listType(list.params[0]!, { listType: kind, mapKeys });
}

function instantiate(type: CelType, fresh: ReadonlyMap<string, CelType>): CelType {
  if (type.kind === 'typeParam') return fresh.get(type.name) ?? type;
  if (type.params.length === 0) return type;
  const params = type.params.map((p) => instantiate(p, fresh));
  if (type.kind === 'list') return listType(params[0]!);
  if (type.kind === 'map') return mapType(params[0]!, params[1]!);
  if (type.kind === 'type') return withParam(type, params);
  return opaqueType(type.name, ...params);
}

const withParam = (type: CelType, params: readonly CelType[]): CelType => {
  const Type = type.constructor as new (kind: 'type', name: string, options: { params: readonly CelType[] }) => CelType;
  return new Type('type', type.name, { params });
};
