/**
 * Network, mount and process namespaces of a test file's own: bridges, addresses, packet filters and mounts of a node's parts are
 * never the machine's, and all that was started dies with the test, however it ends.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const marker = 'KNARR_TEST_NAMESPACES';
const unshare = 'unshare --net --mount --pid --fork --kill-child --mount-proc --';

/** What a node with containers is made of, and the Debian packages that bring it. */
const needed: readonly (readonly [what: string, packageName: string])[] = [
  ['containerd', 'containerd'],
  ['runc', 'runc'],
  ['/usr/lib/cni/bridge', 'containernetworking-plugins'],
  ['busybox', 'busybox-static'],
  ['ip', 'iproute2'],
  ['iptables', 'iptables'],
  ['nft', 'nftables'],
  ['conntrack', 'conntrack'],
];

function isThere(what: string): boolean {
  if (what.startsWith('/')) return existsSync(what) || existsSync(what.replace('/usr/lib/cni', '/opt/cni/bin'));
  return spawnSync('sh', ['-c', `command -v ${what}`], { env: { ...process.env, PATH: searchPath() } }).status === 0;
}

/** Where the parts are looked for: `KNARR_CONTAINERD_BIN` names another containerd's folder. */
function searchPath(): string {
  const own = process.env['KNARR_CONTAINERD_BIN'];
  const usual = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`;
  return own === undefined ? usual : `${own}:${usual}`;
}

function missing(): string[] {
  return needed.filter(([what]) => !isThere(what)).map(([, name]) => name);
}

function reason(): string | false {
  if (process.platform !== 'linux') return 'real containers need Linux';
  if (process.getuid?.() !== 0) return 'real containers need root: run the tests with sudo';
  let packages = missing();
  if (packages.length > 0 && process.env['CI'] === 'true' && isThere('apt-get')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['update', '-qq'], { stdio: 'ignore', env });
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { stdio: 'ignore', env });
    packages = missing();
  }
  if (packages.length === 0) return false;
  const why = `real containers need Debian's packages ${packages.join(', ')}`;
  if (process.env['CI'] === 'true') throw new Error(`${why}: they are required here`);
  return why;
}

/**
 * Why tests of real containers cannot run here; false when they can, and then this process is one that runs in namespaces of its
 * own: it replaces itself at the first call. To be called first of all in a test file, outside any test. Where CI=true, what is
 * missing is installed from Debian's packages when possible, and is a failure otherwise.
 */
export function ownNamespaces(): string | false {
  if (process.env[marker] !== undefined) return false;
  const why = reason();
  if (why !== false) return why;
  // A shell stays outside: `unshare` does not heed signals, and is to end with whoever ends this test file.
  const outside = `trap 'kill -9 $p' INT TERM; setpriv --pdeathsig KILL ${unshare} "$@" & p=$!; wait $p`;
  const own = ['/run', '/var/log', '/var/lib/knarr'].map((d) => `mkdir -p ${d} && mount -t tmpfs tmpfs ${d}`);
  const inside = ['ip link set lo up', ...own, 'exec "$@"'].join(' && ');
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = Object.fromEntries(Object.entries(process.env).filter(([, v]) => v !== undefined)) as NodeJS.ProcessEnv;
  return process.execve!('/bin/sh', ['sh', '-c', outside, 'sh', 'sh', '-c', inside, 'sh', ...args], {
    ...env,
    PATH: searchPath(),
    [marker]: '1',
  });
}

/** True in a process that `ownNamespaces` has put into namespaces of its own. */
export function inOwnNamespaces(): boolean {
  return process.env[marker] !== undefined;
}
