/** hostPath volumes: the check of what the path must be, and the creation of what may be missing. */
import type { FileType, NodeHost } from '../host/node-host.ts';

const wanted: Readonly<Record<string, readonly [FileType, string]>> = {
  Directory: ['directory', 'directory'],
  DirectoryOrCreate: ['directory', 'directory'],
  File: ['file', 'file'],
  FileOrCreate: ['file', 'file'],
  Socket: ['socket', 'socket file'],
  CharDevice: ['charDevice', 'character device'],
  BlockDevice: ['blockDevice', 'block device'],
};

/** Rejects with upstream's text when the path is not what `type` says. */
export async function checkHostPath(host: NodeHost, path: string, type: string): Promise<void> {
  const stat = await host.stat(path);
  if (type === '') {
    // The runtime wants the source of a bind mount to exist.
    if (stat === undefined) await host.mkdir(path, 0o755);
    return;
  }
  const want = wanted[type];
  if (want === undefined) throw new Error(`${type} is an invalid volume type`);
  if (stat === undefined && type === 'DirectoryOrCreate') return host.mkdir(path, 0o755);
  if (stat === undefined && type === 'FileOrCreate') {
    // Only the file itself is made, never a directory for it.
    if ((await host.stat(path.slice(0, path.lastIndexOf('/')) || '/')) === undefined)
      throw new Error(`open ${path}: no such file or directory`);
    return host.writeFile(path, '', 0o644);
  }
  if (stat?.type !== want[0]) throw new Error(`hostPath type check failed: ${path} is not a ${want[1]}`);
}
