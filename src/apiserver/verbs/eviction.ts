/** `pods/eviction`: deletes a pod if its PodDisruptionBudget allows it, and counts it there. */
import { invalid, invalidStatus } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { badRequest, conflict, forbidden, internalError, StatusError } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import { compileLabelSelector, SelectorError } from '../../api/selector.ts';
import type { LabelSelector } from '../../api/selector.ts';
import type { RequestContext } from '../context.ts';
import type { GenericRegistry } from '../registry/generic.ts';
import { withPodCondition } from './binding.ts';
import { deleteOptions, namespaceOf } from './options.ts';
import type { VerbContext, VerbHandler } from './verb.ts';
import { created, readVirtual, successStatus } from './virtual.ts';

/** Evictions that the disruption controller has not confirmed yet. */
const maxDisruptedPods = 2000;
const maxRetries = 20;
const cause = 'DisruptionBudget';

interface Budget {
  spec?: { selector?: LabelSelector; unhealthyPodEvictionPolicy?: string };
  status?: {
    observedGeneration?: number;
    disruptionsAllowed?: number;
    currentHealthy?: number;
    desiredHealthy?: number;
    expectedPods?: number;
    disruptedPods?: Record<string, string>;
    conditions?: BudgetCondition[];
  };
}

interface BudgetCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
  observedGeneration?: number;
}

function budgetOf(object: KubeObject): Budget {
  return object as unknown as Budget;
}

function tooManyRequests(message: string, retryAfterSeconds: number): StatusError {
  return new StatusError(429, 'TooManyRequests', "Cannot evict pod as it would violate the pod's disruption budget.", {
    causes: [{ reason: cause, message }],
    ...(retryAfterSeconds === 0 ? {} : { retryAfterSeconds }),
  });
}

function stillProcessed(name: string): StatusError {
  return tooManyRequests(`The disruption budget ${name} is still being processed by the server.`, 10);
}

/** The budget after one more disruption. @throws {StatusError} 429, 403 */
function decremented(pdb: KubeObject, podName: string, now: number, dryRun: boolean): KubeObject {
  const name = pdb.metadata.name ?? '';
  const status = budgetOf(pdb).status ?? {};
  const gr = { group: 'policy', resource: 'poddisruptionbudget' };
  if ((status.observedGeneration ?? 0) < (pdb.metadata.generation ?? 0)) throw stillProcessed(name);
  const allowed = status.disruptionsAllowed ?? 0;
  if (allowed < 0) throw forbidden(gr, name, 'pdb disruptions allowed is negative');
  if (Object.keys(status.disruptedPods ?? {}).length > maxDisruptedPods) {
    throw forbidden(gr, name, 'DisruptedPods map too big - too many evictions not confirmed by PDB controller');
  }
  const { currentHealthy = 0, desiredHealthy = 0 } = status;
  if (allowed === 0) {
    const condition = status.conditions?.find((c) => c.type === 'DisruptionAllowed');
    const told = condition !== undefined && condition.status === 'False' && (condition.message ?? '') !== '';
    let why: string;
    if (told && condition.reason === 'SyncFailed') {
      why = `The disruption budget ${name} does not allow evicting pods currently because it failed sync: ${condition.message}`;
    } else if (currentHealthy <= desiredHealthy) {
      why = `The disruption budget ${name} needs ${desiredHealthy} healthy pods and has ${currentHealthy} currently`;
    } else if (told) {
      why = `The disruption budget ${name} does not allow evicting pods currently (${condition.reason ?? ''}): ${condition.message}`;
    } else why = `The disruption budget ${name} does not allow evicting pods currently`;
    throw tooManyRequests(why, 0);
  }
  if (dryRun) return pdb;
  const left = allowed - 1;
  let conditions = status.conditions;
  if (left === 0) {
    const old = conditions?.find((c) => c.type === 'DisruptionAllowed');
    const next: BudgetCondition = {
      type: 'DisruptionAllowed',
      status: 'False',
      observedGeneration: status.observedGeneration,
      lastTransitionTime: old?.status === 'False' ? old.lastTransitionTime : formatTime(now),
      reason: 'InsufficientPods',
      message: '',
    };
    conditions = old === undefined ? [...(conditions ?? []), next] : conditions!.map((c) => (c === old ? next : c));
  }
  return {
    ...pdb,
    status: {
      ...status,
      disruptionsAllowed: left,
      disruptedPods: { ...status.disruptedPods, [podName]: formatTime(now) },
      ...(conditions === undefined ? {} : { conditions }),
    },
  };
}

function phaseOf(pod: KubeObject): string {
  return ((pod['status'] ?? {}) as { phase?: string }).phase ?? '';
}

function isReady(pod: KubeObject): boolean {
  const conditions = ((pod['status'] ?? {}) as { conditions?: { type?: string; status?: string }[] }).conditions;
  return conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}

/** Its end disrupts nothing that a budget protects. */
function canIgnoreBudget(pod: KubeObject): boolean {
  return ['Succeeded', 'Failed', 'Pending'].includes(phaseOf(pod)) || pod.metadata.deletionTimestamp !== undefined;
}

interface DeleteRequest extends Record<string, unknown> {
  dryRun?: readonly string[];
  preconditions?: { uid?: string; resourceVersion?: string };
  ignoreStoreReadErrorWithClusterBreakingPotential?: boolean;
}

function withRevision(options: DeleteRequest, resourceVersion: string | undefined): DeleteRequest {
  return { ...options, preconditions: { ...options.preconditions, resourceVersion } };
}

/** Marks the pod as a target of disruption and deletes it. */
async function markAndDelete(
  verbs: VerbContext,
  ctx: RequestContext,
  pods: GenericRegistry,
  name: string,
  given: DeleteRequest,
): Promise<void> {
  const namespace = namespaceOf(ctx);
  let options = given;
  const now = verbs.clock.now();
  const { uid = '', resourceVersion = '' } = options.preconditions ?? {};
  if (options.dryRun === undefined || options.dryRun.length === 0) {
    const marked = await pods.modify(namespace, name, (pod) => {
      const gr = { group: '', resource: 'Pod' };
      if (uid !== '' && uid !== pod.metadata.uid) {
        throw conflict(
          gr,
          name,
          `the UID in the precondition (${uid}) does not match the UID in record (${pod.metadata.uid ?? ''}). The object might have been deleted and then recreated`,
        );
      }
      if (resourceVersion !== '' && resourceVersion !== pod.metadata.resourceVersion) {
        throw conflict(
          gr,
          name,
          `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${pod.metadata.resourceVersion ?? ''}). The object might have been modified`,
        );
      }
      const status = (pod['status'] ?? {}) as Record<string, unknown>;
      return {
        ...pod,
        status: {
          ...status,
          conditions: withPodCondition(
            status['conditions'] as [] | undefined,
            {
              type: 'DisruptionTarget',
              status: 'True',
              reason: 'EvictionByEvictionAPI',
              message: 'Eviction API: evicting',
            },
            now,
          ),
        },
      };
    });
    if (resourceVersion !== '') options = withRevision(options, String(marked.revision));
  }
  await pods.delete(ctx, namespace, name, deleteOptions(options));
}

async function matchingBudgets(verbs: VerbContext, ctx: RequestContext, pod: KubeObject): Promise<KubeObject[]> {
  const labels = pod.metadata.labels;
  if (labels === undefined || Object.keys(labels).length === 0) return [];
  const registry = verbs.registries.registry('policy', 'poddisruptionbudgets');
  if (registry === undefined) return [];
  await registry.cache.consistent();
  const found: KubeObject[] = [];
  for (const stored of verbs.registries.cached('policy', 'poddisruptionbudgets', namespaceOf(ctx))) {
    const pdb = stored.object();
    try {
      if (compileLabelSelector(budgetOf(pdb).spec?.selector).matches(labels)) found.push(pdb);
    } catch (error) {
      // A budget that cannot select anything selects nothing.
      if (!(error instanceof SelectorError)) throw error;
    }
  }
  return found;
}

function isConflict(error: unknown): error is StatusError {
  return error instanceof StatusError && error.reason === 'Conflict';
}

export const handleEviction: VerbHandler = async (verbs, ctx) => {
  const {
    object: eviction,
    query,
    admit,
  } = await readVirtual(verbs, ctx, {
    accepts: (v) => v === 'policy/v1' || v === 'policy/v1beta1',
  });
  const { name } = ctx.info;
  const namespace = namespaceOf(ctx);
  if (name !== (eviction.metadata.name ?? '')) {
    throw badRequest('name in URL does not match name in Eviction object');
  }
  const own = (eviction['deleteOptions'] ?? {}) as DeleteRequest;
  if (own.ignoreStoreReadErrorWithClusterBreakingPotential === true)
    throw invalidStatus('policy', 'Eviction', name, [
      invalid(
        'deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential',
        true,
        'can not be set for pod eviction, try after removing the option',
      ),
    ]);
  const requested = query.dryRun ? ['All'] : [];
  const inBody = own.dryRun ?? [];
  if (inBody.length > 0 && requested.length > 0 && inBody.join() !== requested.join()) {
    throw new StatusError(
      500,
      '',
      `Non-matching dry-run options in request and content: [${requested.join(' ')}] and [${inBody.join(' ')}]`,
    );
  }
  const original: DeleteRequest = { ...own, dryRun: inBody.length > 0 ? inBody : requested };
  deleteOptions(original);
  await admit(eviction);
  const pods = verbs.registries.registry('', 'pods');
  if (pods === undefined) throw internalError(new Error('pods are not served'));
  const pinned = (original.preconditions?.resourceVersion ?? '') !== '';

  let pod: KubeObject;
  for (let attempt = 0; ; attempt++) {
    pod = (await pods.get(ctx, namespace, name, '')).object();
    if (!canIgnoreBudget(pod)) break;
    // A pending pod may become ready meanwhile; one that has ended stays ended.
    const pending = phaseOf(pod) === 'Pending' && pod.metadata.deletionTimestamp === undefined;
    const options = pending && !pinned ? withRevision(original, pod.metadata.resourceVersion) : original;
    try {
      await markAndDelete(verbs, ctx, pods, name, options);
      return created(successStatus);
    } catch (error) {
      if (pinned || !isConflict(error) || attempt >= maxRetries) throw error;
    }
  }

  const budgets = await matchingBudgets(verbs, ctx, pod);
  if (budgets.length > 1) {
    throw new StatusError(
      500,
      '',
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  }
  let options = original;
  let unhealthy = false;
  const pdb = budgets[0];
  const pdbName = pdb?.metadata.name ?? '';
  if (pdb !== undefined) {
    const { spec = {}, status = {} } = budgetOf(pdb);
    const { currentHealthy = 0, desiredHealthy = 0 } = status;
    // An unhealthy pod does not count, so its end takes nothing from the budget.
    unhealthy =
      !isReady(pod) &&
      (spec.unhealthyPodEvictionPolicy === 'AlwaysAllow' || (currentHealthy >= desiredHealthy && desiredHealthy > 0));
    if (unhealthy) options = withRevision(original, pod.metadata.resourceVersion);
    else {
      const registry = verbs.registries.registry('policy', 'poddisruptionbudgets')!;
      const dryRun = (original.dryRun ?? []).length > 0;
      await registry.modify(namespace, pdbName, (current) => decremented(current, name, verbs.clock.now(), dryRun));
    }
  }
  try {
    await markAndDelete(verbs, ctx, pods, name, options);
  } catch (error) {
    if (unhealthy && !pinned && isConflict(error)) throw stillProcessed(pdbName);
    throw error;
  }
  return created(successStatus);
};
