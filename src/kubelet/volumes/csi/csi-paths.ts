/** Names and paths of CSI volumes, as upstream makes them, and the notes beside them by which they are found again. */
import { createHash } from 'node:crypto';
import type { NodeHost } from '../../host/node-host.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The handle of an inline volume. */
export function inlineHandle(podUid: string, volume: string): string {
  return `csi-${sha256(podUid + volume)}`;
}

/** Where a volume is staged for the node. */
export function stagingPath(rootDir: string, driver: string, handle: string): string {
  return `${rootDir}/plugins/kubernetes.io/csi/${driver}/${sha256(handle)}/globalmount`;
}

/** Directory of block volumes. */
export function blockDir(rootDir: string): string {
  return `${rootDir}/plugins/kubernetes.io/csi/volumeDevices`;
}

/** What stands in `vol_data.json`. */
export interface VolumeData {
  readonly driverName: string;
  readonly volumeHandle: string;
  readonly specVolID?: string;
  readonly nodeName?: string;
  readonly attachmentID?: string;
  readonly volumeLifecycleMode?: 'Persistent' | 'Ephemeral';
}

const file = 'vol_data.json';

export async function saveVolumeData(host: NodeHost, directory: string, data: VolumeData): Promise<void> {
  await host.replaceFile(`${directory}/${file}`, `${JSON.stringify(data)}\n`);
}

/** Undefined when there is none, or none that can be read. */
export async function loadVolumeData(host: NodeHost, directory: string): Promise<VolumeData | undefined> {
  const text = await host.readFile(`${directory}/${file}`, { maxBytes: 64 * 1024 });
  if (text === undefined) return undefined;
  try {
    const data = JSON.parse(text.toString()) as Partial<VolumeData>;
    if (typeof data.driverName !== 'string' || typeof data.volumeHandle !== 'string') return undefined;
    return data as VolumeData;
  } catch {
    return undefined;
  }
}
