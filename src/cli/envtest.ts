/**
 * `knarr envtest`: the folder of programs that controller-runtime's envtest, and whoever starts a control plane the same way,
 * takes by `KUBEBUILDER_ASSETS`. Its `etcd` and `kube-apiserver` are this knarr.
 */
import { constants } from 'node:fs';
import { access, chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { knarrVersion } from '../cluster/version.ts';
import { UserError } from './errors.ts';
import type { CommandSpec } from './flags.ts';

const programs = ['etcd', 'kube-apiserver'] as const;

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** The first `kubectl` on PATH. */
async function findKubectl(): Promise<string | undefined> {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const file = resolve(dir, 'kubectl');
    const there = await access(file, constants.X_OK).then(
      () => true,
      // Not there, or not ours to run: the next folder may have one.
      () => false,
    );
    if (there) return file;
  }
  return undefined;
}

/** Whole or not at all: tests of several packages may ask at once. */
async function place(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  await rm(temporary, { force: true });
  await make(temporary);
  await rename(temporary, file);
}

export const envtestCommand: CommandSpec = {
  name: 'envtest',
  summary: "make the folder that controller-runtime's envtest starts its control plane from",
  description:
    "Writes a folder with the programs etcd and kube-apiserver, which are this knarr, and kubectl where PATH has one, and prints its path: the value of KUBEBUILDER_ASSETS for tests of operators with controller-runtime's envtest.",
  argument: {
    name: 'dir',
    help: 'where (default: knarr/envtest-VERSION in the cache folder of the user)',
    optional: true,
  },
  flags: [],
  examples: [
    ['KUBEBUILDER_ASSETS=$(knarr envtest) go test ./...', 'the tests of an operator'],
    ['knarr envtest bin/envtest', 'a folder of the project'],
  ],
  async run(_values, argument) {
    const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
    const dir = resolve(argument ?? join(cache, 'knarr', `envtest-${knarrVersion}`));
    try {
      await mkdir(dir, { recursive: true });
      for (const program of programs)
        await place(join(dir, program), async (file) => {
          await writeFile(
            file,
            `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(process.argv[1]!)} ${program} "$@"\n`,
          );
          await chmod(file, 0o755);
        });
      const kubectl = await findKubectl();
      if (kubectl !== undefined && kubectl !== join(dir, 'kubectl'))
        await place(join(dir, 'kubectl'), (file) => symlink(kubectl, file));
    } catch (cause) {
      throw new UserError(`cannot write ${dir}: ${(cause as Error).message}`, { cause });
    }
    process.stdout.write(`${dir}\n`);
  },
};
