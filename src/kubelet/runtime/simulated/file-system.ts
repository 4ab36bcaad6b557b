/**
 * The in-memory file system of simulated nodes and containers: a tree of directories, files and symbolic links, layered
 * over a shared read-only base (a container over its image), and a view of it with mounts from other trees.
 */

export type FsErrorCode =
  | 'ENOENT'
  | 'EEXIST'
  | 'ENOTDIR'
  | 'EISDIR'
  | 'ENOTEMPTY'
  | 'EROFS'
  | 'ELOOP'
  | 'EINVAL'
  | 'ENOSPC'
  | 'EBUSY'
  | 'EACCES';

const errorText: Record<FsErrorCode, string> = {
  ENOENT: 'No such file or directory',
  EEXIST: 'File exists',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  ENOTEMPTY: 'Directory not empty',
  EROFS: 'Read-only file system',
  ELOOP: 'Too many levels of symbolic links',
  EINVAL: 'Invalid argument',
  ENOSPC: 'No space left on device',
  EBUSY: 'Device or resource busy',
  EACCES: 'Permission denied',
};

/** An error with the C library's text for its code, as programs print it. */
export class FsError extends Error {
  readonly code: FsErrorCode;
  readonly path: string;

  constructor(code: FsErrorCode, path: string) {
    super(errorText[code]);
    this.name = 'FsError';
    this.code = code;
    this.path = path;
  }
}

interface NodeBase {
  mode: number;
  uid: number;
  gid: number;
  /** Milliseconds since the epoch. */
  mtime: number;
}

export interface FileNode extends NodeBase {
  readonly type: 'file';
  /** Holds `size` bytes; may have room behind them. */
  data: Buffer;
  size: number;
}

export interface LinkNode extends NodeBase {
  readonly type: 'symlink';
  target: string;
}

export interface DirNode extends NodeBase {
  readonly type: 'directory';
  /** Own entries; null hides an entry of the base. Left out while there are none. */
  children: Map<string, FsNode | null> | undefined;
  /** A lower layer, never written. */
  readonly base: DirNode | undefined;
}

export type FsNode = FileNode | LinkNode | DirNode;

const empty = Buffer.alloc(0);

export function newDir(mtime: number, mode = 0o755, base?: DirNode): DirNode {
  return { type: 'directory', mode, uid: 0, gid: 0, mtime, children: undefined, base };
}

export function newFile(mtime: number, data: Uint8Array | string = '', mode = 0o644): FileNode {
  const b =
    typeof data === 'string'
      ? data === ''
        ? empty
        : Buffer.from(data)
      : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { type: 'file', mode, uid: 0, gid: 0, mtime, data: b, size: b.length };
}

export function newLink(mtime: number, target: string): LinkNode {
  return { type: 'symlink', mode: 0o777, uid: 0, gid: 0, mtime, target };
}

function child(dir: DirNode, name: string): FsNode | undefined {
  const own = dir.children?.get(name);
  if (own !== undefined) return own ?? undefined;
  if (dir.base === undefined) return undefined;
  const lower = child(dir.base, name);
  if (lower?.type !== 'directory') return lower;
  const upper = newDir(lower.mtime, lower.mode, lower);
  upper.uid = lower.uid;
  upper.gid = lower.gid;
  setChild(dir, name, upper);
  return upper;
}

function setChild(dir: DirNode, name: string, node: FsNode): void {
  dir.children ??= new Map();
  dir.children.set(name, node);
}

function removeChild(dir: DirNode, name: string): void {
  if (dir.base !== undefined && child(dir.base, name) !== undefined) {
    dir.children ??= new Map();
    dir.children.set(name, null);
  } else {
    dir.children?.delete(name);
    if (dir.children?.size === 0) dir.children = undefined;
  }
}

function names(dir: DirNode): string[] {
  const out = new Set<string>(dir.base === undefined ? [] : names(dir.base));
  if (dir.children !== undefined) {
    for (const [name, node] of dir.children) {
      if (node === null) out.delete(name);
      else out.add(name);
    }
  }
  return [...out].sort();
}

/** Joins and normalizes; the result is absolute when `cwd` is. */
export function resolvePath(cwd: string, path: string): string {
  const parts = (path.startsWith('/') ? path : `${cwd}/${path}`).split('/');
  const out: string[] = [];
  for (const p of parts) {
    if (p === '' || p === '.') continue;
    if (p === '..') out.pop();
    else out.push(p);
  }
  return `/${out.join('/')}`;
}

/** `path` with the links of its existing part followed: where a runtime puts a mount in an image. */
export function realPath(root: DirNode, path: string): string {
  let todo = path.split('/').filter((p) => p !== '' && p !== '.');
  let out: string[] = [];
  let links = 0;
  const at = (): FsNode | undefined => {
    let node: FsNode | undefined = root;
    for (const p of out) node = node?.type === 'directory' ? child(node, p) : undefined;
    return node;
  };
  while (todo.length > 0) {
    const [name, ...rest] = todo as [string, ...string[]];
    todo = rest;
    if (name === '..') {
      out.pop();
      continue;
    }
    const dir = at();
    const node = dir?.type === 'directory' ? child(dir, name) : undefined;
    if (node?.type === 'symlink' && ++links <= 40) {
      if (node.target.startsWith('/')) out = [];
      todo = [...node.target.split('/').filter((p) => p !== '' && p !== '.'), ...todo];
    } else out.push(name);
  }
  return `/${out.join('/')}`;
}

/** Where a path leads: its directory, its name there, and what stands there (nothing: undefined). */
export interface Place {
  readonly parent: DirNode;
  readonly name: string;
  readonly node: FsNode | undefined;
  readonly readOnly: boolean;
  /** Free of links. */
  readonly path: string;
  readonly mountPoint: boolean;
}

export interface FsMount {
  readonly view: FileView;
  readonly path: string;
  readonly readOnly: boolean;
}

export interface FsStat {
  readonly type: FsNode['type'];
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
}

/** The bytes that one tree may hold. */
export interface FsQuota {
  used: number;
  readonly limit: number;
}

/**
 * A tree as one node or container sees it. Methods throw `FsError`. `before` is called with each path that is
 * looked for, so that content can be made on first sight.
 */
export class FileView {
  readonly root: DirNode;
  readonly quota: FsQuota;
  readonly #now: () => number;
  readonly #mounts: ReadonlyMap<string, FsMount> | undefined;
  readonly #readOnlyRoot: boolean;
  before: ((path: string) => Promise<void> | undefined) | undefined;

  constructor(
    root: DirNode,
    now: () => number,
    options: { mounts?: ReadonlyMap<string, FsMount>; quota?: FsQuota; readOnly?: boolean } = {},
  ) {
    this.root = root;
    this.#now = now;
    this.#mounts = options.mounts;
    this.quota = options.quota ?? { used: 0, limit: 256 * 1024 * 1024 };
    this.#readOnlyRoot = options.readOnly ?? false;
  }

  /** Follows `path` (absolute). Throws when a directory on the way is missing or is none. */
  async locate(path: string, followLast = true): Promise<Place> {
    const made = this.before?.(path);
    if (made !== undefined) await made;
    let links = 0;
    let todo = path.split('/').filter((p) => p !== '' && p !== '.');
    let stack: Place[] = [
      { parent: this.root, name: '', node: this.root, readOnly: this.#readOnlyRoot, path: '/', mountPoint: false },
    ];
    while (todo.length > 0) {
      const name = todo[0]!;
      todo = todo.slice(1);
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      const at = stack.at(-1)!;
      if (at.node === undefined) throw new FsError('ENOENT', path);
      if (at.node.type !== 'directory') throw new FsError('ENOTDIR', path);
      const here: string = at.path === '/' ? `/${name}` : `${at.path}/${name}`;
      let next: Place;
      const mount = this.#mounts?.get(here);
      if (mount !== undefined) {
        const source = await mount.view.locate(mount.path);
        next = { ...source, path: here, readOnly: mount.readOnly || source.readOnly, mountPoint: true };
      } else if (this.#mounts !== undefined && child(at.node, name) === undefined && this.#hasMountBelow(here)) {
        const dir = newDir(this.#now());
        setChild(at.node, name, dir);
        next = { parent: at.node, name, node: dir, readOnly: at.readOnly, path: here, mountPoint: false };
      } else {
        next = {
          parent: at.node,
          name,
          node: child(at.node, name),
          readOnly: at.readOnly,
          path: here,
          mountPoint: false,
        };
      }
      if (next.node?.type === 'symlink' && (todo.length > 0 || followLast)) {
        if (++links > 40) throw new FsError('ELOOP', path);
        const target = next.node.target;
        if (target.startsWith('/')) stack = stack.slice(0, 1);
        todo = [...target.split('/').filter((p) => p !== '' && p !== '.'), ...todo];
        continue;
      }
      stack.push(next);
    }
    return stack.at(-1)!;
  }

  #hasMountBelow(path: string): boolean {
    for (const p of this.#mounts!.keys()) if (p.startsWith(`${path}/`)) return true;
    return false;
  }

  async #existing(path: string, follow = true): Promise<Place & { node: FsNode }> {
    const place = await this.locate(path, follow);
    if (place.node === undefined) throw new FsError('ENOENT', path);
    return place as Place & { node: FsNode };
  }

  async stat(path: string, follow = true): Promise<FsStat | undefined> {
    let node: FsNode | undefined;
    try {
      ({ node } = await this.locate(path, follow));
    } catch (error) {
      if (error instanceof FsError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
      throw error;
    }
    if (node === undefined) return undefined;
    const size = node.type === 'file' ? node.size : node.type === 'symlink' ? node.target.length : 4096;
    return { type: node.type, mode: node.mode, uid: node.uid, gid: node.gid, size, mtime: node.mtime };
  }

  async list(path: string): Promise<string[]> {
    const { node, path: real } = await this.#existing(path);
    if (node.type !== 'directory') throw new FsError('ENOTDIR', path);
    const out = names(node);
    if (this.#mounts !== undefined) {
      const prefix = real === '/' ? '/' : `${real}/`;
      for (const p of this.#mounts.keys()) {
        if (!p.startsWith(prefix)) continue;
        const name = p.slice(prefix.length).split('/')[0]!;
        if (!out.includes(name)) out.push(name);
      }
      out.sort();
    }
    return out;
  }

  async readFile(path: string): Promise<Buffer> {
    const { node } = await this.#existing(path);
    if (node.type === 'directory') throw new FsError('EISDIR', path);
    if (node.type !== 'file') throw new FsError('EINVAL', path);
    return node.data.subarray(0, node.size);
  }

  async readlink(path: string): Promise<string> {
    const { node } = await this.#existing(path, false);
    if (node.type !== 'symlink') throw new FsError('EINVAL', path);
    return node.target;
  }

  #charge(bytes: number, path: string): void {
    if (bytes > 0 && this.quota.used + bytes > this.quota.limit) throw new FsError('ENOSPC', path);
    this.quota.used += bytes;
  }

  /** Opens a file for writing, creating it; the returned function appends. */
  async open(path: string, options: { append?: boolean; mode?: number } = {}): Promise<(data: Uint8Array) => void> {
    const place = await this.locate(path);
    if (place.node?.type === 'directory') throw new FsError('EISDIR', path);
    if (place.readOnly) throw new FsError('EROFS', path);
    const old = place.node as FileNode | undefined;
    let file: FileNode;
    if (old !== undefined && place.parent.children?.get(place.name) === old) {
      file = old;
      if (!options.append) {
        this.#charge(-file.size, path);
        file.data = empty;
        file.size = 0;
      }
    } else {
      const data = old !== undefined && options.append ? old.data.subarray(0, old.size) : '';
      file = newFile(this.#now(), data, options.mode ?? old?.mode);
      this.#charge(file.size, path);
      setChild(place.parent, place.name, file);
      place.parent.mtime = this.#now();
    }
    file.mtime = this.#now();
    return (data) => {
      this.#charge(data.length, path);
      if (file.size + data.length > file.data.length || file.data === empty) {
        const grown = Buffer.alloc(Math.max(file.size + data.length, file.size * 2, 64));
        file.data.copy(grown, 0, 0, file.size);
        file.data = grown;
      }
      file.data.set(data, file.size);
      file.size += data.length;
      file.mtime = this.#now();
    };
  }

  async writeFile(path: string, data: Uint8Array | string, mode?: number): Promise<void> {
    const place = await this.locate(path);
    if (place.node?.type === 'directory') throw new FsError('EISDIR', path);
    if (place.readOnly) throw new FsError('EROFS', path);
    const old = place.node as FileNode | undefined;
    const fresh = newFile(this.#now(), data, mode ?? old?.mode);
    this.#charge(fresh.size - (old?.size ?? 0), path);
    if (old !== undefined && place.parent.children?.get(place.name) === old) {
      old.data = fresh.data;
      old.size = fresh.size;
      old.mtime = fresh.mtime;
      if (mode !== undefined) old.mode = mode;
    } else setChild(place.parent, place.name, fresh);
  }

  async mkdir(path: string, options: { parents?: boolean; mode?: number } = {}): Promise<void> {
    if (options.parents) {
      let at = '';
      for (const part of path.split('/')) {
        if (part === '') continue;
        at += `/${part}`;
        const found = await this.locate(at);
        if (found.node === undefined) await this.mkdir(at, { mode: options.mode });
        else if (found.node.type !== 'directory') throw new FsError('ENOTDIR', path);
      }
      return;
    }
    const place = await this.locate(path);
    if (place.node !== undefined) throw new FsError('EEXIST', path);
    if (place.readOnly) throw new FsError('EROFS', path);
    setChild(place.parent, place.name, newDir(this.#now(), options.mode));
    place.parent.mtime = this.#now();
  }

  async symlink(target: string, path: string): Promise<void> {
    const place = await this.locate(path, false);
    if (place.node !== undefined) throw new FsError('EEXIST', path);
    if (place.readOnly) throw new FsError('EROFS', path);
    setChild(place.parent, place.name, newLink(this.#now(), target));
  }

  async chmod(path: string, mode: number): Promise<void> {
    const place = await this.#existing(path);
    if (place.readOnly) throw new FsError('EROFS', path);
    this.#own(place).mode = mode & 0o7777;
  }

  async chown(path: string, uid: number | undefined, gid: number | undefined): Promise<void> {
    const place = await this.#existing(path);
    const node = this.#own(place);
    if (uid !== undefined) node.uid = uid;
    if (gid !== undefined) node.gid = gid;
  }

  /** The node itself, copied up when it belongs to the base. */
  #own(place: Place & { node: FsNode }): FsNode {
    if (place.node.type === 'directory' || place.parent.children?.get(place.name) === place.node) return place.node;
    const copy = { ...place.node };
    setChild(place.parent, place.name, copy);
    return copy;
  }

  async touch(path: string): Promise<void> {
    const place = await this.locate(path);
    if (place.readOnly) throw new FsError('EROFS', path);
    if (place.node === undefined) setChild(place.parent, place.name, newFile(this.#now()));
    else this.#own(place as Place & { node: FsNode }).mtime = this.#now();
  }

  async remove(path: string, options: { recursive?: boolean } = {}): Promise<void> {
    const place = await this.#existing(path, false);
    if (place.readOnly) throw new FsError('EROFS', path);
    if (place.mountPoint || place.path === '/') throw new FsError('EBUSY', path);
    if (place.node.type === 'directory' && !options.recursive && names(place.node).length > 0)
      throw new FsError('ENOTEMPTY', path);
    this.#charge(-sizeOf(place.node), path);
    removeChild(place.parent, place.name);
  }

  async rename(from: string, to: string): Promise<void> {
    const source = await this.#existing(from, false);
    const target = await this.locate(to, false);
    if (source.readOnly || target.readOnly) throw new FsError('EROFS', to);
    if (source.mountPoint || target.mountPoint) throw new FsError('EBUSY', to);
    if (target.node?.type === 'directory' && source.node.type !== 'directory') throw new FsError('EISDIR', to);
    if (target.node !== undefined && target.node !== source.node) this.#charge(-sizeOf(target.node), to);
    removeChild(source.parent, source.name);
    setChild(target.parent, target.name, source.node);
  }

  /** Bytes and nodes below a path. */
  async usage(path: string): Promise<{ bytes: number; inodes: number }> {
    const { node } = await this.#existing(path);
    return { bytes: sizeOf(node), inodes: countOf(node) };
  }
}

function sizeOf(node: FsNode): number {
  if (node.type === 'file') return node.size;
  if (node.type === 'symlink' || node.children === undefined) return 0;
  let sum = 0;
  for (const c of node.children.values()) if (c !== null) sum += sizeOf(c);
  return sum;
}

function countOf(node: FsNode): number {
  let n = 1;
  if (node.type === 'directory' && node.children !== undefined)
    for (const c of node.children.values()) if (c !== null) n += countOf(c);
  return n;
}

/** What an image's or a test's files are given as: path → content, or `{ link }`, or a path ending in `/` for a directory. */
export type FileSpec = Readonly<
  Record<
    string,
    string | Uint8Array | { readonly link: string } | { readonly data: string | Uint8Array; readonly mode: number }
  >
>;

/** Builds a tree from a flat description. */
export function treeOf(files: FileSpec, now: number, base?: DirNode): DirNode {
  const root = newDir(now, 0o755, base);
  const dirFor = (parts: readonly string[]): DirNode => {
    let at = root;
    for (const p of parts) {
      let next = child(at, p);
      if (next?.type !== 'directory') {
        next = newDir(now);
        setChild(at, p, next);
      }
      at = next;
    }
    return at;
  };
  for (const [path, content] of Object.entries(files)) {
    const parts = path.split('/').filter((p) => p !== '');
    if (path.endsWith('/')) {
      dirFor(parts);
      continue;
    }
    const name = parts.pop();
    if (name === undefined) continue;
    const dir = dirFor(parts);
    if (typeof content === 'string' || content instanceof Uint8Array) setChild(dir, name, newFile(now, content));
    else if ('link' in content) setChild(dir, name, newLink(now, content.link));
    else setChild(dir, name, newFile(now, content.data, content.mode));
  }
  return root;
}
