/** A question of authorization as the spec of a SubjectAccessReview: what webhooks are asked, and what match conditions see. */
import { SelectorError } from '../../../api/selector.ts';
import { parseLabelSelector } from '../../../api/selector-parser.ts';
import { parseFieldSelector } from '../../../api/field-selector.ts';
import type { SelectorOperator } from '../../../api/selector.ts';
import type { AuthorizationAttributes } from '../../context.ts';

export interface SelectorRequirement {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** authorization.k8s.io/v1 SubjectAccessReviewSpec; v1beta1 calls the groups `group`. */
export interface ReviewSpec {
  readonly resourceAttributes?: {
    readonly namespace?: string;
    readonly verb?: string;
    readonly group?: string;
    readonly version?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly name?: string;
    readonly fieldSelector?: { readonly requirements: readonly SelectorRequirement[] };
    readonly labelSelector?: { readonly requirements: readonly SelectorRequirement[] };
  };
  readonly nonResourceAttributes?: { readonly path?: string; readonly verb?: string };
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  readonly uid?: string;
}

/** A selector that cannot be read narrows nothing: the broader question is asked. */
function readable<T>(read: () => readonly T[]): readonly T[] {
  try {
    return read();
  } catch (error) {
    if (error instanceof SelectorError) return [];
    throw error;
  }
}

function fieldRequirements(selector: string | undefined): readonly SelectorRequirement[] {
  if (selector === undefined || selector === '') return [];
  return readable(() =>
    parseFieldSelector(selector).terms.map((t) => ({
      key: t.field,
      operator: t.operator === '=' ? 'In' : 'NotIn',
      values: [t.value],
    })),
  );
}

const labelOperators: Partial<Record<SelectorOperator, string>> = {
  '=': 'In',
  '==': 'In',
  in: 'In',
  '!=': 'NotIn',
  notin: 'NotIn',
  exists: 'Exists',
  '!': 'DoesNotExist',
};

function labelRequirements(selector: string | undefined): readonly SelectorRequirement[] {
  if (selector === undefined || selector === '') return [];
  return readable(() =>
    parseLabelSelector(selector).requirements.flatMap((r) => {
      const operator = labelOperators[r.operator];
      if (operator === undefined) return [];
      return [{ key: r.key, operator, ...(r.values.length === 0 ? {} : { values: r.values }) }];
    }),
  );
}

/** Empty fields are left out, as upstream writes them. */
function set(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}

export function reviewSpecOf(a: AuthorizationAttributes): ReviewSpec {
  const { user } = a;
  const field = a.isResourceRequest ? fieldRequirements(a.fieldSelector) : [];
  const label = a.isResourceRequest ? labelRequirements(a.labelSelector) : [];
  return {
    ...(a.isResourceRequest
      ? {
          resourceAttributes: {
            ...set({
              namespace: a.namespace,
              verb: a.verb,
              group: a.group,
              version: a.version,
              resource: a.resource,
              subresource: a.subresource,
              name: a.name,
            }),
            ...(field.length === 0 ? {} : { fieldSelector: { requirements: field } }),
            ...(label.length === 0 ? {} : { labelSelector: { requirements: label } }),
          },
        }
      : { nonResourceAttributes: set({ path: a.path, verb: a.verb }) }),
    ...(user.name === '' ? {} : { user: user.name }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(user.extra === undefined || Object.keys(user.extra).length === 0 ? {} : { extra: user.extra }),
    ...(user.uid === undefined || user.uid === '' ? {} : { uid: user.uid }),
  };
}
