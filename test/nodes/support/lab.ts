/**
 * A network in a box: nodes, pods and a client outside as network namespaces of this machine, with a switch between the nodes and a
 * bridge on each of them. Nothing outside of these namespaces is touched; `close` removes them all.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Answer, Command } from './agent.ts';

const exec = promisify(execFile);
const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };

function installed(program: string): boolean {
  return env.PATH.split(':').some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** What a test of real nodes lacks here, for its `skip`; false when nothing. Where CI runs as root, something missing is an error. */
export function missing(...programs: readonly string[]): string | false {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  const lacking = ['ip', 'nsenter', 'nft', ...programs].filter((p) => !installed(p));
  if (lacking.length === 0) return false;
  const text = `needs ${lacking.join(', ')} (packages iproute2, nftables, conntrack)`;
  if (process.env['CI'] === 'true') throw new Error(`this is CI and root, but the test ${text}`);
  return text;
}

/** One network namespace with an agent in it. */
export class Place {
  readonly name: string;
  readonly #lab: Lab;
  #agent: Promise<ChildProcess> | undefined;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #last = 0;

  constructor(lab: Lab, name: string) {
    this.#lab = lab;
    this.name = name;
  }

  get path(): string {
    return `/run/netns/${this.#lab.full(this.name)}`;
  }

  /** Runs a program in there. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await exec('nsenter', [`--net=${this.path}`, '--', program, ...args], { env });
    return stdout;
  }

  /** Several lines of `ip`, without that word. */
  async ip(...lines: readonly string[]): Promise<void> {
    for (const line of lines) await this.run('ip', ...line.split(' '));
  }

  async sysctl(path: string, value: string): Promise<void> {
    await this.run('sh', '-c', `[ ! -e /proc/sys/${path} ] || echo ${value} > /proc/sys/${path}`);
  }

  #start(): Promise<ChildProcess> {
    return new Promise((resolve, reject) => {
      const child = spawn(
        'nsenter',
        [`--net=${this.path}`, '--', process.execPath, '--no-warnings', join(import.meta.dirname, 'agent.ts')],
        { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...env, NODE_TEST_CONTEXT: '' } },
      );
      child.on('error', reject);
      child.on('message', (m: { ready?: boolean; id?: number; answer?: Answer }) => {
        if (m.ready === true) resolve(child);
        else {
          this.#waiting.get(m.id!)?.(m.answer!);
          this.#waiting.delete(m.id!);
        }
      });
    });
  }

  async #command(command: Command): Promise<Answer> {
    const child = await (this.#agent ??= this.#start());
    const id = ++this.#last;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      child.send({ id, command });
    });
  }

  async serve(port: number, protocol: 'tcp' | 'udp' = 'tcp'): Promise<void> {
    const answer = await this.#command({ do: 'serve', protocol, port, name: this.name });
    if ('failed' in answer) throw new Error(`cannot serve on ${port} in ${this.name}: ${answer.failed}`);
  }

  async unserve(port: number, protocol: 'tcp' | 'udp' = 'tcp'): Promise<void> {
    await this.#command({ do: 'stop', protocol, port });
  }

  /** What a server there answers: `name client-address`; or `refused`, `timeout`. */
  async ask(
    address: string,
    port: number,
    options: { protocol?: 'tcp' | 'udp'; timeoutMs?: number; localPort?: number; localAddress?: string } = {},
  ): Promise<string> {
    const answer = await this.#command({ do: 'ask', protocol: 'tcp', timeoutMs: 1500, ...options, address, port });
    return 'text' in answer ? answer.text : answer.failed;
  }

  async open(address: string, port: number, id: string): Promise<string> {
    const answer = await this.#command({ do: 'open', address, port, id });
    return 'text' in answer ? answer.text : answer.failed;
  }

  async say(id: string, timeoutMs = 1000): Promise<string> {
    const answer = await this.#command({ do: 'say', id, timeoutMs });
    return 'text' in answer ? answer.text : answer.failed;
  }

  async stop(): Promise<void> {
    const agent = await this.#agent?.catch(() => undefined);
    if (agent === undefined || agent.exitCode !== null) return;
    const ended = new Promise((resolve) => agent.once('exit', resolve));
    agent.disconnect();
    await ended;
  }
}

export interface LabNode {
  readonly place: Place;
  readonly name: string;
  readonly address: string;
  readonly address6: string;
  readonly podCIDR: string;
  readonly podCIDR6: string;
}

export interface LabPod {
  readonly place: Place;
  readonly name: string;
  readonly node: LabNode;
  readonly address: string;
  readonly address6: string;
}

let labs = 0;

/** Namespaces of tests that were killed. */
async function removeLeftovers(): Promise<void> {
  const { stdout } = await exec('ip', ['netns', 'list'], { env });
  for (const [, name = '', pid = ''] of stdout.matchAll(/^(knarr-lab-(\d+)-\S+)/gm))
    if (!existsSync(`/proc/${pid}`)) await exec('ip', ['netns', 'del', name], { env }).catch(() => {});
}

export class Lab {
  readonly #prefix = `knarr-lab-${process.pid}-${labs++}-`;
  readonly #places: Place[] = [];
  readonly nodes: LabNode[] = [];
  readonly #pods = new Map<string, number>();
  #switch!: Place;
  client!: Place;
  readonly clientAddress = '192.0.2.100';
  readonly clientAddress6 = '2001:db8:0:2::100';

  full(name: string): string {
    return this.#prefix + name;
  }

  /** The switch, the client outside and so many nodes. */
  static async create(nodes = 2): Promise<Lab> {
    await removeLeftovers();
    const lab = new Lab();
    try {
      lab.#switch = await lab.#place('switch');
      await lab.#switch.ip('link add br0 type bridge', 'link set br0 up');
      lab.client = await lab.#place('client');
      await lab.#plug(lab.client, 'eth0', lab.#switch, 'client');
      await lab.client.ip(
        `addr add ${lab.clientAddress}/24 dev eth0`,
        `addr add ${lab.clientAddress6}/64 dev eth0 nodad`,
      );
      for (let i = 1; i <= nodes; i++) await lab.#node(i);
      for (const a of lab.nodes)
        for (const b of lab.nodes)
          if (a !== b)
            await a.place.ip(`route add ${b.podCIDR} via ${b.address}`, `-6 route add ${b.podCIDR6} via ${b.address6}`);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async #place(name: string): Promise<Place> {
    await exec('ip', ['netns', 'add', this.full(name)], { env });
    const place = new Place(this, name);
    this.#places.push(place);
    for (const which of ['all', 'default']) {
      await place.sysctl(`net/ipv6/conf/${which}/accept_dad`, '0');
      await place.sysctl(`net/ipv6/conf/${which}/disable_ipv6`, '0');
    }
    await place.ip('link set lo up');
    return place;
  }

  /** A cable between `inner`, as its interface `device`, and the bridge of `outer`. */
  async #plug(inner: Place, device: string, outer: Place, port: string, hairpin = false): Promise<void> {
    await outer.ip(`link add ${port} type veth peer name ${device} netns ${this.full(inner.name)}`);
    await outer.ip(`link set ${port} master br0 up`);
    if (hairpin) await outer.run('bridge', 'link', 'set', 'dev', port, 'hairpin', 'on');
    await inner.ip(`link set ${device} up`);
  }

  async #node(i: number): Promise<void> {
    const name = `node${i}`;
    const place = await this.#place(name);
    await place.sysctl('net/ipv4/ip_forward', '1');
    await place.sysctl('net/ipv6/conf/all/forwarding', '1');
    await place.sysctl('net/bridge/bridge-nf-call-iptables', '1');
    await place.sysctl('net/bridge/bridge-nf-call-ip6tables', '1');
    await this.#plug(place, 'eth0', this.#switch, name);
    const node: LabNode = {
      place,
      name,
      address: `192.0.2.${i}`,
      address6: `2001:db8:0:2::${i}`,
      podCIDR: `10.244.${i}.0/24`,
      podCIDR6: `fd00:10:244:${i}::/64`,
    };
    await place.ip(
      `addr add ${node.address}/24 dev eth0`,
      `addr add ${node.address6}/64 dev eth0 nodad`,
      `route add default via ${this.clientAddress}`,
      `-6 route add default via ${this.clientAddress6}`,
      'link add br0 type bridge',
      'link set br0 up',
      `addr add 10.244.${i}.1/24 dev br0`,
      `addr add fd00:10:244:${i}::1/64 dev br0 nodad`,
    );
    this.nodes.push(node);
  }

  async pod(node: LabNode, name: string): Promise<LabPod> {
    const n = (this.#pods.get(node.name) ?? 1) + 1;
    this.#pods.set(node.name, n);
    const place = await this.#place(name);
    await this.#plug(place, 'eth0', node.place, `p-${n}`, true);
    const i = this.nodes.indexOf(node) + 1;
    const pod: LabPod = {
      place,
      name,
      node,
      address: `10.244.${i}.${n}`,
      address6: `fd00:10:244:${i}::${n}`,
    };
    await place.ip(
      `addr add ${pod.address}/24 dev eth0`,
      `addr add ${pod.address6}/64 dev eth0 nodad`,
      `route add default via 10.244.${i}.1`,
      `-6 route add default via fd00:10:244:${i}::1`,
    );
    return pod;
  }

  async close(): Promise<void> {
    await Promise.all(this.#places.map((p) => p.stop()));
    for (const p of this.#places.splice(0).reverse())
      await exec('ip', ['netns', 'del', this.full(p.name)], { env }).catch(() => {});
  }
}
