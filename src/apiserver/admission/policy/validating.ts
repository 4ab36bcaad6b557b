/** ValidatingAdmissionPolicy: asks the expressions of all policies that are bound to the request. */
import { StatusError } from '../../../api/status.ts';
import type {
  ValidatingAdmissionPolicyBindingSpec,
  ValidatingAdmissionPolicySpec,
} from '../../../api/types/admissionregistration-v1.gen.ts';
import type { Authorize } from '../../../api/cel/library/authz.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../context.ts';
import { refuse } from '../attributes.ts';
import type { MatchedResource } from '../matching.ts';
import type { ObjectVersions } from '../object-versions.ts';
import { meets } from './constraints.ts';
import type { ConstraintDeps } from './constraints.ts';
import { namespaceOf, seenByPolicies } from './handled.ts';
import { errorTypeOf } from './metrics.ts';
import type { PolicyMetrics } from './metrics.ts';
import type { Params } from './params.ts';
import type { Binding, Policy, PolicySource } from './source.ts';
import { namespaceObject, requestAuthorizer, subjectOf } from './subject.ts';
import type { RequestAuthorizer, Subject } from './subject.ts';
import type { PolicyDecision, Validator } from './validator.ts';

type BoundPolicy = Policy<ValidatingAdmissionPolicySpec, ValidatingAdmissionPolicyBindingSpec, Validator>;
type PolicyBinding = Binding<ValidatingAdmissionPolicyBindingSpec>;

const failureAnnotation = 'validation.policy.admission.k8s.io/validation_failure';
const maxAnnotationBytes = 10 * 1024;

export interface ValidatingPolicyDeps extends ConstraintDeps {
  readonly source: PolicySource<ValidatingAdmissionPolicySpec, ValidatingAdmissionPolicyBindingSpec, Validator>;
  readonly params: Params;
  readonly versions: ObjectVersions;
  readonly authorize: Authorize;
  readonly metrics: PolicyMetrics;
}

interface Denial {
  readonly policy: string;
  readonly binding: string | undefined;
  readonly message: string;
  readonly reason: string;
}

const codes: Readonly<Record<string, number>> = { Forbidden: 403, Unauthorized: 401, RequestEntityTooLarge: 413 };

function denied(a: AdmissionAttributes, { policy, binding, message, reason }: Denial): StatusError {
  const bound = binding === undefined ? '' : ` with binding '${binding}'`;
  const text = `ValidatingAdmissionPolicy '${policy}'${bound} denied request: ${message}`;
  const refusal = refuse(a, text);
  const why = reason === '' ? 'Invalid' : reason;
  const details = { ...refusal.details, causes: [{ message: text }] };
  return new StatusError(codes[why] ?? 422, why, refusal.message, details);
}

function cut(text: string): string {
  const bytes = Buffer.from(text);
  return bytes.length > maxAnnotationBytes ? bytes.toString('utf8', 0, maxAnnotationBytes) : text;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** One request on its way through all policies. */
class Dispatch {
  readonly denials: Denial[] = [];
  readonly #deps: ValidatingPolicyDeps;
  readonly #a: AdmissionAttributes;
  readonly #subjects = new Map<string, Subject>();
  #authorizer: RequestAuthorizer | undefined;
  #namespace: Record<string, unknown> | null | undefined;

  constructor(deps: ValidatingPolicyDeps, a: AdmissionAttributes) {
    this.#deps = deps;
    this.#a = a;
  }

  #misconfigured(policy: BoundPolicy, binding: PolicyBinding | undefined, error: unknown): void {
    if (policy.ignoresFailure) return;
    const what = binding === undefined ? 'policy' : 'binding';
    this.denials.push({
      policy: policy.name,
      binding: binding?.name,
      message: `failed to configure ${what}: ${messageOf(error)}`,
      reason: '',
    });
  }

  async run(policy: BoundPolicy): Promise<void> {
    const { params } = this.#deps;
    let matched: MatchedResource | undefined;
    try {
      const met = meets(policy.constraints, this.#a, this.#deps);
      matched = met instanceof Promise ? await met : met;
      if (matched === undefined) return;
      params.check(policy.spec.paramKind);
    } catch (error) {
      this.#misconfigured(policy, undefined, error);
      return;
    }
    let subject: Subject | undefined;
    const annotations = new Map<string, Set<string>>();
    for (const binding of policy.bindings) {
      let found: Awaited<ReturnType<Params['collect']>>;
      try {
        if (binding.constraints !== undefined) {
          const met = meets(binding.constraints, this.#a, this.#deps);
          if ((met instanceof Promise ? await met : met) === undefined) continue;
        }
        found = await params.collect(policy.spec.paramKind, binding.spec.paramRef, this.#a.namespace);
        if (found.length > 0) subject ??= await this.#subject(matched);
      } catch (error) {
        this.#misconfigured(policy, binding, error);
        continue;
      }
      if (subject === undefined) continue;
      this.#namespace ??= namespaceObject(await namespaceOf(this.#a, this.#deps.namespaces));
      for (const param of found) {
        const verdict = await policy.evaluator.validate(subject, param, this.#namespace);
        verdict.decisions.forEach((decision, i) => this.#enforce(policy, binding, decision, i));
        for (const annotation of verdict.annotations) {
          if ('error' in annotation) {
            const { error: message, seconds } = annotation;
            this.#deny(policy, binding, { message, reason: '', seconds });
            continue;
          }
          const values = annotations.get(annotation.key) ?? new Set();
          annotations.set(annotation.key, values.add(cut(annotation.value)));
        }
      }
    }
    for (const [key, values] of annotations) this.#a.context.annotate(`${policy.name}/${key}`, [...values].join(', '));
  }

  async #subject(matched: MatchedResource): Promise<Subject> {
    const { resource, kind } = matched;
    const key = `${resource.group}/${resource.version}/${resource.resource} ${kind.group}/${kind.version}/${kind.kind}`;
    let subject = this.#subjects.get(key);
    if (subject === undefined) {
      this.#authorizer ??= requestAuthorizer(this.#a, this.#deps.authorize);
      subject = await subjectOf(this.#a, matched, this.#deps.versions, this.#authorizer);
      this.#subjects.set(key, subject);
    }
    return subject;
  }

  #deny(
    policy: BoundPolicy,
    binding: PolicyBinding,
    decision: Pick<PolicyDecision, 'message' | 'reason' | 'seconds'>,
  ): void {
    const { message, reason } = decision;
    this.denials.push({ policy: policy.name, binding: binding.name, message, reason });
    this.#count(policy, binding, decision, 'deny');
  }

  #count(
    policy: BoundPolicy,
    binding: PolicyBinding,
    { message, seconds }: Pick<PolicyDecision, 'message' | 'seconds'>,
    action: 'allow' | 'deny' | 'audit' | 'warn',
  ): void {
    const errorType = errorTypeOf(message);
    this.#deps.metrics.validated({ policy: policy.name, binding: binding.name, errorType, seconds }, action);
  }

  #enforce(policy: BoundPolicy, binding: PolicyBinding, decision: PolicyDecision, index: number): void {
    if (decision.action === 'admit') {
      if (decision.failed) this.#count(policy, binding, decision, 'allow');
      return;
    }
    const { context } = this.#a;
    for (const action of binding.spec.validationActions ?? []) {
      if (action === 'Deny') {
        this.#deny(policy, binding, decision);
      } else if (action === 'Audit') {
        const failure = {
          message: decision.message,
          policy: policy.name,
          binding: binding.name,
          expressionIndex: index,
          validationActions: binding.spec.validationActions,
        };
        context.annotate(failureAnnotation, JSON.stringify([failure]));
        this.#count(policy, binding, decision, 'audit');
      } else if (action === 'Warn') {
        context.warn(
          `Validation failed for ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.name}': ${decision.message}`,
        );
        this.#count(policy, binding, decision, 'warn');
      }
    }
  }
}

export function validatingAdmissionPolicy(deps: ValidatingPolicyDeps): AdmissionPlugin {
  const { source } = deps;
  return {
    name: 'ValidatingAdmissionPolicy',
    handles: (_operation, group, resource) => source.all.length > 0 && seenByPolicies(group, resource),
    async validate(a) {
      const dispatch = new Dispatch(deps, a);
      for (const policy of source.all) await dispatch.run(policy);
      const [first] = dispatch.denials;
      if (first !== undefined) throw denied(a, first);
    },
  };
}
