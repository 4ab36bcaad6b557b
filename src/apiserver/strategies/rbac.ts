/** The RBAC kinds: nobody writes a role or binding that gives more than they hold. */
import { nameIsPathSegment } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { EscalationChecks } from '../authorization/escalation.ts';
import type { ResourceStrategies, Strategy, StrategyContext } from '../strategy.ts';
import {
  validateClusterRole,
  validateClusterRoleBinding,
  validateClusterRoleBindingUpdate,
  validateRole,
  validateRoleBinding,
  validateRoleBindingUpdate,
} from '../validation/rbac.ts';
import { kindStrategy } from './common.ts';

type Check = (ctx: StrategyContext['request'], object: KubeObject, old: KubeObject | undefined) => Promise<void> | void;

/** Runs the check first of all; an asynchronous one is awaited before the commit. */
function checked(strategy: Strategy, check: Check): Strategy {
  const pending = new WeakMap<StrategyContext, Promise<void>>();
  const run = (ctx: StrategyContext, object: KubeObject, old: KubeObject | undefined): void => {
    const done = check(ctx.request, object, old);
    if (!(done instanceof Promise)) return;
    done.catch(() => {}); // awaited below, where its failure counts
    pending.set(ctx, done);
  };
  const settle = async (ctx: StrategyContext): Promise<() => Promise<void>> => {
    await pending.get(ctx);
    return async () => {};
  };
  return {
    ...strategy,
    prepareForCreate(ctx, object) {
      run(ctx, object, undefined);
      strategy.prepareForCreate?.(ctx, object);
    },
    prepareForUpdate(ctx, object, old) {
      run(ctx, object, old);
      strategy.prepareForUpdate?.(ctx, object, old);
    },
    beginCreate: settle,
    beginUpdate: settle,
  };
}

export function rbacStrategies(checks: EscalationChecks | undefined): Readonly<Record<string, ResourceStrategies>> {
  const make = (
    validate: (object: KubeObject) => readonly import('../../api/field-error.ts').FieldError[],
    validateUpdate: (object: KubeObject, old: KubeObject) => readonly import('../../api/field-error.ts').FieldError[],
    check: Check | undefined,
  ): ResourceStrategies => {
    const strategy = kindStrategy({
      allowCreateOnUpdate: true,
      validateName: nameIsPathSegment,
      validate,
      validateUpdate,
    });
    return { main: check === undefined ? strategy : checked(strategy, check), subresources: {} };
  };
  const role: Check | undefined = checks === undefined ? undefined : (...args) => checks.checkRole(...args);
  const binding: Check | undefined = checks === undefined ? undefined : (...args) => checks.checkBinding(...args);
  return {
    roles: make(validateRole, (object) => validateRole(object), role),
    clusterroles: make(validateClusterRole, (object) => validateClusterRole(object), role),
    rolebindings: make(validateRoleBinding, validateRoleBindingUpdate, binding),
    clusterrolebindings: make(validateClusterRoleBinding, validateClusterRoleBindingUpdate, binding),
  };
}
