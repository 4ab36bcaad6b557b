/**
 * Images from archives into the runtime's store (`knarr load`), and the pause image, so that pods start without a registry.
 *
 * The import is done by the tool that comes with the runtime (`ctr` in containerd's own package, `skopeo` or `podman` beside CRI-O), as
 * `kind load` does it: it is of the daemon's version, takes every format of Docker and OCI, compressed or not, leases what it writes
 * against garbage collection, and unpacks at once. CRI has no call for it, and containerd's own API for it differs between 1.6
 * (content, images, leases, diff and snapshots by hand) and 2 (transfer service).
 */
import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { ioSleep } from '../../../base/io-time.ts';
import { parseImageName } from '../../../api/helpers/image-name.ts';
import type { ArchivedImage } from './crio.ts';
import { crioLoadCommands, crioSettings } from './crio.ts';
import { ociArchive, ociImage } from './oci-archive.ts';
import type { CriRuntime } from './open.ts';
import { pauseProgram } from './pause.ts';

/** What sandboxes are made of when the runtime does not say. */
const defaultSandboxImage = 'registry.k8s.io/pause:3.10';
const maxJson = 8 * 1024 * 1024;
const block = 512;
/** The runtime learns of an import by an event of its own. */
const visibleMs: readonly number[] = [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560];

interface Outcome {
  readonly code: number;
  readonly output: string;
}

function run(command: string, args: readonly string[], input?: Readable): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
    let output = '';
    for (const s of [child.stdout!, child.stderr!])
      s.on('data', (text: Buffer) => {
        if (output.length < 1024 * 1024) output += text.toString();
      });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, output }));
    if (input === undefined) return;
    // A tool that ends early says why by its exit code.
    child.stdin!.on('error', () => input.destroy());
    input.once('error', (error) => {
      child.kill();
      reject(error);
    });
    input.pipe(child.stdin!);
  });
}

/** Runs a tool to its end. Rejects with what it says, or with what it is needed for when it is not there. */
async function tool(command: string, args: readonly string[], why: string, input?: Readable): Promise<string> {
  let outcome: Outcome;
  try {
    outcome = await run(command, args, input);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new Error(`${command} is not installed: ${why}`, { cause: error });
    throw error;
  }
  if (outcome.code === 0) return outcome.output;
  throw new Error(`${command} failed: ${outcome.output.trim().replace(/^ctr: /, '')}`);
}

/** The normalized name that the runtime keeps. */
function normalized(name: string): string {
  const parsed = parseImageName(name);
  if (parsed === undefined) return name;
  const tag = parsed.tag === '' ? '' : `:${parsed.tag}`;
  return `${parsed.repository}${tag}${parsed.digest === '' ? '' : `@${parsed.digest}`}`;
}

/** An archive's bytes, decompressed where it is compressed: not every version of the tools does that. */
async function openArchive(path: string): Promise<Readable> {
  const handle = await open(path);
  const magic = Buffer.alloc(4);
  try {
    await handle.read(magic, 0, 4, 0);
  } finally {
    await handle.close();
  }
  const source = createReadStream(path);
  const through =
    magic[0] === 0x1f && magic[1] === 0x8b
      ? createGunzip()
      : magic.readUInt32LE(0) === 0xfd2fb528
        ? createZstdDecompress()
        : undefined;
  if (through === undefined) return source;
  source.once('error', (e) => through.destroy(e));
  through.once('close', () => source.destroy());
  return source.pipe(through);
}

/** The small files at the top of a tar archive; layers are passed over. */
async function topFiles(chunks: AsyncIterable<Buffer>, wanted: ReadonlySet<string>): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  let rest: Buffer = Buffer.alloc(0);
  let skip = 0;
  for await (const chunk of chunks) {
    let data = chunk;
    if (skip > 0) {
      const n = Math.min(skip, data.length);
      skip -= n;
      data = data.subarray(n);
    }
    rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
    while (skip === 0 && rest.length >= block) {
      if (rest[0] === 0) {
        rest = rest.subarray(block);
        continue;
      }
      const end = rest.indexOf(0);
      const name = rest
        .subarray(0, Math.min(end === -1 ? 100 : end, 100))
        .toString()
        .replace(/^\.\//, '');
      const size =
        (rest[124]! & 0x80) === 0
          ? Number.parseInt(
              rest
                .subarray(124, 136)
                .toString('latin1')
                .replace(/[\0 ].*$/s, '') || '0',
              8,
            )
          : Number(rest.readBigUInt64BE(128));
      if (!Number.isSafeInteger(size)) throw new Error('not an image archive: its headers make no sense');
      const padded = Math.ceil(size / block) * block;
      if (wanted.has(name) && size <= maxJson) {
        if (rest.length < block + padded) break;
        found.set(name, rest.subarray(block, block + size));
        rest = rest.subarray(block + padded);
        continue;
      }
      const n = Math.min(rest.length - block, padded);
      skip = padded - n;
      rest = rest.subarray(block + n);
    }
  }
  return found;
}

interface Index {
  manifests?: { annotations?: Record<string, string> }[];
}

/** The images of an archive that have names. Throws when the file is none. */
async function archivedImages(path: string): Promise<readonly ArchivedImage[]> {
  const files = await topFiles(await openArchive(path), new Set(['index.json', 'manifest.json']));
  if (files.size === 0) throw new Error('not an image archive: neither manifest.json nor index.json is in it');
  const images: ArchivedImage[] = [];
  const docker = files.get('manifest.json');
  if (docker !== undefined)
    for (const image of JSON.parse(docker.toString()) as { RepoTags?: string[] | null }[])
      for (const tag of image.RepoTags ?? []) images.push({ format: 'docker', reference: tag, name: normalized(tag) });
  const index = files.get('index.json');
  if (index !== undefined) {
    const manifests = (JSON.parse(index.toString()) as Index).manifests ?? [];
    for (const m of manifests) {
      const a = m.annotations ?? {};
      const reference = a['org.opencontainers.image.ref.name'] ?? '';
      const name = a['io.containerd.image.name'] ?? reference;
      if (/[/:@]/.test(name) && images.every((i) => i.name !== normalized(name)))
        images.push({ format: 'oci', reference, name: normalized(name) });
    }
  }
  return images;
}

/** The names under which the images of an archive are saved. Throws when the file is no image archive. */
export async function archivedNames(path: string): Promise<readonly string[]> {
  return (await archivedImages(path)).map((i) => i.name);
}

async function waitVisible(runtime: CriRuntime, names: readonly string[]): Promise<void> {
  for (const name of names)
    for (const ms of visibleMs) {
      if (ms > 0) await ioSleep(ms);
      if ((await runtime.imageStatus({ image: name })) !== undefined) break;
    }
}

function socketPath(endpoint: string): string {
  return endpoint.replace(/^unix:\/\//, '');
}

async function importArchive(runtime: CriRuntime, archive: Readable): Promise<void> {
  const { runtimeName } = await runtime.version();
  const why = `it is what loads images into ${runtimeName}`;
  if (runtimeName === 'containerd') {
    const args = ['--address', socketPath(runtime.endpoint), '--namespace', 'k8s.io', 'images', 'import', '-'];
    await tool('ctr', args, why, archive);
  } else if (runtimeName === 'cri-o') await importIntoCrio(runtime, archive);
  else throw new Error(`loading images into ${runtimeName} is not supported`);
}

async function importIntoCrio(runtime: CriRuntime, archive: Readable): Promise<void> {
  const settings = await crioSettings(socketPath(runtime.endpoint));
  const folder = await mkdtemp(join(tmpdir(), 'knarr-load-'));
  try {
    const file = join(folder, 'image.tar');
    await pipeline(archive, createWriteStream(file));
    const commands = crioLoadCommands(settings, file, await archivedImages(file));
    try {
      for (const args of commands.skopeo) await tool('skopeo', args, '');
    } catch (error) {
      if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code !== 'ENOENT') throw error;
      await tool('podman', commands.podman, 'it, or skopeo, is what loads images into CRI-O');
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Imports an image archive (Docker or OCI, also compressed); resolves with the names of its images once pods can use them. */
export async function loadImageArchive(runtime: CriRuntime, path: string): Promise<readonly string[]> {
  const names = await archivedNames(path);
  await importArchive(runtime, await openArchive(path));
  await waitVisible(runtime, names);
  return names;
}

/** containerd's settings as its own command shows them: of the daemon that listens on that socket. */
async function containerdSandboxImage(endpoint: string): Promise<string | undefined> {
  const socket = socketPath(endpoint);
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue;
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (basename(argv[0] ?? '') !== 'containerd') continue;
    const at = argv.findIndex((a) => /^--?c(onfig)?(=|$)/.test(a));
    const config = at === -1 ? undefined : argv[at]!.includes('=') ? argv[at]!.split('=')[1] : argv[at + 1];
    const dump = await run(argv[0]!, [...(config === undefined ? [] : ['--config', config]), 'config', 'dump']).catch(
      () => undefined,
    );
    if (dump?.code !== 0 || !dump.output.includes(socket)) continue;
    const found = /^\s*(?:sandbox_image|sandbox)\s*=\s*["']([^"']+)["']/m.exec(dump.output);
    if (found !== null) return found[1];
  }
  return undefined;
}

/** The image that the runtime makes sandboxes of. */
export async function sandboxImageName(runtime: CriRuntime): Promise<string> {
  if ((await runtime.version()).runtimeName === 'cri-o') {
    const { pauseImage } = await crioSettings(socketPath(runtime.endpoint));
    if (pauseImage !== '') return pauseImage;
  }
  return (await runtime.sandboxImage()) ?? (await containerdSandboxImage(runtime.endpoint)) ?? defaultSandboxImage;
}

/** Go's name of an architecture. */
function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

/** The pause image's archive under a name; undefined for an architecture that it was not written for. */
export function pauseArchive(name: string, arch: string = architecture()): Buffer | undefined {
  const program = pauseProgram(arch);
  if (program === undefined) return undefined;
  const image = ociImage(
    [{ path: 'pause', mode: 0o755, data: program }],
    { Entrypoint: ['/pause'], User: '65535:65535' },
    arch,
  );
  return ociArchive(image, [name]);
}

/** Puts our pause image where the runtime looks for its own, unless there is one. Resolves with its name. */
export async function ensureSandboxImage(runtime: CriRuntime): Promise<string> {
  const name = normalized(await sandboxImageName(runtime));
  if ((await runtime.imageStatus({ image: name })) !== undefined) return name;
  const archive = pauseArchive(name);
  if (archive === undefined) return name;
  await importArchive(runtime, Readable.from([archive]));
  await waitVisible(runtime, [name]);
  return name;
}
