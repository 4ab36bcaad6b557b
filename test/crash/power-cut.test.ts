/**
 * A power cut: a shim beneath the process records every write and sync of the store's files. From the record the files are
 * built as a disk might hold them at some moment: everything synced by then, and of the rest any part, in any order, down to
 * single sectors. The store must open on them and keep every acknowledgement made until that moment.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { Random } from '../../src/base/random.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { lmdbFileName } from '../../src/etcd/lmdb-engine.ts';
import { logFileName } from '../../src/etcd/logged-engine.ts';
import { emptyJournal, note, violations } from './journal.ts';
import type { Journal } from './journal.ts';

const cuts = Number(process.env['KNARR_CRASH_CUTS'] ?? 60);
const seed = Number(process.env['KNARR_CRASH_SEED'] ?? 1);
const sector = 512;
const fileNames = [lmdbFileName, logFileName];

interface Entry {
  readonly kind: string;
  /** Its number among the files. */
  readonly of: number;
  readonly offset: number;
  readonly bytes: Buffer;
}

function readLog(file: string): Entry[] {
  const log = readFileSync(file);
  const entries: Entry[] = [];
  for (let at = 0; at + 16 <= log.length;) {
    const length = log.readUInt32LE(at + 4);
    entries.push({
      kind: String.fromCharCode(log[at]!),
      of: log[at + 1]!,
      offset: Number(log.readBigUInt64LE(at + 8)),
      bytes: log.subarray(at + 16, at + 16 + length),
    });
    at += 16 + length;
  }
  return entries;
}

/** Compiles the shim; undefined where that cannot be done. */
function compileShim(dir: string): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const out = join(dir, 'shim.so');
  const cc = spawnSync(
    'cc',
    ['-shared', '-fPIC', '-O1', '-o', out, join(import.meta.dirname, 'shim.c'), '-ldl', '-lpthread'],
    {
      encoding: 'utf8',
    },
  );
  if (cc.error) return undefined;
  assert.equal(cc.status, 0, cc.stderr);
  return out;
}

interface Run {
  readonly log: Entry[];
  readonly status: number | null;
}

/** Runs the writer with the shim beneath it. */
function record(
  shim: string,
  dir: string,
  commits: number,
  writerSeed: number,
  more: { early?: boolean; failSync?: string },
): Run {
  const data = join(dir, `data-${writerSeed}`);
  mkdirSync(data);
  const log = join(dir, `log-${writerSeed}`);
  const journal = join(dir, `journal-${writerSeed}`);
  const child = spawnSync(
    process.execPath,
    [
      join(import.meta.dirname, 'writer.ts'),
      data,
      journal,
      String(writerSeed),
      String(commits),
      ...(more.early ? ['early'] : []),
    ],
    {
      encoding: 'utf8',
      timeout: 60_000,
      env: {
        ...process.env,
        LD_PRELOAD: shim,
        KNARR_SHIM_STORE: fileNames.map((name) => join(data, name)).join(':'),
        KNARR_SHIM_JOURNAL: journal,
        KNARR_SHIM_LOG: log,
        ...(more.failSync ? { KNARR_SHIM_FAIL: more.failSync } : {}),
      },
    },
  );
  if (!more.failSync) assert.equal(child.status, 0, child.stderr);
  return { log: readLog(log), status: child.status };
}

/** Cuts a write into pieces that a disk writes whole. */
function sectors(entry: Entry): Entry[] {
  const pieces: Entry[] = [];
  for (let at = 0; at < entry.bytes.length;) {
    const take = Math.min(entry.bytes.length - at, sector - ((entry.offset + at) % sector));
    pieces.push({ ...entry, offset: entry.offset + at, bytes: entry.bytes.subarray(at, at + take) });
    at += take;
  }
  return pieces;
}

function shuffle<T>(list: T[], random: Random): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

interface Disk {
  /** In the order of their names; undefined: nothing was ever written to it. */
  readonly files: readonly (Buffer | undefined)[];
  /** What had been promised by then. */
  readonly journal: Journal;
}

/** One of the files as a disk might hold it after these writes and syncs of it. */
function fileAfter(log: readonly Entry[], random: Random): Buffer | undefined {
  /** Writes before this entry are stable. */
  let stable = 0;
  let begun = 0;
  for (const [i, { kind }] of log.entries()) {
    if (kind === 'B') begun = i;
    else if (kind === 'E') stable = begun;
  }
  const certain: Entry[] = [];
  const loose: Entry[] = [];
  for (const [i, entry] of log.entries()) {
    const { kind, offset } = entry;
    if (kind === 'D' || kind === 'T') certain.push(entry);
    else if (kind === 'W') (i < stable ? certain : loose).push(entry);
    else if (kind === 'P' && !log.slice(i).some((e) => e.kind === 'D' && e.offset === offset)) loose.push(entry);
  }
  // Nothing of it, all of it, whole writes, or single sectors of them.
  const kept =
    random.int(4) === 0
      ? []
      : random.int(3) === 0
        ? loose
        : random.int(2) === 0
          ? shuffle(
              loose.filter(() => random.int(2) === 0),
              random,
            )
          : shuffle(loose.flatMap(sectors), random).filter(() => random.int(3) > 0);
  const all = [...certain, ...kept];
  if (all.length === 0) return undefined;
  const file = Buffer.alloc(all.reduce((size, { offset, bytes }) => Math.max(size, offset + bytes.length), 0));
  for (const { bytes, offset } of all) bytes.copy(file, offset);
  return file;
}

/** What a disk might hold after `log[0..cut)`. */
function afterPowerCut(log: readonly Entry[], cut: number, random: Random): Disk {
  const journal = emptyJournal();
  const past = log.slice(0, cut);
  for (const { kind, bytes } of past)
    if (kind === 'J') for (const line of bytes.toString().split('\n')) note(journal, line);
  const files = fileNames.map((_, n) =>
    fileAfter(
      past.filter((e) => e.of === n && e.kind !== 'J'),
      random,
    ),
  );
  return { files, journal };
}

/** Opens the files and says what is wrong with them. */
async function inspect(dir: string, { files, journal }: Disk): Promise<string[]> {
  const data = mkdtempSync(join(dir, 'cut-'));
  for (const [n, file] of files.entries()) if (file !== undefined) writeFileSync(join(data, fileNames[n]!), file);
  try {
    const store = await openEmbeddedStore({
      engine: 'lmdb',
      dir: data,
      clock: new SystemClock(),
      logger: silentLogger,
    });
    try {
      return await violations(journal, store);
    } finally {
      await store.close();
    }
  } catch (error) {
    return [`does not open: ${(error as Error).message}`];
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

async function withShim(t: TestContext, body: (shim: string, dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-cut-'));
  try {
    const shim = compileShim(dir);
    if (shim !== undefined) await body(shim, dir);
    else if (process.env['KNARR_REQUIRE_PEERS']) assert.fail('needs Linux and a C compiler (cc)');
    else t.skip('needs Linux and a C compiler (cc)');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Moments right after a promise was made are the ones that matter most; the others are drawn from all. */
function moments(log: readonly Entry[], random: Random): number[] {
  const promises = log.flatMap((e, i) => (e.kind === 'J' ? [i + 1] : []));
  assert.ok(promises.length > 0, 'the writer has journalled nothing');
  return Array.from({ length: cuts }, (_, n) => {
    // Some while the file is only just being made.
    if (n % 10 === 0) return random.int(Math.min(log.length, 40));
    return random.int(3) === 0 ? random.int(log.length) : promises[random.int(promises.length)]!;
  });
}

for (const writerSeed of [seed * 2, seed * 2 + 1]) {
  test(
    `a power cut at ${cuts} moments loses nothing acknowledged (seed ${writerSeed})`,
    { timeout: 120_000 },
    async (t) => {
      await withShim(t, async (shim, dir) => {
        const { log } = record(shim, dir, 3000, writerSeed, {});
        const count = (kind: string): number => log.filter((e) => e.kind === kind).length;
        assert.ok(count('E') > 10 && count('D') > 10, 'the shim sees neither syncs nor syncing writes');
        assert.ok(log.filter((e) => e.kind === 'D' && e.of === 1).length > 10, 'nothing goes into the log');
        assert.equal(count('M'), 0, 'the engine writes through its map, which the shim does not see');
        const random = new SeededRandom(writerSeed);
        for (const cut of moments(log, random)) {
          assert.deepEqual(
            await inspect(dir, afterPowerCut(log, cut, random)),
            [],
            `cut after ${cut} of ${log.length} entries`,
          );
        }
      });
    },
  );
}

test('an acknowledgement before the flush is caught', { timeout: 120_000 }, async (t) => {
  await withShim(t, async (shim, dir) => {
    const { log } = record(shim, dir, 1500, seed * 2, { early: true });
    const random = new SeededRandom(seed);
    let caught = 0;
    for (const cut of moments(log, random).slice(0, 20)) {
      if ((await inspect(dir, afterPowerCut(log, cut, random))).length > 0) caught++;
    }
    assert.ok(caught > 0, 'nobody noticed');
  });
});

/** The journal's lines from the moment that a sync failed. */
function afterFailure(log: readonly Entry[]): string[] {
  const failed = log.findIndex((e) => e.kind === 'F');
  assert.ok(failed > 0);
  return log
    .slice(failed)
    .filter((e) => e.kind === 'J')
    .map((e) => e.bytes.toString().trim());
}

test(
  'a failed write of the log ends the store, and what was acknowledged before stays',
  { timeout: 120_000 },
  async (t) => {
    await withShim(t, async (shim, dir) => {
      const { log, status } = record(shim, dir, 100_000, seed * 2, { failSync: '1:40' });
      assert.equal(status, 3, 'the writer did not fail');
      assert.deepEqual(afterFailure(log), ['failed StoreFailedError']);
      assert.deepEqual(await inspect(dir, afterPowerCut(log, log.length, new SeededRandom(seed))), []);
    });
  },
);

test(
  'a failed sync of the database ends the store, and the log has what was acknowledged',
  { timeout: 120_000 },
  async (t) => {
    await withShim(t, async (shim, dir) => {
      const { log, status } = record(shim, dir, 100_000, seed * 2, { failSync: '0:40' });
      assert.equal(status, 3, 'the writer did not fail');
      assert.equal(afterFailure(log).at(-1), 'failed StoreFailedError');
      assert.deepEqual(await inspect(dir, afterPowerCut(log, log.length, new SeededRandom(seed))), []);
    });
  },
);
