import assert from 'node:assert/strict';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import { VirtualClock } from '../../../base/clock.ts';
import { SeededRandom } from '../../../base/random.ts';
import { SimulatedHost } from '../../host/simulated/host.ts';
import type { ContainerConfig, Mount, PodSandboxConfig } from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';
import { SimulatedImages } from './images.ts';
import { SimulatedNetwork } from './network.ts';
import { SimulatedRuntime } from './runtime.ts';

function node() {
  const clock = new VirtualClock();
  const network = new SimulatedNetwork();
  const host = new SimulatedHost({ hostname: 'n1', clock, network, addresses: ['192.0.2.1'] });
  const images = new SimulatedImages();
  const runtime = new SimulatedRuntime({
    clock,
    random: new SeededRandom(1),
    host,
    images,
    addresses: ['192.0.2.1'],
    podCidrs: ['10.244.1.0/24'],
  });
  return { clock, network, host, images, runtime };
}

const sandboxConfig = (annotations: Record<string, string> = {}): PodSandboxConfig => ({
  metadata: { name: 'p', uid: 'u', namespace: 'default', attempt: 0 },
  hostname: 'p',
  logDirectory: '/var/log/pods/p',
  labels: {},
  annotations,
});

async function start(
  n: ReturnType<typeof node>,
  image: string,
  config: Partial<ContainerConfig> = {},
  annotations: Record<string, string> = {},
) {
  const sandbox = sandboxConfig(annotations);
  const sid = await n.runtime.runPodSandbox(sandbox);
  await n.runtime.pullImage({ image }, undefined, sandbox);
  const id = await n.runtime.createContainer(sid, {
    metadata: { name: 'c', attempt: 0 },
    image: { image },
    envs: [],
    mounts: [],
    labels: {},
    annotations: {},
    logPath: 'c/0.log',
    ...config,
  });
  await n.runtime.startContainer(id);
  return { sid, id };
}

async function log(n: ReturnType<typeof node>): Promise<string> {
  let out = '';
  for await (const batch of n.host.readLog('/var/log/pods/p/c/0.log', {}))
    for (const e of batch) out += e.data.toString();
  return out;
}

async function sh(script: string, mounts: Mount[] = []): Promise<string> {
  const n = node();
  const { id } = await start(n, 'nginx', { mounts });
  const done = n.runtime.execSync(id, ['sh', '-c', script], 0);
  await n.clock.advance(1000);
  const r = await done;
  return (
    r.stdout.toString() +
    (r.stderr.length > 0 ? `!${r.stderr.toString()}` : '') +
    (r.exitCode === 0 ? '' : `=${r.exitCode}`)
  );
}

test('the shell', async () => {
  const cases: [string, string][] = [
    ['echo hello world', 'hello world\n'],
    ['echo a; echo b && false || echo c', 'a\nb\nc\n'],
    ['X=1; Y="$X 2"; echo "$Y" \'$X\' ${Z:-z} ${#Y} ${Y%2}', '1 2 $X z 3 1\n'],
    ['for i in 1 2 3; do echo -n $i; done', '123'],
    ['i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done', '1\n3\n'],
    ['if test -d /etc; then echo yes; else echo no; fi', 'yes\n'],
    ['echo x > /tmp/f; echo y >> /tmp/f; cat /tmp/f | wc -l; cat < /tmp/f', '2\nx\ny\n'],
    ['printf "%s-%03d\\n" a 7 b 8', 'a-007\nb-008\n'],
    ['case foo.txt in *.md) echo md;; *.txt|*.log) echo txt;; esac', 'txt\n'],
    ['f() { echo "f:$1:$#"; return 3; }; f x y; echo $?', 'f:x:2\n3\n'],
    ['cat <<EOF\nv=$((2*3))\nEOF', 'v=6\n'],
    ['echo err >&2; exit 7', '!err\n=7'],
    ['nosuch', '!sh: nosuch: not found\n=127'],
    ['set -e; false; echo no', '=1'],
    ['trap "echo bye" EXIT; echo hi', 'hi\nbye\n'],
    ['echo "b\na\nc" | sort | head -n 2 | tr a-z A-Z', 'A\nB\n'],
    ['mkdir -p /d/e; touch /d/e/x /d/y; ls /d; ls /d/*', 'e\ny\n/d/y\n\n/d/e:\nx\n'],
    ['echo one two | { read a b; echo "$b $a"; }', 'two one\n'],
    ['sleep 0 & wait; echo done', 'done\n'],
    ['yes | head -n 2', 'y\ny\n'],
    ['echo $(basename /a/b.txt .txt) `dirname /a/b`', 'b /a\n'],
    ['echo abc | sed s/b/X/ | grep -c X', '1\n'],
    ['! true; echo $?; (exit 4); echo $?', '1\n4\n'],
    ['cat /nope', "!cat: can't open '/nope': No such file or directory\n=1"],
    ['cat < /nope', "!sh: can't open /nope: no such file\n=1"],
    ['set -- a "b c"; for x in "$@"; do echo "[$x]"; done', '[a]\n[b c]\n'],
  ];
  for (const [script, want] of cases) assert.equal(await sh(script), want, script);
});

test('tar goes out and in, as kubectl cp does it', async () => {
  const n = node();
  const { id } = await start(n, 'nginx');
  await n.runtime.execSync(
    id,
    ['sh', '-c', 'mkdir -p /src/sub; echo one > /src/a; echo two > /src/sub/b; ln -s a /src/l'],
    0,
  );
  const archive = (await n.runtime.execSync(id, ['tar', 'cf', '-', '/src'], 0)).stdout;
  const s = await n.runtime.exec(id, ['tar', '-xmf', '-', '-C', '/tmp'], {
    tty: false,
    stdin: true,
    stdout: true,
    stderr: true,
  });
  s.stdin!.end(archive);
  assert.equal(await s.done, 0);
  const r = await n.runtime.execSync(id, ['sh', '-c', 'cat /tmp/src/sub/b /tmp/src/l; ls /tmp/src'], 0);
  assert.equal(r.stdout.toString(), 'two\none\na\nl\nsub\n');
});

test('a command runs, logs, and exits with its code', async () => {
  const n = node();
  const { id } = await start(n, 'busybox', {
    command: ['sh', '-c', 'echo out; echo err >&2; sleep 5; printf end; exit 3'],
  });
  await n.clock.advance(4000);
  assert.equal((await n.runtime.containerStatus(id)).state, 'CONTAINER_RUNNING');
  await n.clock.advance(1000);
  const s = await n.runtime.containerStatus(id);
  assert.deepEqual([s.state, s.exitCode, s.reason, s.finishedAt - s.startedAt], ['CONTAINER_EXITED', 3, 'Error', 5000]);
  assert.equal(await log(n), 'out\nerr\nend\n');
  assert.equal(n.clock.pending, 0);
});

test('an unknown image runs until it is stopped; a tool box without its command is refused', async () => {
  const n = node();
  const { id } = await start(n, 'example.com/app:v1', { command: ['/manager'] });
  await n.runtime.stopContainer(id, 30);
  assert.equal((await n.runtime.containerStatus(id)).exitCode, 0);
  await assert.rejects(
    start(n, 'busybox', { command: ['nosuch'] }),
    /exec: "nosuch": executable file not found in \$PATH/,
  );
  const other = await start(n, 'example.com/app:v1');
  await assert.rejects(
    n.runtime.exec(other.id, ['nosuch'], { tty: false, stdin: false, stdout: true, stderr: true }),
    RuntimeError,
  );
});

test('a trap handles the stop signal; without one the grace period ends it', async () => {
  const n = node();
  const { id } = await start(n, 'busybox', {
    command: ['sh', '-c', 'trap "echo bye; exit 0" TERM; while true; do sleep 1; done'],
  });
  await n.clock.advance(1500);
  void n.runtime.stopContainer(id, 30);
  await n.clock.advance(1000);
  assert.equal((await n.runtime.containerStatus(id)).exitCode, 0);
  assert.equal(await log(n), 'bye\n');
  const deaf = await start(n, 'busybox', { command: ['sh', '-c', 'trap "" TERM; sleep infinity'] });
  await n.clock.advance(10);
  void n.runtime.stopContainer(deaf.id, 30);
  await n.clock.advance(29_000);
  assert.equal((await n.runtime.containerStatus(deaf.id)).state, 'CONTAINER_RUNNING');
  await n.clock.advance(1000);
  assert.equal((await n.runtime.containerStatus(deaf.id)).exitCode, 137);
  assert.equal(n.clock.pending, 0);
});

test('config volumes show ..data, live', async () => {
  const n = node();
  await n.host.writeAtomic('/v', [{ path: 'k', data: 'one', mode: 0o644 }]);
  const { id } = await start(n, 'nginx', {
    mounts: [
      { containerPath: '/etc/config', hostPath: '/v', readonly: true },
      { containerPath: '/var/run/v/', hostPath: '/v' },
    ],
  });
  const run = async (c: string) => {
    const r = await n.runtime.execSync(id, ['sh', '-c', c], 0);
    return r.stdout.toString() + r.stderr.toString();
  };
  assert.equal(
    await run('cat /var/run/v/k /run/v/k; cat /etc/config/k; readlink /etc/config/k; ls /etc/config'),
    'oneoneone..data/k\nk\n',
  );
  assert.equal(await n.host.writeAtomic('/v', [{ path: 'k', data: 'one', mode: 0o644 }]), false);
  await n.host.writeAtomic('/v', [{ path: 'k2', data: 'two', mode: 0o644 }]);
  assert.equal(
    await run('cat /etc/config/k2; ls /etc/config; echo x > /etc/config/y'),
    "twok2\nsh: can't create /etc/config/y: read-only file system\n",
  );
});

test('ports: the built-in server, programs, and the machine behind a pod', async () => {
  const n = node();
  const { sid } = await start(n, 'nginx', {}, { 'knarr.dev/simulated.ready-after': '5s' });
  const ip = (await n.runtime.podSandboxStatus(sid)).network!.ip;
  const get = async () => {
    const s = await n.network.dial(ip, 80);
    s.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    return text(s);
  };
  assert.match(await get(), /^HTTP\/1.1 503 /);
  await n.clock.advance(5000);
  assert.match(await get(), /^HTTP\/1.1 200 OK[^]*\r\np\n$/);
  const other = await start(n, 'nginx');
  assert.equal(
    (await n.runtime.execSync(other.id, ['wget', '-qO-', `http://${ip}:8080/`], 0)).stdout.toString(),
    'p\n',
  );
  await n.runtime.stopPodSandbox(sid);
  await assert.rejects(n.network.dial(ip, 80), /EHOSTUNREACH/);
});

test('attach and exec stream both ways', async () => {
  const n = node();
  const { id } = await start(n, 'busybox', { command: ['cat'], stdin: true, stdinOnce: true });
  const a = await n.runtime.attach(id, { tty: false, stdin: true, stdout: true, stderr: true });
  a.stdin!.write('ping\n');
  a.stdin!.end();
  assert.equal(await text(a.stdout!), 'ping\n');
  assert.equal(await a.done, 0);
  assert.equal((await n.runtime.containerStatus(id)).reason, 'Completed');
  const other = await start(n, 'nginx');
  const e = await n.runtime.exec(other.id, ['sh'], { tty: true, stdin: true, stdout: true, stderr: false });
  e.stdin!.write('echo $((6*7))\rexit 5\r');
  assert.equal(await text(e.stdout!), '# echo $((6*7))\r\nexit 5\r\n42\r\n# ');
  assert.equal(await e.done, 5);
});
