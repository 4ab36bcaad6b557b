/** Checks of a strategy that may have to wait (for an authorizer): judged with the rest, awaited before the commit. */
import { invalidStatus, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Strategy, StrategyContext } from '../strategy.ts';

export type AsyncCheck = (
  ctx: StrategyContext,
  object: KubeObject,
  old: KubeObject | undefined,
) => readonly FieldError[] | Promise<readonly FieldError[]>;

/**
 * The strategy with one more check, which runs on well-formed objects alone. What it answers at once is told with the
 * other errors; what it answers later refuses the write before it is committed.
 */
export function withCheck(strategy: Strategy, group: string, kind: string, check: AsyncCheck | undefined): Strategy {
  if (check === undefined) return strategy;
  const pending = new WeakMap<StrategyContext, Promise<readonly FieldError[]>>();
  const errorsOf = (ctx: StrategyContext, object: KubeObject, old: KubeObject | undefined): readonly FieldError[] => {
    const errors = check(ctx, object, old);
    if (!(errors instanceof Promise)) return errors;
    errors.catch(() => {}); // awaited before the commit, where its failure counts
    pending.set(ctx, errors);
    return [];
  };
  const settle = async (ctx: StrategyContext, object: KubeObject): Promise<() => Promise<void>> => {
    const errors = (await pending.get(ctx)) ?? [];
    if (errors.length > 0) throw invalidStatus(group, kind, object.metadata.name ?? '', errors);
    return async () => {};
  };
  return {
    ...strategy,
    validate(ctx, object) {
      const errors = strategy.validate?.(ctx, object) ?? [];
      return errors.length > 0 ? errors : errorsOf(ctx, object, undefined);
    },
    validateUpdate(ctx, object, old) {
      const errors = strategy.validateUpdate?.(ctx, object, old) ?? [];
      return errors.length > 0 ? errors : errorsOf(ctx, object, old);
    },
    beginCreate: settle,
    beginUpdate: settle,
  };
}
