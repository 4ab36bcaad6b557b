/** Names of CSI volumes that the attach/detach controller, the kubelet and external attachers agree on. */
import { createHash } from 'node:crypto';

const plugin = 'kubernetes.io/csi/';
const separator = '^';

/** A volume's name in the status of nodes: `kubernetes.io/csi/<driver>^<handle>`. */
export function uniqueVolumeName(driver: string, handle: string): string {
  return `${plugin}${driver}${separator}${handle}`;
}

/** Driver and handle of such a name; undefined when it names no CSI volume. */
export function parseUniqueVolumeName(name: string): { readonly driver: string; readonly handle: string } | undefined {
  if (!name.startsWith(plugin)) return undefined;
  const parts = name.slice(plugin.length).split(separator);
  return parts.length === 2 ? { driver: parts[0]!, handle: parts[1]! } : undefined;
}

/** The VolumeAttachment's name of a volume on a node: `csi-` and a hash. */
export function attachmentName(handle: string, driver: string, node: string): string {
  return `csi-${createHash('sha256')
    .update(handle + driver + node)
    .digest('hex')}`;
}
