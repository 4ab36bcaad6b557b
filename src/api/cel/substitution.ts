/** Bindings of type variables, found by unification; a failed attempt undoes what it bound. */
import {
  CelType,
  dynType,
  isAssignableType,
  isDyn,
  isDynOrError,
  isExactType,
  listType,
  mapType,
  opaqueType,
} from './types.ts';

export class Substitution {
  readonly #bound = new Map<string, CelType>();
  /** What was bound before, to undo. */
  readonly #trail: (readonly [string, CelType | undefined])[] = [];

  /** A new type variable. */
  fresh(id: number): CelType {
    return new CelType('typeParam', `_var${id}`);
  }

  #bind(name: string, type: CelType): void {
    this.#trail.push([name, this.#bound.get(name)]);
    this.#bound.set(name, type);
  }

  #attempt(what: () => boolean): boolean {
    const mark = this.#trail.length;
    if (what()) return true;
    while (this.#trail.length > mark) {
      const [name, before] = this.#trail.pop()!;
      if (before === undefined) this.#bound.delete(name);
      else this.#bound.set(name, before);
    }
    return false;
  }

  /** Whether a `from` may stand where a `to` is wanted; binds variables when so. */
  assign(to: CelType, from: CelType): boolean {
    return this.#attempt(() => this.#assignable(to, from));
  }

  assignAll(a: readonly CelType[], b: readonly CelType[]): boolean {
    return this.#attempt(() => this.#all(a, b));
  }

  #all(a: readonly CelType[], b: readonly CelType[]): boolean {
    return a.length === b.length && a.every((t, i) => this.#assignable(t, b[i]!));
  }

  #assignable(a: CelType, b: CelType): boolean {
    if (b.kind === 'typeParam') {
      const known = this.#bound.has(b.name);
      if (this.#replaces(a, b)) return true;
      if (known) return false;
    }
    if (a.kind === 'typeParam') return this.#replaces(b, a);
    if (isDynOrError(a) || isDynOrError(b)) return true;
    if (a.kind === 'null') return takesNull(b);
    if (b.kind === 'null') return takesNull(a);
    switch (a.kind) {
      case 'type':
        return b.kind === 'type';
      case 'opaque':
      case 'list':
      case 'map':
        return a.kind === b.kind && a.name === b.name && this.#all(a.params, b.params);
      default:
        return isAssignableType(b, a);
    }
  }

  /** Whether `type` can be what the variable stands for; binds it. */
  #replaces(type: CelType, variable: CelType): boolean {
    if (type.kind === variable.kind && isExactType(type, variable)) return true;
    const bound = this.#bound.get(variable.name);
    if (bound !== undefined) {
      if (type.kind === bound.kind && isExactType(type, bound)) return true;
      if (!this.#assignable(type, bound)) return false;
      const general = this.mostGeneral(type, bound);
      if (!this.#occurs(variable, general)) this.#bind(variable.name, general);
      return true;
    }
    if (this.#occurs(variable, type)) return false;
    this.#bind(variable.name, type);
    return true;
  }

  #occurs(variable: CelType, within: CelType): boolean {
    if (isExactType(variable, within)) return true;
    if (within.kind === 'typeParam') {
      const bound = this.#bound.get(within.name);
      return bound !== undefined && this.#occurs(variable, bound);
    }
    return within.params.some((p) => this.#occurs(variable, p));
  }

  mostGeneral(a: CelType, b: CelType): CelType {
    return lessSpecific(a, b) ? a : b;
  }

  /** The type with its variables replaced; free ones stay, or become dyn. */
  apply(type: CelType, freeToDyn: boolean): CelType {
    if (type.kind === 'typeParam') {
      const bound = this.#bound.get(type.name);
      if (bound !== undefined) return this.apply(bound, freeToDyn);
      return freeToDyn ? dynType : type;
    }
    if (type.params.length === 0) return type;
    const params = type.params.map((p) => this.apply(p, freeToDyn));
    if (params.every((p, i) => p === type.params[i])) return type;
    if (type.kind === 'list') return listType(params[0]!, type.facts);
    if (type.kind === 'map') return mapType(params[0]!, params[1]!, type.facts);
    if (type.kind === 'type') return new CelType('type', type.name, { params });
    return opaqueType(type.name, ...params);
  }
}

/** Null is assignable to messages, library types, times and wrappers. */
function takesNull(t: CelType): boolean {
  return t.nullable || ['opaque', 'struct', 'any', 'duration', 'timestamp', 'null'].includes(t.kind);
}

function lessSpecific(a: CelType, b: CelType): boolean {
  if (isDyn(a) || a.kind === 'typeParam') return true;
  if (isDyn(b) || b.kind === 'typeParam' || a.kind !== b.kind) return false;
  switch (a.kind) {
    case 'opaque':
    case 'list':
    case 'map':
      return (
        a.name === b.name &&
        a.params.length === b.params.length &&
        a.params.every((p, i) => lessSpecific(p, b.params[i]!))
      );
    case 'type':
      return true;
    default:
      return isExactType(a, b);
  }
}
