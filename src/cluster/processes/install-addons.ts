/** `knarr addons`: what an installer adds to a bare control plane of separate processes, once its API server answers. */
import { ioDeadline } from '../../base/io-time.ts';
import { bindAdministrators, installAddons } from '../addons.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentEnvironment } from './environment.ts';
import { StartError } from './environment.ts';

export interface AddonsFlags {
  readonly kubeconfig: string | undefined;
  readonly dnsServiceIP: string;
  readonly dns: boolean;
  readonly timeoutMs: number;
}

export async function runAddons(flags: AddonsFlags, env: ComponentEnvironment): Promise<void> {
  const config = await connectionOf({ kubeconfig: flags.kubeconfig }, env);
  const client = connect(config, env, userAgent('knarr'));
  try {
    const signal = AbortSignal.any([env.signal, ioDeadline(flags.timeoutMs)]);
    if (!(await waitForServer(client, config, { ...env, signal }))) {
      if (env.signal.aborted) return;
      throw new StartError(`${config.server} was not ready within ${flags.timeoutMs / 1000} s`);
    }
    await bindAdministrators(client);
    await installAddons(client, {
      dnsServiceIP: flags.dnsServiceIP,
      dns: flags.dns,
      certificateAuthority: config.ca,
      server: config.server,
      processes: true,
    });
    env.say(`addons are installed on ${config.server}`);
  } finally {
    await client.transport.close();
  }
}
