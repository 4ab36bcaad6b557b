/** What the simulated programs share: reading files and stdin, splitting lines, reporting errors, running others. */
import { FsError } from './file-system.ts';
import type { ByteSource } from './pipe.ts';
import { emptySource } from './pipe.ts';
import type { Process } from './process.ts';
import { ExecutableNotFound } from './process.ts';

/** Runs `each` over the files named, or stdin for none or `-`; the worst exit code. */
export async function overFiles(
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

export async function openForReading(p: Process, file: string): Promise<ByteSource> {
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

export async function* chunksOf(p: Process, source: ByteSource): AsyncGenerator<Buffer> {
  for (;;) {
    const chunk = await p.wait(source.read());
    if (chunk === undefined) return;
    yield chunk;
  }
}

export async function* linesOf(p: Process, source: ByteSource): AsyncGenerator<Buffer> {
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

export async function allOf(p: Process, source: ByteSource): Promise<Buffer> {
  const out: Buffer[] = [];
  for await (const c of chunksOf(p, source)) out.push(c);
  return Buffer.concat(out);
}

/** Runs file operations and prints the first error as the C library's programs do. */
export async function attempt(
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

export async function runChild(p: Process, argv: readonly string[], environment = p.env): Promise<number> {
  try {
    return await p.spawn({ argv, env: environment });
  } catch (error) {
    if (!(error instanceof ExecutableNotFound)) throw error;
    await p.complain(`can't execute '${argv[0]}': No such file or directory`);
    return 127;
  }
}

export const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

export const days = 'Sun Mon Tue Wed Thu Fri Sat'.split(' ');

export const two = (n: number) => String(n).padStart(2, '0');

export function unescape(text: string, stop: { c: boolean }): string {
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

export const unitMs: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
