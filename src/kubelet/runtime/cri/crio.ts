/**
 * What CRI-O tells beside CRI: its settings, by HTTP over the same socket, and how images come into its store. It has no call for
 * that: tools that know the store's form (`skopeo`, else `podman`) write into it, and CRI-O sees what they have written.
 */
import { request } from 'node:http';
import { ioTimer } from '../../../base/io-time.ts';

const maxBytes = 1024 * 1024;
const timeoutMs = 10_000;

/** Where CRI-O keeps images, and what it makes sandboxes of. */
export interface CrioSettings {
  readonly root: string;
  readonly runRoot: string;
  readonly driver: string;
  /** Default `registry.k8s.io/pause:…` of its release. */
  readonly pauseImage: string;
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const r = request({ socketPath, path, headers: { connection: 'close' } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        if (text.length < maxBytes) text += chunk;
      });
      answer.once('error', reject);
      answer.once('end', () => {
        cancel();
        if (answer.statusCode === 200) resolve(text);
        else reject(new Error(`CRI-O answers ${answer.statusCode} for ${path}`));
      });
    });
    const cancel = ioTimer(timeoutMs, () => r.destroy(new Error(`CRI-O does not answer for ${path}`)));
    r.once('error', (error) => {
      cancel();
      reject(error);
    });
    r.end();
  });
}

/** A string of the TOML in which CRI-O shows its settings, by its name: each of those that are asked for is there once. */
function setting(text: string, name: string): string {
  const found = new RegExp(`^\\s*${name} = (".*")$`, 'm').exec(text)?.[1];
  if (found === undefined) return '';
  try {
    return JSON.parse(found) as string;
  } catch {
    return '';
  }
}

/** Of the CRI-O that listens on that socket. */
export async function crioSettings(socketPath: string): Promise<CrioSettings> {
  const text = await get(socketPath, '/config');
  return {
    root: setting(text, 'root'),
    runRoot: setting(text, 'runroot'),
    driver: setting(text, 'storage_driver'),
    pauseImage: setting(text, 'pause_image'),
  };
}

/** One image of an archive. */
export interface ArchivedImage {
  readonly format: 'docker' | 'oci';
  /** As the archive has it. */
  readonly reference: string;
  /** As it is to be called. */
  readonly name: string;
}

/** The commands that put the images of an archive into CRI-O's store: skopeo's, or podman's where there is no skopeo. */
export function crioLoadCommands(
  settings: CrioSettings,
  file: string,
  images: readonly ArchivedImage[],
): { readonly skopeo: readonly (readonly string[])[]; readonly podman: readonly string[] } {
  const { root, runRoot, driver } = settings;
  const store = root === '' ? '' : `[${driver === '' ? 'overlay' : driver}@${root}+${runRoot}]`;
  return {
    skopeo: images.map((i) => [
      '--insecure-policy',
      'copy',
      '--quiet',
      `${i.format}-archive:${file}${i.reference === '' ? '' : `:${i.reference}`}`,
      `containers-storage:${store}${i.name}`,
    ]),
    podman: [
      ...(root === '' ? [] : ['--root', root, '--runroot', runRoot]),
      ...(driver === '' ? [] : ['--storage-driver', driver]),
      'load',
      '--quiet',
      '--input',
      file,
    ],
  };
}
