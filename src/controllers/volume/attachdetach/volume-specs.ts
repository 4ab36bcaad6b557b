/** What is to be attached: the PersistentVolumes behind pods' volumes and VolumeAttachments, those of in-tree kinds as their CSI drivers see them. */
import { translatedInlineVolume, translatedVolume } from '../../../api/helpers/csi-translation/csi-translation.ts';
import type {
  CSIDriver,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Volume,
  VolumeAttachment,
} from '../../../api/types/index.gen.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Informer } from '../../../client/informer.ts';
import { claimIsForPod, claimName } from '../pod-claims.ts';

export class VolumeSpecs {
  readonly #volumes: Informer<PersistentVolume>;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #drivers: Informer<CSIDriver>;
  readonly #logger: Logger;

  constructor(
    volumes: Informer<PersistentVolume>,
    claims: Informer<PersistentVolumeClaim>,
    drivers: Informer<CSIDriver>,
    logger: Logger,
  ) {
    this.#volumes = volumes;
    this.#claims = claims;
    this.#drivers = drivers;
    this.#logger = logger;
  }

  /** What an attachment attaches, as its driver sees it. */
  ofAttachment(a: VolumeAttachment): PersistentVolume | undefined {
    const { persistentVolumeName, inlineVolumeSpec } = a.spec.source;
    if (inlineVolumeSpec !== undefined) return { metadata: {}, spec: inlineVolumeSpec };
    const pv = this.#volumes.lister.get(persistentVolumeName ?? '');
    return pv === undefined ? undefined : this.#translated(() => translatedVolume(pv));
  }

  /** Undefined for a volume of an in-tree kind that makes no sense to its driver: the kubelet tells its pod. */
  #translated(translate: () => PersistentVolume | undefined): PersistentVolume | undefined {
    try {
      return translate();
    } catch (error) {
      this.#logger.warn('failed to translate in-tree volume to CSI', { error });
      return undefined;
    }
  }

  /** What a volume of a pod is; undefined while it is bound to nothing. */
  ofPodVolume(pod: Pod, v: Volume): PersistentVolume | undefined {
    const name = claimName(pod, v);
    if (name === undefined) return this.#translated(() => translatedInlineVolume(v, pod.metadata.namespace!));
    const pv = this.#boundVolume(pod, name, v.ephemeral !== undefined);
    return pv === undefined ? undefined : this.#translated(() => translatedVolume(pv));
  }

  /** Whether it has to be attached before a node can use it, as its driver says. */
  isAttachable(pv: PersistentVolume): boolean {
    const csi = pv.spec?.csi;
    return csi !== undefined && this.#drivers.lister.get(csi.driver)?.spec?.attachRequired !== false;
  }

  #boundVolume(pod: Pod, name: string, ephemeral: boolean): PersistentVolume | undefined {
    const claim = this.#claims.lister.get(name, pod.metadata.namespace);
    if (claim?.status?.phase !== 'Bound' || (claim.spec?.volumeName ?? '') === '') return undefined;
    if (ephemeral && !claimIsForPod(pod, claim)) return undefined;
    const pv = this.#volumes.lister.get(claim.spec!.volumeName!);
    return pv?.spec?.claimRef?.uid === claim.metadata.uid ? pv : undefined;
  }
}
