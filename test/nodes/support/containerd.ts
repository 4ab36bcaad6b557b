/**
 * A containerd (or CRI-O, with KNARR_TEST_RUNTIME=crio) of a test's own: own directories, socket, CNI network and cgroups, in the
 * namespaces of the test's process (`ownNamespaces`). `stop` leaves nothing of it: containers, shims, mounts, cgroups, files.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../src/base/clock.ts';
import type { Logger } from '../../../src/base/logger.ts';
import { createLogger } from '../../../src/base/logger.ts';
import { ensureSandboxImage, loadImageArchive } from '../../../src/kubelet/runtime/cri/load.ts';
import { RuntimeError } from '../../../src/kubelet/runtime/container-runtime.ts';
import type { OciImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';
import { ociArchive } from '../../../src/kubelet/runtime/cri/oci-archive.ts';
import type { CriRuntime } from '../../../src/kubelet/runtime/cri/open.ts';
import { openCriRuntime } from '../../../src/kubelet/runtime/cri/open.ts';
import { crioCommand } from './crio.ts';
import { inOwnNamespaces } from './namespaces.ts';

export interface ContainerdOptions {
  /** Which of them; by default what KNARR_TEST_RUNTIME says, else containerd. */
  readonly runtime?: 'containerd' | 'crio';
  /** Default 10.88.0.0/16. */
  readonly podCidr?: string;
  /** A second range makes the pod network dual-stack. */
  readonly podCidr6?: string;
  /** Without a network: somebody else writes the CNI configuration into `cniConfDir`. */
  readonly noNetwork?: boolean;
  /** The name of the pause image; `registry.k8s.io/pause:3.10` by default. */
  readonly sandboxImage?: string;
  /** TOML appended to the configuration. */
  readonly extraConfig?: string;
  /** Path of a network namespace to run in, for a second node. */
  readonly netns?: string;
  /** Runs with mounts of its own, among them an empty /var/log, as a second machine has them. */
  readonly ownMounts?: boolean;
  /** Names that several of these in one test file tell themselves apart by. */
  readonly name?: string;
}

const cniBin = existsSync('/usr/lib/cni/bridge') ? '/usr/lib/cni' : '/opt/cni/bin';
/** The last one tells that all are there. */
const ownMounts = 'mount -t tmpfs tmpfs /var/lib/knarr && mount -t tmpfs knarr-own /var/log';
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function configText(dir: string, image: string, options: ContainerdOptions): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${dir}/root"
state = "${dir}/state"
[grpc]
  address = "${dir}/c.sock"
[ttrpc]
  address = "${dir}/c.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${dir}/opt"
[${cri}]
  sandbox_image = "${image}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [${cri}.cni]
    bin_dir = "${cniBin}"
    conf_dir = "${dir}/cni"
    max_conf_num = 1
  [${cri}.containerd]
    snapshotter = "overlayfs"
    [${cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [${cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [${cri}.registry]
    config_path = "${dir}/certs.d"
${options.extraConfig ?? ''}`;
}

function networkConfig(dir: string, bridge: string, options: ContainerdOptions): string {
  const ranges = [[{ subnet: options.podCidr ?? '10.88.0.0/16' }]];
  const routes = [{ dst: '0.0.0.0/0' }];
  if (options.podCidr6 !== undefined) {
    ranges.push([{ subnet: options.podCidr6 }]);
    routes.push({ dst: '::/0' });
  }
  return JSON.stringify({
    cniVersion: '0.4.0',
    name: 'knarr-test',
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        hairpinMode: true,
        ipMasq: true,
        ipam: { type: 'host-local', dataDir: `${dir}/ipam`, ranges, routes },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  });
}

/** Processes whose command line has `text` in it. */
function processesWith(text: string): number[] {
  const out: number[] = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      if (
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text) ||
        readlinkSync(`/proc/${pid}/root`).startsWith(text)
      )
        out.push(Number(pid));
    } catch {
      // It has gone meanwhile.
    }
  }
  return out;
}

function mountsBelow(path: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((p) => p === path || p.startsWith(`${path}/`))
    .sort((a, b) => b.length - a.length);
}

/** Removes a cgroup with all below it, in every hierarchy. */
export function removeCgroup(name: string): void {
  const remove = (path: string): void => {
    if (!existsSync(path)) return;
    for (const e of readdirSync(path, { withFileTypes: true })) if (e.isDirectory()) remove(join(path, e.name));
    try {
      rmdirSync(path);
    } catch {
      // A process that is about to end holds it; the next test's run removes what is left.
    }
  };
  for (const root of ['/sys/fs/cgroup', ...readdirSync('/sys/fs/cgroup').map((c) => join('/sys/fs/cgroup', c))])
    remove(join(root, name));
}

const abandonedMs = 10 * 60_000;

/** Removes what an earlier run left that was killed. */
async function sweep(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith('knarr-cd-')) continue;
    const dir = join(tmpdir(), name);
    if (Date.now() - statSync(dir).mtimeMs < abandonedMs) continue;
    const alive = await new Promise<boolean>((resolve) => {
      const s = connect(join(dir, 'c.sock'), () => {
        s.destroy();
        resolve(true);
      });
      s.once('error', () => resolve(false));
    });
    if (alive) continue;
    rmSync(dir, { recursive: true, force: true });
    removeCgroup(`/knarr-test-${name.split('-').at(-1)}`);
  }
}

let serial = 0;

export class Containerd {
  readonly dir: string;
  readonly socket: string;
  readonly podLogsDir: string;
  readonly containerLogsDir: string;
  readonly cniConfDir: string;
  readonly cniBinDir = cniBin;
  /** A cgroup of the test's own, to be used as (the root of) every sandbox's `cgroupParent`. */
  readonly cgroupRoot: string;
  readonly logger: Logger;
  #options: ContainerdOptions;
  #daemon: ChildProcess | undefined;
  #mounts: ChildProcess | undefined;
  #runtime: CriRuntime | undefined;

  private constructor(options: ContainerdOptions) {
    this.#options = options;
    this.dir = mkdtempSync(join(tmpdir(), 'knarr-cd-'));
    // Pods with user ids of their own must be able to pass.
    chmodSync(this.dir, 0o711);
    this.socket = join(this.dir, 'c.sock');
    this.podLogsDir = join(this.dir, 'log/pods');
    this.containerLogsDir = join(this.dir, 'log/containers');
    this.cniConfDir = join(this.dir, 'cni');
    this.cgroupRoot = `/knarr-test-${this.dir.split('-').at(-1)}`;
    this.logger = createLogger({
      level: process.env['KNARR_TEST_LOG'] === undefined ? 'error' : 'debug',
      now: () => Date.now(),
      sink: (r) => process.stderr.write(`${JSON.stringify(r)}\n`),
    });
  }

  /** Starts it and waits until its network is ready. */
  static async start(options: ContainerdOptions = {}): Promise<Containerd> {
    if (!inOwnNamespaces())
      throw new Error('a containerd for tests runs in namespaces of its own: call ownNamespaces first');
    await sweep();
    const c = new Containerd(options);
    try {
      const image = options.sandboxImage ?? 'registry.k8s.io/pause:3.10';
      for (const d of ['cni', 'certs.d', 'opt', 'ipam', 'log']) mkdirSync(join(c.dir, d), { recursive: true });
      writeFileSync(join(c.dir, 'config.toml'), configText(c.dir, image, options));
      if (options.noNetwork !== true)
        writeFileSync(
          join(c.dir, 'cni/10-test.conflist'),
          networkConfig(c.dir, `knt${(++serial).toString(36)}${options.name ?? ''}`.slice(0, 15), options),
        );
      await c.launch();
      await ensureSandboxImage(c.runtime);
      return c;
    } catch (error) {
      const log = existsSync(join(c.dir, 'containerd.log')) ? readFileSync(join(c.dir, 'containerd.log'), 'utf8') : '';
      await c.stop();
      throw new Error(`containerd did not start: ${String(error)}\n${log.slice(-4000)}`, { cause: error });
    }
  }

  get crio(): boolean {
    return (this.#options.runtime ?? process.env['KNARR_TEST_RUNTIME']) === 'crio';
  }

  get runtime(): CriRuntime {
    if (this.#runtime === undefined) throw new Error('containerd is not running');
    return this.#runtime;
  }

  /** What it has logged. */
  get log(): string {
    return readFileSync(join(this.dir, 'containerd.log'), 'utf8');
  }

  /** What a command line begins with that is to run on the same machine: in the same network and with the same mounts. */
  inside(): string[] {
    const { netns } = this.#options;
    const flags = [
      ...(netns === undefined ? [] : [`--net=${netns}`]),
      ...(this.#mounts === undefined ? [] : [`--mount=/proc/${this.#mounts.pid}/ns/mnt`]),
    ];
    return flags.length === 0 ? [] : ['nsenter', ...flags, '--'];
  }

  async #mountsReady(): Promise<void> {
    const pid = this.#mounts!.pid!;
    const until = Date.now() + 10_000;
    while (!readFileSync(`/proc/${pid}/mounts`, 'utf8').includes('knarr-own')) {
      if (Date.now() > until) throw new Error('no mounts of its own in 10 s');
      await pause(5);
    }
  }

  /** Starts the daemon (again). */
  async launch(): Promise<void> {
    const log = openSync(join(this.dir, 'containerd.log'), 'a');
    // A container that wants to see later mounts of the machine's: CRI-O checks that it can.
    if (this.crio) spawnSync('mount', ['--make-rshared', '/']);
    const command = this.crio
      ? crioCommand(this.dir, { ...this, image: this.#options.sandboxImage ?? 'registry.k8s.io/pause:3.10' })
      : ['containerd', '--config', join(this.dir, 'config.toml')];
    if (this.#options.ownMounts === true) {
      // Its mounts outlive the daemon: a process of its own keeps them.
      this.#mounts ??= spawn('unshare', ['--mount', 'sh', '-c', `${ownMounts} && exec sleep infinity`], {
        stdio: 'ignore',
      });
      await this.#mountsReady();
    }
    command.unshift(...this.inside());
    const daemon = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', log, log],
    });
    this.#daemon = daemon;
    const until = Date.now() + 30_000;
    this.#runtime ??= await this.#connect(until);
    for (;;) {
      if (daemon.exitCode !== null) throw new Error(`containerd ended with ${daemon.exitCode}`);
      const status = await this.#runtime.status().catch(() => undefined);
      const ready = (type: string): boolean => status?.conditions.find((c) => c.type === type)?.status === true;
      if (ready('RuntimeReady') && (this.#options.noNetwork === true || ready('NetworkReady'))) return;
      if (Date.now() > until) throw new Error(`not ready in 30 s: ${JSON.stringify(status)}`);
      await pause(10);
    }
  }

  async #connect(until: number): Promise<CriRuntime> {
    for (;;) {
      try {
        return await this.connect();
      } catch (error) {
        const retry = error instanceof RuntimeError && error.code === 'Unavailable' && this.#daemon?.exitCode === null;
        if (Date.now() > until || !retry) throw error;
        await pause(10);
      }
    }
  }

  /** One more client, as a restarted kubelet would have. */
  connect(): Promise<CriRuntime> {
    return openCriRuntime({
      endpoint: this.socket,
      clock: new SystemClock(),
      logger: this.logger,
      podLogsDir: this.podLogsDir,
      containerLogsDir: this.containerLogsDir,
    });
  }

  /** Ends the daemon; containers go on. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null) return;
    const gone = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill(signal);
    // CRI-O waits for streams that somebody still holds.
    const late = setTimeout(() => daemon.kill('SIGKILL'), 5000);
    await gone;
    clearTimeout(late);
  }

  /** As the machine's power failing: nothing runs any more, nothing is mounted, and only what stands on the disk is left. */
  async powerFailure(): Promise<void> {
    await this.kill();
    const end = (pid: number): void => {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has gone meanwhile.
      }
    };
    for (const pid of processesWith(this.dir)) end(pid);
    const inCgroups = spawnSync('find', ['/sys/fs/cgroup', '-path', `*${this.cgroupRoot}/*`, '-name', 'cgroup.procs'], {
      encoding: 'utf8',
    });
    const pids = inCgroups.stdout
      .split('\n')
      .filter((file) => file !== '' && existsSync(file))
      .flatMap((file) => readFileSync(file, 'utf8').split('\n'));
    for (const pid of new Set(pids)) if (Number(pid) > 1) end(Number(pid));
    for (const path of [...mountsBelow(this.dir), ...mountsBelow('/run/netns')]) spawnSync('umount', ['-l', path]);
    rmSync('/run/netns', { recursive: true, force: true });
    rmSync(join(this.dir, 'state'), { recursive: true, force: true });
    removeCgroup(this.cgroupRoot);
  }

  /** Imports an image under a name. */
  async load(image: OciImage, ...names: string[]): Promise<void> {
    const file = join(this.dir, `image-${++serial}.tar`);
    writeFileSync(file, ociArchive(image, names));
    await loadImageArchive(this.runtime, file);
    rmSync(file);
  }

  /** Ends every container and the daemon, and removes all that is left of them. */
  async stop(): Promise<void> {
    const runtime = this.#runtime;
    if (runtime !== undefined && this.#daemon?.exitCode === null)
      try {
        await Promise.all(
          (await runtime.listPodSandbox()).map(async (s) => {
            await runtime.stopPodSandbox(s.id);
            await runtime.removePodSandbox(s.id);
          }),
        );
      } catch {
        // What it does not end in order is ended below.
      }
    runtime?.close();
    this.#runtime = undefined;
    await this.kill('SIGTERM');
    for (const pid of processesWith(this.dir)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has gone meanwhile.
      }
    }
    this.#mounts?.kill('SIGKILL');
    for (const path of mountsBelow(this.dir)) spawnSync('umount', ['-l', path]);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
    removeCgroup(this.cgroupRoot);
  }
}
