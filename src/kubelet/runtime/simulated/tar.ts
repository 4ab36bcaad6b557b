/** The simulated `tar`: create, extract and list ustar archives (with GNU and pax long names), for `kubectl cp`. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { FsError } from './file-system.ts';
import type { Process, Program } from './process.ts';

const block = 512;

interface Entry {
  name: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  type: string;
  link: string;
  data: Buffer;
}

function octal(n: number, width: number): string {
  return `${Math.max(0, Math.floor(n))
    .toString(8)
    .padStart(width - 1, '0')}\0`;
}

function header(e: Entry): Buffer[] {
  const out: Buffer[] = [];
  const name = Buffer.from(e.name);
  if (name.length > 100)
    out.push(
      ...header({ ...e, name: '././@LongLink', type: 'L', link: '', data: Buffer.concat([name, Buffer.alloc(1)]) }),
      ...padded(Buffer.concat([name, Buffer.alloc(1)])),
    );
  const h = Buffer.alloc(block);
  name.copy(h, 0, 0, Math.min(name.length, 100));
  h.write(octal(e.mode, 8), 100, 'latin1');
  h.write(octal(e.uid, 8), 108, 'latin1');
  h.write(octal(e.gid, 8), 116, 'latin1');
  h.write(octal(e.data.length, 12), 124, 'latin1');
  h.write(octal(e.mtime / 1000, 12), 136, 'latin1');
  h.write('        ', 148, 'latin1');
  h.write(e.type, 156, 'latin1');
  h.write(e.link, 157, 100);
  h.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const b of h) sum += b;
  h.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  out.push(h);
  return out;
}

function padded(data: Buffer): Buffer[] {
  const rest = data.length % block;
  return rest === 0 ? [data] : [data, Buffer.alloc(block - rest)];
}

function text(b: Buffer, at: number, length: number): string {
  const end = b.indexOf(0, at);
  return b.subarray(at, end === -1 || end > at + length ? at + length : end).toString();
}

function* entries(archive: Buffer): Generator<Entry> {
  let long: string | undefined;
  let pax: Record<string, string> = {};
  for (let i = 0; i + block <= archive.length;) {
    const h = archive.subarray(i, i + block);
    if (h[0] === 0) return;
    const size = Number.parseInt(text(h, 124, 12).trim() || '0', 8);
    if (!Number.isSafeInteger(size) || size < 0 || i + block + size > archive.length) throw new Error('short read');
    const data = archive.subarray(i + block, i + block + size);
    i += block + Math.ceil(size / block) * block;
    const type = String.fromCharCode(h[156] || 48);
    if (type === 'L') {
      long = text(data, 0, data.length);
      continue;
    }
    if (type === 'x' || type === 'g') {
      for (let at = 0; at < data.length;) {
        const space = data.indexOf(32, at);
        const length = Number(data.subarray(at, space).toString());
        if (!Number.isSafeInteger(length) || length <= 0) break;
        const [k, v] = data
          .subarray(space + 1, at + length - 1)
          .toString()
          .split(/=(.*)/s) as [string, string];
        if (type === 'x') pax[k] = v;
        at += length;
      }
      continue;
    }
    const prefix = text(h, 257, 5) === 'ustar' ? text(h, 345, 155) : '';
    yield {
      name: pax['path'] ?? long ?? (prefix === '' ? text(h, 0, 100) : `${prefix}/${text(h, 0, 100)}`),
      mode: Number.parseInt(text(h, 100, 8).trim() || '644', 8) & 0o7777,
      uid: 0,
      gid: 0,
      mtime: Number.parseInt(text(h, 136, 12).trim() || '0', 8) * 1000,
      type,
      link: pax['linkpath'] ?? text(h, 157, 100),
      data,
    };
    long = undefined;
    pax = {};
  }
}

async function collect(p: Process, base: string, name: string, emit: (e: Entry) => Promise<void>): Promise<void> {
  const path = p.path(name.startsWith('/') ? name : `${base}/${name}`);
  const s = await p.fs.stat(path, false);
  if (s === undefined) throw new FsError('ENOENT', name);
  const common = { mode: s.mode, uid: s.uid, gid: s.gid, mtime: s.mtime, link: '', data: Buffer.alloc(0) };
  const inside = name.replace(/^\/+/, '');
  if (s.type === 'symlink') await emit({ ...common, name: inside, type: '2', link: await p.fs.readlink(path) });
  else if (s.type === 'file') await emit({ ...common, name: inside, type: '0', data: await p.fs.readFile(path) });
  else {
    if (inside !== '') await emit({ ...common, name: `${inside.replace(/\/+$/, '')}/`, type: '5' });
    for (const n of await p.fs.list(path)) await collect(p, base, `${name.replace(/\/+$/, '')}/${n}`, emit);
  }
}

export const tar: Program = async (p) => {
  let mode = '';
  let file = '-';
  let dir = p.cwd;
  let gzip = false;
  let verbose = false;
  let strip = 0;
  const names: string[] = [];
  const args = [...p.args];
  if (args[0] !== undefined && !args[0].startsWith('-')) args[0] = `-${args[0]}`;
  for (let i = 0; i < args.length; i++) {
    const a = args[i]!;
    const stripped = /^--strip-components=(\d+)$/.exec(a);
    if (stripped !== null) strip = Number(stripped[1]);
    else if (a === '--create') mode = 'c';
    else if (a === '--extract') mode = 'x';
    else if (a.startsWith('--')) continue;
    else if (a.startsWith('-') && a.length > 1) {
      for (let j = 1; j < a.length; j++) {
        const f = a[j]!;
        if ('cxt'.includes(f)) mode = f;
        else if (f === 'z') gzip = true;
        else if (f === 'v') verbose = true;
        else if (f === 'f' || f === 'C') {
          const value = j + 1 < a.length ? a.slice(j + 1) : (args[++i] ?? '');
          if (f === 'f') file = value;
          else dir = p.path(value);
          break;
        }
      }
    } else names.push(a);
  }
  if (mode === 'c') {
    const kept: Buffer[] = [];
    const write = async (b: Buffer) => void (file === '-' && !gzip ? await p.out(b) : kept.push(b));
    let code = 0;
    for (const n of names) {
      if (n.startsWith('/')) await p.err("tar: removing leading '/' from member names\n");
      try {
        await collect(p, dir, n, async (e) => {
          for (const b of header(e)) await write(b);
          if (e.data.length > 0) for (const b of padded(e.data)) await write(b);
          if (verbose) await p.err(`${e.name}\n`);
        });
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        await p.err(`tar: ${n}: ${error.message}\n`);
        code = 1;
      }
    }
    await write(Buffer.alloc(2 * block));
    const all = gzip ? gzipSync(Buffer.concat(kept)) : Buffer.concat(kept);
    if (file !== '-') await p.fs.writeFile(p.path(file), all);
    else if (gzip) await p.out(all);
    return code;
  }
  if (mode !== 'x' && mode !== 't') {
    await p.err('tar: must specify one of -c, -x, -t\n');
    return 1;
  }
  let archive = file === '-' ? await p.readAll(256 * 1024 * 1024) : await p.fs.readFile(p.path(file));
  if (archive[0] === 0x1f && archive[1] === 0x8b) archive = gunzipSync(archive, { maxOutputLength: 256 * 1024 * 1024 });
  for (const e of entries(archive)) {
    const parts = e.name
      .split('/')
      .filter((s) => s !== '' && s !== '.' && s !== '..')
      .slice(strip);
    if (parts.length === 0) continue;
    const inner = parts.join('/');
    if (
      names.length > 0 &&
      !names.some((n) => inner === n.replace(/^\/+|\/+$/g, '') || inner.startsWith(`${n.replace(/^\/+|\/+$/g, '')}/`))
    )
      continue;
    if (verbose || mode === 't') await (mode === 't' ? p.out(`${e.name}\n`) : p.err(`${e.name}\n`));
    if (mode === 't') continue;
    const path = `${dir === '/' ? '' : dir}/${inner}`;
    try {
      if (e.type === '5') await p.fs.mkdir(path, { parents: true });
      else {
        await p.fs.mkdir(path.slice(0, path.lastIndexOf('/')) || '/', { parents: true });
        if (e.type === '2') {
          if ((await p.fs.stat(path, false)) !== undefined) await p.fs.remove(path);
          await p.fs.symlink(e.link, path);
        } else if (e.type === '0' || e.type === '7') await p.fs.writeFile(path, Buffer.from(e.data), e.mode);
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      await p.err(`tar: can't open '${inner}': ${error.message}\n`);
      return 1;
    }
  }
  return 0;
};
