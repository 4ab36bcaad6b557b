/** `gcePersistentDisk` → `pd.csi.storage.gke.io`. */
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';
import { betaZone, zoneDelimiter, zoneLabelKey, zonesForDriver } from './topology.ts';

const driver = 'pd.csi.storage.gke.io';
const topologyKey = 'topology.gke.io/zone';
const unspecified = 'UNSPECIFIED';

const zonal = (zone: string, disk: string): string => `projects/${unspecified}/zones/${zone}/disks/${disk}`;

/** The driver knows the project by itself, and the zone by its node. */
const attributes = (partition: number | undefined): Record<string, string> => ({
  partition: partition === undefined || partition === 0 ? '' : `${partition}`,
});

function regionOf(zones: readonly string[]): string {
  const failed = 'failed to get region from zones: ';
  const regions = new Set<string>();
  for (const zone of zones) {
    const parts = zone.split('-');
    if (parts.length !== 3)
      throw new Error(`${failed}zone in unexpected format, expected: {locale}-{region}-{zone}, got: ${zone}`);
    regions.add(parts.slice(0, 2).join('-'));
  }
  const [region, ...others] = regions;
  if (region === undefined || others.length > 0)
    throw new Error(
      `${failed}multiple or no regions gotten from zones, got: map[${[...regions].map((r) => `${r}:{}`).join(' ')}]`,
    );
  return region;
}

/** The in-tree kind took modes that the driver refuses, and meant ReadWriteOnce. */
function accessModes(modes: readonly string[] | undefined): string[] | undefined {
  if (modes === undefined) return undefined;
  return modes.includes('ReadOnlyMany') && !modes.includes('ReadWriteOnce') && !modes.includes('ReadWriteMany')
    ? ['ReadOnlyMany']
    : ['ReadWriteOnce'];
}

export const gcePd: InTreePlugin = {
  name: 'kubernetes.io/gce-pd',
  driver,
  field: 'gcePersistentDisk',
  persistent(volume) {
    const source = volume.spec!.gcePersistentDisk!;
    const labels = volume.metadata.labels ?? {};
    const zones = (labels[betaZone] || labels[zoneLabelKey] || '').split(zoneDelimiter);
    const handle =
      zones.length > 1
        ? `projects/${unspecified}/regions/${regionOf(zones)}/disks/${source.pdName}`
        : zonal(zones[0] === '' ? unspecified : zones[0]!, source.pdName);
    const csi = csiSource(driver, handle, attributes(source.partition), source);
    const out = withCsi(zonesForDriver(volume, topologyKey), 'gcePersistentDisk', csi);
    const modes = accessModes(volume.spec!.accessModes);
    return modes === undefined ? out : { ...out, spec: { ...out.spec, accessModes: modes } };
  },
  inline(volume) {
    const source = volume.gcePersistentDisk!;
    return {
      name: `${driver}-${source.pdName}`,
      csi: csiSource(driver, zonal(unspecified, source.pdName), attributes(source.partition), source),
      accessMode: source.readOnly === true ? 'ReadOnlyMany' : 'ReadWriteOnce',
    };
  },
};
