/** VolumeZone: volumes whose labels name a zone or a region are used there alone. */
import type { Plugin } from '../framework.ts';
import { rejection } from '../framework.ts';
import { claimNames } from './volume-binding.ts';

const name = 'VolumeZone';
const elsewhere = rejection(name, false, 'node(s) had no available volume zone');

/** Labels of volumes and nodes; those before 1.17 stand for the present ones. */
const present: Readonly<Record<string, string>> = {
  'failure-domain.beta.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region': 'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region': 'topology.kubernetes.io/region',
};

export const volumeZone: Plugin = {
  name,
  filter({ info, table, handle }) {
    const wanted: { readonly key: string; readonly values: ReadonlySet<string> }[] = [];
    for (const claim of claimNames(info.pod)) {
      const volume = handle.volumes.volume(handle.volumes.claim(info.namespace, claim)?.spec?.volumeName ?? '');
      for (const [key, value] of Object.entries(volume?.metadata.labels ?? {}))
        if (present[key] !== undefined) wanted.push({ key, values: new Set(value.split('__').map((v) => v.trim())) });
    }
    if (wanted.length === 0) return undefined;
    return {
      test(row) {
        const labels = table.nodes[row]!.metadata.labels ?? {};
        // A node that is in no zone may use volumes of any.
        if (!Object.keys(present).some((key) => labels[key] !== undefined)) return undefined;
        for (const { key, values } of wanted) {
          const at = labels[key] ?? labels[present[key]!];
          if (at === undefined || !values.has(at)) return elsewhere;
        }
        return undefined;
      },
    };
  },
  events: ['StorageClassAdd', 'NodeAdd', 'NodeLabel', 'PvcChange', 'PvChange'],
};
