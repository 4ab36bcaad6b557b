/**
 * The storage version migrator (feature gate StorageVersionMigrator): for a StorageVersionMigration it writes every object of a
 * resource once without changing it, so that all of them lie in the store in its storage version (and encrypted as of today), and
 * then takes the old versions out of a CustomResourceDefinition's `status.storedVersions`. One migration of a resource runs at a time.
 */
import { apiVersionOf, type KubeObject } from '../api/object.ts';
import { StatusError } from '../api/status.ts';
import { formatTime, timeMs } from '../api/time.ts';
import type { CustomResourceDefinition } from '../api/types/index.gen.ts';
import type { ResourceRef } from '../client/client.ts';
import { Controller } from '../client/controller.ts';
import { discover, type DiscoveredResource } from '../client/discovery.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import { forEachLimit } from '../client/slow-start.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

interface StorageVersionMigration extends KubeObject {
  readonly spec: { readonly resource: { readonly group?: string; readonly resource: string } };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly resourceVersion?: string };
}

const migrations: ResourceRef = {
  group: 'storagemigration.k8s.io',
  version: 'v1beta1',
  resource: 'storageversionmigrations',
  namespaced: false,
  kind: 'StorageVersionMigration',
};
const controllerName = 'storage-version-migrator-controller';
const runnerName = 'migration-runner-controller';
const requiredVerbs = ['update', 'patch', 'list'];
/** How long a resource may be unknown: its definition may have come just now. */
const unknownMs = 60_000;
const pageSize = 500;
const parallelWrites = 8;

const isTrue = (m: StorageVersionMigration, type: string): boolean =>
  m.status?.conditions?.some((c) => c.type === type && c.status === 'True') === true;
const isRunning = (m: StorageVersionMigration): boolean => isTrue(m, 'Running');
const isOver = (m: StorageVersionMigration): boolean => isTrue(m, 'Succeeded') || isTrue(m, 'Failed');
const keyOf = (m: StorageVersionMigration): string => `${m.spec.resource.group ?? ''}/${m.spec.resource.resource}`;

function byAge(a: StorageVersionMigration, b: StorageVersionMigration): number {
  const older = timeMs(a.metadata.creationTimestamp) - timeMs(b.metadata.creationTimestamp);
  return older || (a.metadata.name! < b.metadata.name! ? -1 : 1);
}

/** Worth another attempt. */
function isPassing(error: unknown): boolean {
  if (!(error instanceof StatusError)) return true;
  return ['ServerTimeout', 'TooManyRequests', 'ServiceUnavailable', 'InternalError', 'Timeout'].includes(error.reason);
}

function start(context: ControllerContext): RunningController | undefined {
  if (context.options.features?.enabled('StorageVersionMigrator') !== true) return undefined;
  const { clock } = context;
  const client = context.clientFor(controllerName);
  const all = context.informers.informer<StorageVersionMigration>(migrations);
  const now = (): string => formatTime(clock.now());

  const writeStatus = async (
    m: StorageVersionMigration,
    change: { readonly condition?: Omit<Condition, 'lastTransitionTime'>; readonly resourceVersion?: string },
  ): Promise<void> => {
    const { condition, resourceVersion } = change;
    const conditions = (m.status?.conditions ?? []).filter((c) => c.type !== condition?.type);
    if (condition !== undefined) conditions.push({ ...condition, lastTransitionTime: now() });
    const status = { ...m.status, conditions, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    await client.resource(migrations).updateStatus({ ...m, status } as KubeObject);
  };
  const fail = (m: StorageVersionMigration, why: string): Promise<void> =>
    writeStatus(m, {
      condition: {
        type: 'Failed',
        status: 'True',
        reason: 'StorageVersionMigrationFailed',
        message: `migration encountered unhandled error: ${why}`,
      },
    });

  const definitionOf = async (m: StorageVersionMigration): Promise<CustomResourceDefinition | undefined> => {
    const { group = '', resource } = m.spec.resource;
    if (!group.includes('.')) return undefined;
    try {
      return await client.apiextensions.customresourcedefinitions.get(`${resource}.${group}`);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  /** What the definition says of the migration; `storedVersions` with it where they are known to be right. */
  const tellDefinition = async (
    crd: CustomResourceDefinition,
    status: 'True' | 'False',
    reason: string,
    message: string,
    storedVersions?: readonly string[],
  ): Promise<void> => {
    const { name, resourceVersion, generation } = crd.metadata;
    const condition = {
      type: 'StorageMigrating',
      status,
      lastTransitionTime: now(),
      reason,
      message,
      observedGeneration: generation,
    };
    const applied = {
      metadata: { name, resourceVersion },
      status: { conditions: [condition], ...(storedVersions === undefined ? {} : { storedVersions }) },
    };
    await client.apiextensions.customresourcedefinitions.apply(applied as unknown as CustomResourceDefinition, {
      fieldManager: runnerName,
      force: true,
      subresource: 'status',
    });
  };

  const begin = async (m: StorageVersionMigration): Promise<void> => {
    const crd = await definitionOf(m);
    if (crd !== undefined)
      await tellDefinition(crd, 'True', 'MigrationRunning', `Migration ${m.metadata.name} is running`);
    await writeStatus(m, {
      condition: { type: 'Running', status: 'True', reason: 'MigrationRunning', message: 'The migration is running' },
    });
  };

  const end = async (m: StorageVersionMigration): Promise<void> => {
    const crd = await definitionOf(m);
    if (crd !== undefined) {
      const succeeded = isTrue(m, 'Succeeded');
      const migrating = crd.status?.conditions?.find((c) => c.type === 'StorageMigrating');
      // Objects of another storage version may have come where the definition has changed meanwhile.
      const sure = succeeded && migrating?.observedGeneration === crd.metadata.generation;
      const storage = crd.spec.versions.find((v) => v.storage)?.name;
      const what = sure
        ? ' and the stored versions have been updated'
        : ' but the stored versions have not been updated due to a generation mismatch';
      await tellDefinition(
        crd,
        'False',
        succeeded ? 'MigrationSucceeded' : 'MigrationFailed',
        succeeded ? `The migration has succeeded${what}` : 'The migration has failed',
        sure && storage !== undefined ? [storage] : undefined,
      );
    }
    await writeStatus(m, {
      condition: { type: 'Running', status: 'False', reason: 'MigrationCompleted', message: 'Migration completed' },
    });
  };

  /** The resource as the server prefers it; undefined where the migration has been told that it failed. */
  const resourceOf = async (m: StorageVersionMigration): Promise<DiscoveredResource | undefined> => {
    const { group = '', resource } = m.spec.resource;
    const { resources } = await discover(client);
    const versions = resources.filter((r) => r.group === group && r.resource === resource);
    const found = versions.find((r) => r.preferred) ?? versions[0];
    if (found === undefined) {
      if (clock.now() - timeMs(m.metadata.creationTimestamp) < unknownMs)
        throw new Error('resource does not exist in our rest mapper, requeuing to attempt again');
      await fail(m, 'resource does not exist in discovery');
      return undefined;
    }
    if (requiredVerbs.every((v) => found.verbs.includes(v))) return found;
    const gvr = `${group}/${found.version}, Resource=${resource}`;
    await fail(
      m,
      `resource ${JSON.stringify(gvr)} does not support discovery operations: [${requiredVerbs.join(' ')}]`,
    );
    return undefined;
  };

  /** Writes one object as it is. */
  const rewrite = async (ref: DiscoveredResource, object: KubeObject): Promise<void> => {
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const same = {
      apiVersion: apiVersionOf(ref),
      kind: ref.kind!,
      metadata: { name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion },
    };
    try {
      await client.resource(ref).apply(same as unknown as KubeObject, { fieldManager: controllerName });
    } catch (error) {
      // Somebody else has written it, or deleted it: either will do.
      if (!isConflict(error)) throw error;
    }
  };

  const migrate = async (m: StorageVersionMigration): Promise<void> => {
    const ref = await resourceOf(m);
    if (ref === undefined) return;
    const upTo = m.status?.resourceVersion ?? '';
    if (upTo === '') {
      const { metadata } = await client.resource(ref).list({ limit: 1 });
      await writeStatus(m, { resourceVersion: metadata.resourceVersion ?? '' });
      return;
    }
    try {
      let token: string | undefined;
      do {
        const page = await client
          .resource(ref)
          .list({ limit: pageSize, ...(token === undefined ? {} : { continue: token }) });
        // What is newer was written in the storage version already.
        const old = page.items.filter((o) => Number(o.metadata.resourceVersion) <= Number(upTo));
        await forEachLimit(old, parallelWrites, (o) => rewrite(ref, o));
        token = page.metadata.continue === '' ? undefined : page.metadata.continue;
      } while (token !== undefined);
    } catch (error) {
      if (isPassing(error)) throw error;
      await fail(m, (error as Error).message);
      return;
    }
    await writeStatus(m, {
      condition: { type: 'Succeeded', status: 'True', reason: 'StorageVersionMigrationSucceeded', message: '' },
    });
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'storage-version-migrator',
    clock,
    logger: context.logger,
    reconcile: async (key) => {
      const own = [...all.lister.list()].filter((m) => keyOf(m) === key).toSorted(byAge);
      for (const m of own) if (isRunning(m) && isOver(m)) await end(m);
      const running = own.find((m) => isRunning(m) && !isOver(m));
      if (running !== undefined) {
        await migrate(running);
        return;
      }
      const next = own.find((m) => !isRunning(m) && !isOver(m));
      if (next !== undefined) await begin(next);
    },
  });
  all.addHandler({
    onAdd: (m) => controller.queue.add(keyOf(m)),
    onUpdate: (_old, m) => controller.queue.add(keyOf(m)),
    onDelete: (m) => controller.queue.add(keyOf(m)),
  });
  controller.start(all.synced);
  return controller;
}

export const storageVersionMigratorController: ControllerDescriptor = { name: controllerName, start };
