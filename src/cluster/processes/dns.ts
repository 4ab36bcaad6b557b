/** `knarr dns`: the cluster's name server alone, over UDP and TCP, and the endpoint of `kube-dns` that leads to it. */
import { joinHostPort } from '../../base/host-port.ts';
import { hostname } from 'node:os';
import type { Dns } from '../../dns/dns.ts';
import { createDns } from '../../dns/dns.ts';
import { Announcement } from '../../dns/announce.ts';
import { configMapSource, fileSource } from '../../dns/corefile-source.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import { processMetrics } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import {
  aborted,
  defaultAddress,
  isWildcard,
  listenError,
  probeAddress,
  splitHostPort,
  StartError,
} from './environment.ts';

export interface DnsFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  /** A Corefile; default: the ConfigMap `kube-system/coredns`. */
  readonly conf: string | undefined;
  readonly clusterDomain: string;
  /** Default: the machine's own address. */
  readonly bindAddress: string | undefined;
  readonly port: number;
  readonly upstreams: readonly string[];
  readonly pods: 'insecure' | 'verified' | 'disabled';
  /** `host:port`; port 0: not served; undefined: where the Corefile wants it. */
  readonly healthBindAddress: string | undefined;
  readonly readyBindAddress: string | undefined;
  readonly metricsBindAddress: string | undefined;
  readonly announce: boolean;
  readonly advertiseAddress: string | undefined;
}

interface At {
  readonly host: string;
  readonly port: number;
}

/** Where a flag wants something served: there, nowhere (null), or where the Corefile says. */
async function served(flag: string, text: string | undefined, port: number): Promise<At | null | undefined> {
  if (text === undefined) return undefined;
  const at = splitHostPort(flag, text, port);
  if (at === undefined) return null;
  await probeAddress(at.host, at.port, `--${flag}`);
  return at;
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address === 'localhost';
}

/** The address that others reach the name server at; undefined: there is none to announce. */
function advertised(flags: DnsFlags, bound: string): string | undefined {
  if (!flags.announce) return undefined;
  if (flags.advertiseAddress !== undefined) return flags.advertiseAddress;
  const address = isWildcard(bound) ? defaultAddress() : bound;
  return isLoopback(address) ? undefined : address;
}

export async function runDns(flags: DnsFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger, signal } = env;
  for (const server of flags.upstreams)
    if (!/^(\d+\.\d+\.\d+\.\d+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?|[0-9a-fA-F:]+:[0-9a-fA-F:]*)$/.test(server))
      throw new StartError(`--upstreams ${server}: it is an address such as 192.0.2.1 or 192.0.2.1:53`);
  const [health, ready, metrics] = await Promise.all([
    served('health-bind-address', flags.healthBindAddress, 8080),
    served('ready-bind-address', flags.readyBindAddress, 8181),
    served('metrics-bind-address', flags.metricsBindAddress, 9153),
  ]);
  const config = await connectionOf(flags, env);
  const bindAddress = flags.bindAddress ?? defaultAddress();
  await probeAddress(bindAddress, flags.port, '--port');
  const client = connect(config, env, userAgent('dns'));
  const shared = { clock, random, logger };
  const dns = createDns({
    client,
    ...shared,
    clusterDomain: flags.clusterDomain,
    bind: { address: bindAddress, port: flags.port },
    corefile: flags.conf === undefined ? configMapSource({ client, ...shared }) : fileSource(flags.conf, shared),
    upstreams: flags.upstreams,
    pods: flags.pods,
    http: {
      ...(health === undefined ? {} : { health }),
      ...(ready === undefined ? {} : { ready }),
      ...(metrics === undefined ? {} : { metrics }),
    },
    families: processMetrics(clock),
  });
  let announcement: Announcement | undefined;
  try {
    if (!(await waitForServer(client, config, env))) return;
    await begin(dns, flags, env, bindAddress);
    if (!signal.aborted) {
      const at = dns.address!;
      const address = advertised(flags, bindAddress);
      if (address !== undefined) {
        announcement = new Announcement({
          client,
          clock,
          logger,
          identity: `${hostname()
            .toLowerCase()
            .replace(/[^a-z0-9]+/g, '-')}-${at.port}`,
          address,
          port: at.port,
          metricsPort: dns.httpAddress('metrics')?.port,
        });
        await announcement.start();
      } else if (flags.announce)
        logger.info(
          'kube-dns does not lead here: pods cannot reach a loopback address (--bind-address, --advertise-address)',
        );
      env.say(`dns: answering for ${flags.clusterDomain} on ${joinHostPort(at.address, at.port)} (UDP and TCP)`);
    }
    await aborted(signal);
  } finally {
    // Nobody is led here any more before it stops to answer.
    await announcement?.stop();
    await dns.stop();
    await client.transport.close();
  }
}

/** Starts it, or tells in one line what is wrong. */
async function begin(dns: Dns, flags: DnsFlags, env: ComponentEnvironment, bindAddress: string): Promise<void> {
  const started = dns.start();
  started.catch(() => {}); // one that the signal cut short is no news
  try {
    await Promise.race([started, aborted(env.signal)]);
  } catch (error) {
    if (flags.conf !== undefined && (error as Error).name === 'CorefileError')
      throw new StartError((error as Error).message, { cause: error });
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && flags.conf !== undefined)
      throw new StartError(`cannot read ${flags.conf} (--conf): there is no such file`, { cause: error });
    throw listenError(error, bindAddress, flags.port, '--port or --bind-address');
  }
}
