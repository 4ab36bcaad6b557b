/**
 * A cluster as a person has it: `knarr up` as a process over a containerd, kubectl with its kubeconfig, and on demand a second
 * machine that has joined, in a network namespace and with mounts of its own. All inside the namespaces of the test file.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Container, Pod, PodSpec } from '../../../src/api/types/index.gen.ts';
import { unmountTree } from '../../../src/kubelet/host/linux/mounts.ts';
import type { RunningKnarr } from '../../support/knarr.ts';
import { bundle, startKnarr } from '../../support/knarr.ts';
import { Kubectl } from '../../support/kubectl.ts';
import { findPeer } from '../../support/peers.ts';
import { busyboxImage } from '../images/busybox.ts';
import { Containerd } from './containerd.ts';
import { ownNamespaces } from './namespaces.ts';
import { until } from './until.ts';

export const image = 'local.test/busybox:1';
/** The first machine's address, and the second's. */
export const firstAddress = '192.168.77.1';
const secondAddress = '192.168.77.2';
const secondNetwork = '/run/netns/other';

/** To be called first of all in a test file: why nothing of this can run here, or false. */
export function skipMachines(): string | false {
  const skip = ownNamespaces();
  if (skip !== false || findPeer('kubectl') !== undefined) return skip;
  if (process.env['KNARR_REQUIRE_PEERS'] !== undefined) throw new Error('kubectl is required here and not on PATH');
  return 'kubectl is not on PATH';
}

export const sh = (script: string): string => execFileSync('sh', ['-c', script], { encoding: 'utf8' });

/** Runs until it is told to end, at once. */
export const sleeper = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

/** A web server on port 8080 that answers with the text that `script` writes. */
export const serve = (script: string): string => `mkdir /w; ${script} > /w/index.html; exec httpd -f -p 8080 -h /w`;

export function container(script: string, more: Partial<Container> = {}): Container {
  return { name: 'c', image, imagePullPolicy: 'Never', command: ['sh', '-c', script], ...more };
}

/** A pod's manifest; `spec` has more than its one container where that is wanted. */
export function pod(name: string, script: string, spec: Partial<PodSpec> = {}, labels = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels },
    spec: { terminationGracePeriodSeconds: 2, containers: [container(script)], ...spec },
  };
}

export interface MachinesOptions {
  /** Flags of `knarr up`. */
  readonly args?: readonly string[];
  /** A second machine, `two`, that has joined. */
  readonly second?: boolean;
}

export class Machines {
  readonly dir: string;
  readonly first: Containerd;
  readonly second: Containerd | undefined;
  readonly #options: MachinesOptions;
  knarr!: RunningKnarr;
  kubectl!: Kubectl;
  #joined: ChildProcess | undefined;

  private constructor(dir: string, first: Containerd, second: Containerd | undefined, options: MachinesOptions) {
    this.dir = dir;
    this.first = first;
    this.second = second;
    this.#options = options;
  }

  static async start(options: MachinesOptions = {}): Promise<Machines> {
    sh(`ip link add wire0 type veth peer name wire1
ip addr add ${firstAddress}/24 dev wire0 && ip link set wire0 up && ip link set wire1 up
ip route add default via 192.168.77.254`);
    if (options.second === true)
      sh(`mkdir -p /run/netns && ip netns add other && ip link set wire1 netns other
nsenter --net=${secondNetwork} sh -c 'ip link set lo up && ip addr add ${secondAddress}/24 dev wire1 && ip link set wire1 up && ip route add default via 192.168.77.254'`);
    const containerds = await Promise.all([
      Containerd.start({ noNetwork: true, name: 'a' }),
      ...(options.second === true
        ? [Containerd.start({ noNetwork: true, name: 'b', netns: secondNetwork, ownMounts: true })]
        : []),
    ]);
    const dir = mkdtempSync(join(tmpdir(), 'knarr-machines-'));
    const machines = new Machines(dir, containerds[0]!, containerds[1], options);
    try {
      await Promise.all(containerds.map((c) => c.load(busyboxImage(), image)));
      await machines.up();
      if (options.second === true) {
        await machines.join();
        await machines.kubectl.ok('wait --for=condition=Ready node/two --timeout=60s');
      }
      return machines;
    } catch (error) {
      await machines.stop();
      throw error;
    }
  }

  /** Starts knarr, the first time or again; `more` are flags for this time alone. */
  async up(...more: readonly string[]): Promise<void> {
    const c = this.first;
    this.knarr = await startKnarr({
      dir: this.dir,
      env: { HOME: this.dir },
      args: [
        ...['--port', '6443', '--runtime', 'containerd', '--container-runtime-endpoint', c.socket],
        ...['--node-name', 'one', '--node-ip', firstAddress, '--root-dir', join(c.dir, 'kubelet')],
        ...['--cni-conf-dir', c.cniConfDir, '--cgroup-root', c.cgroupRoot],
        ...(this.#options.args ?? []),
        ...more,
      ],
    });
    this.kubectl = new Kubectl(findPeer('kubectl')!, this.knarr.kubeconfig, this.dir);
  }

  /** Ends knarr as the kernel does when memory is short. */
  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.knarr.process.once('close', resolve));
    this.knarr.process.kill('SIGKILL');
    await gone;
  }

  /** Runs `knarr` with these arguments to its end, and gives what it printed. */
  command(...args: readonly string[]): string {
    return execFileSync(process.execPath, [bundle, ...args], {
      encoding: 'utf8',
      env: { ...process.env, HOME: this.dir },
    });
  }

  /** The second machine joins as a person lets it, or starts again. */
  async join(): Promise<void> {
    const c = this.second!;
    const [, , ...words] =
      this.#joined === undefined
        ? this.command('token', 'create', '--data-dir', this.knarr.dataDir).trim().split(' ')
        : ['knarr', 'join'];
    const [program, ...rest] = [
      ...c.inside(),
      ...[process.execPath, bundle, 'join', ...words],
      ...['--data-dir', join(this.dir, 'two'), '--node-name', 'two', '--node-ip', secondAddress],
      ...['--container-runtime-endpoint', c.socket, '--root-dir', join(c.dir, 'kubelet')],
      ...['--cni-conf-dir', c.cniConfDir, '--cgroup-root', c.cgroupRoot],
    ];
    this.#joined = spawn(program!, rest, {
      stdio: ['ignore', 'ignore', process.env['KNARR_TEST_LOG'] === undefined ? 'ignore' : 'inherit'],
      env: { ...process.env, HOME: this.dir },
    });
    await until('node two', async () => (await this.kubectl.run(['get', 'node', 'two'])).code === 0);
  }

  async leaveProcess(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#joined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** Takes the cable between the machines out, or puts it in again. */
  wire(state: 'up' | 'down'): void {
    sh(`ip link set wire0 ${state}${state === 'up' ? ` && ip route replace default via 192.168.77.254` : ''}`);
  }

  /** Waits until a pod is Ready; what has gone wrong otherwise is in the error. */
  async ready(name: string, seconds = 60): Promise<void> {
    await this.#wait(name, '--for=condition=Ready', seconds);
  }

  /** Waits for a pod's end, and gives what it has written. */
  async ended(name: string, phase: 'Succeeded' | 'Failed' = 'Succeeded', seconds = 60): Promise<string> {
    await this.#wait(name, `--for=jsonpath={.status.phase}=${phase}`, seconds);
    return this.kubectl.ok(['logs', name]);
  }

  async #wait(name: string, what: string, seconds: number): Promise<void> {
    const r = await this.kubectl.run(['wait', what, `pod/${name}`, `--timeout=${seconds}s`], {
      timeoutMs: (seconds + 10) * 1000,
    });
    if (r.code === 0) return;
    const described = await this.kubectl.run(['describe', 'pod', name]);
    const logs = await this.kubectl.run(['logs', name, '--all-containers']);
    assert.fail(`${r.stderr}${described.stdout}${described.stderr}${logs.stdout}${logs.stderr}${this.knarr.output()}`);
  }

  async stop(): Promise<void> {
    await this.leaveProcess();
    if ((this.knarr as RunningKnarr | undefined)?.process.exitCode === null) await this.knarr.stop();
    for (const c of [this.first, this.second]) {
      if (c === undefined) continue;
      await unmountTree(join(c.dir, 'kubelet'));
      await c.stop();
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
