import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { ownHost, skipWithoutRoot } from './support/linux.ts';

const skip = skipWithoutRoot;
const mode = (path: string): string => (fs.lstatSync(path).mode & 0o7777).toString(8);

test('configuration volumes change all at once', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const dir = join(rootDir, 'v');
  const files = (n: number) => [
    { path: 'a', data: `a${n}`, mode: 0o644 },
    { path: 'deep/b', data: Buffer.from(`b${n}`), mode: 0o400 },
  ];
  assert.equal(await host.writeAtomic(dir, files(0)), true);
  assert.equal(await host.writeAtomic(dir, files(0)), false, 'nothing changed');
  assert.deepEqual(fs.readdirSync(dir).sort().slice(-3), ['..data', 'a', 'deep']);
  assert.equal(fs.readlinkSync(join(dir, 'a')), '..data/a');
  assert.equal(mode(join(dir, '..data', 'deep/b')), '400');
  // A reader that opens the directory behind `..data` never sees one file old and the other new.
  let reading = true;
  const torn: string[] = [];
  const reader = (async () => {
    while (reading) {
      const at = fs.realpathSync(join(dir, '..data'));
      try {
        const seen =
          fs.readFileSync(join(at, 'a'), 'utf8').slice(1) + fs.readFileSync(join(at, 'deep/b'), 'utf8').slice(1);
        if (seen.slice(0, seen.length / 2) !== seen.slice(seen.length / 2)) torn.push(seen);
      } catch (error) {
        // The old directory went away meanwhile: the reader starts again.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let n = 1; n <= 30; n++) await host.writeAtomic(dir, files(n));
  reading = false;
  await reader;
  assert.deepEqual(torn, []);
  await host.writeAtomic(dir, [{ path: 'c', data: 'c', mode: 0o644 }], { gid: 4242 });
  assert.deepEqual(
    fs.readdirSync(dir).filter((n) => !n.startsWith('..')),
    ['c'],
  );
  assert.equal(fs.readdirSync(dir).length, 3, 'one directory, one link to it, one name');
  const s = fs.statSync(join(dir, 'c'));
  assert.deepEqual([s.gid, (s.mode & 0o777).toString(8)], [4242, '644']);
  for (const path of ['../x', '/x', 'a/../../x', '..x', ''])
    await assert.rejects(host.writeAtomic(dir, [{ path, data: '', mode: 0o644 }]), /^Error: invalid path/);
});

test('files have the mode that is asked for, whatever the umask', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const before = process.umask(0o077);
  try {
    await host.mkdir(join(rootDir, 'x/empty'), 0o777);
    await host.writeFile(join(rootDir, 'y/f'), 'one', 0o666);
  } finally {
    process.umask(before);
  }
  assert.equal(mode(join(rootDir, 'x/empty')), '777');
  assert.equal(mode(join(rootDir, 'y/f')), '666');
  const inode = fs.statSync(join(rootDir, 'y/f')).ino;
  await host.writeFile(join(rootDir, 'y/f'), 'two');
  assert.equal(fs.statSync(join(rootDir, 'y/f')).ino, inode, 'written in place');
  await host.replaceFile(join(rootDir, 'y/f'), 'three');
  assert.notEqual(fs.statSync(join(rootDir, 'y/f')).ino, inode);
  assert.equal((await host.readFile(join(rootDir, 'y/f'), { maxBytes: 3, fromEnd: true }))?.toString(), 'ree');
  assert.equal(await host.readFile(join(rootDir, 'nothing')), undefined);
  assert.equal(await host.stat(join(rootDir, 'nothing')), undefined);
  assert.deepEqual(await host.list(join(rootDir, 'nothing')), []);
  await assert.rejects(host.mkdir(join(rootDir, 'y/f/g')), /^Error: mkdir .*\/y\/f\/g: not a directory$/);
});

test('fsGroup: group, set-group-id, and a second time only where the root differs', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const dir = join(rootDir, 'v');
  fs.mkdirSync(join(dir, 'sub'), { recursive: true, mode: 0o700 });
  fs.writeFileSync(join(dir, 'sub/f'), '', { mode: 0o600 });
  fs.symlinkSync('/etc/passwd', join(dir, 'link'));
  const passwd = fs.statSync('/etc/passwd');
  await host.setVolumeOwnership(dir, 3000, 'Always');
  assert.deepEqual([mode(dir), mode(join(dir, 'sub')), mode(join(dir, 'sub/f'))], ['2770', '2770', '660']);
  assert.equal(fs.lstatSync(join(dir, 'link')).gid, 3000);
  assert.equal(fs.statSync('/etc/passwd').gid, passwd.gid, 'what a link leads to is not touched');
  fs.chownSync(join(dir, 'sub/f'), 0, 0);
  await host.setVolumeOwnership(dir, 3000, 'OnRootMismatch');
  assert.equal(fs.statSync(join(dir, 'sub/f')).gid, 0);
  await host.setVolumeOwnership(dir, 3000, 'Always', { readOnly: true });
  assert.equal(fs.statSync(join(dir, 'sub/f')).gid, 3000);
});

test('mounts: memory with a limit, bound, read-only, taken away; removal never crosses one', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  await host.prepare(rootDir);
  await host.prepare(rootDir);
  const shared = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((l) => l.split(' ')[4] === rootDir);
  assert.equal(shared.length, 1);
  assert.match(shared[0]!, / shared:\d+ /);
  const memory = join(rootDir, 'pods/u/volumes/memory with blank');
  const bound = join(rootDir, 'pods/u/bound');
  await host.mkdir(memory, 0o777);
  await host.mkdir(bound);
  await host.mount('tmpfs', memory, { fsType: 'tmpfs', options: ['size=65536'] });
  assert.equal(await host.isMountPoint(memory), true);
  fs.writeFileSync(join(memory, 'f'), Buffer.alloc(60_000));
  assert.throws(() => fs.writeFileSync(join(memory, 'g'), Buffer.alloc(60_000)), /ENOSPC/);
  assert.equal((await host.filesystem(memory)).capacityBytes, 65_536);
  await host.mount(memory, bound, { bind: true, readOnly: true });
  assert.equal(fs.readFileSync(join(bound, 'f')).length, 60_000);
  assert.throws(() => fs.writeFileSync(join(bound, 'h'), ''), /EROFS/);
  await assert.rejects(host.remove(join(rootDir, 'pods/u')), /still mounted/);
  assert.ok(fs.existsSync(join(memory, 'f')));
  await host.unmountTree(join(rootDir, 'pods/u'));
  await host.unmount(bound);
  assert.equal(await host.isMountPoint(memory), false);
  await host.remove(join(rootDir, 'pods/u'));
  await host.remove(join(rootDir, 'pods/u'));
  assert.deepEqual(fs.readdirSync(join(rootDir, 'pods')), []);
  await assert.rejects(
    host.mount('/nowhere', bound, { bind: true }),
    /^Error: mount failed: exit status 32\nMounting command: mount\nMounting arguments: -o bind -- \/nowhere .*\nOutput: /,
  );
});

test('subPath: bound to what was checked, and nothing leads out of the volume', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const base = join(rootDir, 'volume');
  const target = (n: string) => join(rootDir, 'volume-subpaths/v/c', n);
  fs.mkdirSync(join(base, 'in'), { recursive: true });
  fs.chmodSync(base, 0o2777);
  fs.writeFileSync(join(base, 'in/file'), 'inside');
  fs.writeFileSync(join(rootDir, 'secret'), 'outside');
  fs.symlinkSync('in', join(base, 'good'));
  fs.symlinkSync('/etc', join(base, 'absolute'));
  fs.symlinkSync('../secret', join(base, 'relative'));
  assert.equal(await host.bindSubPath(base, 'in/file', target('0')), target('0'));
  assert.equal(fs.readFileSync(target('0'), 'utf8'), 'inside');
  assert.equal(await host.bindSubPath(base, 'in/file', target('0')), target('0'), 'bound already');
  await host.bindSubPath(base, 'good', target('1'));
  assert.deepEqual(fs.readdirSync(target('1')), ['file']);
  await host.bindSubPath(base, 'new/deep', target('2'));
  assert.equal(mode(join(base, 'new/deep')), '2777');
  fs.writeFileSync(join(target('2'), 'x'), 'x');
  assert.equal(fs.readFileSync(join(base, 'new/deep/x'), 'utf8'), 'x');
  // What a container changes afterwards does not change what was bound.
  fs.rmSync(join(base, 'good'));
  fs.symlinkSync('/etc', join(base, 'good'));
  assert.deepEqual(fs.readdirSync(target('1')), ['file']);
  for (const path of ['absolute', 'relative', 'absolute/passwd', 'good', '../secret', 'in/../../secret'])
    await assert.rejects(host.bindSubPath(base, path, target('3')), /not within volume path/, path);
  await assert.rejects(host.bindSubPath(base, 'absolute/made/by/us', target('3')), /outside of allowed base/);
  assert.equal(fs.existsSync('/etc/made'), false);
  // Another kind of file under the same number replaces the old one.
  await host.bindSubPath(base, 'in', target('0'));
  assert.deepEqual(fs.readdirSync(target('0')), ['file']);
  await host.unmountTree(join(rootDir, 'volume-subpaths'));
});

test('a directory that is swapped for a link while it is bound leads nowhere', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const base = join(rootDir, 'volume');
  fs.mkdirSync(join(base, 'real/sub'), { recursive: true });
  fs.mkdirSync(join(rootDir, 'outside/sub'), { recursive: true });
  fs.writeFileSync(join(rootDir, 'outside/sub/secret'), '');
  let swapping = true;
  const swap = (async () => {
    while (swapping) {
      const real = join(base, 'real');
      fs.renameSync(real, join(base, 'aside'));
      fs.symlinkSync(join(rootDir, 'outside'), join(base, 'link'));
      for (;;) {
        try {
          fs.renameSync(join(base, 'link'), real);
          break;
        } catch {
          // Meanwhile the host has made a directory of that name.
          fs.rmSync(real, { recursive: true, force: true });
        }
      }
      await new Promise((resolve) => setImmediate(resolve));
      fs.unlinkSync(real);
      fs.renameSync(join(base, 'aside'), real);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  let bound = 0;
  for (let i = 0; i < 60; i++) {
    const target = join(rootDir, `targets/${i}`);
    try {
      await host.bindSubPath(base, 'real/sub', target);
    } catch {
      continue;
    }
    bound++;
    assert.deepEqual(fs.readdirSync(target), []);
  }
  swapping = false;
  await swap;
  await host.unmountTree(join(rootDir, 'targets'));
  t.diagnostic(`bound ${bound} times of 60`);
});

test('usage of a directory: blocks, inodes, hard links once', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const dir = join(rootDir, 'v');
  fs.mkdirSync(join(dir, 'a/b'), { recursive: true });
  fs.writeFileSync(join(dir, 'a/f'), Buffer.alloc(100_000, 1));
  fs.linkSync(join(dir, 'a/f'), join(dir, 'a/b/g'));
  const du = Number(execFileSync('du', ['-s', '-B', '1', dir], { encoding: 'utf8' }).split('\t')[0]);
  const usage = await host.volumeUsage(dir);
  assert.deepEqual([usage.usedBytes, usage.inodesUsed], [du, 4]);
  assert.ok(usage.capacityBytes > usage.availableBytes && usage.availableBytes > 0);
});

test('what is below a directory is read without a way out of it', { skip }, async (t) => {
  const { host, rootDir } = await ownHost(t);
  const base = join(rootDir, 'base');
  fs.mkdirSync(join(base, 'in'), { recursive: true });
  fs.writeFileSync(join(base, 'in/file'), 'hello');
  fs.writeFileSync(join(base, 'empty'), '');
  fs.writeFileSync(join(rootDir, 'secret'), 'secret');
  fs.symlinkSync('in/file', join(base, 'fine'));
  fs.symlinkSync('../secret', join(base, 'out'));
  fs.symlinkSync(rootDir, join(base, 'in/up'));
  fs.symlinkSync('nowhere', join(base, 'dangling'));
  execFileSync('mkfifo', [join(base, 'pipe')]);
  const content = async (path: string): Promise<string> => {
    const found = await host.openBelow(base, path);
    if (found?.type !== 'file') throw new Error(`${path} is ${found?.type ?? 'nothing'}`);
    return text(found.content);
  };
  assert.deepEqual([await content('in/file'), await content('fine'), await content('empty')], ['hello', 'hello', '']);
  const list = await host.openBelow(base, '');
  assert.deepEqual(
    list?.type === 'directory' && list.entries.map((e) => `${e.name}${e.directory ? '/' : ''}`).toSorted(),
    ['dangling', 'empty', 'fine', 'in/', 'out', 'pipe'],
  );
  assert.deepEqual(await host.openBelow(base, 'pipe'), { type: 'other' });
  for (const path of ['none', 'dangling']) {
    assert.equal(await host.openBelow(base, path), undefined);
    assert.equal(await host.readBelow(base, path, 10), undefined);
  }
  for (const path of ['out', 'in/up', 'in/up/secret', '../secret']) {
    await assert.rejects(host.openBelow(base, path), /is outside of allowed base/, path);
    await assert.rejects(host.readBelow(base, path, 10), /is outside of allowed base/, path);
  }
});
