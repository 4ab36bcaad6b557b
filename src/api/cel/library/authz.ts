/**
 * Authorization checks in expressions: `authorizer.group('apps').resource('deployments').namespace('x').check('get').allowed()`.
 * Who decides is given by the caller, and may decide later: the evaluation is then run again with the answer (see
 * `Program.evaluateAsync`).
 */
import { nameIsDNSLabel, nameIsDNSSubdomain } from '../../names.ts';
import type { Requirement } from '../../selector.ts';
import type { FieldTerm } from '../../field-selector.ts';
import { SelectorError } from '../../selector.ts';
import { parseLabelSelector } from '../../selector-parser.ts';
import { parseFieldSelector } from '../../field-selector.ts';
import type { Impl, Library } from '../declarations.ts';
import { member } from '../declarations.ts';
import { Suspended, fail } from '../errors.ts';
import type { CelType } from '../types.ts';
import { boolType, libraryType, stringType } from '../types.ts';
import { LibraryValue } from '../values.ts';

/** Whom a check is about. */
export interface CheckedUser {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** What an expression asks for. */
export interface AuthorizationCheck {
  readonly user: CheckedUser;
  readonly verb: string;
  readonly isResourceRequest: boolean;
  /** Of non-resource requests. */
  readonly path: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly fieldRequirements?: readonly FieldTerm[];
  readonly labelRequirements?: readonly Requirement[];
  readonly fieldSelectorError?: string;
  readonly labelSelectorError?: string;
}

export interface AuthorizationDecision {
  readonly allowed: boolean;
  readonly reason: string;
  /** Why no decision could be made; empty when it was. */
  readonly error?: string;
}

export type Authorize = (check: AuthorizationCheck) => AuthorizationDecision | Promise<AuthorizationDecision>;

export const authorizerType = libraryType('kubernetes.authorization.Authorizer');
const pathCheckType = libraryType('kubernetes.authorization.PathCheck');
const groupCheckType = libraryType('kubernetes.authorization.GroupCheck');
export const resourceCheckType = libraryType('kubernetes.authorization.ResourceCheck');
const decisionType = libraryType('kubernetes.authorization.Decision');

abstract class AuthorizationValue extends LibraryValue {
  equals(other: LibraryValue): boolean {
    return this === other;
  }
}

/** The `authorizer` variable: asks about one user. Remembers the decisions, so an evaluation that is run again gets them. */
export class AuthorizerValue extends AuthorizationValue {
  readonly user: CheckedUser;
  readonly #authorize: Authorize;
  readonly #decisions: Map<string, AuthorizationDecision>;

  constructor(user: CheckedUser, authorize: Authorize, decisions = new Map<string, AuthorizationDecision>()) {
    super();
    this.user = user;
    this.#authorize = authorize;
    this.#decisions = decisions;
  }

  get celType(): CelType {
    return authorizerType;
  }

  serviceAccount(namespace: string, name: string): AuthorizerValue {
    if (nameIsDNSSubdomain(name, false).length > 0) fail('Invalid service account name');
    if (nameIsDNSLabel(namespace, false).length > 0) fail('Invalid service account namespace');
    const user = {
      name: `system:serviceaccount:${namespace}:${name}`,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
    };
    return new AuthorizerValue(user, this.#authorize, this.#decisions);
  }

  decide(check: Omit<AuthorizationCheck, 'user'>): DecisionValue {
    const whole: AuthorizationCheck = { user: this.user, ...check };
    const key = JSON.stringify(whole);
    const known = this.#decisions.get(key);
    if (known !== undefined) return new DecisionValue(known);
    const decision = this.#authorize(whole);
    if (decision instanceof Promise) {
      throw new Suspended(decision.then((d) => void this.#decisions.set(key, d)));
    }
    this.#decisions.set(key, decision);
    return new DecisionValue(decision);
  }
}

class PathCheckValue extends AuthorizationValue {
  readonly authorizer: AuthorizerValue;
  readonly path: string;

  constructor(authorizer: AuthorizerValue, path: string) {
    super();
    this.authorizer = authorizer;
    this.path = path;
  }

  get celType(): CelType {
    return pathCheckType;
  }
}

class GroupCheckValue extends AuthorizationValue {
  readonly authorizer: AuthorizerValue;
  readonly group: string;

  constructor(authorizer: AuthorizerValue, group: string) {
    super();
    this.authorizer = authorizer;
    this.group = group;
  }

  get celType(): CelType {
    return groupCheckType;
  }
}

/** What a resource check asks about. */
export interface CheckedResource {
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly fieldSelector: string;
  readonly labelSelector: string;
}

class ResourceCheckValue extends AuthorizationValue {
  readonly authorizer: AuthorizerValue;
  readonly resource: CheckedResource;

  constructor(authorizer: AuthorizerValue, resource: CheckedResource) {
    super();
    this.authorizer = authorizer;
    this.resource = resource;
  }

  get celType(): CelType {
    return resourceCheckType;
  }

  with(change: Partial<CheckedResource>): ResourceCheckValue {
    return new ResourceCheckValue(this.authorizer, { ...this.resource, ...change });
  }
}

class DecisionValue extends AuthorizationValue {
  readonly decision: AuthorizationDecision;

  constructor(decision: AuthorizationDecision) {
    super();
    this.decision = decision;
  }

  get celType(): CelType {
    return decisionType;
  }
}

/** `authorizer.requestResource`: the check of the resource that a request is about. */
export function requestResourceCheck(
  authorizer: AuthorizerValue,
  resource: Omit<CheckedResource, 'fieldSelector' | 'labelSelector'>,
): LibraryValue {
  return new ResourceCheckValue(authorizer, { ...resource, fieldSelector: '', labelSelector: '' });
}

function selectors({ fieldSelector, labelSelector }: CheckedResource): Partial<AuthorizationCheck> {
  const out: { -readonly [K in keyof AuthorizationCheck]?: AuthorizationCheck[K] } = {};
  const read = (what: () => void, failed: (message: string) => void): void => {
    try {
      what();
    } catch (error) {
      if (!(error instanceof SelectorError)) throw error;
      failed(error.message);
    }
  };
  if (fieldSelector !== '') {
    read(
      () => (out.fieldRequirements = parseFieldSelector(fieldSelector).terms),
      (message) => (out.fieldSelectorError = message),
    );
  }
  if (labelSelector !== '') {
    read(
      () => (out.labelRequirements = parseLabelSelector(labelSelector).requirements),
      (message) => (out.labelSelectorError = message),
    );
  }
  return out;
}

const checkPath: Impl = ([v, verb]) => {
  const { authorizer, path } = v as PathCheckValue;
  const nothing = { group: '', version: '', resource: '', subresource: '', namespace: '', name: '' };
  return authorizer.decide({ ...nothing, isResourceRequest: false, path, verb: verb as string });
};

const checkResource: Impl = ([v, verb]) => {
  const { authorizer, resource } = v as ResourceCheckValue;
  const { group, subresource, namespace, name } = resource;
  return authorizer.decide({
    verb: verb as string,
    isResourceRequest: true,
    path: '',
    group,
    version: '*',
    resource: resource.resource,
    subresource,
    namespace,
    name,
    ...selectors(resource),
  });
};

const text = (v: unknown): string => v as string;
const decision = (v: unknown): AuthorizationDecision => (v as DecisionValue).decision;
const required = (v: unknown, what: string): string =>
  text(v).trim() === '' ? fail(`${what} must not be empty`) : text(v);

const emptyResource: CheckedResource = {
  group: '',
  resource: '',
  subresource: '',
  namespace: '',
  name: '',
  fieldSelector: '',
  labelSelector: '',
};

const narrow = (id: string, field: keyof CheckedResource): ReturnType<typeof member>[] => [
  member(id, [resourceCheckType, stringType], resourceCheckType, ([v, s]) =>
    (v as ResourceCheckValue).with({ [field]: text(s) }),
  ),
];

export const authzLibrary: Library = {
  name: 'kubernetes.authz',
  types: [authorizerType, pathCheckType, groupCheckType, resourceCheckType, decisionType],
  functions: {
    path: [
      member(
        'authorizer_path',
        [authorizerType, stringType],
        pathCheckType,
        ([a, p]) => new PathCheckValue(a as AuthorizerValue, required(p, 'path')),
      ),
    ],
    group: [
      member(
        'authorizer_group',
        [authorizerType, stringType],
        groupCheckType,
        ([a, g]) => new GroupCheckValue(a as AuthorizerValue, text(g)),
      ),
    ],
    serviceAccount: [
      member('authorizer_serviceaccount', [authorizerType, stringType, stringType], authorizerType, ([a, ns, n]) =>
        (a as AuthorizerValue).serviceAccount(text(ns), text(n)),
      ),
    ],
    resource: [
      member('groupcheck_resource', [groupCheckType, stringType], resourceCheckType, ([v, r]) => {
        const { authorizer, group } = v as GroupCheckValue;
        return new ResourceCheckValue(authorizer, { ...emptyResource, group, resource: required(r, 'resource') });
      }),
    ],
    subresource: narrow('resourcecheck_subresource', 'subresource'),
    namespace: narrow('resourcecheck_namespace', 'namespace'),
    name: narrow('resourcecheck_name', 'name'),
    fieldSelector: narrow('authorizer_fieldselector', 'fieldSelector'),
    labelSelector: narrow('authorizer_labelselector', 'labelSelector'),
    check: [
      member('pathcheck_check', [pathCheckType, stringType], decisionType, checkPath),
      member('resourcecheck_check', [resourceCheckType, stringType], decisionType, checkResource),
    ],
    errored: [member('decision_errored', [decisionType], boolType, ([d]) => (decision(d).error ?? '') !== '')],
    error: [member('decision_error', [decisionType], stringType, ([d]) => decision(d).error ?? '')],
    allowed: [member('decision_allowed', [decisionType], boolType, ([d]) => decision(d).allowed)],
    reason: [member('decision_reason', [decisionType], stringType, ([d]) => decision(d).reason)],
  },
};
