/**
 * The reviews of authorization.k8s.io: may this subject do this (SubjectAccessReview and its Self and Local forms), and
 * what may I do in this namespace (SelfSubjectRulesReview).
 */
import { invalid, invalidStatus, required, type FieldError } from '../../api/field-error.ts';
import { isLabelValue, isQualifiedName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { badRequest } from '../../api/status.ts';
import { SelectorError } from '../../api/selector.ts';
import { parseLabelSelector } from '../../api/selector-parser.ts';
import { parseFieldSelector } from '../../api/field-selector.ts';
import type { AuthorizationAttributes, Authorizer } from '../context.ts';
import type { UserInfo } from '../request.ts';
import type { VirtualCreate } from '../virtual.ts';
import type { RuleResolver } from './user-rules.ts';

const group = 'authorization.k8s.io';

interface SelectorAttributes {
  rawSelector?: string;
  requirements?: { key: string; operator: string; values?: string[] }[];
}

interface ResourceAttributes {
  namespace?: string;
  verb?: string;
  group?: string;
  version?: string;
  resource?: string;
  subresource?: string;
  name?: string;
  fieldSelector?: SelectorAttributes;
  labelSelector?: SelectorAttributes;
}

interface ReviewSpec {
  resourceAttributes?: ResourceAttributes;
  nonResourceAttributes?: { path?: string; verb?: string };
  user?: string;
  groups?: string[];
  extra?: Record<string, string[]>;
  uid?: string;
}

/** Upstream does not look whether it knows an operator: callers may be newer. */
function selectorErrors(selector: SelectorAttributes | undefined, path: string, labels: boolean): FieldError[] {
  if (selector === undefined) return [];
  const raw = selector.rawSelector ?? '';
  const requirements = selector.requirements ?? [];
  const errors: FieldError[] = [];
  if (raw !== '' && requirements.length > 0)
    errors.push(invalid(`${path}.rawSelector`, raw, 'may not specified at the same time as requirements'));
  if (raw === '' && requirements.length === 0)
    errors.push(required(`${path}.requirements`, `when ${path} is specified, requirements or rawSelector is required`));
  requirements.forEach((r, i) => {
    const at = `${path}.requirements[${i}]`;
    const values = r.values ?? [];
    if (!labels && (r.key ?? '') === '') errors.push(required(`${at}.key`, 'must be specified'));
    if ((r.operator === 'In' || r.operator === 'NotIn') && values.length === 0)
      errors.push(required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
    if ((r.operator === 'Exists' || r.operator === 'DoesNotExist') && values.length > 0)
      errors.push({
        type: 'FieldValueForbidden',
        field: `${at}.values`,
        detail: "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
      });
    if (!labels) return;
    const key = r.key ?? '';
    for (const why of isQualifiedName(key)) errors.push(invalid(`${at}.key`, key, why));
    values.forEach((value, j) => {
      for (const why of isLabelValue(value)) errors.push(invalid(`${at}.values[${j}]`, value, why));
    });
  });
  return errors;
}

function specErrors(spec: ReviewSpec, self: boolean): FieldError[] {
  const errors: FieldError[] = [];
  const { resourceAttributes: resource, nonResourceAttributes: other } = spec;
  if (resource !== undefined && other !== undefined)
    errors.push(
      invalid(
        'spec.nonResourceAttributes',
        attributesForm(other),
        'cannot be specified in combination with resourceAttributes',
      ),
    );
  if (resource === undefined && other === undefined)
    errors.push(
      invalid(
        'spec.resourceAttributes',
        null,
        'exactly one of nonResourceAttributes or resourceAttributes must be specified',
      ),
    );
  if (!self && (spec.user ?? '') === '' && (spec.groups ?? []).length === 0)
    errors.push(invalid('spec.user', spec.user ?? '', 'at least one of user or group must be specified'));
  errors.push(...selectorErrors(resource?.fieldSelector, 'spec.resourceAttributes.fieldSelector', false));
  errors.push(...selectorErrors(resource?.labelSelector, 'spec.resourceAttributes.labelSelector', true));
  return errors;
}

function metadataErrors(object: KubeObject, local: boolean): FieldError[] {
  const { managedFields: _m, ...rest } = object.metadata;
  const metadata: Record<string, unknown> = { ...rest };
  if (local) delete metadata['namespace'];
  const empty = Object.values(metadata).every((v) => v === undefined || v === null || v === '');
  if (empty) return [];
  return [invalid('metadata', object.metadata, local ? 'must be empty except for namespace' : 'must be empty')];
}

/** The selector as text; what could not be parsed is left out (a broader question) and reported. */
function selectorText(
  selector: SelectorAttributes | undefined,
  kind: 'fieldSelector' | 'labelSelector',
): { text: string | undefined; error: string | undefined } {
  if (selector === undefined) return { text: undefined, error: undefined };
  const ignored = `spec.resourceAttributes.${kind} ignored due to parse error`;
  const partly = `spec.resourceAttributes.${kind} partially ignored due to parse error`;
  const raw = selector.rawSelector ?? '';
  if (raw !== '') {
    try {
      if (kind === 'fieldSelector') parseFieldSelector(raw);
      else parseLabelSelector(raw);
      return { text: raw, error: undefined };
    } catch (error) {
      if (!(error instanceof SelectorError)) throw error;
      return { text: undefined, error: ignored };
    }
  }
  const terms: string[] = [];
  let failed = false;
  for (const r of selector.requirements ?? []) {
    const values = r.values ?? [];
    if (kind === 'fieldSelector') {
      if ((r.operator === 'In' || r.operator === 'NotIn') && values.length === 1)
        terms.push(`${r.key}${r.operator === 'In' ? '=' : '!='}${values[0]}`);
      else failed = true;
    } else if (r.operator === 'In') terms.push(`${r.key} in (${values.join(',')})`);
    else if (r.operator === 'NotIn') terms.push(`${r.key} notin (${values.join(',')})`);
    else if (r.operator === 'Exists') terms.push(r.key);
    else if (r.operator === 'DoesNotExist') terms.push(`!${r.key}`);
    else failed = true;
  }
  return {
    text: terms.length === 0 ? undefined : terms.join(','),
    error: failed ? (terms.length > 0 ? partly : ignored) : undefined,
  };
}

function attributesOf(user: UserInfo, spec: ReviewSpec): { attributes: AuthorizationAttributes; errors: string[] } {
  const r = spec.resourceAttributes;
  if (r === undefined) {
    const n = spec.nonResourceAttributes!;
    return {
      attributes: {
        user,
        verb: n.verb ?? '',
        isResourceRequest: false,
        group: '',
        version: '',
        resource: '',
        subresource: '',
        namespace: '',
        name: '',
        path: n.path ?? '',
      },
      errors: [],
    };
  }
  const field = selectorText(r.fieldSelector, 'fieldSelector');
  const label = selectorText(r.labelSelector, 'labelSelector');
  return {
    attributes: {
      user,
      verb: r.verb ?? '',
      isResourceRequest: true,
      group: r.group ?? '',
      version: r.version === undefined || r.version === '' ? '*' : r.version,
      resource: r.resource ?? '',
      subresource: r.subresource ?? '',
      namespace: r.namespace ?? '',
      name: r.name ?? '',
      path: '',
      ...(field.text === undefined ? {} : { fieldSelector: field.text }),
      ...(label.text === undefined ? {} : { labelSelector: label.text }),
    },
    errors: [field.error, label.error].filter((e) => e !== undefined),
  };
}

async function decide(authorizer: Authorizer, user: UserInfo, spec: ReviewSpec): Promise<Record<string, unknown>> {
  const { attributes, errors } = attributesOf(user, spec);
  const { decision, reason, error } = await authorizer.authorize(attributes);
  if (error !== undefined) errors.unshift(error.message);
  return {
    allowed: decision === 'allow',
    ...(decision === 'deny' ? { denied: true } : {}),
    ...(reason === '' ? {} : { reason }),
    ...(errors.length === 0 ? {} : { evaluationError: errors.join('; ') }),
  };
}

function subjectOf(spec: ReviewSpec): UserInfo {
  return {
    name: spec.user ?? '',
    ...(spec.uid === undefined ? {} : { uid: spec.uid }),
    groups: spec.groups ?? [],
    ...(spec.extra === undefined ? {} : { extra: spec.extra }),
  };
}

/** As the internal version shows them. */
const attributesForm = (given: { path?: string; verb?: string }): unknown => ({
  Path: given.path ?? '',
  Verb: given.verb ?? '',
});

/** Handlers by `group/resource`. */
export function createAuthorizationReviews(options: {
  readonly authorizer: Authorizer;
  readonly rules: RuleResolver;
}): ReadonlyMap<string, VirtualCreate> {
  const { authorizer } = options;
  const specOf = (object: KubeObject): ReviewSpec => (object['spec'] ?? {}) as ReviewSpec;

  const subject: VirtualCreate = async (_ctx, object, admit) => {
    const spec = specOf(object);
    const errors = [...specErrors(spec, false), ...metadataErrors(object, false)];
    if (errors.length > 0) throw invalidStatus(group, '', '', errors);
    await admit(object);
    return { ...object, status: await decide(authorizer, subjectOf(spec), spec) };
  };

  const self: VirtualCreate = async (ctx, object, admit) => {
    const spec = specOf(object);
    const errors = [...specErrors(spec, true), ...metadataErrors(object, false)];
    if (errors.length > 0) throw invalidStatus(group, '', '', errors);
    await admit(object);
    return { ...object, status: await decide(authorizer, ctx.user, spec) };
  };

  const local: VirtualCreate = async (ctx, object, admit) => {
    const spec = specOf(object);
    const errors = [...specErrors(spec, false), ...metadataErrors(object, true)];
    const inner = spec.resourceAttributes?.namespace ?? '';
    if (spec.resourceAttributes !== undefined && inner !== (object.metadata.namespace ?? ''))
      errors.push(invalid('spec.resourceAttributes.namespace', inner, 'must match metadata.namespace'));
    if (spec.nonResourceAttributes !== undefined)
      errors.push(
        invalid(
          'spec.nonResourceAttributes',
          attributesForm(spec.nonResourceAttributes),
          'disallowed on this kind of request',
        ),
      );
    if (errors.length > 0) throw invalidStatus(group, '', '', errors);
    const { namespace } = ctx.info;
    if (namespace === '') throw badRequest('namespace is required on this type: ');
    if (namespace !== object.metadata.namespace)
      throw badRequest(`spec.resourceAttributes.namespace must match namespace: ${namespace}`);
    await admit(object);
    return { ...object, status: await decide(authorizer, subjectOf(spec), spec) };
  };

  const rules: VirtualCreate = async (ctx, object, admit) => {
    const namespace = (object['spec'] as { namespace?: string } | undefined)?.namespace ?? '';
    if (namespace === '') throw badRequest('no namespace on request');
    await admit(object);
    const resourceRules: Record<string, unknown>[] = [];
    const nonResourceRules: Record<string, unknown>[] = [];
    const found = options.rules.rulesFor(ctx.user, namespace);
    for (const rule of found.rules) {
      if ((rule.resources?.length ?? 0) > 0)
        resourceRules.push({
          verbs: rule.verbs ?? [],
          ...(rule.apiGroups === undefined ? {} : { apiGroups: rule.apiGroups }),
          resources: rule.resources,
          ...(rule.resourceNames === undefined ? {} : { resourceNames: rule.resourceNames }),
        });
      if ((rule.nonResourceURLs?.length ?? 0) > 0)
        nonResourceRules.push({ verbs: rule.verbs ?? [], nonResourceURLs: rule.nonResourceURLs });
    }
    return {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: {},
      spec: {},
      status: {
        resourceRules,
        nonResourceRules,
        incomplete: found.incomplete,
        ...(found.error === '' ? {} : { evaluationError: found.error }),
      },
    };
  };

  return new Map([
    [`${group}/subjectaccessreviews`, subject],
    [`${group}/selfsubjectaccessreviews`, self],
    [`${group}/localsubjectaccessreviews`, local],
    [`${group}/selfsubjectrulesreviews`, rules],
  ]);
}
