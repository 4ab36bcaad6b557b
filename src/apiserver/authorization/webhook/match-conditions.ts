/** CEL conditions that decide whether an authorization webhook is asked at all: compiled against a SubjectAccessReviewSpec. */
import { declared } from '../../../api/admission/types.ts';
import { createEnv } from '../../../api/cel/env.ts';
import type { Env } from '../../../api/cel/env.ts';
import { CelError } from '../../../api/cel/errors.ts';
import { compile } from '../../../api/cel/program.ts';
import type { Program } from '../../../api/cel/program.ts';
import { boolType, isExactType, listType, mapType, stringType } from '../../../api/cel/types.ts';
import { duplicate, invalid, required, tooMany } from '../../../api/field-error.ts';
import type { FieldError } from '../../../api/field-error.ts';
import type { ReviewSpec } from './review-spec.ts';

const strings = listType(stringType);
const requirement = declared('kubernetes.SelectorRequirement', {
  key: stringType,
  operator: stringType,
  values: strings,
});
const selector = (name: string) => declared(name, { rawSelector: stringType, requirements: listType(requirement) });

const requestType = declared('kubernetes.SubjectAccessReviewSpec', {
  resourceAttributes: declared('kubernetes.ResourceAttributes', {
    namespace: stringType,
    verb: stringType,
    group: stringType,
    version: stringType,
    resource: stringType,
    subresource: stringType,
    name: stringType,
    fieldSelector: selector('kubernetes.FieldSelectorAttributes'),
    labelSelector: selector('kubernetes.LabelSelectorAttributes'),
  }),
  nonResourceAttributes: declared('kubernetes.NonResourceAttributes', { path: stringType, verb: stringType }),
  user: stringType,
  groups: strings,
  extra: mapType(stringType, strings),
  uid: stringType,
});

const environment: Env = createEnv({ variables: { request: requestType } });
const maxConditions = 64;

/** Every string field is there, also where it is empty. */
function requestOf(spec: ReviewSpec): Record<string, unknown> {
  const { resourceAttributes: r, nonResourceAttributes: n } = spec;
  return {
    user: spec.user ?? '',
    groups: spec.groups ?? [],
    uid: spec.uid ?? '',
    extra: spec.extra ?? {},
    ...(r === undefined
      ? {}
      : {
          resourceAttributes: {
            namespace: r.namespace ?? '',
            verb: r.verb ?? '',
            group: r.group ?? '',
            version: r.version ?? '',
            resource: r.resource ?? '',
            subresource: r.subresource ?? '',
            name: r.name ?? '',
            ...(r.fieldSelector === undefined ? {} : { fieldSelector: r.fieldSelector }),
            ...(r.labelSelector === undefined ? {} : { labelSelector: r.labelSelector }),
          },
        }),
    ...(n === undefined ? {} : { nonResourceAttributes: { verb: n.verb ?? '', path: n.path ?? '' } }),
  };
}

export class MatchConditions {
  readonly #programs: readonly Program[];

  constructor(programs: readonly Program[]) {
    this.#programs = programs;
  }

  get empty(): boolean {
    return this.#programs.length === 0;
  }

  /** Do all hold? The first that does not decides; an Error where none is false and some failed. */
  match(spec: ReviewSpec): boolean | Error {
    const request = requestOf(spec);
    const errors: string[] = [];
    for (const program of this.#programs) {
      try {
        if (program.evaluate({ request }).value !== true) return false;
      } catch (error) {
        if (!(error instanceof CelError)) throw error;
        errors.push(`cel evaluation error: expression '${program.source}' resulted in error: ${error.message}`);
      }
    }
    if (errors.length === 0) return true;
    const different = [...new Set(errors)];
    return new Error(different.length === 1 ? different[0] : `[${different.join(', ')}]`);
  }
}

/** Compiles the conditions of a webhook; what is wrong with them is told under `path`. */
export function compileMatchConditions(
  expressions: readonly string[],
  path: string,
): { readonly conditions: MatchConditions; readonly errors: readonly FieldError[] } {
  const at = path === '' ? 'matchConditions' : `${path}.matchConditions`;
  if (expressions.length > maxConditions)
    return { conditions: new MatchConditions([]), errors: [tooMany(at, expressions.length, maxConditions)] };
  const errors: FieldError[] = [];
  const programs: Program[] = [];
  const seen = new Set<string>();
  expressions.forEach((expression, i) => {
    const field = `${at}[${i}].expression`;
    if (expression.trim() === '') {
      errors.push(required(field));
      return;
    }
    if (seen.has(expression)) {
      errors.push(duplicate(field, expression));
      return;
    }
    seen.add(expression);
    const compiled = compile(expression, environment);
    if (compiled.errors !== undefined) {
      const { stage, message } = compiled.errors;
      errors.push(
        stage === 'check'
          ? invalid(field, expression, `compilation failed: ${message}`)
          : { type: 'InternalError', field, detail: `program instantiation failed: ${message}` },
      );
    } else if (!isExactType(compiled.type, boolType))
      errors.push(invalid(field, expression, `must evaluate to bool but got ${compiled.type.name}`));
    else programs.push(compiled.program);
  });
  return { conditions: new MatchConditions(programs), errors };
}
