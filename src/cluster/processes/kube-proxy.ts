/**
 * `knarr kube-proxy`: follows Services and endpoints for one node. What makes them real is the simulated backend so far: it keeps the
 * map and tells of it, and no packet is touched.
 */
import { hostname } from 'node:os';
import { computed } from '../../apiserver/metrics/exposition.ts';
import { createProxy } from '../../proxy/proxy.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, splitHostPort, StartError } from './environment.ts';

export interface ProxyFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  readonly hostnameOverride: string | undefined;
  readonly proxyMode: string | undefined;
  /** `host:port`; empty or port 0: not served. */
  readonly healthzBindAddress: string;
  readonly metricsBindAddress: string;
}

export async function runProxy(flags: ProxyFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger, signal } = env;
  if (flags.proxyMode !== 'simulated')
    throw new StartError(
      `${flags.proxyMode === undefined ? 'rules of a packet filter are' : `--proxy-mode ${flags.proxyMode} is`} not part of this version yet: say --proxy-mode simulated`,
    );
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const health = splitHostPort('healthz-bind-address', flags.healthzBindAddress, 10_256);
  const metrics = splitHostPort('metrics-bind-address', flags.metricsBindAddress, 10_249);
  const config = await connectionOf(flags, env);
  const client = connect(config, env, userAgent('kube-proxy'));
  const proxy = createProxy({ client, clock, random, logger, nodeName });
  const servers: ComponentServer[] = [];
  let synced = false;
  const healthz = async (): Promise<{ status: number; body: unknown }> => {
    const now = new Date(clock.now()).toISOString();
    return { status: synced ? 200 : 503, body: { lastUpdated: now, currentTime: now, nodeEligible: true } };
  };
  const shared = { component: 'kube-proxy', clock, logger, tls: undefined, auth: undefined, checks: new Map() };
  try {
    if (health !== undefined)
      servers.push(
        await serveComponent({
          ...shared,
          ...health,
          flag: '--healthz-bind-address',
          healthOnly: true,
          routes: new Map([
            ['/healthz', healthz],
            ['/livez', healthz],
          ]),
        }),
      );
    if (metrics !== undefined)
      servers.push(
        await serveComponent({
          ...shared,
          ...metrics,
          flag: '--metrics-bind-address',
          routes: new Map([['/proxyMode', async () => ({ status: 200, body: 'simulated' })]]),
          metrics: [
            computed('gauge', 'knarr_proxy_frontends', 'Addresses and ports that Services are reached at.', () => [
              [{}, proxy.frontends.size],
            ]),
          ],
        }),
      );
    if (!(await waitForServer(client, config, env))) return;
    const started = proxy.start();
    started.catch(() => {});
    await Promise.race([started, aborted(signal)]);
    if (!signal.aborted) {
      synced = true;
      const at = servers[0] === undefined || health === undefined ? '' : `, health on ${servers[0].url}`;
      env.say(`kube-proxy: working for node ${nodeName} with ${config.server}${at}`);
    }
    await aborted(signal);
  } finally {
    await Promise.all([proxy.stop(), ...servers.map((s) => s.close())]);
    await client.transport.close();
  }
}
