/** The name server's thread (`dns-thread.ts` starts it): a client of the API server like `knarr dns`, with its own loop and memory. */
import { parentPort, workerData } from 'node:worker_threads';
import { SystemClock } from '../base/clock.ts';
import { createLogger } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import { HttpTransport } from '../client/http-transport.ts';
import { createClient } from '../client/typed-client.ts';
import { configMapSource } from '../dns/corefile-source.ts';
import { createDns } from '../dns/dns.ts';
import type { DnsThreadData, FromDnsThread, ToDnsThread } from './dns-thread.ts';
import { userAgent } from './processes/api-connection.ts';

const data = workerData as DnsThreadData;
const parent = parentPort!;
const tell = (message: FromDnsThread): void => parent.postMessage(message);
const clock = new SystemClock();
const random = new SystemRandom();
const text = (value: unknown): unknown =>
  value instanceof Error ? value.message : typeof value === 'object' ? JSON.stringify(value) : value;
const logger = createLogger({
  level: data.logLevel,
  now: () => clock.now(),
  sink: ({ level, message, fields }) =>
    tell({ log: { level, message, fields: Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, text(v)])) } }),
});
const { server, ca, certificate, key } = data;
const client = createClient(
  new HttpTransport({ server, ca, certificate, key }, { random, userAgent: userAgent('coredns') }),
);
const dns = createDns({
  ...{ client, clock, random, logger, bind: data.bind, http: {} },
  corefile: configMapSource({ client, clock, random, logger }),
});

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function stop(): Promise<void> {
  await dns.stop();
  await client.transport.close();
}

parent.on('message', (told: ToDnsThread) => {
  if (told !== 'stop') return;
  stop().then(
    () => parent.close(),
    (error: unknown) => {
      tell({ failed: message(error) });
      parent.close();
    },
  );
});
dns.start().then(
  () => {
    const metricsPort = dns.httpAddress('metrics')?.port;
    tell({ address: dns.address!, ...(metricsPort === undefined ? {} : { metricsPort }) });
  },
  async (error: unknown) => {
    tell({ failed: message(error) });
    await stop().catch(() => {}); // why it could not start has been told
    parent.close();
  },
);
