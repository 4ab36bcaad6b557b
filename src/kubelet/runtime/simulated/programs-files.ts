/** Simulated programs that work on files: `ls`, `cp`, `mv`, `rm`, `chmod`, `find`, …. */
import type { FsStat } from './file-system.ts';
import { FsError } from './file-system.ts';
import type { Process, Program } from './process.ts';
import { attempt, months, two } from './program-io.ts';
import { options } from './program-options.ts';

function modeText(s: FsStat): string {
  let out = s.type === 'directory' ? 'd' : s.type === 'symlink' ? 'l' : '-';
  for (let i = 8; i >= 0; i--) out += (s.mode >> i) & 1 ? 'rwx'[(8 - i) % 3]! : '-';
  return out;
}

export const ls: Program = async (p) => {
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

export const mkdir: Program = (p) => {
  const { flags, operands } = options(p, 'm');
  return attempt(
    p,
    (f) => `can't create directory '${f}'`,
    operands,
    (f) => p.fs.mkdir(p.path(f), { parents: flags.has('p') }),
  );
};

export const rm: Program = (p) => {
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

export const rmdir: Program = (p) =>
  attempt(
    p,
    (f) => `'${f}'`,
    options(p).operands,
    (f) => p.fs.remove(p.path(f)),
  );

export const touch: Program = (p) =>
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

export const cp: Program = async (p) => {
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

export const mv: Program = async (p) => {
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

export const ln: Program = async (p) => {
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

export const readlink: Program = async (p) => {
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

export const chmod: Program = (p) => {
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

export const chown: Program = (p) => {
  const { operands } = options(p);
  const [uid, gid] = (operands.shift() ?? '').split(':').map((s) => (/^\d+$/.test(s) ? Number(s) : undefined));
  return attempt(
    p,
    (f) => f,
    operands,
    (f) => p.fs.chown(p.path(f), uid, gid),
  );
};

export const stat: Program = (p) => {
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

export const find: Program = async (p) => {
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

export const du: Program = (p) => {
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
