/** What a person does with a running pod, with the real kubectl: logs, exec with a terminal, attach, cp, port-forward, debug. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Pod } from '../../src/api/types/index.gen.ts';
import { printed } from '../support/kubectl.ts';
import { container, image, Machines, pod, serve, skipMachines, sleeper } from './support/machines.ts';
import { until } from './support/until.ts';

const skip = skipMachines();
let m: Machines;

before(async () => {
  if (skip !== false) return;
  m = await Machines.start();
  await m.kubectl.apply(pod('stage', sleeper));
  await m.ready('stage');
});

after(async () => {
  if (skip === false) await m.stop();
});

function ended(child: ChildProcess): Promise<{ code: number | null; text: string }> {
  let text = '';
  child.stdout?.on('data', (d: Buffer) => (text += d.toString()));
  child.stderr?.on('data', (d: Buffer) => (text += d.toString()));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, text })));
}

/** kubectl at a terminal of 33 rows and 77 columns, where `input` is typed once `prompt` has appeared. */
async function atTerminal(
  args: string,
  prompt: RegExp,
  input: string,
): Promise<{ readonly code: number | null; readonly text: string }> {
  const line = `stty rows 33 cols 77; exec kubectl --kubeconfig ${m.knarr.kubeconfig} ${args}`;
  const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: 'pipe', env: { ...process.env, HOME: m.dir } });
  const end = ended(child);
  try {
    await printed(child, prompt);
    child.stdin.write(input);
    return await end;
  } finally {
    child.kill('SIGKILL');
  }
}

describe('kubectl', { skip, concurrency: 3, timeout: 240_000 }, () => {
  // Two readings of usage have to lie between: first started, it ends last.
  test('top: what nodes and pods use, also beside a pod that has ended', async () => {
    const busy = container('while :; do :; done', { resources: { limits: { cpu: '200m' } } });
    await m.kubectl.apply(pod('busy', '', { containers: [busy, container('sleep 600', { name: 'idle' })] }));
    await m.kubectl.apply(pod('over', 'true', { restartPolicy: 'Never' }));
    await m.ready('busy');
    const line = await until('its usage', async () => {
      const r = await m.kubectl.run(['top', 'pod', 'busy', '--containers', '--no-headers']);
      return /busy +c +(\d\d+)m +/.test(r.stdout) && r.stdout;
    });
    const cpu = Number(/busy +c +(\d+)m +/.exec(line)![1]);
    assert.ok(cpu >= 20 && cpu <= 260, line);
    assert.match(line, /busy +idle +\d+m +\d+Mi/);
    // A node's rate takes two looks at it, a pod's too: which comes first is open.
    const all = await until('the node’s usage', async () => {
      const r = await m.kubectl.run(['top', 'node']);
      return r.code === 0 && r.stdout;
    });
    assert.match(all, /^NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\) *\none +\d+m +\d+% +\d+Mi +\d+%/);
    assert.doesNotMatch(await m.kubectl.ok('top pod'), /^over /m);
    await m.kubectl.ok('delete pod busy --force');
  });

  test('exec: both streams apart, standard input, exit code', async () => {
    const r = await m.kubectl.run(['exec', '-i', 'stage', '--', 'sh', '-c', 'cat; echo bad >&2; exit 7'], {
      input: 'typed\n',
    });
    assert.equal(r.code, 7);
    assert.equal(r.stdout, 'typed\n');
    assert.match(r.stderr, /^bad\n/);
    assert.match(r.stderr, /command terminated with exit code 7/);
    const big = randomBytes(3 << 20).toString('hex');
    const back = await m.kubectl.run(['exec', '-i', 'stage', '--', 'cat'], { input: big });
    assert.equal(
      createHash('sha256').update(back.stdout).digest('hex'),
      createHash('sha256').update(big).digest('hex'),
    );
    assert.match(await m.kubectl.fails('exec stage -- nothing-of-that-name'), /executable file not found/);
  });

  test('exec -it: a terminal of the size that kubectl has', async () => {
    const { code, text } = await atTerminal(
      `exec -it stage -- sh -c "tty; echo name?; read x; echo hello \\$x; stty size; exit 3"`,
      /name\?/,
      'world\n',
    );
    assert.match(text, /\/dev\/(pts\/\d+|console)/);
    assert.match(text, /33 77/);
    assert.match(text, /hello world/);
    assert.equal(code, 3, text);
  });

  test('exec -it: Ctrl-C reaches the process, not kubectl', async () => {
    const { text } = await atTerminal(
      `exec -it stage -- sh -c "trap 'echo interrupted; exit 0' INT; echo waiting; while :; do sleep 0.1; done"`,
      /waiting/,
      '\x03',
    );
    assert.match(text, /interrupted/);
  });

  test('attach: what the container writes, and standard input', async () => {
    await m.kubectl.apply(
      pod('attached', '', { containers: [container('while read x; do echo "you said $x"; done', { stdin: true })] }),
    );
    await m.ready('attached');
    const child = m.kubectl.start(['attach', '-i', 'attached']);
    const end = ended(child);
    child.stdin!.write('one\n');
    await printed(child, /you said one/);
    child.stdin!.write('two\n');
    await printed(child, /you said two/);
    child.kill('SIGINT');
    await end;
    // The container goes on without whoever looked in.
    assert.equal(await m.kubectl.ok('logs attached'), 'you said one\nyou said two\n');
    assert.match(await m.kubectl.ok('get pod attached'), /1\/1 +Running +0/);
  });

  test('run -it --rm: a shell of a moment', async () => {
    const { code, text } = await atTerminal(
      `run moment -it --rm --restart=Never --image=${image} --image-pull-policy=Never -- sh`,
      /# /,
      'echo "sum $((40+2))"\nexit 5\n',
    );
    assert.match(text, /sum 42/);
    assert.match(text, /pod "moment" deleted/);
    assert.equal(code, 5, text);
    assert.match(await m.kubectl.fails('get pod moment'), /NotFound/);
  });

  test('cp both ways, files and directories', async () => {
    const from = join(m.dir, 'from');
    mkdirSync(join(from, 'inner/deep'), { recursive: true });
    const big = randomBytes(5 << 20);
    writeFileSync(join(from, 'big.bin'), big);
    writeFileSync(join(from, 'inner/deep/small.txt'), 'small\n');
    writeFileSync(join(from, 'run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
    symlinkSync('run.sh', join(from, 'link'));
    await m.kubectl.ok(['cp', from, 'stage:/tmp/there']);
    const sum = createHash('sha256').update(big).digest('hex');
    assert.match(await m.kubectl.ok('exec stage -- sha256sum /tmp/there/big.bin'), new RegExp(sum));
    assert.equal(await m.kubectl.ok('exec stage -- /tmp/there/run.sh'), 'ran\n');
    const to = join(m.dir, 'to');
    await m.kubectl.ok(['cp', 'stage:/tmp/there', to]);
    assert.ok(readFileSync(join(to, 'big.bin')).equals(big));
    assert.equal(readFileSync(join(to, 'inner/deep/small.txt'), 'utf8'), 'small\n');
  });

  test('logs -f ends with the container; --previous, --tail, --since, --timestamps, all containers', async () => {
    const script =
      'if [ ! -e /s/again ]; then touch /s/again; echo first life; exit 4; fi; for i in 1 2 3 4; do echo line $i; done; until [ -e /s/go ]; do sleep 0.1; done; echo last >&2';
    await m.kubectl.apply(
      pod('talker', '', {
        restartPolicy: 'OnFailure',
        volumes: [{ name: 's', emptyDir: {} }],
        containers: [
          container(script, { volumeMounts: [{ name: 's', mountPath: '/s' }] }),
          container('echo beside; sleep 600', { name: 'beside' }),
        ],
      }),
    );
    await until('the second life', async () =>
      (await m.kubectl.run(['logs', 'talker', '-c', 'c'])).stdout.includes('line 4'),
    );
    assert.equal(await m.kubectl.ok('logs talker -c c --previous'), 'first life\n');
    assert.equal(await m.kubectl.ok('logs talker -c c --tail=2'), 'line 3\nline 4\n');
    assert.equal(await m.kubectl.ok('logs talker -c c --limit-bytes=6'), 'line 1');
    assert.match(await m.kubectl.ok('logs talker -c c --timestamps --tail=1'), /^20\d\d-\S+Z line 4\n$/);
    assert.equal(await m.kubectl.ok('logs talker -c c --since-time=2100-01-01T00:00:00Z'), '');
    const all = await m.kubectl.ok('logs talker --all-containers --prefix');
    assert.match(all, /\[pod\/talker\/c\] line 1\n/);
    assert.match(all, /\[pod\/talker\/beside\] beside\n/);
    const child = m.kubectl.start(['logs', '-f', 'talker', '-c', 'c', '--tail=1']);
    const end = ended(child);
    await printed(child, /line 4/);
    await m.kubectl.ok('exec talker -c c -- touch /s/go');
    const { code, text } = await end;
    assert.equal(code, 0);
    assert.equal(text, 'line 4\nlast\n');
    assert.match(
      await m.kubectl.fails('logs stage --previous'),
      /previous terminated container "c" in pod "stage" not found/,
    );
    await m.kubectl.ok('delete pod talker --wait=false');
  });

  test('port-forward: pod and Service, several connections, much data', async () => {
    await m.kubectl.apply(
      pod('web', serve('head -c 4000000 /dev/urandom > /w/big; echo forwarded'), {}, { app: 'web' }),
    );
    await m.kubectl.ok('create service clusterip web --tcp=80:8080');
    await m.ready('web');
    const sum = (await m.kubectl.ok('exec web -- sha256sum /w/big')).split(' ')[0];
    for (const [what, port] of [
      ['pod/web', '8080'],
      ['service/web', '80'],
    ] as const) {
      const child = m.kubectl.start(['port-forward', what, `:${port}`]);
      const end = ended(child);
      const url = `http://127.0.0.1:${(await printed(child, /127\.0\.0\.1:(\d+)/))[1]}`;
      const answers = await Promise.all(
        Array.from({ length: 10 }, async () => (await fetch(`${url}/`, { headers: { connection: 'close' } })).text()),
      );
      assert.deepEqual([...new Set(answers)], ['forwarded\n'], what);
      const big = Buffer.from(await (await fetch(`${url}/big`, { headers: { connection: 'close' } })).arrayBuffer());
      assert.equal(createHash('sha256').update(big).digest('hex'), sum, what);
      child.kill('SIGINT');
      await end;
    }
  });

  test('port-forward to a port where nobody listens fails and goes on', async () => {
    const child = m.kubectl.start(['port-forward', 'pod/stage', ':9']);
    const end = ended(child);
    const url = `http://127.0.0.1:${(await printed(child, /127\.0\.0\.1:(\d+)/))[1]}`;
    const told = printed(child, /error forwarding port 9/);
    await assert.rejects(fetch(url));
    assert.match((await told)[0], /port 9/);
    child.kill('SIGINT');
    await end;
  });

  test('debug: an ephemeral container that sees the processes of its target', async () => {
    await m.kubectl.apply(pod('patient', 'exec sleep 612'));
    await m.ready('patient');
    const { text } = await atTerminal(
      `debug -it patient --image=${image} --image-pull-policy=Never --target=c -c doctor -- sh`,
      /# /,
      'cat /proc/1/cmdline | tr "\\\\0" " "; ls /proc/1/root/etc/hosts; echo done; exit\n',
    );
    assert.match(text, /sleep 612/);
    assert.match(text, /\/proc\/1\/root\/etc\/hosts/);
    const p = await m.kubectl.json<Pod>('get pod patient');
    assert.equal(p.spec?.ephemeralContainers?.[0]?.name, 'doctor');
    const state = await until('its end to be told', async () => {
      const s = (await m.kubectl.json<Pod>('get pod patient')).status;
      return s?.ephemeralContainerStatuses?.[0]?.state?.terminated;
    });
    assert.equal(state.exitCode, 0);
    assert.equal((await m.kubectl.json<Pod>('get pod patient')).status?.containerStatuses?.[0]?.restartCount, 0);
  });

  test('debug of the node: a pod with the machine’s file system', async () => {
    const marker = join(m.dir, 'marker');
    writeFileSync(marker, 'of the machine\n');
    const { text } = await atTerminal(
      `debug node/one -it --image=${image} --image-pull-policy=Never -- sh`,
      /# /,
      `cat /host${marker}; exit\n`,
    );
    assert.match(text, /of the machine/);
  });
});
