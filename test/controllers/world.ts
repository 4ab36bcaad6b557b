/** The real API server in memory with chosen controllers under their own identities, for tests that cross both rooms. */
import assert from 'node:assert/strict';
import { VirtualClock } from '../../src/base/clock.ts';
import type { Clock } from '../../src/base/clock.ts';
import { generateSigningKey, privateKeyPem } from '../../src/base/keys.ts';
import { createLogger } from '../../src/base/logger.ts';
import type { LogRecord } from '../../src/base/logger.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { ApiServer } from '../../src/apiserver/server.ts';
import { createApiServer } from '../../src/apiserver/server.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';
import { createClient } from '../../src/client/typed-client.ts';
import type { ControllerManager } from '../../src/client/controller-manager.ts';
import { createControllerManager } from '../../src/controllers/manager.ts';
import type { ControllerOptions } from '../../src/controllers/options.ts';
import { identities } from '../../src/cluster/components.ts';

export interface RealWorld<C extends Clock> extends AsyncDisposable {
  readonly clock: C;
  readonly server: ApiServer;
  readonly admin: TypedClient;
  readonly manager: ControllerManager;
  /** Warnings and errors that were logged. */
  readonly log: LogRecord[];
  /** Authorization decisions against our own controllers. */
  readonly denied: string[];
  as(name: string, groups: readonly string[]): TypedClient;
}

async function build<C extends Clock>(
  clock: C,
  controllers: readonly string[],
  options: ControllerOptions,
): Promise<RealWorld<C>> {
  const random = new SeededRandom(11);
  const log: LogRecord[] = [];
  const denied: string[] = [];
  const logger = createLogger({ level: 'warn', now: () => clock.now(), sink: (r) => log.push(r) });
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger, random });
  const keys = await generateSigningKey();
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger,
    serviceAccountKeys: { signingKey: await privateKeyPem(keys.privateKey) },
    advertiseAddress: '192.0.2.1',
    dialer: {
      dialNode: () => Promise.reject(new Error('no nodes')),
      dialTcp: () => Promise.reject(new Error('no network')),
    },
    onAuthorization: (attributes, decision) => {
      if (decision === 'allow' || !attributes.user.name.startsWith('system:')) return;
      const { verb, group, resource, subresource, namespace, name } = attributes;
      denied.push(`${attributes.user.name} ${verb} ${group}/${resource}/${subresource} ${namespace}/${name}`);
    },
  });
  await server.ready();
  const as = (name: string, groups: readonly string[]): TypedClient =>
    createClient(server.localTransport({ name, groups: [...groups, 'system:authenticated'] }));
  const manager = createControllerManager({
    client: as(identities.controllerManager.name, identities.controllerManager.groups),
    clientFor: (account) => {
      const { name, groups } = identities.controller(account);
      return as(name, groups);
    },
    clock,
    random,
    logger,
    controllers,
    options: { namespaceDeletionGracePeriodMs: 0, ...options },
  });
  await manager.start();
  await manager.synced();
  return {
    clock,
    server,
    admin: as('admin', ['system:masters']),
    manager,
    log,
    denied,
    as,
    [Symbol.asyncDispose]: async () => {
      await manager.stop();
      await server.close();
      await store.close();
    },
  };
}

/** With a clock that stands still. */
export function virtualWorld(
  controllers: readonly string[],
  options: ControllerOptions = {},
): Promise<RealWorld<VirtualClock>> {
  return build(new VirtualClock(), controllers, options);
}

/** All controllers, a second after the start. */
export async function world(): Promise<RealWorld<VirtualClock>> {
  const w = await virtualWorld(['*']);
  await w.clock.advance(1000);
  return w;
}

/** Asserts that nothing was refused to our own components and nothing was logged. */
export function quiet(w: RealWorld<Clock>): void {
  assert.deepEqual([...new Set(w.denied)], []);
  assert.deepEqual(
    w.log.map(
      (r) => `${r.message} ${JSON.stringify(r.fields)} ${(r.fields['error'] as Error | undefined)?.stack ?? ''}`,
    ),
    [],
  );
}
