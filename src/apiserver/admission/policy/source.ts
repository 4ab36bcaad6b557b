/** The policies of one kind with their bindings, followed as they come and go. */
import { jsonEqual } from '../../../api/patch/values.ts';
import type { MatchResources, ParamKind, ParamRef } from '../../../api/types/admissionregistration-v1.gen.ts';
import type { Registries } from '../../registry.ts';
import { readConstraints } from './constraints.ts';
import type { Constraints } from './constraints.ts';

const group = 'admissionregistration.k8s.io';

/** What the specs of both kinds of policies have. */
export interface PolicySpec {
  readonly paramKind?: ParamKind;
  readonly matchConstraints?: MatchResources;
  readonly failurePolicy?: string;
}

export interface BindingSpec {
  readonly policyName?: string;
  readonly paramRef?: ParamRef;
  readonly matchResources?: MatchResources;
}

export interface Binding<B> {
  readonly name: string;
  readonly spec: B;
  /** undefined: whatever the policy is about. */
  readonly constraints: Constraints | undefined;
}

/** A policy that is in force. */
export interface Policy<P, B, E> {
  readonly name: string;
  readonly spec: P;
  readonly constraints: Constraints;
  readonly ignoresFailure: boolean;
  readonly bindings: readonly Binding<B>[];
  /** The compiled expressions; made when they are first needed. */
  readonly evaluator: E;
}

class FollowedPolicy<P extends PolicySpec, B, E> implements Policy<P, B, E> {
  readonly name: string;
  readonly spec: P;
  readonly constraints: Constraints;
  readonly #compile: (name: string, spec: P) => E;
  #evaluator: E | undefined;
  bindings: readonly Binding<B>[] = [];

  constructor(name: string, spec: P, compile: (name: string, spec: P) => E) {
    this.name = name;
    this.spec = spec;
    this.constraints = readConstraints(spec.matchConstraints ?? {});
    this.#compile = compile;
  }

  get ignoresFailure(): boolean {
    return this.spec.failurePolicy === 'Ignore';
  }

  get evaluator(): E {
    return (this.#evaluator ??= this.#compile(this.name, this.spec));
  }
}

export class PolicySource<P extends PolicySpec, B extends BindingSpec, E> {
  readonly #registries: Registries;
  readonly #resources: { readonly policies: string; readonly bindings: string };
  readonly #compile: (name: string, spec: P) => E;
  readonly #policies = new Map<string, FollowedPolicy<P, B, E>>();
  readonly #bindings = new Map<string, Binding<B>>();
  readonly #unfollow: (() => void)[] = [];
  #all: readonly Policy<P, B, E>[] = [];

  constructor(
    registries: Registries,
    resources: { readonly policies: string; readonly bindings: string },
    compile: (name: string, spec: P) => E,
  ) {
    this.#registries = registries;
    this.#resources = resources;
    this.#compile = compile;
  }

  /** The policies that are bound, by name, their bindings likewise. */
  get all(): readonly Policy<P, B, E>[] {
    return this.#all;
  }

  async start(): Promise<void> {
    const { policies, bindings } = this.#resources;
    this.#unfollow.push(
      await this.#registries.follow(group, policies, (type, committed) => {
        const { name } = committed;
        if (type === 'delete') this.#policies.delete(name);
        else {
          const spec = (committed.object()['spec'] ?? {}) as P;
          // What was compiled stays as long as only the status changes.
          if (jsonEqual(this.#policies.get(name)?.spec, spec)) return;
          this.#policies.set(name, new FollowedPolicy(name, spec, this.#compile));
        }
        this.#arrange();
      }),
      await this.#registries.follow(group, bindings, (type, committed) => {
        const { name } = committed;
        if (type === 'delete') this.#bindings.delete(name);
        else {
          const spec = (committed.object()['spec'] ?? {}) as B;
          const { matchResources } = spec;
          const constraints = matchResources === undefined ? undefined : readConstraints(matchResources);
          this.#bindings.set(name, { name, spec, constraints });
        }
        this.#arrange();
      }),
    );
  }

  close(): void {
    for (const unfollow of this.#unfollow) unfollow();
  }

  #arrange(): void {
    const byPolicy = Map.groupBy(
      [...this.#bindings.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      (b) => b.spec.policyName ?? '',
    );
    const all: FollowedPolicy<P, B, E>[] = [];
    for (const policy of this.#policies.values()) {
      policy.bindings = byPolicy.get(policy.name) ?? [];
      if (policy.bindings.length > 0) all.push(policy);
    }
    this.#all = all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}
