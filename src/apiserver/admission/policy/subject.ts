/** What expressions see of a request: the objects in one version, the request itself, who may do what. */
import type { AuthorizationCheck, Authorize } from '../../../api/cel/library/authz.ts';
import { AuthorizerValue, requestResourceCheck } from '../../../api/cel/library/authz.ts';
import type { LibraryValue } from '../../../api/cel/values.ts';
import { Selector } from '../../../api/selector.ts';
import { FieldSelector } from '../../../api/field-selector.ts';
import type { Namespace } from '../../../api/types/core-v1.gen.ts';
import type { AdmissionAttributes, AuthorizationAttributes, Authorizer, Decision } from '../../context.ts';
import { admissionRequest } from '../admission-request.ts';
import type { MatchedResource } from '../matching.ts';
import type { ObjectVersions } from '../object-versions.ts';

type Json = Record<string, unknown>;

function attributesOf(check: AuthorizationCheck): AuthorizationAttributes {
  const { user, verb, isResourceRequest, path, group, version, resource, subresource, namespace, name } = check;
  return {
    user,
    verb,
    isResourceRequest,
    path,
    group,
    version,
    resource,
    subresource,
    namespace,
    name,
    ...(check.labelRequirements === undefined
      ? {}
      : { labelSelector: new Selector(check.labelRequirements).toString() }),
    ...(check.fieldRequirements === undefined
      ? {}
      : { fieldSelector: new FieldSelector(check.fieldRequirements).toString() }),
  };
}

/** The server's authorizer, as expressions ask it. */
export function authorizeWith(authorizer: Authorizer): Authorize {
  const read = ({ decision, reason }: { readonly decision: Decision; readonly reason: string }) => ({
    allowed: decision === 'allow',
    reason,
  });
  const failed = (error: unknown) => ({
    allowed: false,
    reason: '',
    error: error instanceof Error ? error.message : String(error),
  });
  return (check) => {
    try {
      const answer = authorizer.authorize(attributesOf(check));
      return answer instanceof Promise ? answer.then(read, failed) : read(answer);
    } catch (error) {
      return failed(error);
    }
  };
}

/** The `authorizer` of one request, which remembers what it was asked. */
export interface RequestAuthorizer {
  readonly authorizer: AuthorizerValue;
  readonly requestResource: LibraryValue;
}

export function requestAuthorizer(a: AdmissionAttributes, authorize: Authorize): RequestAuthorizer {
  const { group, resource, subresource, namespace, name } = a;
  const authorizer = new AuthorizerValue(a.user, authorize);
  return {
    authorizer,
    requestResource: requestResourceCheck(authorizer, { group, resource, subresource, namespace, name }),
  };
}

/** `namespaceObject`: what is not meant for expressions is left out. */
export function namespaceObject(namespace: Namespace | undefined): Json | null {
  if (namespace === undefined) return null;
  const {
    managedFields: _managedFields,
    ownerReferences: _ownerReferences,
    selfLink: _selfLink,
    ...metadata
  } = namespace.metadata ?? {};
  return { metadata, spec: namespace.spec ?? {}, status: namespace.status ?? {} };
}

/** A request in the version that a policy asks for. */
export class Subject {
  readonly attributes: AdmissionAttributes;
  readonly matched: MatchedResource;
  readonly object: Json | undefined;
  readonly oldObject: Json | undefined;
  readonly #authorizer: RequestAuthorizer;
  #own: Json | undefined;
  #equivalent: Json | undefined;

  constructor(
    attributes: AdmissionAttributes,
    matched: MatchedResource,
    seen: { readonly object: Json | undefined; readonly oldObject: Json | undefined },
    authorizer: RequestAuthorizer,
  ) {
    this.attributes = attributes;
    this.matched = matched;
    this.object = seen.object;
    this.oldObject = seen.oldObject;
    this.#authorizer = authorizer;
  }

  /** Variables for match conditions, which see the resource that was asked for. */
  forConditions(params: Json | undefined): Json {
    this.#own ??= admissionRequest(this.attributes, this.attributes, this.matched.kind);
    return this.#variables(this.#own, params, null);
  }

  /** Variables for everything else of a policy, which sees the resource by which it was found. */
  forPolicy(params: Json | undefined, namespace: Json | null): Json {
    this.#equivalent ??= admissionRequest(this.attributes, this.matched.resource, this.matched.kind);
    return this.#variables(this.#equivalent, params, namespace);
  }

  #variables(request: Json, params: Json | undefined, namespace: Json | null): Json {
    return {
      object: this.object ?? null,
      oldObject: this.oldObject ?? null,
      request,
      namespaceObject: namespace,
      params: params ?? null,
      authorizer: this.#authorizer.authorizer,
      'authorizer.requestResource': this.#authorizer.requestResource,
    };
  }
}

/** The request's objects in the version of `matched`. */
export function subjectOf(
  a: AdmissionAttributes,
  matched: MatchedResource,
  versions: ObjectVersions,
  authorizer: RequestAuthorizer,
): Subject | Promise<Subject> {
  const convert = (object: Json | undefined): Json | undefined | Promise<Json> =>
    object === undefined ? undefined : versions.convert(object, matched.resource, matched.kind);
  const object = convert(a.object);
  const oldObject = convert(a.oldObject);
  if (object instanceof Promise || oldObject instanceof Promise)
    return Promise.all([object, oldObject]).then(
      ([now, before]) => new Subject(a, matched, { object: now, oldObject: before }, authorizer),
    );
  return new Subject(a, matched, { object, oldObject }, authorizer);
}
