/** `knarr dns`: the cluster's name server alone, over UDP and TCP. */
import { computed } from '../../apiserver/metrics/exposition.ts';
import { createDns } from '../../dns/dns.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, hostPort, listenError, probeAddress, splitHostPort, StartError } from './environment.ts';

export interface DnsFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  readonly clusterDomain: string;
  readonly bindAddress: string;
  readonly port: number;
  readonly upstreams: readonly string[];
  readonly pods: 'insecure' | 'verified' | 'disabled';
  readonly metricsBindAddress: string;
}

export async function runDns(flags: DnsFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger, signal } = env;
  for (const server of flags.upstreams)
    if (!/^(\d+\.\d+\.\d+\.\d+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?|[0-9a-fA-F:]+:[0-9a-fA-F:]*)$/.test(server))
      throw new StartError(`--upstreams ${server}: it is an address such as 192.0.2.1 or 192.0.2.1:53`);
  const metrics = splitHostPort('metrics-bind-address', flags.metricsBindAddress, 9153);
  const config = await connectionOf(flags, env);
  await probeAddress(flags.bindAddress, flags.port, '--port');
  const client = connect(config, env, userAgent('dns'));
  const dns = createDns({
    client,
    clock,
    random,
    logger,
    clusterDomain: flags.clusterDomain,
    bind: { address: flags.bindAddress, port: flags.port },
    upstreams: flags.upstreams,
    pods: flags.pods,
  });
  let server: ComponentServer | undefined;
  let ready = false;
  try {
    if (metrics !== undefined)
      server = await serveComponent({
        component: 'dns',
        ...metrics,
        flag: '--metrics-bind-address',
        clock,
        logger,
        tls: undefined,
        auth: undefined,
        checks: new Map(),
        readyChecks: new Map([
          [
            'zone',
            () => {
              if (!ready) throw new Error('Services and endpoints have not been read yet');
            },
          ],
        ]),
        metrics: [computed('gauge', 'knarr_dns_ready', 'Whether names are answered.', () => [[{}, ready ? 1 : 0]])],
      });
    if (!(await waitForServer(client, config, env))) return;
    const started = dns.start();
    started.catch(() => {});
    try {
      await Promise.race([started, aborted(signal)]);
    } catch (error) {
      throw listenError(error, flags.bindAddress, flags.port, '--port or --bind-address');
    }
    if (!signal.aborted) {
      ready = true;
      const at = dns.address!;
      env.say(`dns: answering for ${flags.clusterDomain} on ${hostPort(at.address, at.port)} (UDP and TCP)`);
    }
    await aborted(signal);
  } finally {
    await dns.stop();
    await server?.close();
    await client.transport.close();
  }
}
