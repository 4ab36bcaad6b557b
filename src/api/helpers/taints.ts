/** Taints and tolerations: which taint a toleration tolerates, and the first one that nothing tolerates (component-helpers corev1). */
import type { Taint, Toleration } from '../types/index.gen.ts';

function asInt64(text: string): bigint | undefined {
  return /^[+-]?\d+$/.test(text) ? BigInt(text) : undefined;
}

/** An empty effect tolerates all effects, an empty key with Exists tolerates everything; Lt and Gt compare integers. */
export function toleratesTaint(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== '' && toleration.effect !== taint.effect) return false;
  if (toleration.key !== undefined && toleration.key !== '' && toleration.key !== taint.key) return false;
  switch (toleration.operator ?? '') {
    case '':
    case 'Equal':
      return (toleration.value ?? '') === (taint.value ?? '');
    case 'Exists':
      return true;
    case 'Lt':
    case 'Gt': {
      const bound = asInt64(toleration.value ?? '');
      const value = asInt64(taint.value ?? '');
      if (bound === undefined || value === undefined) return false;
      return toleration.operator === 'Lt' ? value < bound : value > bound;
    }
    default:
      return false;
  }
}

/** True when one of the tolerations tolerates the taint. */
export function isTolerated(taint: Taint, tolerations: readonly Toleration[] | undefined): boolean {
  return (tolerations ?? []).some((t) => toleratesTaint(t, taint));
}

/** The first taint among those that `counts` selects which no toleration tolerates. */
export function findUntoleratedTaint(
  taints: readonly Taint[] | undefined,
  tolerations: readonly Toleration[] | undefined,
  counts: (taint: Taint) => boolean = () => true,
): Taint | undefined {
  return taints?.find((t) => counts(t) && !isTolerated(t, tolerations));
}
