/** The programs that every simulated image with a shell has: files, text, processes. Output is busybox's where it differs. */
import { Slice } from '../../../base/yield.ts';
import type { FsStat } from './file-system.ts';
import { FsError } from './file-system.ts';
import type { ByteSource } from './pipe.ts';
import { emptySource } from './pipe.ts';
import type { Process, Program } from './process.ts';
import { ExecutableNotFound, signalNumbers } from './process.ts';
import { options } from './program-options.ts';
import { networkPrograms } from './programs-network.ts';
import { sh } from './shell.ts';
import { testExpression } from './shell-expressions.ts';
import { tar } from './tar.ts';

/** Runs `each` over the files named, or stdin for none or `-`; the worst exit code. */
async function overFiles(
  p: Process,
  files: readonly string[],
  each: (source: ByteSource, name: string) => Promise<number | void>,
): Promise<number> {
  let code = 0;
  for (const f of files.length === 0 ? ['-'] : files) {
    try {
      const source = f === '-' ? p.stdin : await openForReading(p, f);
      code = Math.max(code, (await each(source, f)) ?? 0);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      await p.complain(`${error.code === 'ENOENT' ? "can't open '" + f + "'" : f}: ${error.message}`);
      code = 1;
    }
  }
  return code;
}

async function openForReading(p: Process, file: string): Promise<ByteSource> {
  const path = p.path(file);
  if (path === '/dev/null') return emptySource;
  if (path === '/dev/stdin') return p.stdin;
  if (path === '/dev/zero' || path === '/dev/urandom')
    return { read: () => Promise.resolve(path === '/dev/zero' ? Buffer.alloc(4096) : p.at.random.bytes(4096)) };
  let data: Buffer | undefined = await p.fs.readFile(path);
  return {
    read: () => {
      const d = data;
      data = undefined;
      return Promise.resolve(d?.length === 0 ? undefined : d);
    },
  };
}

async function* chunksOf(p: Process, source: ByteSource): AsyncGenerator<Buffer> {
  for (;;) {
    const chunk = await p.wait(source.read());
    if (chunk === undefined) return;
    yield chunk;
  }
}

async function* linesOf(p: Process, source: ByteSource): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunksOf(p, source)) {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const nl = data.indexOf(10);
      if (nl === -1) break;
      yield data.subarray(0, nl + 1);
      data = data.subarray(nl + 1);
    }
    rest = data;
  }
  if (rest.length > 0) yield rest;
}

async function allOf(p: Process, source: ByteSource): Promise<Buffer> {
  const out: Buffer[] = [];
  for await (const c of chunksOf(p, source)) out.push(c);
  return Buffer.concat(out);
}

/** Runs file operations and prints the first error as the C library's programs do. */
async function attempt(
  p: Process,
  what: (f: string) => string,
  files: readonly string[],
  each: (f: string) => Promise<void>,
): Promise<number> {
  let code = 0;
  for (const f of files) {
    try {
      await each(f);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      await p.complain(`${what(f)}: ${error.message}`);
      code = 1;
    }
  }
  return code;
}

const cat: Program = (p) =>
  overFiles(p, options(p).operands, async (source) => {
    for await (const c of chunksOf(p, source)) await p.out(c);
  });

function modeText(s: FsStat): string {
  let out = s.type === 'directory' ? 'd' : s.type === 'symlink' ? 'l' : '-';
  for (let i = 8; i >= 0; i--) out += (s.mode >> i) & 1 ? 'rwx'[(8 - i) % 3]! : '-';
  return out;
}

const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const days = 'Sun Mon Tue Wed Thu Fri Sat'.split(' ');
const two = (n: number) => String(n).padStart(2, '0');

const ls: Program = async (p) => {
  const { flags, operands } = options(p);
  const all = flags.has('a') || flags.has('A');
  let code = 0;
  const show = async (names: readonly string[], dir: string): Promise<void> => {
    if (!flags.has('l')) {
      if (names.length > 0) await p.out(`${names.join('\n')}\n`);
      return;
    }
    for (const n of names) {
      const path = p.path(`${dir}/${n}`);
      const s = (await p.fs.stat(path, false)) ?? (await p.fs.stat(path));
      if (s === undefined) continue;
      const t = new Date(s.mtime);
      const when = `${months[t.getUTCMonth()]} ${String(t.getUTCDate()).padStart(2)} ${two(t.getUTCHours())}:${two(t.getUTCMinutes())}`;
      const link = s.type === 'symlink' ? ` -> ${await p.fs.readlink(path)}` : '';
      const user = (id: number) => (id === 0 ? 'root' : String(id));
      await p.out(
        `${modeText(s)} ${String(s.type === 'directory' ? 2 : 1).padStart(4)} ${user(s.uid).padEnd(8)} ${user(s.gid).padEnd(8)} ${String(s.size).padStart(9)} ${when} ${n}${link}\n`,
      );
    }
  };
  const targets = operands.length === 0 ? ['.'] : operands;
  const files: string[] = [];
  const dirs: string[] = [];
  for (const t of targets) {
    const s = await p.fs.stat(p.path(t), !flags.has('d'));
    if (s === undefined) {
      await p.complain(`${t}: No such file or directory`);
      code = 1;
    } else if (s.type === 'directory' && !flags.has('d')) dirs.push(t);
    else files.push(t);
  }
  if (files.length > 0) await show(files, '');
  const walk = async (d: string, heading: boolean): Promise<void> => {
    if (heading) await p.out(`${d}:\n`);
    const names = (await p.fs.list(p.path(d))).filter((n) => all || !n.startsWith('.'));
    await show(flags.has('a') ? ['.', '..', ...names] : names, d);
    if (!flags.has('R')) return;
    for (const n of names) {
      if ((await p.fs.stat(p.path(`${d}/${n}`), false))?.type !== 'directory') continue;
      await p.out('\n');
      await walk(`${d}/${n}`, true);
    }
  };
  for (const [i, d] of dirs.entries()) {
    if (i > 0 || files.length > 0) await p.out('\n');
    await walk(d, targets.length > 1 || flags.has('R'));
  }
  return code;
};

function unescape(text: string, stop: { c: boolean }): string {
  return text.replace(
    /\\(?:([abfnrtve\\])|0?([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(c)([^]*))/g,
    (_, simple, octal, hex, c) => {
      if (c !== undefined) {
        stop.c = true;
        return '';
      }
      if (simple !== undefined)
        return { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', e: '\x1b', '\\': '\\' }[
          simple as string
        ]!;
      return String.fromCharCode(octal !== undefined ? Number.parseInt(octal, 8) & 255 : Number.parseInt(hex, 16));
    },
  );
}

const echo: Program = async (p) => {
  let args = p.args;
  let newline = true;
  let escapes = false;
  while (/^-[neE]+$/.test(args[0] ?? '')) {
    if (args[0]!.includes('n')) newline = false;
    if (args[0]!.includes('e')) escapes = true;
    args = args.slice(1);
  }
  const stop = { c: false };
  let text = args.join(' ');
  if (escapes) text = unescape(text, stop);
  await p.out(text + (newline && !stop.c ? '\n' : ''));
  return 0;
};

const printf: Program = async (p) => {
  const [format, ...rest] = p.args;
  if (format === undefined) return 1;
  const stop = { c: false };
  let i = 0;
  let out = '';
  do {
    const before = i;
    out += unescape(format, stop).replace(
      /%(%|[-+ 0#]*)(\d*)(?:\.(\d+))?([sdiuxXocbqfge]?)/g,
      (whole, flags: string, width: string, precision: string | undefined, kind: string) => {
        if (flags === '%' && kind === '' && width === '') return '%';
        if (kind === '') return whole;
        const arg = rest[i++];
        let s: string;
        if (kind === 's' || kind === 'q')
          s = (arg ?? '').slice(0, precision === undefined ? undefined : Number(precision));
        else if (kind === 'b') s = unescape(arg ?? '', stop);
        else if (kind === 'c') s = (arg ?? '')[0] ?? '';
        else if ('fge'.includes(kind)) s = Number(arg ?? 0).toFixed(precision === undefined ? 6 : Number(precision));
        else {
          const n = Math.trunc(Number(arg ?? 0)) || 0;
          s =
            kind === 'x'
              ? n.toString(16)
              : kind === 'X'
                ? n.toString(16).toUpperCase()
                : kind === 'o'
                  ? n.toString(8)
                  : String(n);
        }
        const w = Number(width || 0);
        if (flags.includes('-')) return s.padEnd(w);
        return s.padStart(w, flags.includes('0') && !'sbq'.includes(kind) ? '0' : ' ');
      },
    );
    if (i === before) break;
  } while (i < rest.length && !stop.c);
  await p.out(out);
  return 0;
};

const unitMs: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const sleep: Program = async (p) => {
  let ms = 0;
  for (const a of p.args) {
    if (a === 'infinity' || a === 'inf') {
      await p.wait(new Promise<never>(() => {}));
    }
    const m = /^(\d*\.?\d+)([smhd]?)$/.exec(a);
    if (m === null) {
      await p.complain(`invalid number '${a}'`);
      return 1;
    }
    ms += Number(m[1]) * unitMs[m[2] || 's']!;
  }
  if (p.args.length === 0) {
    await p.complain('missing operand');
    return 1;
  }
  await p.sleep(ms);
  return 0;
};

const env: Program = async (p) => {
  const extra: Record<string, string> = {};
  let i = 0;
  for (; i < p.args.length && p.args[i]!.includes('='); i++) {
    const [k, v] = p.args[i]!.split(/=(.*)/s) as [string, string];
    extra[k] = v;
  }
  const all = { ...p.env, ...extra };
  if (i < p.args.length) return runChild(p, p.args.slice(i), all);
  await p.out(
    Object.entries(all)
      .map(([k, v]) => `${k}=${v}\n`)
      .join(''),
  );
  return 0;
};

async function runChild(p: Process, argv: readonly string[], environment = p.env): Promise<number> {
  try {
    return await p.spawn({ argv, env: environment });
  } catch (error) {
    if (!(error instanceof ExecutableNotFound)) throw error;
    await p.complain(`can't execute '${argv[0]}': No such file or directory`);
    return 127;
  }
}

const printenv: Program = async (p) => {
  if (p.args.length === 0) return env(p);
  let code = 0;
  for (const a of p.args) {
    if (p.env[a] === undefined) code = 1;
    else await p.out(`${p.env[a]}\n`);
  }
  return code;
};

const mkdir: Program = (p) => {
  const { flags, operands } = options(p, 'm');
  return attempt(
    p,
    (f) => `can't create directory '${f}'`,
    operands,
    (f) => p.fs.mkdir(p.path(f), { parents: flags.has('p') }),
  );
};

const rm: Program = (p) => {
  const { flags, operands } = options(p);
  const recursive = flags.has('r') || flags.has('R');
  return attempt(
    p,
    (f) => `can't remove '${f}'`,
    operands,
    async (f) => {
      const s = await p.fs.stat(p.path(f), false);
      if (s === undefined && flags.has('f')) return;
      if (s?.type === 'directory' && !recursive) throw new FsError('EISDIR', f);
      await p.fs.remove(p.path(f), { recursive });
    },
  );
};

const rmdir: Program = (p) =>
  attempt(
    p,
    (f) => `'${f}'`,
    options(p).operands,
    (f) => p.fs.remove(p.path(f)),
  );

const touch: Program = (p) =>
  attempt(
    p,
    (f) => f,
    options(p, 'dtr').operands,
    (f) => p.fs.touch(p.path(f)),
  );

async function destination(p: Process, source: string, to: string): Promise<string> {
  const path = p.path(to);
  if ((await p.fs.stat(path))?.type !== 'directory') return path;
  return `${path}/${source.split('/').filter(Boolean).at(-1)}`;
}

async function copyTree(p: Process, from: string, to: string): Promise<void> {
  const s = await p.fs.stat(from);
  if (s === undefined) throw new FsError('ENOENT', from);
  if (s.type === 'directory') {
    await p.fs.mkdir(to, { parents: true });
    for (const n of await p.fs.list(from)) await copyTree(p, `${from}/${n}`, `${to}/${n}`);
  } else await p.fs.writeFile(to, Buffer.from(await p.fs.readFile(from)), s.mode);
}

const cp: Program = async (p) => {
  const { flags, operands } = options(p);
  const to = operands.pop();
  if (to === undefined || operands.length === 0) {
    await p.complain('missing file operand');
    return 1;
  }
  return attempt(
    p,
    (f) => `can't stat '${f}'`,
    operands,
    async (f) => {
      const s = await p.fs.stat(p.path(f));
      if (s?.type === 'directory' && !flags.has('r') && !flags.has('R') && !flags.has('a'))
        throw new FsError('EISDIR', f);
      await copyTree(p, p.path(f), await destination(p, f, to));
    },
  );
};

const mv: Program = async (p) => {
  const { operands } = options(p);
  const to = operands.pop();
  if (to === undefined) return 1;
  return attempt(
    p,
    (f) => `can't rename '${f}'`,
    operands,
    async (f) => {
      await p.fs.rename(p.path(f), await destination(p, f, to));
    },
  );
};

const ln: Program = async (p) => {
  const { flags, operands } = options(p);
  const [target, name] = operands as [string, string];
  return attempt(
    p,
    (f) => f,
    [name],
    async (f) => {
      const path = await destination(p, target, f);
      if (flags.has('f') && (await p.fs.stat(path, false)) !== undefined) await p.fs.remove(path);
      if (flags.has('s')) await p.fs.symlink(target, path);
      else await copyTree(p, p.path(target), path);
    },
  );
};

const readlink: Program = async (p) => {
  const { flags, operands } = options(p);
  return attempt(
    p,
    (f) => f,
    operands,
    async (f) => {
      if (flags.has('f')) await p.out(`${(await p.fs.locate(p.path(f))).path}\n`);
      else await p.out(`${await p.fs.readlink(p.path(f))}\n`);
    },
  );
};

const chmod: Program = (p) => {
  const { operands } = options(p);
  const mode = operands.shift() ?? '';
  return attempt(
    p,
    (f) => f,
    operands,
    async (f) => {
      const s = await p.fs.stat(p.path(f));
      if (s === undefined) throw new FsError('ENOENT', f);
      let bits = s.mode;
      if (/^[0-7]+$/.test(mode)) bits = Number.parseInt(mode, 8);
      else
        for (const m of mode.matchAll(/([ugoa]*)([-+=])([rwx]*)/g)) {
          const who = m[1] === '' || m[1]!.includes('a') ? 'ugo' : m[1]!;
          let mask = 0;
          for (const w of who) for (const c of m[3]!) mask |= { r: 4, w: 2, x: 1 }[c]! << { u: 6, g: 3, o: 0 }[w]!;
          bits = m[2] === '-' ? bits & ~mask : bits | mask;
        }
      await p.fs.chmod(p.path(f), bits);
    },
  );
};

const chown: Program = (p) => {
  const { operands } = options(p);
  const [uid, gid] = (operands.shift() ?? '').split(':').map((s) => (/^\d+$/.test(s) ? Number(s) : undefined));
  return attempt(
    p,
    (f) => f,
    operands,
    (f) => p.fs.chown(p.path(f), uid, gid),
  );
};

const stat: Program = (p) => {
  const { flags, operands } = options(p, 'cf');
  return attempt(
    p,
    (f) => `cannot stat '${f}'`,
    operands,
    async (f) => {
      const s = await p.fs.stat(p.path(f), flags.has('L'));
      if (s === undefined) throw new FsError('ENOENT', f);
      const values: Record<string, string> = {
        a: s.mode.toString(8),
        A: modeText(s),
        n: f,
        s: String(s.size),
        u: String(s.uid),
        g: String(s.gid),
        Y: String(Math.floor(s.mtime / 1000)),
        F: s.type === 'file' ? 'regular file' : s.type === 'symlink' ? 'symbolic link' : s.type,
      };
      const format = flags.get('c') ?? '  File: %n\n  Size: %s\nAccess: (%a/%A)  Uid: %u  Gid: %g';
      await p.out(`${format.replace(/%([aAnsugYF])/g, (_, c: string) => values[c]!)}\n`);
    },
  );
};

const head: Program = (p) => {
  const { flags, operands } = options(p, 'nc#');
  return overFiles(p, operands, async (source) => {
    if (flags.has('c')) {
      await p.out((await allOf(p, source)).subarray(0, Number(flags.get('c'))));
      return;
    }
    let left = Number(flags.get('n') ?? 10);
    if (left <= 0) return;
    for await (const line of linesOf(p, source)) {
      await p.out(line);
      if (--left <= 0) break;
    }
  });
};

const tail: Program = async (p) => {
  const { flags, operands } = options(p, 'nc#');
  const n = flags.get('n') ?? '10';
  const code = await overFiles(p, operands, async (source) => {
    if (flags.has('c')) {
      await p.out((await allOf(p, source)).subarray(-Number(flags.get('c'))));
      return;
    }
    const lines: Buffer[] = [];
    for await (const line of linesOf(p, source)) lines.push(line);
    await p.out(
      Buffer.concat(
        n.startsWith('+') ? lines.slice(Number(n) - 1) : lines.slice(Math.max(lines.length - Number(n), 0)),
      ),
    );
  });
  if (!flags.has('f') && !flags.has('F')) return code;
  if (operands[0] === undefined || operands[0] === '/dev/null') await p.wait(new Promise<never>(() => {}));
  const path = p.path(operands[0]!);
  let size = (await p.fs.stat(path))?.size ?? 0;
  for (;;) {
    await p.sleep(1000);
    const now = (await p.fs.stat(path))?.size ?? 0;
    if (now > size) await p.out((await p.fs.readFile(path)).subarray(size));
    size = now;
  }
};

const grep: Program = async (p) => {
  const { flags, operands } = options(p, 'emAB');
  const pattern = flags.get('e') ?? operands.shift() ?? '';
  const source = flags.has('F')
    ? pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    : flags.has('E') || flags.has('P')
      ? pattern
      : basicRegExp(pattern);
  const re = new RegExp(
    flags.has('w') ? `\\b(?:${source})\\b` : flags.has('x') ? `^(?:${source})$` : source,
    flags.has('i') ? 'i' : '',
  );
  let found = false;
  const code = await overFiles(p, operands, async (input, name) => {
    let count = 0;
    let number = 0;
    for await (const raw of linesOf(p, input)) {
      number++;
      const line = raw.toString().replace(/\n$/, '');
      const m = re.exec(line);
      if ((m !== null) === flags.has('v')) continue;
      found = true;
      count++;
      if (flags.has('q')) return;
      if (flags.has('c')) continue;
      if (flags.has('l')) {
        await p.out(`${name}\n`);
        return;
      }
      const prefix = operands.length > 1 && !flags.has('h') ? `${name}:` : '';
      await p.out(`${prefix}${flags.has('n') ? `${number}:` : ''}${flags.has('o') && m !== null ? m[0] : line}\n`);
      if (flags.has('m') && count >= Number(flags.get('m'))) return;
    }
    if (flags.has('c')) await p.out(`${count}\n`);
  });
  return code !== 0 ? 2 : found ? 0 : 1;
};

/** POSIX basic syntax: `\(`, `\|`, `\+` are the special ones. */
function basicRegExp(pattern: string): string {
  return pattern.replace(/\\([(){}|+?])|([(){}|+?])/g, (_, escaped, plain) => escaped ?? `\\${plain}`);
}

const sed: Program = async (p) => {
  const { flags, operands } = options(p, 'e');
  const script = flags.get('e') ?? operands.shift() ?? '';
  const commands = script
    .split(/\n|;(?=[^/]*$)/)
    .filter(Boolean)
    .map((c) => {
      const m = /^(\d+|\$)?\s*([sdp])(?:(.)([^]*))?$/.exec(c.trim());
      if (m === null) throw new Error(`unsupported command ${c}`);
      if (m[2] !== 's') return { at: m[1], kind: m[2]!, re: /^/, to: '' };
      const parts = m[4]!.split(new RegExp(`(?<!\\\\)\\${m[3]}`));
      const re = new RegExp(
        flags.has('E') || flags.has('r') ? parts[0]! : basicRegExp(parts[0]!),
        `${parts[2]?.includes('g') ? 'g' : ''}${parts[2]?.includes('i') ? 'i' : ''}`,
      );
      return {
        at: m[1],
        kind: 's',
        re,
        to: (parts[1] ?? '')
          .replace(/\$/g, '$$$$')
          .replace(/\\(\d)/g, '$$$1')
          .replace(/(?<!\\)&/g, '$$&')
          .replace(/\\(.)/g, '$1'),
      };
    });
  const run = async (source: ByteSource, emit: (s: string) => Promise<void> | void): Promise<void> => {
    let n = 0;
    for await (const raw of linesOf(p, source)) {
      n++;
      const nl = raw.at(-1) === 10 ? '\n' : '';
      let line: string | undefined = raw.toString().replace(/\n$/, '');
      for (const c of commands) {
        if (line === undefined || (c.at !== undefined && c.at !== String(n))) continue;
        if (c.kind === 'd') line = undefined;
        else if (c.kind === 'p') await emit(line + nl);
        else line = line.replace(c.re, c.to);
      }
      if (line !== undefined && !flags.has('n')) await emit(line + nl);
    }
  };
  return overFiles(p, operands, async (source, name) => {
    if (!flags.has('i')) return run(source, (s) => p.out(s));
    let out = '';
    await run(source, (s) => void (out += s));
    await p.fs.writeFile(p.path(name), out);
  });
};

const wc: Program = (p) => {
  const { flags, operands } = options(p);
  return overFiles(p, operands, async (source, name) => {
    const data = await allOf(p, source);
    const text = data.toString();
    const lines = text.split('\n').length - 1;
    const words = text.split(/\s+/).filter(Boolean).length;
    const all = flags.size === 0;
    const parts: number[] = [];
    if (all || flags.has('l')) parts.push(lines);
    if (all || flags.has('w')) parts.push(words);
    if (all || flags.has('c')) parts.push(data.length);
    if (flags.has('m')) parts.push(text.length);
    const shown = parts.length === 1 ? String(parts[0]) : parts.map((n) => String(n).padStart(8)).join(' ');
    await p.out(`${shown}${name === '-' ? '' : ` ${name}`}\n`);
  });
};

const sort: Program = (p) => {
  const { flags, operands } = options(p, 'kt');
  return overFiles(p, operands, async (source) => {
    let lines = (await allOf(p, source)).toString().split('\n');
    if (lines.at(-1) === '') lines.pop();
    lines.sort(
      flags.has('n') ? (a, b) => Number.parseFloat(a) - Number.parseFloat(b) : (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    );
    if (flags.has('r')) lines.reverse();
    if (flags.has('u')) lines = [...new Set(lines)];
    if (lines.length > 0) await p.out(`${lines.join('\n')}\n`);
  });
};

const uniq: Program = (p) =>
  overFiles(p, options(p).operands, async (source) => {
    let last: string | undefined;
    for await (const line of linesOf(p, source)) {
      const text = line.toString();
      if (text !== last) await p.out(text);
      last = text;
    }
  });

const cut: Program = (p) => {
  const { flags, operands } = options(p, 'dfc');
  const ranges = (flags.get('f') ?? flags.get('c') ?? '1').split(',').map((r) => {
    const [a, b] = r.split('-');
    return [Number(a || 1), r.includes('-') ? Number(b || Infinity) : Number(a)] as const;
  });
  const picks = (i: number) => ranges.some(([a, b]) => i >= a && i <= b);
  return overFiles(p, operands, async (source) => {
    const d = flags.get('d') ?? '\t';
    for await (const raw of linesOf(p, source)) {
      const line = raw.toString().replace(/\n$/, '');
      if (flags.has('c')) await p.out(`${[...line].filter((_, i) => picks(i + 1)).join('')}\n`);
      else if (!line.includes(d)) await p.out(`${line}\n`);
      else
        await p.out(
          `${line
            .split(d)
            .filter((_, i) => picks(i + 1))
            .join(d)}\n`,
        );
    }
  });
};

const tr: Program = async (p) => {
  const { flags, operands } = options(p);
  const expand = (s: string) =>
    unescape(s, { c: false })
      .replace(
        /\[:(upper|lower|digit|space):\]/g,
        (_, c: string) =>
          ({
            upper: 'ABCDEFGHIJKLMNOPQRSTUVWXYZ',
            lower: 'abcdefghijklmnopqrstuvwxyz',
            digit: '0123456789',
            space: ' \t\n\r\v\f',
          })[c]!,
      )
      .replace(/([^])-([^])/g, (_, a: string, b: string) => {
        let out = '';
        for (let c = a.charCodeAt(0); c <= b.charCodeAt(0); c++) out += String.fromCharCode(c);
        return out;
      });
  const from = expand(operands[0] ?? '');
  const to = expand(operands[1] ?? '');
  for await (const chunk of chunksOf(p, p.stdin)) {
    let out = '';
    for (const c of chunk.toString()) {
      const i = from.indexOf(c);
      if (i === -1) out += c;
      else if (!flags.has('d')) out += to[Math.min(i, to.length - 1)] ?? '';
    }
    await p.out(out);
  }
  return 0;
};

const tee: Program = async (p) => {
  const { flags, operands } = options(p);
  const files = await Promise.all(operands.map((f) => p.fs.open(p.path(f), { append: flags.has('a') })));
  for await (const chunk of chunksOf(p, p.stdin)) {
    await p.out(chunk);
    for (const write of files) write(chunk);
  }
  return 0;
};

const seq: Program = async (p) => {
  const n = options(p).operands.map(Number);
  const [first, step, last] =
    n.length === 1 ? [1, 1, n[0]!] : n.length === 2 ? [n[0]!, 1, n[1]!] : [n[0]!, n[1]!, n[2]!];
  for (let i = first; step > 0 ? i <= last : i >= last; i += step) await p.out(`${i}\n`);
  return 0;
};

const xargs: Program = async (p) => {
  const words = (await p.readAll()).toString().split(/\s+/).filter(Boolean);
  const command = p.args[0] === undefined ? ['echo'] : p.args;
  return runChild(p, [...command, ...words]);
};

const date: Program = async (p) => {
  const { flags, operands } = options(p, 'd');
  const given = flags.get('d');
  const t = new Date(
    given === undefined ? p.at.clock.now() : given.startsWith('@') ? Number(given.slice(1)) * 1000 : Date.parse(given),
  );
  const fields: Record<string, () => string> = {
    Y: () => String(t.getUTCFullYear()),
    m: () => two(t.getUTCMonth() + 1),
    d: () => two(t.getUTCDate()),
    H: () => two(t.getUTCHours()),
    M: () => two(t.getUTCMinutes()),
    S: () => two(t.getUTCSeconds()),
    s: () => String(Math.floor(t.getTime() / 1000)),
    N: () => String(t.getUTCMilliseconds() * 1_000_000).padStart(9, '0'),
    F: () => t.toISOString().slice(0, 10),
    T: () => t.toISOString().slice(11, 19),
    Z: () => 'UTC',
    z: () => '+0000',
    a: () => days[t.getUTCDay()]!,
    b: () => months[t.getUTCMonth()]!,
    e: () => String(t.getUTCDate()).padStart(2),
    n: () => '\n',
    '%': () => '%',
  };
  let format = operands.find((o) => o.startsWith('+'))?.slice(1) ?? '%a %b %e %T %Z %Y';
  if (flags.has('I')) format = '%FT%T%z';
  await p.out(`${format.replace(/%([YmdHMSsNFTZzaben%])/g, (_, c: string) => fields[c]!())}\n`);
  return 0;
};

const id: Program = async (p) => {
  const { flags } = options(p);
  const { uid, gid } = p.at;
  const name = (n: number) => (n === 0 ? `${n}(root)` : String(n));
  if (flags.has('u')) await p.out(`${flags.has('n') && uid === 0 ? 'root' : uid}\n`);
  else if (flags.has('g')) await p.out(`${gid}\n`);
  else await p.out(`uid=${name(uid)} gid=${name(gid)} groups=${name(gid)}\n`);
  return 0;
};

const ps: Program = async (p) => {
  await p.out('PID   USER     TIME  COMMAND\n');
  for (const [pid, q] of p.at.processes)
    await p.out(`${String(pid).padStart(5)} ${'root'.padEnd(8)}  0:00 ${q.argv.join(' ')}\n`);
  return 0;
};

const kill: Program = async (p) => {
  let signal = 'SIGTERM';
  let code = 0;
  const args = [...p.args];
  if (args[0] === '-l') {
    await p.out(
      `${Object.keys(signalNumbers)
        .map((s) => s.slice(3))
        .join(' ')}\n`,
    );
    return 0;
  }
  if (args[0] === '-s') {
    signal = `SIG${args[1]!.replace(/^SIG/, '')}`;
    args.splice(0, 2);
  } else if (args[0]?.startsWith('-')) {
    const s = args.shift()!.slice(1);
    signal = Object.entries(signalNumbers).find(([, n]) => String(n) === s)?.[0] ?? `SIG${s.replace(/^SIG/, '')}`;
  }
  for (const a of args) {
    const target = p.at.processes.get(Number(a));
    if (target !== undefined) {
      if (signal !== 'SIG0') target.kill(signal);
    } else {
      await p.complain(`can't kill pid ${a}: No such process`);
      code = 1;
    }
  }
  return code;
};

const test: Program = async (p) => {
  try {
    return (await testExpression(p.argv[0]!.endsWith('[') ? p.args.slice(0, -1) : p.args, p)) ? 0 : 1;
  } catch (error) {
    await p.complain((error as Error).message);
    return 2;
  }
};

const timeout: Program = async (p) => {
  const { flags, operands } = options(p, 'ks');
  const m = /^(\d*\.?\d+)([smhd]?)$/.exec(operands[0] ?? '');
  if (m === null) return 1;
  let late = false;
  const child = runChild(p, operands.slice(1));
  const timer = p.at.clock.setTimer(Number(m[1]) * unitMs[m[2] || 's']!, () => {
    late = true;
    for (const q of p.at.processes.values())
      if (q.parent === p) q.kill(`SIG${(flags.get('s') ?? 'TERM').replace(/^SIG/, '')}`);
  });
  const code = await child;
  timer.cancel();
  return late ? 143 : code;
};

const dd: Program = async (p) => {
  const o = Object.fromEntries(p.args.map((a) => a.split(/=(.*)/s) as [string, string]));
  const size = (s: string) => Number.parseInt(s, 10) * ({ k: 1024, K: 1024, M: 1 << 20, G: 1 << 30 }[s.at(-1)!] ?? 1);
  const bs = size(o['bs'] ?? '512');
  const limit = o['count'] === undefined ? Infinity : bs * Number(o['count']);
  const source = o['if'] === undefined ? p.stdin : await openForReading(p, o['if']);
  const write =
    o['of'] === undefined
      ? (d: Buffer) => p.out(d)
      : o['of'] === '/dev/null'
        ? () => {}
        : await p.fs.open(p.path(o['of']));
  let done = 0;
  while (done < limit) {
    const chunk = await p.wait(source.read());
    if (chunk === undefined) break;
    const part = chunk.subarray(0, Math.min(chunk.length, limit - done));
    await write(part);
    done += part.length;
  }
  await p.err(
    `${Math.floor(done / bs)}+${done % bs === 0 ? 0 : 1} records in\n${Math.floor(done / bs)}+${done % bs === 0 ? 0 : 1} records out\n`,
  );
  return 0;
};

const digest =
  (algorithm: 'md5' | 'sha256'): Program =>
  async (p) => {
    const { createHash } = await import('node:crypto');
    return overFiles(p, options(p).operands, async (source, name) => {
      const h = createHash(algorithm);
      for await (const c of chunksOf(p, source)) h.update(c);
      await p.out(`${h.digest('hex')}  ${name}\n`);
    });
  };

const base64: Program = (p) => {
  const { flags, operands } = options(p, 'w');
  return overFiles(p, operands, async (source) => {
    const data = await allOf(p, source);
    if (flags.has('d')) await p.out(Buffer.from(data.toString(), 'base64'));
    else
      await p.out(
        `${flags.get('w') === '0' ? data.toString('base64') : data.toString('base64').replace(/(.{76})(?=.)/g, '$1\n')}\n`,
      );
  });
};

const find: Program = async (p) => {
  const args = p.args;
  const start = args.findIndex((a) => a.startsWith('-'));
  const roots = args.slice(0, start === -1 ? args.length : start);
  const type = args[args.indexOf('-type') + 1];
  const name = args.includes('-name') ? args[args.indexOf('-name') + 1] : undefined;
  const { globToRegExp } = await import('./shell-expressions.ts');
  const re = name === undefined ? undefined : globToRegExp(name);
  const walk = async (path: string): Promise<void> => {
    const s = await p.fs.stat(p.path(path), false);
    if (s === undefined) throw new FsError('ENOENT', path);
    const base = path.split('/').at(-1)!;
    const typed = !args.includes('-type') || { f: 'file', d: 'directory', l: 'symlink' }[type ?? ''] === s.type;
    if (typed && (re === undefined || re.test(base))) await p.out(`${path}\n`);
    if (s.type === 'directory')
      for (const n of await p.fs.list(p.path(path))) await walk(path.endsWith('/') ? path + n : `${path}/${n}`);
  };
  return attempt(p, (f) => f, roots.length === 0 ? ['.'] : roots, walk);
};

const du: Program = (p) => {
  const { flags, operands } = options(p);
  return attempt(
    p,
    (f) => f,
    operands.length === 0 ? ['.'] : operands,
    async (f) => {
      const { bytes } = await p.fs.usage(p.path(f));
      const kb = Math.ceil(bytes / 1024);
      await p.out(`${flags.has('h') ? `${kb}.0K` : kb}\t${f}\n`);
    },
  );
};

const yes: Program = async (p) => {
  const slice = new Slice();
  for (;;) {
    await slice.turn();
    await p.out(`${p.args[0] ?? 'y'}\n`.repeat(100));
  }
};

/** Runs until it is told to stop, exits 0 as the pause container does. */
export const pause: Program = async (p) => {
  const { promise, resolve } = Promise.withResolvers<number>();
  p.onSignal('SIGTERM', () => resolve(0));
  p.onSignal('SIGINT', () => resolve(0));
  return p.wait(promise);
};

const say =
  (text: (p: Process) => string): Program =>
  async (p) => {
    await p.out(`${text(p)}\n`);
    return 0;
  };

/** Every built-in program by its name. */
export const builtinPrograms: ReadonlyMap<string, Program> = new Map<string, Program>([
  ['sh', sh],
  ['bash', sh],
  ['ash', sh],
  ['cat', cat],
  ['ls', ls],
  ['echo', echo],
  ['printf', printf],
  ['sleep', sleep],
  ['env', env],
  ['printenv', printenv],
  ['true', () => 0],
  ['false', () => 1],
  ['pwd', say((p) => p.cwd)],
  ['mkdir', mkdir],
  ['rm', rm],
  ['rmdir', rmdir],
  ['touch', touch],
  ['cp', cp],
  ['mv', mv],
  ['ln', ln],
  ['readlink', readlink],
  ['realpath', (p) => p.spawn({ argv: ['readlink', '-f', ...p.args] }, readlink)],
  ['chmod', chmod],
  ['chown', chown],
  ['stat', stat],
  ['head', head],
  ['tail', tail],
  ['grep', grep],
  ['sed', sed],
  ['wc', wc],
  ['sort', sort],
  ['uniq', uniq],
  ['cut', cut],
  ['tr', tr],
  ['tee', tee],
  ['seq', seq],
  ['xargs', xargs],
  ['date', date],
  ['hostname', say((p) => (p.args.includes('-i') ? p.at.ips.join(' ') : p.at.hostname))],
  ['id', id],
  ['whoami', say((p) => (p.at.uid === 0 ? 'root' : String(p.at.uid)))],
  [
    'uname',
    say((p) =>
      p.args.includes('-a')
        ? `Linux ${p.at.hostname} 6.12.0 #1 SMP x86_64 GNU/Linux`
        : p.args.includes('-n')
          ? p.at.hostname
          : p.args.includes('-m')
            ? 'x86_64'
            : p.args.includes('-r')
              ? '6.12.0'
              : 'Linux',
    ),
  ],
  [
    'basename',
    say(
      (p) =>
        (p.args[0] ?? '')
          .replace(/\/+$/, '')
          .split('/')
          .at(-1)!
          .replace(
            p.args[1] === undefined ? '' : new RegExp(`${p.args[1].replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`),
            '',
          ) || '/',
    ),
  ],
  ['dirname', say((p) => /^(.*)\/[^/]+\/*$/.exec(p.args[0] ?? '')?.[1] || (p.args[0]?.startsWith('/') ? '/' : '.'))],
  [
    'which',
    async (p) => {
      let code = 0;
      for (const a of p.args) {
        if (p.at.find(a) === undefined) code = 1;
        else await p.out(`/bin/${a}\n`);
      }
      return code;
    },
  ],
  ['ps', ps],
  ['kill', kill],
  ['test', test],
  ['[', test],
  ['timeout', timeout],
  ['dd', dd],
  ['md5sum', digest('md5')],
  ['sha256sum', digest('sha256')],
  ['base64', base64],
  ['find', find],
  ['du', du],
  ['yes', yes],
  ['sync', () => 0],
  ['clear', () => 0],
  ['tar', tar],
  ['pause', pause],
  ...networkPrograms,
]);
