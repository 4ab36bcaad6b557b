/**
 * Checks the expressions of a ValidatingAdmissionPolicy against the types of what it is about. Policies see objects without types,
 * so what is wrong by them is a warning in the policy's status, and nothing else.
 */
import { createEnv } from '../cel/env.ts';
import type { Env } from '../cel/env.ts';
import { authorizerType } from '../cel/library/authz.ts';
import { compile } from '../cel/program.ts';
import { schemaType } from '../cel/schema-type.ts';
import type { CelType } from '../cel/types.ts';
import { dynType } from '../cel/types.ts';
import { parseApiVersion } from '../object.ts';
import type { GroupVersionKind } from '../object.ts';
import type { ObjectSchema } from '../schema/schema.ts';
import type {
  ExpressionWarning,
  NamedRuleWithOperations,
  ValidatingAdmissionPolicySpec,
  Variable,
} from '../types/admissionregistration-v1.gen.ts';
import { namespaceType, requestType, VariablesType } from './types.ts';

const maxTypes = 10;

/** What there is in the cluster. */
export interface TypeSources {
  /** The kinds that a resource is served as. */
  kindsOf(group: string, version: string, resource: string): Promise<readonly GroupVersionKind[]>;
  /** undefined: nothing is known of the kind. */
  schemaOf(kind: GroupVersionKind): Promise<ObjectSchema | undefined>;
}

interface CheckedType {
  readonly kind: GroupVersionKind;
  readonly env: Env;
}

const printKind = ({ group, version, kind }: GroupVersionKind): string => `${group}/${version}, Kind=${kind}`;

const plain = (texts: readonly string[] = []): readonly string[] =>
  texts.some((t) => t.includes('*')) ? [] : texts.toSorted();

/** The kinds that the rules name; wildcards are given up on. */
async function kindsOf(rules: readonly NamedRuleWithOperations[], sources: TypeSources): Promise<GroupVersionKind[]> {
  const found = new Map<string, GroupVersionKind>();
  rules: for (const { apiGroups, apiVersions, resources = [] } of rules) {
    let count = 0;
    for (const group of plain(apiGroups)) {
      for (const version of plain(apiVersions)) {
        for (const resource of resources.filter((r) => !/[*/]/.test(r)).toSorted()) {
          for (const kind of await sources.kindsOf(group, version, resource)) {
            found.set(printKind(kind), kind);
            if (++count === maxTypes) break rules;
          }
        }
      }
    }
  }
  const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return [...found.values()].sort(
    (a, b) => compare(a.group, b.group) || compare(a.version, b.version) || compare(a.kind, b.kind),
  );
}

/** An environment whose objects have this type, with the policy's variables. */
function envOf(object: CelType, params: CelType | undefined, variables: readonly Variable[]): Env {
  const declared = new VariablesType();
  const env = createEnv({
    variables: {
      object,
      oldObject: object,
      request: requestType,
      namespaceObject: namespaceType,
      authorizer: authorizerType,
      variables: declared.type,
      ...(params === undefined ? {} : { params }),
    },
  });
  for (const { name, expression } of variables) {
    const compiled = compile(expression, env);
    declared.declare(name, compiled.errors === undefined ? compiled.type : undefined);
  }
  return env;
}

async function typeOf(kind: GroupVersionKind, sources: TypeSources): Promise<CelType | undefined> {
  const schema = await sources.schemaOf(kind);
  return schema === undefined ? undefined : schemaType(schema, kind.kind);
}

/** `undefined`: the expression suits the type. */
function check(expression: string, { kind, env }: CheckedType): string | undefined {
  const { errors } = compile(expression, env);
  return errors === undefined || errors.stage !== 'check' ? undefined : `${printKind(kind)}: ${errors.message}\n`;
}

/** What the policy's status says of its expressions. */
export async function typeCheck(
  spec: ValidatingAdmissionPolicySpec,
  sources: TypeSources,
): Promise<readonly ExpressionWarning[]> {
  const { paramKind, variables = [], validations = [] } = spec;
  let params: CelType | undefined;
  if (paramKind !== undefined) {
    const gv = parseApiVersion(paramKind.apiVersion ?? '');
    const kind = paramKind.kind ?? '';
    params = (gv === undefined ? undefined : await typeOf({ ...gv, kind }, sources)) ?? dynType;
  }
  const types: CheckedType[] = [];
  for (const kind of await kindsOf(spec.matchConstraints?.resourceRules ?? [], sources)) {
    const type = await typeOf(kind, sources);
    if (type !== undefined) types.push({ kind, env: envOf(type, params, variables) });
  }
  const warnings: ExpressionWarning[] = [];
  const add = (expression: string, fieldRef: string): void => {
    const found = types.map((type) => check(expression, type)).filter((w) => w !== undefined);
    if (found.length > 0) warnings.push({ fieldRef, warning: found.join('\n') });
  };
  validations.forEach(({ expression, messageExpression = '' }, i) => {
    add(expression, `spec.validations[${i}].expression`);
    if (messageExpression !== '') add(messageExpression, `spec.validations[${i}].messageExpression`);
  });
  return warnings;
}
