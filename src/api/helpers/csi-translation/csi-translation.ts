/**
 * Volumes of the kinds that were once built in (awsElasticBlockStore, gcePersistentDisk, azureDisk, azureFile, cinder,
 * vsphereVolume, portworxVolume) as the CSI drivers see them that took over (KEP-625). What is stored stays as it was written:
 * each component translates what it reads.
 */
import type { CSINode, PersistentVolume, Volume } from '../../types/index.gen.ts';
import { awsEbs } from './aws-ebs.ts';
import { azureDisk } from './azure-disk.ts';
import { azureFile } from './azure-file.ts';
import { cinder } from './cinder.ts';
import { gcePd } from './gce-pd.ts';
import type { InTreePlugin } from './plugin.ts';
import { portworx } from './portworx.ts';
import { vsphere } from './vsphere.ts';

const plugins: readonly InTreePlugin[] = [awsEbs, azureDisk, azureFile, cinder, gcePd, portworx, vsphere];

/** The CSINode annotation with the plugins whose volumes a node leaves to their drivers. */
export const migratedPluginsAnnotation = 'storage.alpha.kubernetes.io/migrated-plugins';
/** Its value on our nodes: all. */
export const migratedPlugins: string = plugins.map((p) => p.name).join(',');

/** Limits of these two were never counted by the scheduler. */
const uncounted: readonly InTreePlugin[] = [azureFile, vsphere];

/** Whether the scheduler takes a plugin's volumes on a node for its driver's. */
export function isCountedFor(csiNode: CSINode | undefined, plugin: string): boolean {
  return csiNode !== undefined && plugins.some((p) => p.name === plugin && !uncounted.includes(p));
}

/** Whether a node says that it leaves a plugin's volumes to the driver. */
export function hasMigrated(csiNode: CSINode | undefined, plugin: string): boolean {
  const names = csiNode?.metadata.annotations?.[migratedPluginsAnnotation];
  return names !== undefined && names.split(',').includes(plugin);
}

/** `kubernetes.io/aws-ebs` → `ebs.csi.aws.com`; undefined for names that are no such plugin's. */
export function driverOfPlugin(plugin: string): string | undefined {
  return plugins.find((p) => p.name === plugin)?.driver;
}

/** The plugin of a volume of a pod or of a PersistentVolume; undefined for all other kinds. */
export function inTreePluginOf(volume: PersistentVolume | Volume): string | undefined {
  return find(volume)?.name;
}

function find(volume: PersistentVolume | Volume): InTreePlugin | undefined {
  const source = 'metadata' in volume ? volume.spec : volume;
  return source === undefined ? undefined : plugins.find((p) => (source as Volume)[p.field] !== undefined);
}

/** A PersistentVolume as its driver sees it: itself unless it is of such a kind. Throws where its source makes no sense. */
export function translatedVolume(volume: PersistentVolume): PersistentVolume {
  return find(volume)?.persistent(volume) ?? volume;
}

/** Whether a PersistentVolume only stands for a volume written in a pod: the server has no object of its name. */
export function standsForInline(volume: PersistentVolume): boolean {
  return volume.metadata.uid === undefined;
}

/** The PersistentVolume that stands for a volume written in a pod of a namespace; undefined for volumes of other kinds. */
export function translatedInlineVolume(volume: Volume, namespace: string): PersistentVolume | undefined {
  const translation = find(volume)?.inline(volume, namespace);
  if (translation === undefined) return undefined;
  const { name, csi, accessMode } = translation;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: { csi, accessModes: [accessMode], volumeMode: 'Filesystem' },
  };
}
