/**
 * The legacy-service-account-token-cleaner: tokens that were made for ServiceAccounts of themselves, that no pod mounts and that
 * nobody has used for long are marked invalid, and deleted when that has harmed nobody for as long again (KEP-2799).
 */
import { dayOf, isDay, trackingConfigMap } from '../api/helpers/legacy-token-tracking.ts';
import { podSecretNames } from '../api/helpers/pod-references.ts';
import { timeMs } from '../api/time.ts';
import type { Pod, Secret, ServiceAccount } from '../api/types/index.gen.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const tokenType = 'kubernetes.io/service-account-token';
const nameAnnotation = 'kubernetes.io/service-account.name';
const uidAnnotation = 'kubernetes.io/service-account.uid';
const lastUsedLabel = 'kubernetes.io/legacy-token-last-used';
const invalidSinceLabel = 'kubernetes.io/legacy-token-invalid-since';
const dayMs = 86_400_000;

function start(context: ControllerContext): RunningController {
  const { clock, logger, options } = context;
  const client = context.clientFor('legacy-service-account-token-cleaner');
  const period = options.legacyServiceAccountTokenCleanUpPeriodMs ?? 365 * dayMs;
  if (period <= 0) throw new Error(`invalid CleanUpPeriod: ${period}ms`);
  const accounts = context.informers.informer<ServiceAccount>(resources.core.serviceaccounts);
  const secrets = context.informers.informer<Secret>(resources.core.secrets, { fieldSelector: `type=${tokenType}` });
  const pods = context.informers.informer<Pod>(resources.core.pods);

  /** The first moment of the first whole day that has been tracked; undefined when nobody knows. */
  const trackedSince = async (): Promise<number | undefined> => {
    const since = (await client.core.configmaps.get(trackingConfigMap, 'kube-system')).data?.['since'];
    return isDay(since) ? Date.parse(since) + dayMs : undefined;
  };

  const accountOf = (secret: Secret): ServiceAccount | undefined => {
    const name = secret.metadata.annotations?.[nameAnnotation] ?? '';
    if (name === '') return undefined;
    const account = accounts.lister.get(name, secret.metadata.namespace);
    const uid = secret.metadata.annotations?.[uidAnnotation] ?? '';
    return uid === '' || uid === account?.metadata.uid ? account : undefined;
  };

  /** Unused since before `before`, made by the control plane, and mounted by nobody. */
  const isUnused = (secret: Secret, before: number, mounted: (namespace: string) => ReadonlySet<string>): boolean => {
    const { metadata } = secret;
    if (timeMs(metadata.creationTimestamp) >= before || metadata.deletionTimestamp !== undefined) return false;
    const lastUsed = metadata.labels?.[lastUsedLabel];
    if (lastUsed !== undefined && (!isDay(lastUsed) || lastUsed >= dayOf(before))) return false;
    if (accountOf(secret)?.secrets?.some((r) => r.name === metadata.name) !== true) return false;
    return !mounted(metadata.namespace!).has(metadata.name!);
  };

  const clean = async (): Promise<void> => {
    const now = clock.now();
    const tokens = [...secrets.lister.list()];
    if (tokens.length === 0) return;
    const since = await trackedSince();
    if (since === undefined) {
      logger.warn('legacy tokens are not cleaned up: nothing says since when their use is tracked');
      return;
    }
    if (now < since + period) return;
    const before = now - period;
    const byNamespace = new Map<string, Set<string>>();
    const mounted = (namespace: string): ReadonlySet<string> => {
      let names = byNamespace.get(namespace);
      if (names !== undefined) return names;
      names = new Set();
      for (const pod of pods.lister.list(namespace)) for (const name of podSecretNames(pod)) names.add(name);
      byNamespace.set(namespace, names);
      return names;
    };
    for (const secret of tokens) {
      if (!isUnused(secret, before, mounted)) continue;
      const { name, namespace, uid, resourceVersion } = secret.metadata;
      const invalidSince = secret.metadata.labels?.[invalidSinceLabel];
      try {
        if (!isDay(invalidSince))
          await client.core.secrets.patch(name!, namespace, 'merge', {
            metadata: { uid, labels: { [invalidSinceLabel]: dayOf(now) } },
          });
        else if (invalidSince < dayOf(before))
          await client.core.secrets.delete(name!, namespace, { preconditions: { resourceVersion: resourceVersion! } });
      } catch (error) {
        if (!isConflict(error) && !isNotFound(error))
          logger.error('cleaning up a legacy service account token', { secret: `${namespace}/${name}`, error });
      }
    }
  };

  let running: Promise<void> | undefined;
  let stopped = false;
  const run = (): void => {
    running ??= clock.activity
      .track(clean())
      .catch((error: unknown) => {
        // It is told of by the API server a moment after it serves.
        if (!stopped && !isNotFound(error)) logger.error('cleaning up legacy service account tokens', { error });
      })
      .finally(() => {
        running = undefined;
      });
  };
  const timer = clock.setTicker(dayMs, run);
  Promise.all([accounts.synced, secrets.synced, pods.synced]).then(
    () => {
      if (!stopped) run();
    },
    // Stopped before they were in sync.
    () => {},
  );
  return {
    async stop() {
      stopped = true;
      timer.cancel();
      await running;
    },
  };
}

export const legacyServiceAccountTokenCleaner: ControllerDescriptor = {
  name: 'legacy-serviceaccount-token-cleaner-controller',
  aliases: ['legacy-service-account-token-cleaner'],
  start,
};
