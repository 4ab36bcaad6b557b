/**
 * The name server of a cluster in this process: beside real nodes in a thread that listens where pods reach it, else among the other
 * components, where simulated pods ask it without a socket.
 */
import type { UserInfo } from '../apiserver/request.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { configMapSource } from '../dns/corefile-source.ts';
import { createDns } from '../dns/dns.ts';
import type { SimulatedNetwork } from '../kubelet/runtime/simulated/network.ts';
import { identities } from './components.ts';
import { announceDns } from './dns-addons.ts';
import type { DnsThread } from './dns-thread.ts';
import type { PkiFiles } from './pki.ts';
import type { Teardown } from './teardown.ts';

interface DnsParts {
  /** As an administrator. */
  readonly client: TypedClient;
  clientFor(user: UserInfo, userAgent?: string): TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly teardown: Teardown;
  /** Its role is one of the addons. */
  readonly addons: Promise<void>;
  /** The address at which the cluster is reached. */
  readonly advertise: string;
}

/** Resolves when it answers and the cluster knows where. */
export function startNodeDns(
  o: DnsParts & { readonly server: string; readonly certificates: PkiFiles },
): Promise<void> {
  let dns: DnsThread | undefined;
  let closed = false;
  o.teardown.add(async () => {
    closed = true;
    await dns?.stop();
  });
  const open = async (): Promise<void> => {
    const { startDnsThread } = await import('./dns-thread.ts');
    await o.addons;
    if (closed) return;
    dns = startDnsThread({
      server: o.server,
      ca: o.certificates.get('ca.crt')!,
      certificate: o.certificates.get('dns.crt')!,
      key: o.certificates.get('dns.key')!,
      bind: { address: o.advertise, port: 0 },
      logger: o.logger,
    });
    const { address, metricsPort } = await dns.started;
    await announceDns(o.client, { address: o.advertise, port: address.port, metricsPort });
  };
  return open();
}

/** `listens`: others than the simulated pods can ask it, over UDP and TCP. */
export function startClusterDns(
  o: DnsParts & { readonly network: SimulatedNetwork; readonly listens: boolean },
): Promise<void> {
  const { clock, random, logger } = o;
  const client = o.clientFor(identities.dns, 'coredns');
  const dns = createDns({
    client,
    clock,
    random,
    logger,
    corefile: configMapSource({ client, clock, random, logger }),
    ...(o.listens ? { bind: { address: '127.0.0.1', port: 0 } } : {}),
  });
  o.teardown.add(() => dns.stop());
  o.network.setNameResolver((name, namespace) => dns.lookup(name, namespace));
  const open = async (): Promise<void> => {
    await o.addons;
    await dns.start();
    if (dns.address !== undefined) await announceDns(o.client, { address: o.advertise, port: dns.address.port });
  };
  return open();
}
