/** An image of the Node that runs the tests, with the libraries that it wants: for servers that busybox has not. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ImageConfig, LayerFile, OciImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';
import { ociImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';
import { architecture, baseFiles, busyboxFiles } from './busybox.ts';

/** Files beside the programs, such as a server's script. About 110 MB. */
export function nodeImage(config: ImageConfig = {}, extra: readonly LayerFile[] = []): OciImage {
  const linked = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
  const libraries = new Set([...linked.matchAll(/(\/[^\s()]+)/g)].map((m) => m[1]!));
  const files: LayerFile[] = [...baseFiles(), ...busyboxFiles()];
  const directories = new Set(files.filter((f) => f.type === 'directory').map((f) => f.path));
  for (const library of libraries) {
    const path = library.slice(1);
    const parts = path.split('/').slice(0, -1);
    for (let i = 1; i <= parts.length; i++) {
      const directory = parts.slice(0, i).join('/');
      if (!directories.has(directory)) files.push({ path: directory, type: 'directory' });
      directories.add(directory);
    }
    files.push({ path, mode: 0o755, data: readFileSync(library) });
  }
  files.push({ path: 'usr/bin/node', mode: 0o755, data: readFileSync(process.execPath) });
  return ociImage([...files, ...extra], { Cmd: ['node'], Env: ['PATH=/usr/bin:/bin'], ...config }, architecture);
}
