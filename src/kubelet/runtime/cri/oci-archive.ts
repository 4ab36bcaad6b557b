/** Container images made of files, as OCI layouts in a tar archive: what `docker load` and `ctr images import` take. */
import { createHash } from 'node:crypto';

/** One entry of a layer. */
export interface LayerFile {
  /** Relative to the root, without a leading slash. */
  readonly path: string;
  readonly type?: 'file' | 'directory' | 'symlink';
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly data?: Uint8Array | string;
  /** Of a symbolic link. */
  readonly target?: string;
}

/** The part of an image's configuration that runtimes look at. */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly StopSignal?: string;
}

export interface OciImage {
  /** Blobs by digest: configuration, layers and manifest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly manifest: { readonly mediaType: string; readonly digest: string; readonly size: number };
  /** The image's id. */
  readonly configDigest: string;
}

const block = 512;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';

function octal(n: number, width: number): string {
  return `${n.toString(8).padStart(width - 1, '0')}\0`;
}

/** Splits a path that is too long for the name's field. */
function splitName(path: string): [name: string, prefix: string] {
  if (Buffer.byteLength(path) <= 100) return [path, ''];
  for (let i = path.indexOf('/'); i !== -1; i = path.indexOf('/', i + 1)) {
    const name = path.slice(i + 1);
    if (Buffer.byteLength(name) <= 100 && i <= 155) return [name, path.slice(0, i)];
  }
  throw new Error(`path is too long for an archive: ${path}`);
}

/** A tar archive (ustar), the same bytes for the same files. */
export function tarArchive(files: readonly LayerFile[]): Buffer {
  const parts: Buffer[] = [];
  for (const f of files) {
    const type = f.type ?? 'file';
    const data = f.data === undefined ? Buffer.alloc(0) : Buffer.from(f.data as string);
    const [name, prefix] = splitName(type === 'directory' ? `${f.path.replace(/\/$/, '')}/` : f.path);
    const h = Buffer.alloc(block);
    h.write(name, 0, 100);
    h.write(octal(f.mode ?? (type === 'directory' ? 0o755 : type === 'symlink' ? 0o777 : 0o644), 8), 100);
    h.write(octal(f.uid ?? 0, 8), 108);
    h.write(octal(f.gid ?? 0, 8), 116);
    h.write(octal(type === 'file' ? data.length : 0, 12), 124);
    h.write(octal(0, 12), 136);
    h.write('        ', 148);
    h.write(type === 'file' ? '0' : type === 'directory' ? '5' : '2', 156);
    h.write(f.target ?? '', 157, 100);
    h.write('ustar\x0000', 257, 'latin1');
    h.write(prefix, 345, 155);
    let sum = 0;
    for (const b of h) sum += b;
    h.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    parts.push(h);
    if (type !== 'file') continue;
    parts.push(data);
    if (data.length % block !== 0) parts.push(Buffer.alloc(block - (data.length % block)));
  }
  parts.push(Buffer.alloc(2 * block));
  return Buffer.concat(parts);
}

function digestOf(data: Buffer): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** An image of one layer. `architecture`: as Go names them. */
export function ociImage(files: readonly LayerFile[], config: ImageConfig, architecture: string): OciImage {
  const layer = tarArchive(files);
  const layerDigest = digestOf(layer);
  const configBlob = Buffer.from(
    JSON.stringify({
      created: '1970-01-01T00:00:00Z',
      architecture,
      os: 'linux',
      config,
      rootfs: { type: 'layers', diff_ids: [layerDigest] },
      history: [{ created: '1970-01-01T00:00:00Z' }],
    }),
  );
  const configDigest = digestOf(configBlob);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: configDigest,
        size: configBlob.length,
      },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layerDigest, size: layer.length }],
    }),
  );
  const digest = digestOf(manifest);
  return {
    blobs: new Map([
      [layerDigest, layer],
      [configDigest, configBlob],
      [digest, manifest],
    ]),
    manifest: { mediaType: manifestType, digest, size: manifest.length },
    configDigest,
  };
}

/** The archive of an image under `names`. */
export function ociArchive(image: OciImage, names: readonly string[]): Buffer {
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: names.map((name) => ({
      ...image.manifest,
      annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
    })),
  };
  return tarArchive([
    { path: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' },
    { path: 'index.json', data: JSON.stringify(index) },
    ...[...image.blobs].map(([digest, data]) => ({ path: `blobs/${digest.replace(':', '/')}`, data })),
  ]);
}
