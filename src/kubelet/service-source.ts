/** The Services that containers' environments tell of. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import type { Service } from '../api/types/index.gen.ts';
import { dropManagedFields, Informer } from '../client/informer.ts';
import type { ResourceClient } from '../client/client.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ServiceSource } from './context.ts';

/** Follows all Services through one informer. */
export function serviceSource(options: {
  client: TypedClient;
  clock: Clock;
  random: Random;
  logger: Logger;
}): ServiceSource & { start(): void; stop(): Promise<void> } {
  const informer = new Informer({
    ...options,
    client: options.client.core.services as unknown as ResourceClient<Service & KubeObject>,
    transform: dropManagedFields,
  });
  return {
    start: () => informer.start(),
    stop: () => informer.stop(),
    ready: () => informer.synced,
    list: (namespace) => informer.lister.list(namespace),
    variables: new Map(),
  };
}
