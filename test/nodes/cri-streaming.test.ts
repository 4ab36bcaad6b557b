/** Exec, attach and port-forward to real containers, through the runtime's streaming server. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { text } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import type { ExecStreams } from '../../src/kubelet/runtime/container-runtime.ts';
import { RuntimeError } from '../../src/kubelet/runtime/container-runtime.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import type { RunningPod } from './support/pods.ts';
import { exited, runContainer, runPod } from './support/pods.ts';

const skip = ownNamespaces();

const everything = { tty: false, stdin: true, stdout: true, stderr: true };
const terminal = { tty: true, stdin: true, stdout: true, stderr: false };

/** Collects what a session prints, and waits for texts in it. */
function screen(s: ExecStreams): { shows(what: RegExp): Promise<string> } {
  let seen = '';
  const waiting: { what: RegExp; resolve(text: string): void }[] = [];
  s.stdout!.on('data', (d: Buffer) => {
    seen += d.toString();
    for (const w of waiting.splice(0))
      if (w.what.test(seen)) w.resolve(seen);
      else waiting.push(w);
  });
  return {
    shows: (what) =>
      what.test(seen)
        ? Promise.resolve(seen)
        : new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`${what} was not shown: ${seen}`)), 10_000);
            waiting.push({
              what,
              resolve: (t) => {
                clearTimeout(timer);
                resolve(t);
              },
            });
          }),
  };
}

describe('streams to real containers', { skip, timeout: 120_000 }, () => {
  let c: Containerd;
  let pod: RunningPod;
  let id: string;
  before(async () => {
    c = await Containerd.start();
    await c.load(busyboxImage(), 'local.test/busybox:1');
    pod = await runPod(c, 'streams');
    id = await runContainer(c, pod, { command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.1; done'] });
  });
  after(() => c?.stop());

  test('exec: output on both streams, exit code, end of input', async () => {
    const s = await c.runtime.exec(id, ['sh', '-c', 'cat; echo to stderr >&2; exit 4'], everything);
    const out = text(s.stdout!);
    const err = text(s.stderr!);
    s.stdin!.write('some ');
    s.stdin!.end('input\n');
    assert.deepEqual([await out, await err, await s.done], ['some input\n', 'to stderr\n', 4]);
    const quiet = await c.runtime.exec(id, ['true'], { ...everything, stdin: false, stderr: false });
    assert.equal(quiet.stdin, undefined);
    assert.equal(quiet.stderr, undefined);
    quiet.stdout!.resume();
    assert.equal(await quiet.done, 0);
    const bad = await c.runtime.exec(id, ['/no/such/program'], everything);
    bad.stdout!.resume();
    bad.stderr!.resume();
    await assert.rejects(
      bad.done,
      (e: unknown) =>
        e instanceof RuntimeError && /no such file or directory/.test(e.message) && !/error executing/.test(e.message),
    );
    await assert.rejects(
      c.runtime.exec('0'.repeat(64), ['true'], everything),
      (e: unknown) => e instanceof RuntimeError && e.code === 'NotFound',
    );
  });

  test('exec: megabytes both ways arrive whole', async () => {
    const size = 8 * 1024 * 1024;
    const s = await c.runtime.exec(id, ['cat'], { ...everything, stderr: false });
    let received = 0;
    s.stdout!.on('data', (d: Buffer) => (received += d.length));
    const all = finished(s.stdout!, { writable: false });
    const block = Buffer.alloc(64 * 1024, 'x');
    const began = performance.now();
    for (let sent = 0; sent < size; sent += block.length) if (!s.stdin!.write(block)) await once(s.stdin!, 'drain');
    s.stdin!.end();
    assert.equal(await s.done, 0);
    await all;
    assert.equal(received, size);
    console.error(`8 MiB through cat: ${(performance.now() - began).toFixed(0)} ms`);
  });

  test('exec with a terminal: sizes, signals by keys', async () => {
    const s = await c.runtime.exec(id, ['sh'], terminal);
    const on = screen(s);
    s.resize({ width: 80, height: 24 });
    s.stdin!.write('stty size\n');
    await on.shows(/24 80/);
    s.resize({ width: 132, height: 43 });
    s.stdin!.write('sleep 0.1; stty size\n');
    await on.shows(/43 132/);
    // What is typed is shown as well: only the answer has the number in it.
    s.stdin!.write("sh -c 'echo go$((20+3)); exec sleep 1000'\n");
    await on.shows(/go23/);
    s.stdin!.write('\x03');
    await on.shows(/\^C/);
    s.stdin!.write('exit 9\n');
    assert.equal(await s.done, 9);
  });

  test('leaving an exec ends nothing else', async () => {
    const s = await c.runtime.exec(id, ['cat'], everything);
    s.close();
    await assert.rejects(s.done, RuntimeError);
    assert.equal((await c.runtime.containerStatus(id)).state, 'CONTAINER_RUNNING');
  });

  test('attach: to a terminal, and to standard input that ends', async () => {
    const shell = await runContainer(c, pod, { name: 'shell', command: ['sh'], stdin: true, tty: true });
    const s = await c.runtime.attach(shell, terminal);
    const on = screen(s);
    s.stdin!.write('echo at$((1+1))ached\n');
    await on.shows(/at2ached/);
    s.close();
    assert.equal((await c.runtime.containerStatus(shell)).state, 'CONTAINER_RUNNING');
    const again = await c.runtime.attach(shell, terminal);
    const onAgain = screen(again);
    again.stdin!.write('echo ag$((1+1))in\n');
    await onAgain.shows(/ag2in/);
    again.stdin!.write('exit 3\n');
    assert.equal(await again.done, 0);
    assert.equal((await exited(c, shell)).exitCode, 3);

    const once = await runContainer(c, pod, { name: 'once', command: ['cat'], stdin: true, stdinOnce: true });
    const o = await c.runtime.attach(once, { ...everything, stderr: false });
    const out = text(o.stdout!);
    o.stdin!.end('to the end\n');
    assert.equal((await exited(c, once)).exitCode, 0);
    assert.equal(await out, 'to the end\n');
    await o.done;
  });

  test('port-forward: a port that answers, half-closed streams, one where nobody listens', async () => {
    await runContainer(c, pod, { name: 'server', command: ['nc', '-ll', '-p', '7000', '-e', 'cat'] });
    let answer = '';
    for (let i = 0; i < 50 && answer === ''; i++) {
      const stream = await c.runtime.portForward(pod.sandboxId, 7000);
      stream.end('through the sandbox');
      answer = await text(stream).catch(() => '');
      if (answer === '') await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(answer, 'through the sandbox');
    const nobody = await c.runtime.portForward(pod.sandboxId, 7001);
    nobody.write('hello?');
    await assert.rejects(text(nobody), /connection refused/i);
    await assert.rejects(c.runtime.portForward('0'.repeat(64), 80), RuntimeError);
  });
});
