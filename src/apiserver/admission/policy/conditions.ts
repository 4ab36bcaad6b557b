/** Match conditions of webhooks and policies. */
import { plainExpressions } from '../../../api/admission/expressions.ts';
import type { Expression, ExpressionCompiler } from '../../../api/admission/expressions.ts';
import type { Activation } from '../../../api/cel/program.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { AdmissionAttributes, Authorizer, Operation } from '../../context.ts';
import type { AdmissionMetrics, StepType } from '../metrics.ts';
import type { ConditionCompiler } from '../webhook/call.ts';
import type { MatchCondition } from '../webhook/webhooks.ts';
import { conditionsBudget, Evaluation } from './evaluate.ts';
import type { Outcome } from './evaluate.ts';
import { authorizeWith, requestAuthorizer, Subject } from './subject.ts';

/** Of what the conditions are. */
export interface ConditionFacts {
  readonly name: string;
  readonly kind: 'webhook' | 'policy';
  readonly type: StepType | 'validating';
  readonly ignoresFailure: boolean;
}

/** Several errors as Go's aggregates print them. */
function aggregate(errors: readonly string[]): Error {
  const different = [...new Set(errors)];
  return new Error(different.length === 1 ? different[0] : `[${different.join(', ')}]`);
}

export class Conditions {
  readonly #facts: ConditionFacts;
  readonly #expressions: readonly Expression[];
  readonly #compiler: ExpressionCompiler;
  readonly #metrics: AdmissionMetrics;

  constructor(
    conditions: readonly MatchCondition[],
    compiler: ExpressionCompiler,
    options: { readonly facts: ConditionFacts; readonly params: boolean; readonly metrics: AdmissionMetrics },
  ) {
    this.#facts = options.facts;
    this.#compiler = compiler;
    this.#metrics = options.metrics;
    const declared = { params: options.params, authorizer: true };
    this.#expressions = conditions.map((c) => compiler.condition(c.expression, declared));
  }

  /** An Error where that cannot be decided and the failure policy is to refuse then. */
  async match(activation: Activation, operation: Operation): Promise<boolean | Error> {
    const { name, kind, type, ignoresFailure } = this.#facts;
    const began = ioNow();
    const done = (answer: boolean | Error): boolean | Error => {
      this.#metrics.conditionsEvaluated(name, kind, type, operation, (ioNow() - began) / 1000);
      return answer instanceof Error && ignoresFailure ? false : answer;
    };
    const { variablesType, variables } = this.#compiler;
    const evaluation = new Evaluation(
      activation,
      conditionsBudget,
      variablesType === undefined ? undefined : { type: variablesType, declared: variables },
    );
    const outcomes: Outcome[] = [];
    try {
      // All are evaluated before any of them counts.
      for (const expression of this.#expressions) outcomes.push(await evaluation.run(expression));
    } catch (error) {
      return done(error instanceof Error ? error : new Error(String(error)));
    }
    const errors: string[] = [];
    for (const { value, error } of outcomes) {
      if (value === false) return done(false);
      if (error === undefined) continue;
      errors.push(error);
      this.#metrics.conditionError(name, kind, type, operation);
    }
    return errors.length === 0 || done(aggregate(errors));
  }
}

/** Match conditions for webhooks. */
export function webhookConditions(options: {
  readonly authorizer: Authorizer;
  readonly metrics: AdmissionMetrics;
}): ConditionCompiler {
  const { metrics } = options;
  const authorize = authorizeWith(options.authorizer);
  return (conditions, facts) => {
    const compiled = new Conditions(conditions, plainExpressions, { facts, params: false, metrics });
    return {
      match: (a: AdmissionAttributes, matched, object, oldObject) =>
        compiled.match(
          new Subject(a, matched, { object, oldObject }, requestAuthorizer(a, authorize)).forConditions(undefined),
          a.operation,
        ),
    };
  };
}
