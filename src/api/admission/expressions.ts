/**
 * The expressions of admission policies and of match conditions, compiled against what they may use. What is wrong with one is
 * kept beside it: validation reports it, and a stored policy with such an expression fails by its failure policy.
 */
import { extraLibraries } from '../cel/libraries.ts';
import { authorizerType, resourceCheckType } from '../cel/library/authz.ts';
import { createEnv } from '../cel/env.ts';
import type { Env } from '../cel/env.ts';
import { applyConfigurationType, jsonPatchType, mutationTypes } from '../cel/mutation.ts';
import { compile } from '../cel/program.ts';
import type { Program } from '../cel/program.ts';
import type { CelType } from '../cel/types.ts';
import { boolType, dynType, isExactType, listType, nullType, stringType } from '../cel/types.ts';
import { namespaceType, requestType, VariablesType } from './types.ts';

/** What an expression may use beside the object, the old object, the request and the namespace. */
export interface Declared {
  readonly params: boolean;
  readonly authorizer: boolean;
  /** `Object{}` and `JSONPatch{}` */
  readonly patches?: boolean;
}

/** What is wrong with an expression; `internal`: nothing that its author could have known. */
export interface ExpressionError {
  readonly kind: 'invalid' | 'internal';
  readonly detail: string;
}

export interface Expression {
  readonly source: string;
  readonly program: Program | undefined;
  readonly error: ExpressionError | undefined;
}

/** What an expression must come to; undefined: anything. */
type Wanted = readonly CelType[] | undefined;

const condition: Wanted = [boolType];
const text: Wanted = [stringType];
const textOrNull: Wanted = [stringType, nullType];
const configuration: Wanted = [applyConfigurationType];
const patch: Wanted = [listType(jsonPatchType)];

/** As cel-go prints types, other than its checker does. */
function typeName(type: CelType): string {
  return type.params.length === 0 ? type.name : `${type.name}(${type.params.map(typeName).join(', ')})`;
}

function misfit(wanted: readonly CelType[], type: CelType): string {
  const names = wanted.map(typeName);
  const expected = names.length === 1 ? names[0]! : `one of [${names.join(' ')}]`;
  return `must evaluate to ${expected} but got ${typeName(type)}`;
}

/** Compiles the expressions of one policy, or, without variables, of anything. */
export class ExpressionCompiler {
  readonly #envs = new Map<string, Env>();
  readonly #variables = new Map<string, Expression>();
  readonly #type: VariablesType | undefined;

  /** `composed`: with variables. */
  constructor(composed: boolean) {
    this.#type = composed ? new VariablesType() : undefined;
  }

  /** The type of `variables`; undefined where there can be none. */
  get variablesType(): CelType | undefined {
    return this.#type?.type;
  }

  /** What was declared until now. */
  get variables(): ReadonlyMap<string, Expression> {
    return this.#variables;
  }

  /** A variable, for those after it and all other expressions. */
  declare(name: string, source: string, declared: Declared): Expression {
    const { expression, type } = this.#compile(source, declared, undefined);
    this.#type?.declare(name, type);
    this.#variables.set(name, expression);
    return expression;
  }

  condition(source: string, declared: Declared): Expression {
    return this.#compile(source, declared, condition).expression;
  }

  /** A message. */
  text(source: string, declared: Declared): Expression {
    return this.#compile(source, declared, text).expression;
  }

  /** The value of an audit annotation. */
  textOrNull(source: string, declared: Declared): Expression {
    return this.#compile(source, declared, textOrNull).expression;
  }

  applyConfiguration(source: string, declared: Declared): Expression {
    return this.#compile(source, { ...declared, patches: true }, configuration).expression;
  }

  jsonPatch(source: string, declared: Declared): Expression {
    return this.#compile(source, { ...declared, patches: true }, patch).expression;
  }

  #compile(
    source: string,
    declared: Declared,
    wanted: Wanted,
  ): { readonly expression: Expression; readonly type: CelType | undefined } {
    const failed = (
      kind: ExpressionError['kind'],
      detail: string,
      type?: CelType,
    ): { expression: Expression; type: CelType | undefined } => ({
      expression: { source, program: undefined, error: { kind, detail } },
      type,
    });
    const compiled = compile(source, this.#env(declared));
    if (compiled.errors !== undefined) {
      const { stage, message } = compiled.errors;
      return stage === 'check'
        ? failed('invalid', `compilation failed: ${message}`)
        : failed('internal', `program instantiation failed: ${message}`);
    }
    const { program, type } = compiled;
    if (wanted !== undefined && !wanted.some((w) => isExactType(type, w)))
      return failed('invalid', misfit(wanted, type));
    return { expression: { source, program, error: undefined }, type };
  }

  #env({ params, authorizer, patches = false }: Declared): Env {
    const key = `${params} ${authorizer} ${patches}`;
    let env = this.#envs.get(key);
    if (env === undefined) {
      const variables = {
        object: dynType,
        oldObject: dynType,
        request: requestType,
        namespaceObject: namespaceType,
        ...(params ? { params: dynType } : {}),
        ...(authorizer ? { authorizer: authorizerType, 'authorizer.requestResource': resourceCheckType } : {}),
        ...(this.#type === undefined ? {} : { variables: this.#type.type }),
      };
      env = patches
        ? createEnv({ variables, types: mutationTypes }).extend({}, [extraLibraries.jsonPatch])
        : createEnv({ variables });
      this.#envs.set(key, env);
    }
    return env;
  }
}

/** For expressions that stand alone. */
export const plainExpressions: ExpressionCompiler = new ExpressionCompiler(false);
