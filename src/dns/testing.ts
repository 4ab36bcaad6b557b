/** What the tests of this room share: a small cluster behind a fake API, and clients that speak DNS. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import packet from 'dns-packet';
import { ioTimer } from '../base/io-time.ts';
import { VirtualClock } from '../base/clock.ts';
import type { LogRecord } from '../base/logger.ts';
import { createLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { ConfigMap, EndpointSlice, Namespace, Pod, Service } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { createClient } from '../client/typed-client.ts';
import { configMapSource } from './corefile-source.ts';
import type { DnsOptions } from './dns.ts';
import { createDns } from './dns.ts';
import type { Reply, Rr } from './message.ts';
import { rcodeName, typeName, types } from './message.ts';
import { plain } from './names.ts';
import { dataText } from './rdata.ts';

const http = [{ name: 'http', port: 80, protocol: 'TCP' }];

/** A cluster with a Service of each kind. `corefile`: what the ConfigMap holds from the start. */
export async function smallCluster(t: TestContext, options: Partial<DnsOptions> = {}, corefile?: string) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const client = createClient(new FakeApi(clock, random));
  const logged: LogRecord[] = [];
  const logger = createLogger({ level: 'info', now: () => 0, sink: (r) => logged.push(r) });
  for (const name of ['default', 'kube-system'])
    await client.core.namespaces.create({ metadata: { name } } as Namespace);
  const service = (name: string, spec: object, namespace = 'default') =>
    client.core.services.create({ metadata: { name, namespace }, spec } as Service);
  const slice = (name: string, endpoints: object[], ports: object[], addressType = 'IPv4', suffix = '1') =>
    client.discovery.endpointslices.create({
      metadata: {
        name: `${name}-${suffix}`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType,
      ports,
      endpoints,
    } as unknown as EndpointSlice);
  const pod = async (name: string, address: string, namespace = 'default') => {
    await client.core.pods.create({ metadata: { name, namespace } } as Pod);
    const made = await client.core.pods.get(name, namespace);
    await client.core.pods.updateStatus({ ...made, status: { podIP: address, podIPs: [{ ip: address }] } });
  };
  await service('kube-dns', { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'], ports: http }, 'kube-system');
  await service('web', {
    clusterIP: '10.96.0.11',
    clusterIPs: ['10.96.0.11', 'fd00::b'],
    ports: [...http, { name: 'dns', port: 53, protocol: 'UDP' }],
  });
  await slice('web', [{ addresses: ['10.244.0.9'] }], http);
  await service('one', { clusterIP: '10.96.0.12', clusterIPs: ['10.96.0.12'], ports: http });
  await service('portless', { clusterIP: '10.96.0.13', clusterIPs: ['10.96.0.13'] });
  await service('db', { clusterIP: 'None', clusterIPs: ['None'], ports: http });
  await slice(
    'db',
    [
      { addresses: ['10.244.0.2'], hostname: 'db-0' },
      { addresses: ['10.244.0.3'], targetRef: { kind: 'Pod', name: 'db-pod' } },
      { addresses: ['10.244.0.4'], conditions: { ready: false } },
    ],
    [{ name: 'http', port: 8080, protocol: 'TCP' }],
  );
  await slice(
    'db',
    [{ addresses: ['fd00::2'], hostname: 'db-0' }],
    [{ name: 'http', port: 8080, protocol: 'TCP' }],
    'IPv6',
    '2',
  );
  await service('empty', { clusterIP: 'None', clusterIPs: ['None'] });
  await service('out', { type: 'ExternalName', externalName: 'example.com' });
  await service('alias', { type: 'ExternalName', externalName: 'Web.default.svc.cluster.local.' });
  await service('ring', { type: 'ExternalName', externalName: 'gnir.default.svc.cluster.local' });
  await service('gnir', { type: 'ExternalName', externalName: 'ring.default.svc.cluster.local' });
  await service('number', { type: 'ExternalName', externalName: '192.0.2.7' });
  if (corefile !== undefined)
    await client.core.configmaps.create({
      metadata: { name: 'coredns', namespace: 'kube-system' },
      data: { Corefile: corefile },
    } as ConfigMap);
  const edit = (text: string) =>
    client.core.configmaps.patch('coredns', 'kube-system', 'merge', { data: { Corefile: text } });
  const source = configMapSource({ client, clock, random, logger });
  const dns = createDns({ client, clock, random, logger, corefile: source, ...options });
  t.after(() => dns.stop());
  const started = dns.start();
  // A start that fails is told by the caller's await.
  started.catch(() => {});
  await clock.advance(0);
  await started;
  return { clock, client, dns, service, slice, pod, edit, logged };
}

export type SmallCluster = Awaited<ReturnType<typeof smallCluster>>;

const showRecord = (r: Rr): string => `${typeName(r.type)} ${dataText(r).replace(/\.(?= |$)/g, '')}`;

/** `NOERROR A 10.0.0.1; A 10.0.0.2`, in order of the text; ` !soa` where an SOA record tells how long there is nothing. */
export function show(reply: Reply): string {
  const soa = reply.authority.some((r) => r.type === types.SOA) ? '!soa' : '';
  return [rcodeName(reply.rcode), reply.answers.map(showRecord).sort().join('; '), soa]
    .filter((t) => t !== '')
    .join(' ');
}

export function showAll(records: readonly Rr[]): string[] {
  return records.map((r) => `${plain(r.name)} ${r.ttl} ${showRecord(r)}`);
}

/** A question as bytes. */
export function question(name: string, type: string, more: object = {}): Buffer {
  return packet.encode({
    type: 'query',
    id: 7,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type }],
    ...more,
  });
}

export const edns = (size: number, more: object = {}) => ({
  additionals: [{ type: 'OPT', name: '.', udpPayloadSize: size, flags: 0, options: [], ...more }],
});

/** One exchange over UDP; undefined when there is no answer in `waitMs`. */
export function overUdp(
  port: number,
  message: Buffer,
  { address = '127.0.0.1', waitMs = 10_000 } = {},
): Promise<Buffer | undefined> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  return new Promise<Buffer | undefined>((resolve, reject) => {
    const cancel = ioTimer(waitMs, () => resolve(undefined));
    socket.on('error', reject);
    socket.on('message', (answer) => {
      cancel();
      resolve(answer);
    });
    socket.send(message, port, address);
  }).finally(() => socket.close());
}

export const framed = (message: Buffer): Buffer => {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length);
  return Buffer.concat([head, message]);
};

/** Sends messages over one connection, as one piece or in the given ones, and reads so many answers. */
export function overTcp(port: number, pieces: readonly Buffer[], answers: number): Promise<Buffer[]> {
  const socket = connect(port, '127.0.0.1');
  return new Promise<Buffer[]>((resolve, reject) => {
    const out: Buffer[] = [];
    let rest = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => resolve(out));
    socket.on('data', (d: Buffer) => {
      rest = Buffer.concat([rest, d]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        out.push(Buffer.from(rest.subarray(2, 2 + rest.readUInt16BE(0))));
        rest = rest.subarray(2 + rest.readUInt16BE(0));
      }
      if (out.length >= answers) resolve(out);
    });
    for (const piece of pieces) socket.write(piece);
  }).finally(() => socket.destroy());
}
