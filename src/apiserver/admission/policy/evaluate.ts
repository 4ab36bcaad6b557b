/** Running the expressions of a policy: each within the limit of one call, all together within a budget. */
import type { Expression } from '../../../api/admission/expressions.ts';
import { CelError, Failure, Suspended, fail } from '../../../api/cel/errors.ts';
import type { Activation } from '../../../api/cel/program.ts';
import type { CelType } from '../../../api/cel/types.ts';
import { StructValue } from '../../../api/cel/values.ts';
import { ioNow } from '../../../base/io-time.ts';

/** What all expressions of a binding may cost together. */
export const policyBudget = 10_000_000;
/** What all match conditions of a webhook or binding may cost together. */
export const conditionsBudget = 2_500_000;

export class OutOfBudget extends Error {
  constructor() {
    super('validation failed due to running out of cost budget, no further validation rules will be run');
    this.name = 'OutOfBudget';
  }
}

/** What an expression came to. */
export interface Outcome {
  readonly value: unknown;
  /** Why there is no value. */
  readonly error: string | undefined;
  readonly seconds: number;
}

/** The values of a policy's variables, each computed when it is first used. */
class LazyVariables extends Map<string, unknown> {
  readonly #variables: ReadonlyMap<string, Expression>;
  readonly #evaluation: Evaluation;
  readonly #failures = new Map<string, Failure>();

  constructor(variables: ReadonlyMap<string, Expression>, evaluation: Evaluation) {
    super();
    this.#variables = variables;
    this.#evaluation = evaluation;
  }

  override has(name: string): boolean {
    return this.#variables.has(name);
  }

  override get(name: string): unknown {
    if (super.has(name)) return super.get(name);
    const failure = this.#failures.get(name);
    if (failure !== undefined) throw failure as unknown as Error;
    const variable = this.#variables.get(name);
    if (variable === undefined) return undefined;
    try {
      const value = this.#evaluate(name, variable);
      this.set(name, value);
      return value;
    } catch (error) {
      if (error instanceof Failure) this.#failures.set(name, error);
      throw error;
    }
  }

  #evaluate(name: string, { program, error }: Expression): unknown {
    if (program === undefined)
      return fail(`composited variable ${JSON.stringify(name)} fails to compile: ${error?.detail ?? ''}`);
    const evaluation = this.#evaluation;
    try {
      const { value, cost } = program.evaluate(evaluation.activation);
      evaluation.variableCost += cost;
      return value;
    } catch (e) {
      if (!(e instanceof CelError)) throw e;
      evaluation.variableCost += e.cost;
      return fail(`composited variable ${JSON.stringify(name)} fails to evaluate: ${e.message}`);
    }
  }
}

/** One list of expressions over the same variables. */
export class Evaluation {
  readonly activation: Activation;
  /** Since it was last counted. */
  variableCost = 0;
  remaining: number;

  /** `variables`: what the policy declares, and the type of it. */
  constructor(
    activation: Activation,
    budget: number,
    variables?: { readonly type: CelType; readonly declared: ReadonlyMap<string, Expression> },
  ) {
    this.remaining = budget;
    this.activation =
      variables === undefined
        ? activation
        : { ...activation, variables: new StructValue(variables.type, new LazyVariables(variables.declared, this)) };
  }

  #spend(cost: number): void {
    if (cost > this.remaining) throw new OutOfBudget();
    this.remaining -= cost;
  }

  #finish(cost: number): void {
    const spent = this.variableCost;
    this.variableCost = 0;
    this.#spend(spent);
    this.#spend(cost);
  }

  /** @throws {OutOfBudget} */
  async run({ source, program, error }: Expression): Promise<Outcome> {
    if (program === undefined)
      return { value: undefined, error: `compilation error: ${error?.detail ?? ''}`, seconds: 0 };
    const began = ioNow();
    const seconds = (): number => (ioNow() - began) / 1000;
    for (;;) {
      try {
        const { value, cost } = program.evaluate(this.activation);
        const took = seconds();
        this.#finish(cost);
        return { value, error: undefined, seconds: took };
      } catch (e) {
        if (e instanceof Suspended) {
          await e.ready;
          continue;
        }
        if (!(e instanceof CelError)) throw e;
        const took = seconds();
        this.#finish(e.cost);
        return { value: undefined, error: `expression '${source}' resulted in error: ${e.message}`, seconds: took };
      }
    }
  }
}
