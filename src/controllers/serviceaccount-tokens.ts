/**
 * The token controller: fills Secrets of type kubernetes.io/service-account-token with token, CA and namespace, deletes them with
 * their ServiceAccount, and takes the names of deleted ones out of it.
 */
import type { Secret, ServiceAccount } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import { retryOnConflict } from '../client/retry.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const tokenType = 'kubernetes.io/service-account-token';
const nameAnnotation = 'kubernetes.io/service-account.name';
const uidAnnotation = 'kubernetes.io/service-account.uid';
const accountIndex = 'serviceaccount';

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

function start(context: ControllerContext): RunningController | undefined {
  const { clock, random, logger, options, client } = context;
  const sign = options.signServiceAccountToken;
  if (sign === undefined) return undefined;
  const rootCA = options.rootCA === undefined ? undefined : base64(options.rootCA);
  const accounts = context.informers.informer(resources.core.serviceaccounts);
  const secrets = context.informers.informer<Secret>(resources.core.secrets, { fieldSelector: `type=${tokenType}` });
  const accountKey = (s: Secret): string => `${s.metadata.namespace}/${s.metadata.annotations?.[nameAnnotation] ?? ''}`;
  secrets.addIndex(accountIndex, (s) => [accountKey(s)]);

  const account = async (
    namespace: string,
    name: string,
    uid: string | undefined,
    live: boolean,
  ): Promise<ServiceAccount | undefined> => {
    const fits = (a: ServiceAccount | undefined): boolean =>
      a !== undefined && (uid === undefined || uid === '' || uid === a.metadata.uid);
    const cached = accounts.lister.get(name, namespace);
    if (fits(cached)) return cached;
    if (!live) return undefined;
    try {
      const fresh = await client.core.serviceaccounts.get(name, namespace);
      return fits(fresh) ? fresh : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };

  const deleteToken = async (s: Secret): Promise<void> => {
    try {
      await client.core.secrets.delete(s.metadata.name!, s.metadata.namespace, {
        preconditions: { uid: s.metadata.uid! },
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  };

  const missing = (s: Secret): { ca: boolean; namespace: boolean; token: boolean } => ({
    ca: rootCA !== undefined && s.data?.['ca.crt'] !== rootCA,
    namespace: (s.data?.['namespace'] ?? '') === '',
    token: (s.data?.['token'] ?? '') === '',
  });

  const fill = async (a: ServiceAccount, cached: Secret): Promise<void> => {
    const before = missing(cached);
    if (!before.ca && !before.namespace && !before.token) return;
    const { name, namespace } = cached.metadata;
    try {
      const secret = await client.core.secrets.get(name!, namespace);
      // A newer version comes by the informer and is looked at then.
      if (secret.metadata.resourceVersion !== cached.metadata.resourceVersion) return;
      const data = { ...secret.data };
      if (before.ca) data['ca.crt'] = rootCA!;
      if (before.namespace) data['namespace'] = base64(namespace!);
      if (before.token) {
        data['token'] = base64(
          await sign({
            namespace: namespace!,
            serviceAccountName: a.metadata.name!,
            serviceAccountUid: a.metadata.uid!,
            secretName: name!,
          }),
        );
      }
      const annotations = {
        ...secret.metadata.annotations,
        [nameAnnotation]: a.metadata.name!,
        [uidAnnotation]: a.metadata.uid!,
      };
      await client.core.secrets.update({ ...secret, metadata: { ...secret.metadata, annotations }, data });
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  };

  /** Keys are `namespace/name` of the secret; what it named last is remembered for its deletion. */
  const deleted = new Map<string, Secret>();
  const secretController = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'serviceaccount-tokens-secret',
    workers: context.options.concurrency?.['serviceaccount-token'],
    clock,
    logger,
    maxRetries: 10,
    reconcile: async (key) => {
      const secret = secrets.lister.getByKey(key);
      const last = secret ?? deleted.get(key);
      deleted.delete(key);
      const name = last?.metadata.annotations?.[nameAnnotation];
      if (last === undefined || name === undefined || name === '') return;
      const { namespace } = splitKey(key);
      const uid = last.metadata.annotations?.[uidAnnotation];
      if (secret === undefined) {
        if ((await account(namespace, name, uid, false)) === undefined) return;
        await retryOnConflict({ clock, random }, async () => {
          const a = await account(namespace, name, uid, true);
          const refs = a?.secrets;
          if (a === undefined || refs === undefined) return;
          const fresh = await client.core.serviceaccounts.get(name, namespace);
          const rest = fresh.secrets?.filter((r) => r.name !== last.metadata.name);
          if (rest === undefined || rest.length === fresh.secrets?.length) return;
          await client.core.serviceaccounts.update({ ...fresh, secrets: rest });
        });
        return;
      }
      const a = await account(namespace, name, uid, true);
      if (a === undefined) await deleteToken(secret);
      else await fill(a, secret);
    },
  });
  const accountController = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'serviceaccount-tokens-account',
    workers: context.options.concurrency?.['serviceaccount-token'],
    clock,
    logger,
    maxRetries: 10,
    // The key carries the uid: a new account of the same name does not save the old one's tokens.
    reconcile: async (key) => {
      const [namespace, name, uid] = key.split('/') as [string, string, string];
      if ((await account(namespace, name, uid, false)) !== undefined) return;
      for (const s of [...secrets.lister.byIndex(accountIndex, `${namespace}/${name}`)]) {
        const owner = s.metadata.annotations?.[uidAnnotation];
        if (owner === undefined || owner === '' || owner === uid) await deleteToken(s);
      }
    },
  });
  secrets.addHandler({
    onAdd: (s) => secretController.queue.add(keyOf(s)),
    onUpdate: (_, s) => secretController.queue.add(keyOf(s)),
    onDelete: (s) => {
      deleted.set(keyOf(s), s);
      secretController.queue.add(keyOf(s));
    },
  });
  accounts.addHandler({ onDelete: (a) => accountController.queue.add(`${keyOf(a)}/${a.metadata.uid}`) });
  secretController.start(accounts.synced, secrets.synced);
  accountController.start(accounts.synced, secrets.synced);
  return {
    stop: async () => {
      await Promise.all([secretController.stop(), accountController.stop()]);
    },
  };
}

export const serviceAccountTokenController: ControllerDescriptor = {
  name: 'serviceaccount-token-controller',
  aliases: ['serviceaccount-token'],
  start,
};
