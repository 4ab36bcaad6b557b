/** A cluster's administrator over the network, from a kubeconfig: for commands that ask a running cluster for something. */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { HttpTransport } from '../../client/http-transport.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createClient } from '../../client/typed-client.ts';
import { userAgent } from '../processes/api-connection.ts';

export interface AdminConnection {
  readonly client: TypedClient;
  readonly server: string;
  /** PEM. */
  readonly ca: string | undefined;
  /** Where other machines reach the server, as `cluster-info` says. */
  publicServer(): Promise<string>;
}

/** Close the client's transport in the end. @throws what reading the kubeconfig does (ENOENT, …) */
export async function openAdmin(file: string, clock: Clock, random: Random): Promise<AdminConnection> {
  const config = await loadKubeconfig(file, { clock });
  const client = createClient(new HttpTransport(config, { random, userAgent: userAgent('knarr') }));
  return {
    client,
    server: config.server,
    ca: config.ca,
    publicServer: async () => {
      const info = await client.core.configmaps.get('cluster-info', 'kube-public');
      return /server:\s*"?([^"\s]+)/.exec(info.data?.['kubeconfig'] ?? '')?.[1] ?? config.server;
    },
  };
}
