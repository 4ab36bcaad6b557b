/** How a component reaches its API server: a kubeconfig (or the files of a pod), a client of its own name, and patience at the start. */
import { arch, platform } from 'node:os';
import { StatusError } from '../../api/status.ts';
import { HttpTransport } from '../../client/http-transport.ts';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import { inClusterConnection, loadKubeconfig } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createClient } from '../../client/typed-client.ts';
import { gitVersion } from '../version.ts';
import type { ComponentEnvironment } from './environment.ts';
import { StartError } from './environment.ts';

export interface ConnectionFlags {
  /** `--kubeconfig` */
  readonly kubeconfig?: string | undefined;
  /** `--master`: another server than the kubeconfig's. */
  readonly master?: string | undefined;
}

/** The connection that the flags name. Throws one line when there is none. */
export async function connectionOf(
  flags: ConnectionFlags,
  env: ComponentEnvironment,
  flag = 'kubeconfig',
): Promise<ConnectionConfig> {
  const { kubeconfig, master } = flags;
  if (kubeconfig !== undefined && kubeconfig !== '') {
    try {
      const config = await loadKubeconfig(kubeconfig, { clock: env.clock });
      const server = master === undefined || master === '' ? config.server : master;
      void new URL(server.includes('://') ? server : `https://${server}`);
      return { ...config, server };
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const message = error instanceof Error ? error.message : String(error);
      const why =
        code === 'ENOENT'
          ? `there is no such file${(error as NodeJS.ErrnoException).path === kubeconfig ? '' : ` (${(error as NodeJS.ErrnoException).path})`}`
          : code === 'ERR_INVALID_URL'
            ? 'the address of its server is no URL'
            : message.replace(`${kubeconfig}: `, '');
      throw new StartError(`cannot use the kubeconfig ${kubeconfig} (--${flag}): ${why}`, { cause: error });
    }
  }
  if (master !== undefined && master !== '') return { server: master };
  if (process.env['KUBERNETES_SERVICE_HOST'] === undefined)
    throw new StartError(`no API server is named: give --${flag} FILE ("knarr certificates" makes them)`);
  return inClusterConnection(process.env);
}

/** `kube-scheduler/v1.36.4+knarr.1 (linux/x64)`; what stands before the slash is the default field manager. */
export function userAgent(component: string, suffix?: string): string {
  const agent = `${component}/${gitVersion} (${platform()}/${arch()})`;
  return suffix === undefined ? agent : `${agent}/${suffix}`;
}

/** A client over the network. Close its `transport` in the end. */
export function connect(config: ConnectionConfig, env: ComponentEnvironment, agent: string): TypedClient {
  return createClient(new HttpTransport(config, { random: env.random, userAgent: agent, meter: env.requests }));
}

/**
 * Waits until the API server says that it is ready, asking again with growing pauses; false when the component is to stop first.
 * A server that cannot be reached is told once, and again every half minute.
 */
export async function waitForServer(
  client: TypedClient,
  config: ConnectionConfig,
  env: ComponentEnvironment,
): Promise<boolean> {
  const { clock, logger, signal } = env;
  let told = -Infinity;
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await client.raw('GET', '/readyz', { signal });
      if (attempt > 0 && told !== -Infinity) logger.info('the API server answers', { server: config.server });
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (clock.monotonic() - told >= 30_000) {
        told = clock.monotonic();
        if (error instanceof StatusError && error.code >= 500)
          logger.info('the API server is not ready yet; waiting', { server: config.server });
        else logger.warn('cannot reach the API server; trying again', { why: (error as Error).message });
      }
    }
    const pause = Math.min(5000, 100 * 1.7 ** Math.min(attempt, 12));
    await clock.sleep(pause * (1 + env.random.float() / 2), signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
  return false;
}
