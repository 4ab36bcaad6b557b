/** An image of the machine's static busybox, made by hand: a shell and some three hundred small programs in 2 MB. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import type { ImageConfig, LayerFile, OciImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';
import { ociImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';

/** Go's name of this machine's architecture. */
export const architecture: string = process.arch === 'x64' ? 'amd64' : process.arch;

const passwd =
  'root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/false\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n';
const group = 'root:x:0:\nwww:x:33:\nuser:x:1000:\nextra:x:2000:user\nnobody:x:65534:\n';

/** The root file system that the small images share. */
export function baseFiles(): LayerFile[] {
  const directories = [
    'bin',
    'dev',
    'etc',
    'home',
    'home/user',
    'lib',
    'proc',
    'root',
    'run',
    'sys',
    'usr',
    'usr/bin',
    'var',
  ];
  return [
    ...directories.map((path): LayerFile => ({
      path,
      type: 'directory',
      ...(path === 'home/user' ? { uid: 1000, gid: 1000 } : {}),
    })),
    { path: 'tmp', type: 'directory', mode: 0o1777 },
    { path: 'etc/passwd', data: passwd },
    { path: 'etc/group', data: group },
  ];
}

/** busybox with a link for each of its programs. */
export function busyboxFiles(): LayerFile[] {
  const path = ['/usr/bin/busybox', '/bin/busybox'].find((f) => existsSync(f))!;
  const programs = execFileSync(path, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return [
    { path: 'bin/busybox', mode: 0o755, data: readFileSync(path) },
    ...programs
      .filter((p) => p !== 'busybox')
      .map((p): LayerFile => ({ path: `bin/${p}`, type: 'symlink', target: 'busybox' })),
  ];
}

/** The image; `extra` files and settings make variants of it. */
export function busyboxImage(config: ImageConfig = {}, extra: readonly LayerFile[] = []): OciImage {
  return ociImage(
    [...baseFiles(), ...busyboxFiles(), ...extra],
    { Cmd: ['sh'], Env: ['PATH=/usr/bin:/bin'], ...config },
    architecture,
  );
}
