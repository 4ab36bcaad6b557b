/** Simulated programs that work on text: `cat`, `head`, `tail`, `grep`, `sed`, `sort`, …. Output is busybox's where it differs. */
import type { ByteSource } from './pipe.ts';
import type { Program } from './process.ts';
import { allOf, chunksOf, linesOf, openForReading, overFiles, unescape } from './program-io.ts';
import { options } from './program-options.ts';

export const cat: Program = (p) =>
  overFiles(p, options(p).operands, async (source) => {
    for await (const c of chunksOf(p, source)) await p.out(c);
  });

export const head: Program = (p) => {
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

export const tail: Program = async (p) => {
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

export const grep: Program = async (p) => {
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

export const sed: Program = async (p) => {
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

export const wc: Program = (p) => {
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

export const sort: Program = (p) => {
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

export const uniq: Program = (p) =>
  overFiles(p, options(p).operands, async (source) => {
    let last: string | undefined;
    for await (const line of linesOf(p, source)) {
      const text = line.toString();
      if (text !== last) await p.out(text);
      last = text;
    }
  });

export const cut: Program = (p) => {
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

export const tr: Program = async (p) => {
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

export const tee: Program = async (p) => {
  const { flags, operands } = options(p);
  const files = await Promise.all(operands.map((f) => p.fs.open(p.path(f), { append: flags.has('a') })));
  for await (const chunk of chunksOf(p, p.stdin)) {
    await p.out(chunk);
    for (const write of files) write(chunk);
  }
  return 0;
};

export const base64: Program = (p) => {
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

export const digest =
  (algorithm: 'md5' | 'sha256'): Program =>
  async (p) => {
    const { createHash } = await import('node:crypto');
    return overFiles(p, options(p).operands, async (source, name) => {
      const h = createHash(algorithm);
      for await (const c of chunksOf(p, source)) h.update(c);
      await p.out(`${h.digest('hex')}  ${name}\n`);
    });
  };

export const dd: Program = async (p) => {
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
