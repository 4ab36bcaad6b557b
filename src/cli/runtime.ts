/** `knarr load` and `knarr install-runtime`: images and the programs that a real node needs. */
import { spawn } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { SystemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { UserError } from './errors.ts';
import type { CommandSpec } from './flags.ts';

export const loadCommand: CommandSpec = {
  name: 'load',
  summary: "import an image archive into this machine's container runtime",
  description:
    'Imports what "docker save" or an OCI archive holds, so that pods of this node can use it without a registry. Say imagePullPolicy IfNotPresent or Never in the pod.',
  argument: { name: 'file', help: 'a tar archive' },
  flags: [
    {
      name: 'container-runtime-endpoint',
      kind: 'string',
      value: 'SOCKET',
      help: "the container runtime's socket (default: containerd's or CRI-O's)",
    },
  ],
  examples: [['docker save app:1 -o app.tar && knarr load app.tar', 'an image that was built here']],
  async run(values, file) {
    await access(file!).catch((cause: unknown) => {
      throw new UserError(`there is no ${file}`, { cause });
    });
    const { loadImages } = await import('../cluster/real/load.ts');
    try {
      const names = await loadImages(file!, {
        endpoint: values['container-runtime-endpoint'] as string | undefined,
        clock: new SystemClock(),
        logger: silentLogger,
      });
      for (const name of names) process.stdout.write(`${name}\n`);
    } catch (e) {
      throw new UserError(`cannot load ${file}: ${(e as Error).message}`, { cause: e });
    }
  },
};

interface Distribution {
  /** Values of ID and ID_LIKE in os-release. */
  readonly ids: readonly string[];
  readonly update?: readonly string[];
  readonly install: readonly string[];
  /** The package that brings each program. */
  readonly packages: Readonly<Record<string, string>>;
}

/** What a node is made of: a program (or file) that shows that it is there. */
const parts: readonly (readonly [name: string, anyOf: readonly string[]])[] = [
  ['containerd', ['/usr/bin/containerd', '/usr/local/bin/containerd', '/usr/bin/crio']],
  ['runc', ['/usr/sbin/runc', '/usr/bin/runc', '/usr/local/sbin/runc', '/usr/bin/crun']],
  ['cni', ['/opt/cni/bin/bridge', '/usr/lib/cni/bridge', '/usr/libexec/cni/bridge']],
  ['nft', ['/usr/sbin/nft', '/sbin/nft', '/usr/bin/nft']],
  ['conntrack', ['/usr/sbin/conntrack', '/usr/bin/conntrack']],
  ['iptables', ['/usr/sbin/iptables', '/sbin/iptables', '/usr/bin/iptables']],
];

/** Distributions that are known; the first whose id fits is taken. */
const distributions: readonly Distribution[] = [
  {
    ids: ['debian', 'ubuntu'],
    update: ['apt-get', 'update'],
    install: ['apt-get', 'install', '-y', '--no-install-recommends'],
    packages: {
      containerd: 'containerd',
      runc: 'runc',
      cni: 'containernetworking-plugins',
      nft: 'nftables',
      conntrack: 'conntrack',
      iptables: 'iptables',
    },
  },
];

async function isThere(paths: readonly string[]): Promise<boolean> {
  for (const path of paths)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return true;
  return false;
}

function runInherited(command: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    child.once('error', (cause) => reject(new UserError(`cannot run ${command[0]}: ${cause.message}`, { cause })));
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new UserError(`"${command.join(' ')}" ended with ${code}`)),
    );
  });
}

async function distribution(): Promise<Distribution | undefined> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const value = (key: string): string => new RegExp(`^${key}="?([^"\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  const ids = [value('ID'), ...value('ID_LIKE').split(' ')];
  return distributions.find((d) => ids.some((id) => d.ids.includes(id)));
}

export const installRuntimeCommand: CommandSpec = {
  name: 'install-runtime',
  summary: 'install what a real node needs, from the distribution',
  description:
    'Installs containerd, runc, the standard CNI plugins, nftables and conntrack from the distribution’s packages, as far as they are missing. What is there already is left as it is.',
  flags: [{ name: 'dry-run', kind: 'bool', default: false, help: 'print what would be done' }],
  examples: [['sudo knarr install-runtime && sudo knarr up', 'a cluster with real containers']],
  async run(values) {
    const dry = values['dry-run'] === true;
    if (process.platform !== 'linux') throw new UserError('real nodes need Linux; elsewhere nodes are simulated');
    const missing: string[] = [];
    for (const [name, paths] of parts) if (!(await isThere(paths))) missing.push(name);
    if (missing.length === 0) {
      process.stdout.write('everything is there\n');
      return;
    }
    const d = await distribution();
    if (d === undefined)
      throw new UserError(
        `this distribution is not known: install ${missing.join(', ')} by its own means, then start "knarr up"`,
      );
    const commands = [
      ...(d.update === undefined ? [] : [d.update]),
      [...d.install, ...missing.map((m) => d.packages[m]!)],
    ];
    if (!dry && process.getuid?.() !== 0) throw new UserError('packages are installed by root: run it with sudo');
    for (const command of commands) {
      process.stdout.write(`${command.join(' ')}\n`);
      if (!dry) await runInherited(command);
    }
  },
};
