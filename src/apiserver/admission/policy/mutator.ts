/** A MutatingAdmissionPolicy compiled. */
import { ExpressionCompiler } from '../../../api/admission/expressions.ts';
import type { Expression } from '../../../api/admission/expressions.ts';
import type { MutatingAdmissionPolicySpec } from '../../../api/types/admissionregistration-v1.gen.ts';
import { StatusError } from '../../../api/status.ts';
import type { AdmissionMetrics } from '../metrics.ts';
import type { MatchedResource } from '../matching.ts';
import type { ObjectVersions } from '../object-versions.ts';
import { Conditions } from './conditions.ts';
import { Evaluation, policyBudget } from './evaluate.ts';
import { applyConfiguration, applyPatch } from './patches.ts';
import type { Subject } from './subject.ts';

type Json = Record<string, unknown>;

export interface Mutation {
  readonly patch: 'JSONPatch' | 'ApplyConfiguration';
  readonly expression: Expression;
}

function unknownKind({ group, version, kind }: MatchedResource['kind']): StatusError {
  const gv = group === '' ? `/${version}` : `${group}/${version}`;
  return new StatusError(
    503,
    'ServiceUnavailable',
    `Resource kind ${gv}, Kind=${kind} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.`,
  );
}

export class Mutator {
  readonly conditions: Conditions | undefined;
  readonly mutations: readonly Mutation[];
  readonly #compiler = new ExpressionCompiler(true);

  constructor(name: string, spec: MutatingAdmissionPolicySpec, metrics: AdmissionMetrics) {
    const compiler = this.#compiler;
    const params = spec.paramKind !== undefined;
    const declared = { params, authorizer: true };
    for (const v of spec.variables ?? []) compiler.declare(v.name, v.expression, declared);
    const conditions = spec.matchConditions ?? [];
    if (conditions.length > 0) {
      // Upstream counts them as those of a validation, too.
      const facts = {
        name,
        kind: 'policy',
        type: 'validate',
        ignoresFailure: spec.failurePolicy === 'Ignore',
      } as const;
      this.conditions = new Conditions(conditions, compiler, { facts, params, metrics });
    }
    this.mutations = (spec.mutations ?? []).flatMap((m): Mutation[] => {
      if (m.patchType === 'JSONPatch' && m.jsonPatch !== undefined)
        return [{ patch: 'JSONPatch', expression: compiler.jsonPatch(m.jsonPatch.expression ?? '', declared) }];
      if (m.patchType === 'ApplyConfiguration' && m.applyConfiguration !== undefined)
        return [
          {
            patch: 'ApplyConfiguration',
            expression: compiler.applyConfiguration(m.applyConfiguration.expression ?? '', declared),
          },
        ];
      return [];
    });
  }

  /** The object of the subject after one mutation. @throws {StatusError} to refuse the request @throws {Error} */
  async mutate(
    { patch, expression }: Mutation,
    subject: Subject,
    inputs: { readonly params: Json | undefined; readonly namespace: Json | null; readonly versions: ObjectVersions },
  ): Promise<Json> {
    const { matched } = subject;
    const object = subject.object!;
    const { params, namespace, versions } = inputs;
    const schema = versions.types(matched.resource, matched.kind)?.schema;
    if (schema === undefined) throw unknownKind(matched.kind);
    if (expression.program === undefined) throw new Error(expression.error?.detail ?? '');
    const { variablesType, variables } = this.#compiler;
    const evaluation = new Evaluation(subject.forPolicy(params, namespace), policyBudget, {
      type: variablesType!,
      declared: variables,
    });
    const { value, error } = await evaluation.run(expression);
    if (error !== undefined) throw new Error(error);
    const target = { object, matched, versions };
    return patch === 'JSONPatch' ? applyPatch(value, target) : applyConfiguration(value, schema, target);
  }
}
