/** `knarr etcd`: the embedded store as a process of its own, speaking etcd's v3 API. A cluster of one member. */
import { join } from 'node:path';
import { expose } from '../../apiserver/metrics/exposition.ts';
import { etcdVersion } from '../../etcd/etcd-version.ts';
import { openEmbeddedStore } from '../../etcd/embedded-store.ts';
import type { EtcdServer } from '../../etcd/grpc-server.ts';
import { serveEtcd } from '../../etcd/grpc-server.ts';
import { EtcdMetrics } from '../../etcd/server-metrics.ts';
import type { ComponentServer } from './component-server.ts';
import { processMetrics, serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, probeAddress, readCertificates, readKeyPair, StartError } from './environment.ts';

export interface EtcdFlags {
  readonly name: string;
  /** Default `<name>.etcd` in the working directory. */
  readonly dataDir: string | undefined;
  readonly listenClientUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[] | undefined;
  readonly listenMetricsUrls: readonly string[];
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly trustedCaFile: string | undefined;
  readonly clientCertAuth: boolean;
  /** 0: history is not compacted by age. */
  readonly autoCompactionRetentionMs: number;
  /** A line for each flag that was given and has no effect. */
  readonly idle: readonly string[];
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

function addressOf(url: string, flag: string): Address {
  let u: URL;
  try {
    u = new URL(url);
  } catch (error) {
    throw new StartError(`${JSON.stringify(url)} (--${flag}) is no URL such as https://127.0.0.1:2379`, {
      cause: error,
    });
  }
  if (u.protocol !== 'http:' && u.protocol !== 'https:')
    throw new StartError(`${JSON.stringify(url)} (--${flag}): the scheme is http or https`);
  const tls = u.protocol === 'https:';
  const port = u.port === '' ? (tls ? 443 : 80) : Number(u.port);
  return { host: u.hostname.replace(/^\[|\]$/g, ''), port, tls };
}

export async function runEtcd(flags: EtcdFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, signal } = env;
  const logger = env.logger.with({ component: 'etcd' });
  for (const line of flags.idle) logger.info(line);
  const addresses = flags.listenClientUrls.map((u) => addressOf(u, 'listen-client-urls'));
  const metricsAddresses = flags.listenMetricsUrls.map((u) => addressOf(u, 'listen-metrics-urls'));
  const [pair, trusted] = await Promise.all([
    readKeyPair('cert-file', flags.certFile, 'key-file', flags.keyFile),
    readCertificates('trusted-ca-file', flags.trustedCaFile),
  ]);
  if (pair === undefined && [...addresses, ...metricsAddresses].some((a) => a.tls))
    throw new StartError('an https URL needs --cert-file and --key-file');
  if (flags.clientCertAuth && trusted === undefined)
    throw new StartError('--client-cert-auth needs --trusted-ca-file, the authority that signs clients');
  for (const { host, port } of addresses) await probeAddress(host, port, '--listen-client-urls');

  const dir = flags.dataDir ?? join(process.cwd(), `${flags.name}.etcd`);
  const store = await openEmbeddedStore({
    engine: 'lmdb',
    dir,
    clock,
    random,
    logger,
    historyAgeMs: flags.autoCompactionRetentionMs,
  });
  const measures = new EtcdMetrics(store.mvcc, etcdVersion);
  const metrics = measures.families;
  const servers: EtcdServer[] = [];
  const metricsServers: ComponentServer[] = [];
  try {
    for (const { host, port, tls } of addresses)
      servers.push(
        await serveEtcd({
          mvcc: store.mvcc,
          logger,
          host,
          port,
          name: flags.name,
          metrics: () => expose([...processMetrics(clock), ...metrics]),
          measures,
          ...(flags.advertiseClientUrls === undefined ? {} : { advertiseClientUrls: flags.advertiseClientUrls }),
          ...(tls
            ? {
                tls: {
                  cert: pair!.certificate,
                  key: pair!.key,
                  ...(flags.clientCertAuth ? { clientCa: trusted! } : {}),
                },
              }
            : {}),
        }),
      );
    for (const { host, port, tls } of metricsAddresses)
      metricsServers.push(
        await serveComponent({
          component: 'etcd',
          host,
          port,
          flag: '--listen-metrics-urls',
          clock,
          logger,
          tls: tls ? { ...pair!, clientCA: flags.clientCertAuth ? trusted : undefined } : undefined,
          auth: undefined,
          checks: new Map([['store', async () => void (await store.currentRevision())]]),
          routes: new Map([
            [
              '/health',
              async () => {
                await store.currentRevision();
                return { status: 200, body: { health: 'true', reason: '' } };
              },
            ],
          ]),
          metrics,
        }),
      );
    for (const s of servers) env.say(`etcd: serving on ${s.url}`);
    for (const s of metricsServers) env.say(`etcd: health and metrics on ${s.url}`);
    await aborted(signal);
  } finally {
    await Promise.all([...servers, ...metricsServers].map((s) => s.close()));
    await store.close();
  }
}
