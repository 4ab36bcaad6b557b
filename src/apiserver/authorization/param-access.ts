/**
 * Nobody learns through a policy what they may not read: who writes a policy with parameters, or binds it to some, must be
 * allowed to read them.
 */
import { forbiddenField, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { ParamKind, ParamRef } from '../../api/types/admissionregistration-v1.gen.ts';
import type { Authorizer, RequestContext } from '../context.ts';
import type { Registries } from '../registry.ts';
import type { UserInfo } from '../request.ts';
import { systemMasters } from './union.ts';

export interface ParamAccessOptions {
  readonly authorizer: Authorizer;
  readonly registries: Pick<Registries, 'cachedGet'>;
  /** The plural name by which a kind is served. */
  resourceOf(kind: GroupVersionKind): string | undefined;
}

type Answer = FieldError | undefined;

interface PolicySpec {
  readonly paramKind?: ParamKind;
}

interface BindingSpec {
  readonly policyName?: string;
  readonly paramRef?: ParamRef;
}

/** What is held against a write; a promise where the authorizer takes its time. */
export type ParamCheck = (
  ctx: RequestContext,
  object: KubeObject,
  old: KubeObject | undefined,
) => Answer | Promise<Answer>;

export interface ParamAccess {
  readonly policy: ParamCheck;
  /** `policies`: the resource of the policies that are bound. */
  binding(policies: string): ParamCheck;
}

const group = 'admissionregistration.k8s.io';

/** A user as Go prints a pointer to the struct. */
function printUser({ name, uid = '', groups, extra = {} }: UserInfo): string {
  const extras = Object.keys(extra)
    .toSorted()
    .map((key) => `${key}:[${extra[key]!.join(' ')}]`);
  return `&{${name} ${uid} [${groups.join(' ')}] map[${extras.join(' ')}]}`;
}

export function createParamAccess({ authorizer, registries, resourceOf }: ParamAccessOptions): ParamAccess {
  const ask = (
    ctx: RequestContext,
    attributes: { verb: string; name: string; namespace: string; group: string; version: string; resource: string },
    refusal: () => FieldError,
  ): Answer | Promise<Answer> => {
    const outcome = authorizer.authorize({
      ...attributes,
      user: ctx.user,
      isResourceRequest: true,
      subresource: '',
      path: '',
    });
    const judge = ({ decision }: { readonly decision: string }): Answer =>
      decision === 'allow' ? undefined : refusal();
    return outcome instanceof Promise ? outcome.then(judge) : judge(outcome);
  };

  return {
    policy(ctx, object, old) {
      const { paramKind } = (object['spec'] ?? {}) as PolicySpec;
      if (paramKind === undefined || ctx.user.groups.includes(systemMasters)) return undefined;
      const before = (old?.['spec'] ?? {}) as PolicySpec;
      if (semanticEqual(paramKind, before.paramKind)) return undefined;
      const { apiVersion = '', kind = '' } = paramKind;
      const gv = parseApiVersion(apiVersion);
      return ask(
        ctx,
        {
          verb: 'get',
          name: '*',
          namespace: '*',
          group: gv?.group ?? '*',
          version: gv?.version ?? '*',
          resource: (gv === undefined ? undefined : resourceOf({ ...gv, kind })) ?? '*',
        },
        () =>
          forbiddenField(
            'spec.paramKind',
            `user ${printUser(ctx.user)} must have "get" permission on all objects of the referenced paramKind (kind=${kind}, apiVersion=${apiVersion})`,
          ),
      );
    },
    binding: (policies) => (ctx, object, old) => {
      const { policyName = '', paramRef } = (object['spec'] ?? {}) as BindingSpec;
      if (paramRef === undefined || ctx.user.groups.includes(systemMasters)) return undefined;
      const before = (old?.['spec'] ?? {}) as BindingSpec;
      if (policyName === before.policyName && semanticEqual(paramRef, before.paramRef)) return undefined;
      const policy = registries.cachedGet(group, policies, '', policyName)?.object();
      const { paramKind } = (policy?.['spec'] ?? {}) as PolicySpec;
      const gv = paramKind === undefined ? undefined : parseApiVersion(paramKind.apiVersion ?? '');
      const resource = gv === undefined ? undefined : resourceOf({ ...gv, kind: paramKind?.kind ?? '' });
      const { name = '', namespace = '' } = paramRef;
      const verb = name === '' ? 'list' : 'get';
      const user = printUser(ctx.user);
      const all = `and user ${user} does not have "${verb}" permission for all groups, versions and resources`;
      return ask(
        ctx,
        {
          verb,
          name,
          namespace,
          group: gv?.group ?? '*',
          version: gv?.version ?? '*',
          resource: resource ?? '*',
        },
        () => {
          let why = `user ${user} does not have "${verb}" permission on the object referenced by paramRef`;
          if (policy === undefined)
            why = `unable to get policy ${policyName} to determine minimum required permissions ${all}`;
          else if (gv !== undefined && resource === undefined)
            why = `unable to resolve paramKind &ParamKind{APIVersion:${paramKind?.apiVersion ?? ''},Kind:${paramKind?.kind ?? ''},} to determine minimum required permissions ${all}`;
          return forbiddenField('spec.paramRef', why);
        },
      );
    },
  };
}
