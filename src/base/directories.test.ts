/** Directories that can be made, and the words for those that cannot. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DirectoryError, makeDirectory } from './directories.ts';

function fails(dir: string, code: string, message: string): void {
  assert.throws(
    () => makeDirectory(dir),
    (error) => error instanceof DirectoryError && error.code === code && error.message === message,
    message,
  );
}

test('parents are made, what exists is kept, and what is in the way is named', () => {
  const home = mkdtempSync(join(tmpdir(), 'knarr-directories-'));
  try {
    const deep = join(home, 'a/b/c');
    makeDirectory(deep, 0o700);
    assert.equal(statSync(join(home, 'a')).mode & 0o777, 0o700);
    assert.equal(statSync(deep).mode & 0o777, 0o700);
    makeDirectory(deep, 0o755);
    assert.equal(statSync(deep).mode & 0o777, 0o700);
    symlinkSync(deep, join(home, 'link'));
    makeDirectory(join(home, 'link/d'));
    assert.ok(statSync(join(deep, 'd')).isDirectory());

    const file = join(home, 'file');
    writeFileSync(file, '');
    fails(file, 'ENOTDIR', `cannot make the directory ${file}: ${file} is not a directory`);
    fails(join(file, 'x/y'), 'ENOTDIR', `cannot make the directory ${file}/x/y: ${file} is not a directory`);
    const dangling = join(home, 'dangling');
    symlinkSync(join(home, 'gone'), dangling);
    fails(dangling, 'ENOTDIR', `cannot make the directory ${dangling}: ${dangling} is not a directory`);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});

test(
  'a file system that holds no directories is an error, not an endless loop',
  { skip: process.platform !== 'linux' },
  () => {
    for (const dir of ['/proc/x', '/proc/x/y'])
      assert.throws(
        () => makeDirectory(dir),
        (error) =>
          error instanceof DirectoryError &&
          /^cannot make the directory \/proc\/x(\/y)?: (\/proc can hold no directories|permission denied in \/proc)$/.test(
            error.message,
          ),
      );
  },
);
