/** `awsElasticBlockStore` → `ebs.csi.aws.com`. */
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';
import { zonesForDriver } from './topology.ts';

const driver = 'ebs.csi.aws.com';
const topologyKey = 'topology.ebs.csi.aws.com/zone';

/** `aws://<zone>/vol-1`, `aws:///vol-1` and `vol-1` name the same. */
function ebsVolumeId(id: string): string {
  if (!id.startsWith('aws://')) return id;
  const path = /^aws:\/\/[^/]*(\/[^?#]*)?/.exec(id)?.[1] ?? '';
  const name = path.replace(/^\/+|\/+$/g, '');
  if (!/^vol-[^/]*$/.test(name))
    throw new Error(`failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (${id})`);
  return name;
}

export const awsEbs: InTreePlugin = {
  name: 'kubernetes.io/aws-ebs',
  driver,
  field: 'awsElasticBlockStore',
  persistent(volume) {
    const source = volume.spec!.awsElasticBlockStore!;
    const csi = csiSource(driver, ebsVolumeId(source.volumeID), { partition: `${source.partition ?? 0}` }, source);
    return withCsi(zonesForDriver(volume, topologyKey), 'awsElasticBlockStore', csi);
  },
  inline(volume) {
    const source = volume.awsElasticBlockStore!;
    const handle = ebsVolumeId(source.volumeID);
    return {
      name: `${driver}-${handle}`,
      csi: csiSource(driver, handle, { partition: `${source.partition ?? 0}` }, source),
      accessMode: 'ReadWriteOnce',
    };
  },
};
