/** What each in-tree kind of volume tells about itself: its name, its successor's, and how its source reads there. */
import type { CSIPersistentVolumeSource, PersistentVolume, Volume } from '../../types/index.gen.ts';

/** An inline volume as its driver sees it. */
export interface InlineTranslation {
  /** Of the volume that stands for it: unique for what it names, as the staging path is made of it. */
  readonly name: string;
  readonly csi: CSIPersistentVolumeSource;
  readonly accessMode: string;
}

export interface InTreePlugin {
  /** `kubernetes.io/aws-ebs` */
  readonly name: string;
  /** `ebs.csi.aws.com` */
  readonly driver: string;
  /** The field of a volume's source. */
  readonly field: keyof Volume & keyof NonNullable<PersistentVolume['spec']>;
  /** A whole PersistentVolume, less `field`, with `csi`. Throws with upstream's message. */
  persistent(volume: PersistentVolume): PersistentVolume;
  inline(volume: Volume, namespace: string): InlineTranslation;
}

/** `volume` with its source replaced. */
export function withCsi(
  volume: PersistentVolume,
  field: InTreePlugin['field'],
  csi: CSIPersistentVolumeSource,
): PersistentVolume {
  const { [field]: _, ...spec } = volume.spec!;
  return { ...volume, spec: { ...spec, csi } };
}

/** Members without a value are left out. */
export function csiSource(
  driver: string,
  volumeHandle: string,
  volumeAttributes: Readonly<Record<string, string>>,
  source: { fsType?: string | undefined; readOnly?: boolean | undefined },
): CSIPersistentVolumeSource {
  return {
    driver,
    volumeHandle,
    ...(source.readOnly === true ? { readOnly: true } : {}),
    ...(source.fsType === undefined || source.fsType === '' ? {} : { fsType: source.fsType }),
    ...(Object.keys(volumeAttributes).length === 0 ? {} : { volumeAttributes: { ...volumeAttributes } }),
  };
}
