/**
 * MutatingAdmissionPolicy: what all policies that are bound to the request make of its object, one after the other, and those
 * that want it once more when something was changed after them.
 */
import { jsonEqual } from '../../../api/patch/values.ts';
import { StatusError } from '../../../api/status.ts';
import type { Authorize } from '../../../api/cel/library/authz.ts';
import type {
  MutatingAdmissionPolicyBindingSpec,
  MutatingAdmissionPolicySpec,
} from '../../../api/types/admissionregistration-v1.gen.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../context.ts';
import { metadataOf, refuse } from '../attributes.ts';
import { withSoundManagedFields } from '../managed-fields.ts';
import { kindOf } from '../matching.ts';
import type { MatchedResource } from '../matching.ts';
import type { ObjectVersions } from '../object-versions.ts';
import { Reinvocation } from '../reinvocation.ts';
import { meets } from './constraints.ts';
import type { ConstraintDeps } from './constraints.ts';
import { namespaceOf, seenByPolicies } from './handled.ts';
import { errorTypeOf } from './metrics.ts';
import type { PolicyMetrics } from './metrics.ts';
import type { Mutator } from './mutator.ts';
import type { Params } from './params.ts';
import type { Binding, Policy, PolicySource } from './source.ts';
import { namespaceObject, requestAuthorizer, subjectOf } from './subject.ts';

type Json = Record<string, unknown>;
type BoundPolicy = Policy<MutatingAdmissionPolicySpec, MutatingAdmissionPolicyBindingSpec, Mutator>;
type PolicyBinding = Binding<MutatingAdmissionPolicyBindingSpec>;

const pluginName = 'MutatingAdmissionPolicy';

export interface MutatingPolicyDeps extends ConstraintDeps {
  readonly source: PolicySource<MutatingAdmissionPolicySpec, MutatingAdmissionPolicyBindingSpec, Mutator>;
  readonly params: Params;
  readonly versions: ObjectVersions;
  readonly authorize: Authorize;
  readonly metrics: PolicyMetrics;
}

/** One policy to be run, with one set of parameters. */
interface Invocation {
  readonly policy: BoundPolicy;
  readonly binding: PolicyBinding;
  readonly matched: MatchedResource;
  readonly param: Json | undefined;
}

interface PolicyError {
  readonly policy: BoundPolicy;
  readonly binding: PolicyBinding | undefined;
  readonly message: string;
  readonly reason: string;
}

function keyOf({ policy, binding, param }: Invocation): string {
  const { namespace = '', name = '' } = param === undefined ? {} : metadataOf(param);
  return [policy.name, binding.name, namespace, name].join('/');
}

function textOf({ policy, binding, message }: PolicyError): string {
  return binding === undefined
    ? `policy ${JSON.stringify(policy.name)} denied request: ${message}`
    : `policy '${policy.name}' with binding '${binding.name}' denied request: ${message}`;
}

function refusal(a: AdmissionAttributes, errors: readonly PolicyError[]): StatusError {
  const { code, reason, details } = refuse(a, 'admission request denied by policy');
  const texts = errors.map(textOf);
  const causes = texts.map((message) => ({ message }));
  return new StatusError(code, errors[0]!.reason || reason, texts[0]!, { ...details, causes });
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export function mutatingAdmissionPolicy(deps: MutatingPolicyDeps): AdmissionPlugin {
  const { source, params, versions, metrics } = deps;

  /** What is to be run on the request; what cannot be told goes to `errors`. */
  const invocationsOf = async (a: AdmissionAttributes, errors: PolicyError[]): Promise<Invocation[]> => {
    const invocations: Invocation[] = [];
    for (const policy of source.all) {
      const failed = (binding: PolicyBinding | undefined, error: unknown): void => {
        const what = binding === undefined ? 'policy' : 'binding';
        errors.push({ policy, binding, message: `failed to configure ${what}: ${messageOf(error)}`, reason: '' });
      };
      const { paramKind } = policy.spec;
      let matched: MatchedResource | undefined;
      try {
        const met = meets(policy.constraints, a, deps);
        matched = met instanceof Promise ? await met : met;
        if (matched === undefined) continue;
        params.check(paramKind);
      } catch (error) {
        failed(undefined, error);
        continue;
      }
      for (const binding of policy.bindings) {
        try {
          if (binding.constraints !== undefined) {
            const met = meets(binding.constraints, a, deps);
            if ((met instanceof Promise ? await met : met) === undefined) continue;
          }
          for (const param of await params.collect(paramKind, binding.spec.paramRef, a.namespace))
            invocations.push({ policy, binding, matched, param });
        } catch (error) {
          failed(binding, error);
        }
      }
    }
    return invocations;
  };

  return {
    name: pluginName,
    reinvokes: true,
    handles: (operation, group, resource) =>
      source.all.length > 0 && operation !== 'DELETE' && seenByPolicies(group, resource),
    async mutate(given) {
      const errors: PolicyError[] = [];
      const invocations = await invocationsOf(given, errors);
      let a = given;
      if (invocations.length > 0) {
        const reinvocation = given.reinvocation ?? new Reinvocation();
        const memory = reinvocation.of(pluginName);
        if (reinvocation.again && memory.changedSince(given.object)) memory.requireAgain();
        try {
          const namespace = namespaceObject(await namespaceOf(given, deps.namespaces));
          const authorizer = requestAuthorizer(given, deps.authorize);
          let patched = false;
          for (const invocation of invocations) {
            const { policy, binding, matched, param } = invocation;
            const { evaluator } = policy;
            const failed = (error: unknown): void =>
              void errors.push({ policy, binding, message: messageOf(error), reason: 'Invalid' });
            let subject = await subjectOf(a, matched, versions, authorizer);
            if (evaluator.conditions !== undefined) {
              const fits = await evaluator.conditions.match(subject.forConditions(param), a.operation);
              if (fits instanceof Error) failed(fits);
              if (fits !== true) continue;
            }
            const key = keyOf(invocation);
            if (reinvocation.again && !memory.shouldCall(key)) continue;
            const before = a.object;
            for (const mutation of evaluator.mutations) {
              if (subject.object === undefined || a.object === undefined) break;
              const began = ioNow();
              const observe = (message: string | undefined): void =>
                metrics.mutated({
                  policy: policy.name,
                  binding: binding.name,
                  errorType: errorTypeOf(message),
                  seconds: (ioNow() - began) / 1000,
                });
              try {
                const object = await evaluator.mutate(mutation, subject, { params: param, namespace, versions });
                patched = true;
                if (object !== subject.object && !jsonEqual(object, subject.object)) {
                  const next = withSoundManagedFields(a, a.object, await versions.convert(object, a, kindOf(a)));
                  a = { ...a, object: next };
                  subject = await subjectOf(a, matched, versions, authorizer);
                }
                observe(undefined);
              } catch (error) {
                observe(messageOf(error));
                if (error instanceof StatusError) throw error;
                failed(error);
              }
            }
            if (a.object !== before) {
              memory.requireAgain();
              reinvocation.wanted = true;
            }
            if (policy.spec.reinvocationPolicy === 'IfNeeded') memory.called(key);
          }
          if (patched) {
            memory.requireAgain();
            reinvocation.wanted = true;
          }
        } finally {
          memory.leave(a.object);
        }
      }
      const counting = errors.filter((e) => !e.policy.ignoresFailure);
      if (counting.length > 0) throw refusal(given, counting);
      return a.object;
    },
  };
}
