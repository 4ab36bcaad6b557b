/** Environments: which variables, functions, macros and types an expression may use. */
import type { FunctionDecl, IdentDecl, Library } from './declarations.ts';
import { candidateNames } from './checker.ts';
import { kubernetesLibraries } from './libraries.ts';
import { crossTypeOverloads } from './library/standard.ts';
import type { Macro } from './macros.ts';
import { standardMacros } from './macros.ts';
import type { CelType } from './types.ts';
import { typeOfType } from './types.ts';
import { StructValue } from './values.ts';

export interface EnvOptions {
  readonly variables?: Readonly<Record<string, CelType>>;
  /** Kubernetes 1.36's when left out. */
  readonly libraries?: readonly Library[];
  /** The namespace that names are looked up in first. */
  readonly container?: string;
  /** Declared object types that source may name to make objects of (`Object{...}`). */
  readonly types?: (name: string) => CelType | undefined;
  /** Makes an object of such a type. */
  readonly construct?: (type: CelType, fields: ReadonlyMap<string, unknown>) => unknown;
  readonly features?: Partial<Features>;
}

/** What cel-go has switches for; the defaults are Kubernetes'. */
export interface Features {
  /** Literals of lists and maps must have one type. */
  readonly homogeneousLiterals: boolean;
  /** `1 < 2.0` */
  readonly crossTypeComparisons: boolean;
  readonly optionalSyntax: boolean;
  /** Member names in backticks; Kubernetes 1.36 has them off. */
  readonly identEscape: boolean;
  /** Constant times, durations, patterns and format strings are checked when an expression is compiled. */
  readonly validateLiterals: boolean;
  /** `1.?a` fails instead of giving nothing. */
  readonly strictPresence: boolean;
}

const defaults: Features = {
  homogeneousLiterals: true,
  crossTypeComparisons: true,
  optionalSyntax: true,
  identEscape: false,
  validateLiterals: true,
  strictPresence: false,
};

interface Merged {
  readonly functions: ReadonlyMap<string, FunctionDecl>;
  readonly macros: ReadonlyMap<string, Macro>;
  readonly idents: ReadonlyMap<string, IdentDecl>;
}

function merge(libraries: readonly Library[]): Merged {
  const functions = new Map<string, FunctionDecl>();
  const macros = new Map<string, Macro>(standardMacros);
  const idents = new Map<string, IdentDecl>();
  for (const library of libraries) {
    for (const [name, overloads] of Object.entries(library.functions ?? {})) {
      const known = functions.get(name)?.overloads ?? [];
      const ids = new Set(known.map((o) => o.id));
      functions.set(name, { name, overloads: [...known, ...overloads.filter((o) => !ids.has(o.id))] });
    }
    for (const [key, macro] of library.macros ?? []) macros.set(key, macro);
    for (const type of library.types ?? []) {
      idents.set(type.name, { name: type.name, type: typeOfType(type), constant: { value: type } });
    }
    for (const constant of library.constants ?? []) idents.set(constant.name, constant);
  }
  return { functions, macros, idents };
}

const kubernetes = merge(kubernetesLibraries);
const nothingDisabled: ReadonlySet<string> = new Set();

/** Immutable; one serves any number of compilations. */
export class Env {
  readonly container: string;
  readonly features: Features;
  readonly homogeneous = false;
  readonly disabled: ReadonlySet<string>;
  readonly variables: ReadonlyMap<string, CelType>;
  readonly #merged: Merged;
  readonly #options: EnvOptions;

  constructor(options: EnvOptions) {
    this.#options = options;
    this.container = options.container ?? '';
    this.features = { ...defaults, ...options.features };
    this.disabled = this.features.crossTypeComparisons ? nothingDisabled : crossTypeOverloads;
    this.#merged = options.libraries === undefined ? kubernetes : merge(options.libraries);
    this.variables = new Map(Object.entries(options.variables ?? {}));
  }

  get macros(): ReadonlyMap<string, Macro> {
    return this.#merged.macros;
  }

  ident(name: string): IdentDecl | undefined {
    const variable = this.variables.get(name);
    if (variable !== undefined) return { name, type: variable };
    const known = this.#merged.idents.get(name);
    if (known !== undefined) return known;
    const declared = this.#options.types?.(name);
    return declared === undefined ? undefined : { name, type: typeOfType(declared), constant: { value: declared } };
  }

  fn(name: string): FunctionDecl | undefined {
    return this.#merged.functions.get(name);
  }

  construct(type: CelType, fields: ReadonlyMap<string, unknown>): unknown {
    return this.#options.construct === undefined
      ? new StructValue(type, fields)
      : this.#options.construct(type, fields);
  }

  /** The same environment with more variables, and libraries, than its own. */
  extend(variables: Readonly<Record<string, CelType>>, more: readonly Library[] = []): Env {
    const libraries =
      more.length === 0 ? this.#options.libraries : [...(this.#options.libraries ?? kubernetesLibraries), ...more];
    return new Env({ ...this.#options, libraries, variables: { ...this.#options.variables, ...variables } });
  }

  /** Whether a name means something here. */
  knows(name: string): boolean {
    return candidateNames(this.container, name).some((n) => this.ident(n) !== undefined);
  }
}

export const createEnv = (options: EnvOptions = {}): Env => new Env(options);
