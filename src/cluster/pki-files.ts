/** The certificates of a data directory: read once, and written back only where something was made. */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { makeDirectory } from '../base/directories.ts';
import type { PkiFiles } from './pki.ts';

/** All files below `dir` by their name relative to it; empty when there is none. */
export async function readPki(dir: string): Promise<PkiFiles> {
  const files = new Map<string, string>();
  let entries;
  try {
    entries = await readdir(dir, { recursive: true, withFileTypes: true });
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return files;
    throw new Error(`cannot read the certificates in ${dir}: ${(e as Error).message}`, { cause: e });
  }
  await Promise.all(
    entries
      .filter((e) => e.isFile() && /\.(crt|key|pub)$/.test(e.name))
      .map(async (e) => {
        const file = join(e.parentPath, e.name);
        files.set(relative(dir, file).split(sep).join('/'), await readFile(file, 'utf8'));
      }),
  );
  return files;
}

/** Writes what differs from `before`. Keys are readable by their owner alone; a file is replaced whole or not at all. */
export async function writePki(dir: string, files: PkiFiles, before: PkiFiles): Promise<void> {
  await Promise.all(
    [...files].map(async ([name, text]) => {
      if (before.get(name) === text) return;
      const file = join(dir, name);
      makeDirectory(dirname(file), 0o700);
      const temporary = `${file}.new`;
      await writeFile(temporary, text, { mode: name.endsWith('.key') ? 0o600 : 0o644 });
      await rename(temporary, file);
    }),
  );
}
