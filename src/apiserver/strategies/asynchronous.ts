/** Checks of a strategy that may have to wait (for an authorizer), behind those that need not or before them. */
import type { KubeObject } from '../../api/object.ts';
import type { Findings, Strategy, StrategyContext } from '../strategy.ts';

export type AsyncCheck = (ctx: StrategyContext, object: KubeObject, old: KubeObject | undefined) => Findings;

/** The strategy with one more check, which runs on well-formed objects alone. */
export function withCheck(strategy: Strategy, check: AsyncCheck | undefined): Strategy {
  if (check === undefined) return strategy;
  const behind = async (first: Findings | undefined, then: () => Findings): Promise<Awaited<Findings>> => {
    const errors = (await first) ?? [];
    return errors.length > 0 ? errors : then();
  };
  return {
    ...strategy,
    validate: (ctx, object) => behind(strategy.validate?.(ctx, object), () => check(ctx, object, undefined)),
    validateUpdate: (ctx, object, old) =>
      behind(strategy.validateUpdate?.(ctx, object, old), () => check(ctx, object, old)),
  };
}

/** The strategy with a check of updates whose findings stand before its own, whatever else is wrong. */
export function afterCheck(
  strategy: Strategy,
  check: (ctx: StrategyContext, object: KubeObject, old: KubeObject) => Findings,
): Strategy {
  return {
    ...strategy,
    validateUpdate: (ctx, object, old) => {
      const own = strategy.validateUpdate?.(ctx, object, old) ?? [];
      const first = check(ctx, object, old);
      if (!(first instanceof Promise) && !(own instanceof Promise)) return [...first, ...own];
      return Promise.all([first, own]).then((both) => both.flat());
    },
  };
}
