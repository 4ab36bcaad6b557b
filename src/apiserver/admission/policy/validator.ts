/** A ValidatingAdmissionPolicy compiled, and what it says of one request with one set of parameters. */
import { ExpressionCompiler } from '../../../api/admission/expressions.ts';
import type { Expression } from '../../../api/admission/expressions.ts';
import type { Activation } from '../../../api/cel/program.ts';
import type { ValidatingAdmissionPolicySpec } from '../../../api/types/admissionregistration-v1.gen.ts';
import type { AdmissionMetrics } from '../metrics.ts';
import { Conditions } from './conditions.ts';
import { Evaluation, OutOfBudget, policyBudget } from './evaluate.ts';
import type { Outcome } from './evaluate.ts';
import type { Subject } from './subject.ts';

type Json = Record<string, unknown>;

const maxMessageBytes = 5 * 1024;

export interface PolicyDecision {
  /** `error`: the expression could not decide; the failure policy says whether that is a `deny`. */
  readonly action: 'admit' | 'deny';
  readonly failed: boolean;
  readonly message: string;
  readonly reason: string;
  readonly seconds: number;
}

export type AuditAnnotation =
  | { readonly key: string; readonly value: string }
  /** With failure policy Fail. */
  | { readonly error: string; readonly seconds: number };

export interface Verdict {
  readonly decisions: readonly PolicyDecision[];
  readonly annotations: readonly AuditAnnotation[];
}

interface Validation {
  readonly source: string;
  readonly message: string;
  readonly reason: string;
  readonly expression: Expression;
  readonly messageExpression: Expression | undefined;
}

interface Annotation {
  readonly key: string;
  readonly source: string;
  readonly expression: Expression;
}

const utf8 = new TextEncoder();

export class Validator {
  readonly #compiler = new ExpressionCompiler(true);
  readonly #conditions: Conditions | undefined;
  readonly #validations: readonly Validation[];
  readonly #annotations: readonly Annotation[];
  readonly #ignoresFailure: boolean;

  constructor(name: string, spec: ValidatingAdmissionPolicySpec, metrics: AdmissionMetrics) {
    const compiler = this.#compiler;
    const params = spec.paramKind !== undefined;
    const declared = { params, authorizer: true };
    this.#ignoresFailure = spec.failurePolicy === 'Ignore';
    for (const v of spec.variables ?? []) compiler.declare(v.name, v.expression, declared);
    const conditions = spec.matchConditions ?? [];
    if (conditions.length > 0) {
      const facts = { name, kind: 'policy', type: 'validate', ignoresFailure: this.#ignoresFailure } as const;
      this.#conditions = new Conditions(conditions, compiler, { facts, params, metrics });
    }
    this.#validations = (spec.validations ?? []).map((v) => ({
      source: v.expression,
      message: v.message ?? '',
      reason: v.reason ?? 'Invalid',
      expression: compiler.condition(v.expression, declared),
      messageExpression:
        (v.messageExpression ?? '') === ''
          ? undefined
          : compiler.text(v.messageExpression!, { params, authorizer: false }),
    }));
    this.#annotations = (spec.auditAnnotations ?? []).map((a) => ({
      key: a.key,
      source: a.valueExpression,
      expression: compiler.textOrNull(a.valueExpression, declared),
    }));
  }

  #evaluation(activation: Activation, budget: number): Evaluation {
    const { variablesType, variables } = this.#compiler;
    return new Evaluation(activation, budget, { type: variablesType!, declared: variables });
  }

  #error(message: string, seconds = 0): PolicyDecision {
    return { action: this.#ignoresFailure ? 'admit' : 'deny', failed: true, message, reason: '', seconds };
  }

  async validate(subject: Subject, params: Json | undefined, namespace: Json | null): Promise<Verdict> {
    const only = (message: string): Verdict => ({ decisions: [this.#error(message)], annotations: [] });
    if (this.#conditions !== undefined) {
      const fits = await this.#conditions.match(subject.forConditions(params), subject.attributes.operation);
      if (fits instanceof Error) return only(fits.message);
      if (!fits) return { decisions: [], annotations: [] };
    }
    const activation = subject.forPolicy(params, namespace);
    const { authorizer: _a, 'authorizer.requestResource': _r, ...unauthorized } = activation;
    try {
      const decisions = await this.#decide(activation, unauthorized);
      return { decisions, annotations: await this.#annotate(unauthorized) };
    } catch (error) {
      if (error instanceof OutOfBudget) return only(error.message);
      throw error;
    }
  }

  async #decide(activation: Json, unauthorized: Json): Promise<PolicyDecision[]> {
    const evaluation = this.#evaluation(activation, policyBudget);
    const outcomes: Outcome[] = [];
    for (const { expression } of this.#validations) outcomes.push(await evaluation.run(expression));
    const admits = ({ error, value }: Outcome): boolean => error === undefined && value === true;
    const messages = outcomes.every(admits) ? [] : await this.#messages(unauthorized, evaluation.remaining);
    return outcomes.map((outcome, i) => {
      const { error, seconds } = outcome;
      if (error !== undefined) return this.#error(error, seconds);
      if (messages instanceof OutOfBudget) return this.#error(`failed messageExpression: ${messages.message}`, seconds);
      if (admits(outcome)) return { action: 'admit', failed: false, message: '', reason: '', seconds };
      const { reason, message: fixed, source } = this.#validations[i]!;
      const message = messages[i] || fixed.trim() || `failed expression: ${source.trim()}`;
      return { action: 'deny', failed: false, message, reason, seconds };
    });
  }

  /** The messages of all validations; empty where there is none that can be used. */
  async #messages(activation: Json, budget: number): Promise<string[] | OutOfBudget> {
    const evaluation = this.#evaluation(activation, budget);
    const messages: string[] = [];
    try {
      for (const { messageExpression } of this.#validations) {
        const value = messageExpression === undefined ? '' : (await evaluation.run(messageExpression)).value;
        const text = typeof value === 'string' ? value.trim() : '';
        messages.push(text.includes('\n') || utf8.encode(text).length > maxMessageBytes ? '' : text);
      }
    } catch (error) {
      if (error instanceof OutOfBudget) return error;
      throw error;
    }
    return messages;
  }

  async #annotate(activation: Json): Promise<AuditAnnotation[]> {
    const evaluation = this.#evaluation(activation, policyBudget);
    const annotations: AuditAnnotation[] = [];
    for (const { key, expression } of this.#annotations) {
      const { value, error, seconds } = await evaluation.run(expression);
      if (error !== undefined) {
        if (!this.#ignoresFailure) annotations.push({ error, seconds });
        continue;
      }
      const text = typeof value === 'string' ? value.trim() : '';
      if (text !== '') annotations.push({ key, value: text });
    }
    return annotations;
  }
}
