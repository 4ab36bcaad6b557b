/** A cluster of separate processes over TLS on loopback, started from the bundle as a person would start them. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from './knarr.ts';
import { run, type Ended, type RunOptions } from './run.ts';

/** A port that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Runs `knarr` to its end. */
export function knarr(args: readonly string[], options: Omit<RunOptions, 'input'> = {}): Promise<Ended> {
  return run(process.execPath, [bundle, ...args], { timeoutMs: 30_000, ...options });
}

/** A process that goes on until it is stopped. */
export class Running {
  readonly name: string;
  readonly child: ChildProcess;
  readonly exited: Promise<number>;
  #text = '';
  #looking: (() => void)[] = [];
  #done = false;

  constructor(name: string, command: string, args: readonly string[], cwd: string) {
    this.name = name;
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd });
    const onData = (d: Buffer): void => {
      this.#text += d.toString();
      for (const look of this.#looking) look();
    };
    this.child.stdout!.on('data', onData);
    this.child.stderr!.on('data', onData);
    this.exited = new Promise((resolve) =>
      this.child.once('close', (code) => {
        this.#done = true;
        resolve(code ?? -1);
        for (const look of this.#looking) look();
      }),
    );
  }

  get output(): string {
    return this.#text;
  }

  /** Resolves when it has printed what matches. */
  printed(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = (fn: () => void): void => {
        clearTimeout(timer);
        this.#looking = this.#looking.filter((l) => l !== look);
        fn();
      };
      const look = (): void => {
        const m = pattern.exec(this.#text);
        if (m !== null) settle(() => resolve(m));
        else if (this.#done) settle(() => reject(new Error(`${this.name} ended before ${pattern}:\n${this.#text}`)));
      };
      const timer = setTimeout(
        () => settle(() => reject(new Error(`${this.name} did not print ${pattern}:\n${this.#text}`))),
        timeoutMs,
      );
      this.#looking.push(look);
      look();
    });
  }

  /** Signals it and gives its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (!this.#done) this.child.kill(signal);
    return this.exited;
  }
}

export interface ProcessClusterOptions {
  /** The etcd binary to use instead of ours. */
  readonly etcd?: string;
  /** Each with a kubelet; none: the control plane alone. */
  readonly nodes?: readonly string[];
  /** Components to leave out. */
  readonly without?: readonly string[];
}

const issuer = 'https://kubernetes.default.svc.cluster.local';

/** The commands of docs/processes.md. */
export class ProcessCluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'knarr-processes-'));
  readonly running = new Map<string, Running>();
  readonly #o: ProcessClusterOptions;
  apiPort = 0;
  etcdUrl = '';

  constructor(options: ProcessClusterOptions = {}) {
    this.#o = options;
  }

  get server(): string {
    return `https://127.0.0.1:${this.apiPort}`;
  }

  /** The administrator's kubeconfig. */
  get kubeconfig(): string {
    return join(this.dir, 'admin.conf');
  }

  /** Starts a component under a name of its own; resolves with the match of `ready`. */
  run(name: string, args: readonly string[], ready: RegExp): Promise<RegExpExecArray> {
    return this.#spawn(name, process.execPath, [bundle, ...args], ready);
  }

  #spawn(name: string, command: string, args: readonly string[], ready: RegExp): Promise<RegExpExecArray> {
    const process = new Running(name, command, args, this.dir);
    this.running.set(name, process);
    return process.printed(ready);
  }

  async start(): Promise<void> {
    const nodes = this.#o.nodes ?? [];
    const without = new Set(this.#o.without);
    this.apiPort = await freePort();
    const made = await knarr([
      'certificates',
      '--data-dir',
      this.dir,
      '--server',
      this.server,
      ...(nodes.length === 0 ? [] : ['--nodes', nodes.join(',')]),
    ]);
    if (made.code !== 0) throw new Error(made.stderr);
    await this.startEtcd();
    await this.startApiServer();
    const addons = await knarr(['addons', '--kubeconfig', 'super-admin.conf'], { cwd: this.dir });
    if (addons.code !== 0) throw new Error(addons.stderr);
    const started: Promise<unknown>[] = [];
    if (!without.has('kube-controller-manager')) started.push(this.startControllerManager());
    if (!without.has('kube-scheduler')) started.push(this.startScheduler());
    if (!without.has('cloud-controller-manager')) started.push(this.startCloudControllerManager());
    for (const node of nodes) started.push(this.startKubelet(node));
    if (nodes.length > 0 && !without.has('kube-proxy')) started.push(this.startProxy(nodes[0]!));
    await Promise.all(started);
  }

  async startEtcd(): Promise<void> {
    const port = this.etcdUrl === '' ? await freePort() : Number(new URL(this.etcdUrl).port);
    this.etcdUrl = `https://127.0.0.1:${port}`;
    const tls = [
      '--cert-file=pki/etcd/server.crt',
      '--key-file=pki/etcd/server.key',
      '--client-cert-auth',
      '--trusted-ca-file=pki/etcd/ca.crt',
      `--listen-client-urls=${this.etcdUrl}`,
      `--advertise-client-urls=${this.etcdUrl}`,
      '--data-dir=etcd',
    ];
    if (this.#o.etcd === undefined) await this.run('etcd', ['etcd', ...tls], /etcd: serving on (\S+)/);
    else {
      const peer = `http://127.0.0.1:${await freePort()}`;
      const peers = [`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`];
      const args = [...tls, ...peers, `--initial-cluster=default=${peer}`];
      await this.#spawn('etcd', this.#o.etcd, args, /ready to serve client requests/);
    }
  }

  startApiServer(name = 'kube-apiserver', port = this.apiPort): Promise<unknown> {
    return this.run(
      name,
      [
        'kube-apiserver',
        '--bind-address=127.0.0.1',
        `--secure-port=${port}`,
        `--etcd-servers=${this.etcdUrl}`,
        '--etcd-cafile=pki/etcd/ca.crt',
        '--etcd-certfile=pki/apiserver-etcd-client.crt',
        '--etcd-keyfile=pki/apiserver-etcd-client.key',
        '--client-ca-file=pki/ca.crt',
        '--tls-cert-file=pki/apiserver.crt',
        '--tls-private-key-file=pki/apiserver.key',
        '--enable-bootstrap-token-auth=true',
        '--proxy-client-cert-file=pki/front-proxy-client.crt',
        '--proxy-client-key-file=pki/front-proxy-client.key',
        '--requestheader-allowed-names=front-proxy-client',
        '--requestheader-client-ca-file=pki/front-proxy-ca.crt',
        '--requestheader-extra-headers-prefix=X-Remote-Extra-',
        '--requestheader-group-headers=X-Remote-Group',
        '--requestheader-username-headers=X-Remote-User',
        '--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname',
        `--service-account-issuer=${issuer}`,
        '--service-account-key-file=pki/sa.pub',
        '--service-account-signing-key-file=pki/sa.key',
        '--service-cluster-ip-range=10.96.0.0/12',
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
        '--allow-privileged',
        '--kubelet-client-certificate=pki/apiserver-kubelet-client.crt',
        '--kubelet-client-key=pki/apiserver-kubelet-client.key',
        '--kubelet-certificate-authority=pki/ca.crt',
      ],
      /kube-apiserver: serving on (\S+)/,
    );
  }

  /** With all the flags of kubeadm's manifest. */
  async startControllerManager(name = 'kube-controller-manager'): Promise<unknown> {
    return this.run(
      name,
      [
        'kube-controller-manager',
        '--authentication-kubeconfig=controller-manager.conf',
        '--authorization-kubeconfig=controller-manager.conf',
        '--bind-address=127.0.0.1',
        '--client-ca-file=pki/ca.crt',
        '--cluster-name=kubernetes',
        '--controllers=*,bootstrapsigner,tokencleaner',
        '--kubeconfig=controller-manager.conf',
        '--leader-elect=true',
        '--requestheader-client-ca-file=pki/front-proxy-ca.crt',
        '--service-cluster-ip-range=10.96.0.0/12',
        `--secure-port=${await freePort()}`,
        '--use-service-account-credentials',
        '--root-ca-file=pki/ca.crt',
        '--service-account-private-key-file=pki/sa.key',
        '--cluster-signing-cert-file=pki/ca.crt',
        '--cluster-signing-key-file=pki/ca.key',
        '--cluster-cidr=10.244.0.0/16',
        '--allocate-node-cidrs',
      ],
      /became leader/,
    );
  }

  /** `port`: of health and metrics. */
  startScheduler(name = 'kube-scheduler', port = 0, ready = /became leader/): Promise<unknown> {
    return this.run(
      name,
      [
        'kube-scheduler',
        '--kubeconfig=scheduler.conf',
        '--authentication-kubeconfig=scheduler.conf',
        '--authorization-kubeconfig=scheduler.conf',
        '--bind-address=127.0.0.1',
        `--secure-port=${port}`,
      ],
      ready,
    );
  }

  startCloudControllerManager(): Promise<unknown> {
    return this.run(
      'cloud-controller-manager',
      [
        'cloud-controller-manager',
        '--cloud-provider=local',
        '--kubeconfig=cloud-controller-manager.conf',
        '--secure-port=0',
        '--use-service-account-credentials',
      ],
      /became leader/,
    );
  }

  startKubelet(node: string): Promise<unknown> {
    return this.run(
      `kubelet ${node}`,
      [
        'kubelet',
        `--kubeconfig=nodes/${node}/kubelet.conf`,
        `--hostname-override=${node}`,
        '--node-ip=127.0.0.1',
        '--address=127.0.0.1',
        '--port=0',
        '--healthz-port=0',
        '--client-ca-file=pki/ca.crt',
        `--tls-cert-file=nodes/${node}/pki/kubelet.crt`,
        `--tls-private-key-file=nodes/${node}/pki/kubelet.key`,
        '--cluster-dns=10.96.0.10',
        '--container-runtime-endpoint=simulated://',
      ],
      /kubelet: node \S+ with \S+, serving on (\S+)/,
    );
  }

  /** `healthPort`: of /healthz. */
  startProxy(node: string, name = 'kube-proxy', healthPort = 0): Promise<unknown> {
    return this.run(
      name,
      [
        'kube-proxy',
        '--kubeconfig=kube-proxy.conf',
        `--hostname-override=${node}`,
        '--proxy-mode=simulated',
        `--healthz-bind-address=127.0.0.1:${healthPort}`,
        '--metrics-bind-address=127.0.0.1:0',
      ],
      /kube-proxy: working for node/,
    );
  }

  /** Resolves with where it answers. */
  async startDns(metricsPort: number): Promise<{ address: string; port: number }> {
    const m = await this.run(
      'dns',
      [
        ...['dns', '--kubeconfig=dns.conf', '--port=0', '--bind-address=127.0.0.1'],
        ...['--advertise-address=192.0.2.53', `--metrics-bind-address=127.0.0.1:${metricsPort}`],
        ...['--health-bind-address=127.0.0.1:0', '--ready-bind-address=127.0.0.1:0'],
      ],
      /dns: answering for \S+ on ([\d.]+):(\d+)/,
    );
    return { address: m[1]!, port: Number(m[2]) };
  }

  process(name: string): Running {
    const found = this.running.get(name);
    if (found === undefined) throw new Error(`${name} was not started`);
    return found;
  }

  /** Everything that was printed, for a failure's report. */
  get log(): string {
    return [...this.running.values()].map((p) => `== ${p.name}\n${p.output}`).join('\n');
  }

  async dispose(): Promise<void> {
    for (const process of [...this.running.values()].reverse()) process.child.kill('SIGTERM');
    const deadline = setTimeout(() => {
      for (const process of this.running.values()) process.child.kill('SIGKILL');
    }, 15_000);
    await Promise.all([...this.running.values()].map((p) => p.exited));
    clearTimeout(deadline);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
