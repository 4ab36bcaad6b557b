/**
 * Nobody grants through RBAC what they do not hold: the checks that writes of roles (verb `escalate`) and bindings (verb
 * `bind`) pass before they are stored. The strategies of the four RBAC kinds call them.
 */
import type { KubeObject } from '../../api/object.ts';
import { forbidden } from '../../api/status.ts';
import type { Authorizer, RequestContext } from '../context.ts';
import { rbacGroup, type RbacAuthorizer, type RoleRef } from './rbac.ts';
import { compactRules, quoteList, ruleText, uncoveredRules, type PolicyRule } from './rule.ts';
import { systemMasters } from './union.ts';

const fullAuthority: readonly PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
];

export interface EscalationChecks {
  /** Throws 403 when the user may not write a Role or ClusterRole with these rules. `old` is set for updates. */
  checkRole(ctx: RequestContext, object: KubeObject, old: KubeObject | undefined): Promise<void> | void;
  /** Throws 403 when the user may not bind this role. */
  checkBinding(ctx: RequestContext, object: KubeObject, old: KubeObject | undefined): Promise<void> | void;
}

/** Everything but what the garbage collector writes is the same. */
function onlyCollectorFields(object: KubeObject, old: KubeObject | undefined): boolean {
  if (old === undefined) return false;
  const strip = (o: KubeObject): string => {
    const { ownerReferences: _o, finalizers: _f, managedFields: _m, resourceVersion: _r, ...metadata } = o.metadata;
    const { apiVersion: _a, kind: _k, ...rest } = o;
    return JSON.stringify({ ...rest, metadata: Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1)) });
  };
  return strip(object) === strip(old);
}

export function createEscalationChecks(options: {
  readonly authorizer: Authorizer;
  readonly rbac: RbacAuthorizer;
}): EscalationChecks {
  const { authorizer, rbac } = options;

  const confirm = (ctx: RequestContext, rules: readonly PolicyRule[]): string | undefined => {
    const { rules: own, error } = rbac.rulesFor(ctx.user, ctx.info.namespace);
    const missing = uncoveredRules(own, rules);
    if (missing.length === 0) return undefined;
    const texts = [...new Set(compactRules(missing).map(ruleText))].toSorted();
    const head = `user ${JSON.stringify(ctx.user.name)} (groups=${quoteList(ctx.user.groups)}) is attempting to grant RBAC permissions not currently held:\n`;
    return `${head}${texts.join('\n')}${error === '' ? '' : `; resolution errors: [${error}]`}`;
  };

  const may = (ctx: RequestContext, verb: string, resource: string, namespace: string, name: string, group: string) => {
    const outcome = authorizer.authorize({
      user: ctx.user,
      verb,
      isResourceRequest: true,
      group,
      version: '*',
      resource,
      subresource: '',
      namespace,
      name,
      path: '',
    });
    return outcome instanceof Promise ? outcome.then((o) => o.decision === 'allow') : outcome.decision === 'allow';
  };

  /** Runs `otherwise` unless allowed; stays synchronous with a synchronous authorizer. */
  const unless = (allowed: boolean | Promise<boolean>, otherwise: () => void): Promise<void> | void => {
    if (allowed instanceof Promise)
      return allowed.then((yes) => {
        if (!yes) otherwise();
      });
    if (!allowed) otherwise();
  };

  return {
    checkRole(ctx, object, old) {
      if (ctx.user.groups.includes(systemMasters)) return;
      if (onlyCollectorFields(object, old)) return;
      const { namespace } = ctx.info;
      const resource = ctx.info.resource;
      const name = ctx.info.name;
      return unless(may(ctx, 'escalate', resource, namespace, name, rbacGroup), () => {
        const gr = { group: rbacGroup, resource };
        const objectName = object.metadata.name ?? '';
        const why = confirm(ctx, (object['rules'] ?? []) as readonly PolicyRule[]);
        if (why !== undefined) throw forbidden(gr, objectName, why);
        const aggregates = (o: KubeObject | undefined): boolean => {
          const rule = o?.['aggregationRule'] as { clusterRoleSelectors?: unknown[] } | undefined;
          return (rule?.clusterRoleSelectors?.length ?? 0) > 0;
        };
        if ((aggregates(object) || aggregates(old)) && confirm(ctx, fullAuthority) !== undefined)
          throw forbidden(gr, objectName, 'must have cluster-admin privileges to use the aggregationRule');
      });
    },
    checkBinding(ctx, object, old) {
      if (ctx.user.groups.includes(systemMasters)) return;
      if (onlyCollectorFields(object, old)) return;
      const { namespace, resource } = ctx.info;
      const roleRef = object['roleRef'] as RoleRef | undefined;
      const target = roleRef?.kind === 'ClusterRole' ? 'clusterroles' : roleRef?.kind === 'Role' ? 'roles' : undefined;
      const allowed =
        roleRef !== undefined && target !== undefined
          ? may(ctx, 'bind', target, namespace, roleRef.name, roleRef.apiGroup ?? rbacGroup)
          : false;
      return unless(allowed, () => {
        if (roleRef === undefined || target === undefined) return; // validation refuses it
        const why = confirm(ctx, rbac.roleRules(roleRef, namespace));
        if (why !== undefined) throw forbidden({ group: rbacGroup, resource }, object.metadata.name ?? '', why);
      });
    },
  };
}
