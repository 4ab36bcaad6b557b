/** For tests of controllers: an API, a virtual clock, a manager with chosen controllers, and a kubelet that starts pods. */
import { VirtualClock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { createLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { formatTime } from '../api/time.ts';
import type { Pod } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { createClient } from '../client/typed-client.ts';
import type { ControllerManager } from '../client/controller-manager.ts';
import { createControllerManager } from './manager.ts';
import type { ControllerOptions } from './options.ts';

export interface World extends AsyncDisposable {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly api: FakeApi;
  readonly client: TypedClient;
  readonly manager: ControllerManager;
  readonly logger: Logger;
  /** Lets everything that is due now happen. */
  settle(): Promise<void>;
  /** Marks scheduled-to-be pods as running and ready (or, with a filter, some of them). Returns how many. */
  startPods(filter?: (pod: Pod) => boolean): Promise<number>;
  /** Removes pods that are being deleted, as a kubelet would in the end. */
  pods(namespace?: string): Pod[];
}

/** A world with these controllers running. */
export async function createWorld(controllers: readonly string[], options: ControllerOptions = {}): Promise<World> {
  const clock = new VirtualClock();
  const random = new SeededRandom(7);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  const logger = createLogger({
    level: 'error',
    now: () => clock.now(),
    sink: (r) => {
      throw new Error(`${r.message} ${JSON.stringify(r.fields)}`, { cause: r.fields['error'] });
    },
  });
  const manager = createControllerManager({
    client,
    clientFor: () => client,
    clock,
    random,
    logger,
    controllers,
    options,
  });
  await manager.start();
  await manager.synced();
  return {
    clock,
    random,
    api,
    client,
    manager,
    logger,
    settle: () => clock.advance(0),
    startPods: async (filter) => {
      let started = 0;
      for (const pod of api.all<Pod>(resources.core.pods)) {
        if (pod.status?.phase === 'Running' || pod.metadata.deletionTimestamp !== undefined) continue;
        if (filter !== undefined && !filter(pod)) continue;
        const now = formatTime(clock.now());
        await client.core.pods.updateStatus({
          ...pod,
          status: {
            phase: 'Running',
            podIP: `10.0.0.${(started % 250) + 1}`,
            conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: now }],
          },
        });
        started++;
      }
      await clock.advance(0);
      return started;
    },
    pods: (namespace) => api.all<Pod>(resources.core.pods, namespace),
    [Symbol.asyncDispose]: async () => {
      await manager.stop();
    },
  };
}
