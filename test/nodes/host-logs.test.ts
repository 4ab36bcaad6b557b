import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownHost, skipWithoutRoot } from './support/linux.ts';

const skip = skipWithoutRoot;

const line = (second: number, text: string, tag = 'F', stream = 'stdout'): string =>
  `2026-01-02T03:04:${String(second).padStart(2, '0')}.123456789Z ${stream} ${tag} ${text}\n`;

test('logs: from the end, from a time, whole lines of several parts', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const path = join(rootDir, '0.log');
  const read = async (options: object): Promise<string> => {
    const parts: Buffer[] = [];
    for await (const batch of host.readLog(path, options)) parts.push(...batch.map((e) => e.data));
    return Buffer.concat(parts).toString();
  };
  assert.equal(await read({}), '', 'no such file');
  const long = 'x'.repeat(16_000);
  fs.writeFileSync(
    path,
    line(1, 'one') +
      line(2, long, 'P') +
      line(2, long, 'P') +
      line(2, 'end') +
      line(3, 'three', 'F', 'stderr') +
      line(4, ''),
  );
  assert.equal(await read({}), `one\n${long}${long}end\nthree\n\n`);
  assert.equal(await read({ tailLines: 0 }), '');
  assert.equal(await read({ tailLines: 2 }), 'three\n\n');
  assert.equal(await read({ tailLines: 3 }), `${long}${long}end\nthree\n\n`);
  assert.equal(await read({ tailLines: 99 }), await read({}));
  assert.equal(await read({ since: Date.parse('2026-01-02T03:04:03Z') }), 'three\n\n');
  // Far more than one block, with lines over its borders.
  const many = Array.from({ length: 20_000 }, (_, i) => `line ${i} ${'y'.repeat(i % 40)}`);
  fs.writeFileSync(path, many.map((m) => line(5, m)).join(''));
  assert.equal(await read({ tailLines: 5000 }), many.slice(-5000).join('\n') + '\n');
  assert.equal(await read({}), many.join('\n') + '\n');
});

test('a follower loses nothing when the log is rotated, and ends when the writer has gone', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const path = join(rootDir, '0.log');
  let ended = false;
  const seen: string[] = [];
  const arrived = new Map<string, () => void>();
  const follow = (async () => {
    for await (const batch of host.readLog(path, { follow: true, ended: async () => ended }))
      for (const e of batch) {
        const text = e.data.toString().trim();
        seen.push(text);
        arrived.get(text)?.();
      }
  })();
  const write = async (text: string): Promise<void> => {
    const there = new Promise<void>((resolve) => arrived.set(text, resolve));
    fs.appendFileSync(path, line(1, text));
    await there;
  };
  await write('one');
  await write('two');
  // Written after the follower's last look, then moved aside.
  fs.appendFileSync(path, line(1, 'last of the old'));
  const moved = await host.rotateLog(path, 3);
  assert.match(moved, /0\.log\.\d{8}-\d{6}$/);
  await write('three');
  fs.appendFileSync(path, line(1, 'four'));
  ended = true;
  await follow;
  assert.deepEqual(seen, ['one', 'two', 'last of the old', 'three', 'four']);
  const abort = new AbortController();
  const stopped = (async () => {
    for await (const _ of host.readLog(path, { follow: true, signal: abort.signal, ended: async () => false }));
  })();
  abort.abort();
  await stopped;
});

test('rotation keeps so many files and compresses the older ones', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const path = join(rootDir, '0.log');
  for (let i = 1; i <= 4; i++) fs.writeFileSync(`${path}.2026010${i}-000000`, line(i, 'old'));
  fs.writeFileSync(`${path}.20260101-000000.tmp`, 'half');
  fs.writeFileSync(join(rootDir, '10.log.20260101-000000'), 'of another container');
  fs.writeFileSync(path, line(9, 'now'));
  const moved = await host.rotateLog(path, 4);
  assert.deepEqual(
    fs.readdirSync(rootDir).sort(),
    [
      moved.slice(rootDir.length + 1),
      '0.log.20260103-000000.gz',
      '0.log.20260104-000000.gz',
      '10.log.20260101-000000',
    ].sort(),
  );
  assert.equal(await host.logSize(path), 0);
  assert.equal(await host.logSize(moved), line(9, 'now').length);
});
