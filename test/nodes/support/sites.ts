/**
 * Two machines on networks of their own, with a router in between, and a client on the first one's network: a cluster in this process
 * with a real node, and a machine that has joined it. All inside the namespaces of the test file, which may build several, one after
 * the other.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SystemClock } from '../../../src/base/clock.ts';
import { SystemRandom } from '../../../src/base/random.ts';
import type { PodSpec } from '../../../src/api/types/index.gen.ts';
import type { TypedClient } from '../../../src/client/typed-client.ts';
import type { Cluster, ClusterOptions } from '../../../src/cluster/cluster.ts';
import { createCluster } from '../../../src/cluster/create-cluster.ts';
import { renderKubeconfig } from '../../../src/cluster/kubeconfig.ts';
import { createToken, publicKeyHash } from '../../../src/cluster/joining/tokens.ts';
import type { MachineOptions } from '../../../src/cluster/real/machine.ts';
import { openMachine } from '../../../src/cluster/real/machine.ts';
import { removePodNetwork } from '../../../src/cluster/real/pod-network.ts';
import { unmountTree } from '../../../src/kubelet/host/linux/mounts.ts';
import { removeAllRules } from '../../../src/proxy/node-proxy.ts';
import { bundle } from '../../support/knarr.ts';
import { busyboxImage } from '../images/busybox.ts';
import { Containerd } from './containerd.ts';
import { until } from './until.ts';

export const image = 'local.test/busybox:1';
export const sh = (script: string): string => execFileSync('sh', ['-c', script], { encoding: 'utf8' });

/** Of the machines and the client, one of each family. */
export const addresses = {
  one: { 4: '192.168.71.1', 6: 'fd71::1' },
  two: { 4: '192.168.72.2', 6: 'fd72::2' },
  client: { 4: '192.168.71.100', 6: 'fd71::100' },
} as const;

export type Family = 4 | 6;

export interface SitesOptions {
  /** Of the machines; default IPv4. */
  readonly families?: readonly Family[];
  readonly cluster?: Partial<ClusterOptions>;
  readonly machine?: Partial<MachineOptions>;
  /** Default true. */
  readonly second?: boolean;
  /** False: the second machine has a runtime, and nothing of ours. */
  readonly joins?: boolean;
}

const netns = '/run/netns/two';
/** A command in the network of machine two, of the client, or of the router. */
export const inside = (place: 'two' | 'client' | 'router', command: string): string =>
  execFileSync('nsenter', [`--net=/run/netns/${place}`, 'sh', '-c', command], { encoding: 'utf8' });

function layOut(families: readonly Family[]): void {
  sh('mkdir -p /run/netns && for n in router two client; do ip netns add $n; done');
  const setUp = (at: (command: string) => unknown): void => {
    at(
      'ip link set lo up; for w in all default; do for f in accept_dad disable_ipv6; do echo 0 > /proc/sys/net/ipv6/conf/$w/$f; done; done; for m in 4 6; do ip -$m route flush proto 118; done; true',
    );
  };
  setUp(sh);
  for (const place of ['router', 'two', 'client'] as const) setUp((c) => inside(place, c));
  sh('ip link add eth0 type veth peer name one netns router');
  inside(
    'router',
    `echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip link add near type bridge; ip link set near up; ip link set one master near up
ip link add client type veth peer name eth0 netns client; ip link set client master near up
ip link add far type veth peer name eth0 netns two; ip link set far up`,
  );
  const address = (family: Family, text: string): string =>
    `ip addr add ${text}/${family === 4 ? '24 dev eth0' : '64 dev eth0 nodad'}`;
  sh('ip link set eth0 up');
  for (const place of ['two', 'client'] as const) inside(place, 'ip link set eth0 up');
  for (const f of families) {
    const [near, far] = f === 4 ? ['192.168.71.254', '192.168.72.254'] : ['fd71::fe', 'fd72::fe'];
    const size = f === 4 ? '24' : '64';
    inside(
      'router',
      `ip addr add ${near}/${size} dev near${f === 6 ? ' nodad' : ''}; ip addr add ${far}/${size} dev far${f === 6 ? ' nodad' : ''}`,
    );
    sh(`${address(f, addresses.one[f])}; ip -${f} route add default via ${near}`);
    inside('two', `${address(f, addresses.two[f])}; ip -${f} route add default via ${far}`);
    inside('client', `${address(f, addresses.client[f])}; ip -${f} route add default via ${near}`);
  }
}

export class Sites {
  readonly dir: string;
  readonly first: Containerd;
  readonly second: Containerd | undefined;
  readonly families: readonly Family[];
  cluster!: Cluster;
  #joined: ChildProcess | undefined;

  private constructor(first: Containerd, second: Containerd | undefined, families: readonly Family[]) {
    this.dir = mkdtempSync(join(tmpdir(), 'knarr-sites-'));
    this.first = first;
    this.second = second;
    this.families = families;
  }

  get client(): TypedClient {
    return this.cluster.client;
  }

  static async start(options: SitesOptions = {}): Promise<Sites> {
    const families = options.families ?? [4];
    layOut(families);
    const containerds = await Promise.all([
      Containerd.start({ noNetwork: true, name: 'a' }),
      ...(options.second === false ? [] : [Containerd.start({ noNetwork: true, name: 'b', netns, ownMounts: true })]),
    ]);
    const sites = new Sites(containerds[0]!, containerds[1], families);
    try {
      await Promise.all(containerds.map((c) => c.load(busyboxImage(), image)));
      await sites.#up(options);
      if (options.second !== false && options.joins !== false) await sites.join();
      return sites;
    } catch (error) {
      await sites.stop();
      throw error;
    }
  }

  address(place: 'one' | 'two'): string {
    return this.families.map((f) => addresses[place][f]).join(',');
  }

  get dataDir(): string {
    return join(this.dir, 'data');
  }

  /** Where pods and machines reach the API server. */
  get server(): string {
    const host = addresses.one[this.families[0]!];
    return `https://${host.includes(':') ? `[${host}]` : host}:${new URL(this.cluster.url!).port}`;
  }

  async #up(options: SitesOptions): Promise<void> {
    const { first, dataDir } = this;
    const machine = await openMachine(
      {
        endpoint: first.socket,
        nodeName: 'one',
        address: this.address('one'),
        rootDir: join(first.dir, 'kubelet'),
        cniConfDir: first.cniConfDir,
        cgroupRoot: first.cgroupRoot,
        ...options.machine,
      },
      {
        clock: new SystemClock(),
        logger: first.logger,
        owner: dataDir,
        kubeProxy: options.cluster?.disable?.includes('kube-proxy') !== true,
        kubelet: options.cluster?.disable?.includes('kubelet') !== true,
      },
    );
    this.cluster = await createCluster({
      dataDir,
      https: { port: 0 },
      machine,
      logger: first.logger,
      ...options.cluster,
    });
  }

  /** The second machine joins. */
  async join(): Promise<void> {
    const { second, cluster } = this;
    const token = await createToken(this.client, new SystemClock(), new SystemRandom(), { ttlMs: 600_000 });
    const [program, ...args] = second!.inside();
    this.#joined = spawn(
      program!,
      [
        ...args,
        process.execPath,
        bundle,
        'join',
        ...['--data-dir', join(this.dir, 'two'), '--node-name', 'two'],
        ...['--container-runtime-endpoint', second!.socket, '--root-dir', join(second!.dir, 'kubelet')],
        ...['--cni-conf-dir', second!.cniConfDir, '--cgroup-root', second!.cgroupRoot],
        ...['--server', this.server, '--token', token],
        ...['--ca-cert-hash', publicKeyHash(cluster.adminCredentials!.certificateAuthority)],
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    await until('the second node', () => this.ready('two'));
  }

  /** Whether a node takes pods. */
  async ready(name: string): Promise<boolean> {
    const node = (await this.client.core.nodes.list()).items.find((n) => n.metadata.name === name);
    const ready = node?.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
    return ready && node?.spec?.taints === undefined;
  }

  /** A web server on each node, which answers with the node's name and the client's address. */
  async webServers(service: Record<string, unknown> = {}): Promise<void> {
    await this.client.apps.daemonsets.create({
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: {
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: 'c',
                image,
                imagePullPolicy: 'Never',
                command: [
                  'sh',
                  '-c',
                  `mkdir -p /w/cgi-bin; printf '#!/bin/sh\\necho "Content-Type: text/plain"; echo; echo $NODE $REMOTE_ADDR' > /w/cgi-bin/who; chmod +x /w/cgi-bin/who; exec httpd -f -p 8080 -h /w`,
                ],
                env: [{ name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
                readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
              },
            ],
          },
        },
      },
    });
    await this.client.core.services.create({
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }], ...service },
    });
    const wanted = this.second === undefined ? 1 : 2;
    await until(
      'the web servers',
      async () => (await this.client.apps.daemonsets.get('web', 'default')).status?.numberReady === wanted,
    );
  }

  /** Runs a script in a pod and gives what it wrote, and whether it ended well. */
  async run(
    name: string,
    node: string,
    script: string,
    more: Partial<PodSpec> = {},
    labels: Record<string, string> = {},
  ): Promise<string> {
    await this.client.core.pods.create({
      metadata: { name, namespace: 'default', labels },
      spec: {
        nodeName: node,
        restartPolicy: 'Never',
        ...more,
        containers: [{ name: 'c', image, imagePullPolicy: 'Never', command: ['sh', '-c', script] }],
      },
    });
    const pod = await until(`${name} to end`, async () => {
      const p = await this.client.core.pods.get(name, 'default');
      return (p.status?.phase === 'Succeeded' || p.status?.phase === 'Failed') && p;
    });
    const { body } = await this.client.raw('GET', `/api/v1/namespaces/default/pods/${name}/log`);
    if (pod.status?.phase !== 'Succeeded') throw new Error(`pod ${name} failed: ${String(body)}`);
    return String(body);
  }

  /** The second machine leaves, as a person lets it. */
  async leave(): Promise<void> {
    const config = join(this.dir, 'admin.conf');
    const { certificateAuthority, clientCertificate, clientKey } = this.cluster.adminCredentials!;
    const entry = { name: 'knarr', server: this.server, certificateAuthority, clientCertificate, clientKey };
    writeFileSync(config, renderKubeconfig(entry));
    const [program, ...args] = [...this.second!.inside(), process.execPath, bundle, 'leave', '--kubeconfig', config];
    const more = ['--node-name', 'two', '--data-dir', join(this.dir, 'two')];
    await promisify(execFile)(program!, [...args, ...more], { timeout: 60_000 });
  }

  async stopJoined(): Promise<void> {
    const child = this.#joined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await exit;
  }

  /** Ends everything and takes the networks away; the next test may build its own. */
  async stop(): Promise<void> {
    await this.stopJoined();
    await (this.cluster as Cluster | undefined)?.close();
    for (const c of [this.first, this.second]) {
      if (c === undefined) continue;
      await unmountTree(join(c.dir, 'kubelet'));
      await c.stop();
    }
    await removeAllRules();
    await removePodNetwork(this.first.cniConfDir);
    sh('for d in eth0 cni0; do ip link del $d 2>/dev/null; done; for n in router two client; do ip netns del $n; done');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A script's line: asks `count` times, and writes each answer. */
export const ask = (url: string, count = 12): string =>
  `for i in $(seq ${count}); do timeout 5 wget -q -O - ${url} || exit 1; done`;

/** The first words of lines, each once, sorted. */
export const firstWords = (text: string): string[] =>
  [
    ...new Set(
      text
        .trim()
        .split('\n')
        .map((l) => l.split(' ')[0]!),
    ),
  ].sort();
