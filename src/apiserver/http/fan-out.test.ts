/** Watches on their way to many clients: everything in order, nobody waits for somebody else, and who leaves is forgotten. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { WireWatch } from '../encode/wire.ts';
import { FanOut } from './fan-out.ts';
import type { WatchSink } from './fan-out.ts';

/** A watch whose events a test pushes; what waits is taken as one buffer, as the encoder does. */
class Pushed implements WireWatch {
  #waiting: string[] = [];
  #ready: (() => void) | undefined;
  #ended = false;
  closed = false;
  takes = 0;

  push(line: string): void {
    this.#waiting.push(line);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    const ready = this.#ready;
    this.#ready = undefined;
    ready?.();
  }

  take(ready: () => void): Buffer | null | undefined {
    if (this.#waiting.length > 0) {
      this.takes++;
      return Buffer.from(this.#waiting.splice(0).join(''));
    }
    if (this.#ended || this.closed) return null;
    this.#ready = ready;
    return undefined;
  }

  close(): void {
    this.closed = true;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('hundreds of watchers get every event in order, whatever comes while they are written to', async () => {
  const fanOut = new FanOut();
  const all = Array.from({ length: 300 }, () => {
    const sink = new PassThrough();
    const watch = new Pushed();
    let text = '';
    sink.on('data', (d: Buffer) => (text += d.toString()));
    return { sink, watch, text: () => text, done: fanOut.write(sink, watch) };
  });
  let expected = '';
  for (let i = 0; i < 200; i++) {
    const line = `event ${i}\n`;
    expected += line;
    for (const { watch } of all) watch.push(line);
    if (i % 5 === 0) await turn();
  }
  for (const { watch } of all) watch.end();
  await Promise.all(all.map((w) => w.done));
  await turn();
  for (const w of all) assert.equal(w.text(), expected);
  assert.ok(all.every((w) => w.watch.closed));
});

test('a client that takes nothing holds up nobody, and is taken from no more', async () => {
  const fanOut = new FanOut();
  const stuck = { sink: new PassThrough({ highWaterMark: 10 }), watch: new Pushed() };
  const well = { sink: new PassThrough(), watch: new Pushed() };
  const stuckDone = fanOut.write(stuck.sink, stuck.watch);
  const wellDone = fanOut.write(well.sink, well.watch);
  let text = '';
  well.sink.on('data', (d: Buffer) => (text += d.toString()));
  for (let i = 0; i < 50; i++) {
    stuck.watch.push('twelve bytes');
    well.watch.push('x');
    await turn();
  }
  assert.equal(text, 'x'.repeat(50));
  assert.ok(stuck.watch.takes <= 2, `${stuck.watch.takes} batches were made for who takes none`);
  // It reads again: what has gathered comes in one piece.
  let late = '';
  stuck.sink.on('data', (d: Buffer) => (late += d.toString()));
  while (late.length < 600) await turn();
  assert.equal(late, 'twelve bytes'.repeat(50));
  assert.ok(stuck.watch.takes <= 5);
  stuck.watch.end();
  well.watch.end();
  await Promise.all([stuckDone, wellDone]);
});

test('a client that leaves ends its watch, also while it waits', async () => {
  const fanOut = new FanOut();
  const sink = new PassThrough();
  const watch = new Pushed();
  const done = fanOut.write(sink, watch);
  sink.destroy();
  await done;
  assert.equal(watch.closed, true);
});

test('a watch that cannot be encoded fails, and is closed', async () => {
  const fanOut = new FanOut();
  const watch = new Pushed();
  watch.take = () => {
    throw new Error('no such form');
  };
  await assert.rejects(fanOut.write(new PassThrough(), watch), /no such form/);
  assert.equal(watch.closed, true);
});

test('what a watch begins with is made in the same memory again, once the client has taken it', async () => {
  const fanOut = new FanOut();
  let text = '';
  let waiting: Buffer | undefined;
  let drain = (): void => {};
  let takes = 0;
  const memory = new Set<ArrayBufferLike>();
  const sink: WatchSink = {
    destroyed: false,
    // Each second piece has to wait.
    write(bytes) {
      if (++takes % 2 === 0) {
        waiting = bytes;
        return false;
      }
      text += bytes.toString();
      return true;
    },
    end() {},
    destroy() {},
    on(event, listener) {
      if (event === 'drain') drain = listener;
    },
  };
  let made = 0;
  const watch: WireWatch = {
    take(_ready, room) {
      if (made === 6) return null;
      const bytes = room!(8).subarray(0, 8);
      memory.add(bytes.buffer);
      bytes.write(`piece ${made++}\n`);
      return bytes;
    },
    close() {},
  };
  const done = fanOut.write(sink, watch, true);
  while (waiting !== undefined) {
    await turn();
    text += waiting.toString();
    waiting = undefined;
    drain();
    await turn();
  }
  await done;
  assert.equal(text, 'piece 0\npiece 1\npiece 2\npiece 3\npiece 4\npiece 5\n');
  assert.equal(memory.size, 1);
});
