import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { macrotask } from '../base/yield.ts';
import type { Engine, EngineOp } from './engine.ts';
import { lmdbFileName } from './lmdb-engine.ts';
import { logFileName, openLoggedEngine } from './logged-engine.ts';

const end = Buffer.from([0xff]);

function temporary(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-engine-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function opened(dir: string, seed = 1, delayMs = 1): Promise<Engine> {
  return openLoggedEngine(dir, { random: new SeededRandom(seed), logger: silentLogger, delayMs });
}

function put(name: string, value: string): EngineOp {
  return { key: Buffer.from(name), value: Buffer.from(value) };
}

function contents(engine: Engine, from = 'r', to: Buffer = end): string[] {
  const found: string[] = [];
  engine.scan(Buffer.from(from), to, (key, value) => {
    found.push(`${Buffer.from(key).toString()}=${Buffer.from(value).toString()}`);
  });
  return found;
}

/** Writes until the log is in use, and then `n` records that are in it alone. */
async function logged(engine: Engine, dir: string, n: number): Promise<void> {
  const inUse = (): boolean =>
    existsSync(join(dir, logFileName)) && readFileSync(join(dir, logFileName)).includes('r-start');
  do {
    engine.applyBatch([put('r-start', '')]);
    await engine.durable();
    await macrotask();
  } while (!inUse());
  for (let i = 0; i < n; i++) {
    engine.applyBatch([put(`r${i}`, `value ${i}`)]);
    await engine.durable();
  }
}

/** The files as a crash leaves them: the database is not being written to, and what came last is in the log. */
function crashed(t: TestContext, dir: string): string {
  const copy = temporary(t);
  for (const name of [lmdbFileName, logFileName]) copyFileSync(join(dir, name), join(copy, name));
  return copy;
}

test('what is only in the log is read, scanned, and there after a crash', async (t) => {
  const dir = join(temporary(t), 'data');
  mkdirSync(dir);
  const random = new SeededRandom(7);
  const model = new Map<string, string>();
  let engine = await opened(dir);
  for (let round = 0; round < 400; round++) {
    const ops: EngineOp[] = [];
    for (let n = random.int(6); n >= 0; n--) {
      const name = `r${String(random.int(300)).padStart(3, '0')}`;
      // A few are too large for the log, so that what came before has to reach the database with them.
      const value = random.int(80) === 0 ? 'x'.repeat(600_000) : `${round} ${'y'.repeat(random.int(3000))}`;
      if (random.int(4) === 0) {
        model.delete(name);
        ops.push({ key: Buffer.from(name), value: undefined });
      } else {
        model.set(name, value);
        ops.push(put(name, value));
      }
    }
    engine.applyBatch(ops);
    await engine.durable();
    if (random.int(10) === 0) {
      const [from, to] = [`r${random.int(4)}`, `r${random.int(4)}`].sort() as [string, string];
      const wanted = [...model].filter(([k]) => k >= from && k < to).sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(
        contents(engine, from, Buffer.from(to)),
        wanted.map(([k, v]) => `${k}=${v}`),
      );
      const name = `r${String(random.int(300)).padStart(3, '0')}`;
      assert.equal(engine.get(Buffer.from(name))?.toString(), model.get(name));
      let first: string | undefined;
      engine.scan(Buffer.from('r'), end, (key) => {
        first = Buffer.from(key).toString();
        return false;
      });
      assert.equal(first, [...model.keys()].sort()[0]);
    }
    if (round % 150 === 149) {
      await engine.close();
      engine = await opened(dir, round);
    }
  }
  const left = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => `${k}=${v}`);
  await engine.close();
  engine = await opened(dir);
  assert.deepEqual(contents(engine), left);
  await engine.close();
});

test('after a crash the log is applied as far as it is whole', async (t) => {
  const dir = temporary(t);
  const engine = await opened(dir, 1, 1000);
  await logged(engine, dir, 5);
  const whole = crashed(t, dir);
  const torn = crashed(t, dir);
  const lost = crashed(t, dir);
  const gone = crashed(t, dir);
  await engine.close();
  const values = (n: number): string[] => Array.from({ length: n }, (_, i) => `r${i}=value ${i}`);
  const again = await opened(whole);
  assert.deepEqual(contents(again).slice(1), values(5), 'whole');
  await again.close();

  const log = readFileSync(join(torn, logFileName));
  const damage = (to: string, value: string): void => {
    const copy = Buffer.from(log);
    copy[copy.lastIndexOf(value)]! ^= 1;
    writeFileSync(join(to, logFileName), copy);
  };
  damage(torn, 'value 4');
  const shorter = await opened(torn);
  assert.deepEqual(contents(shorter).slice(1), values(4), 'the last record was never acknowledged');
  await shorter.close();
  damage(lost, 'value 2');
  await assert.rejects(opened(lost), /has lost record/);
  rmSync(join(gone, logFileName));
  await assert.rejects(opened(gone), /the last acknowledged writes are in it/);
});
