/**
 * The PersistentVolume binder: brings claims and volumes together, both ways and for good, and says of volumes whether they are
 * Available, Bound, Released or Failed. Volumes are made by administrators or provisioners; it makes none itself. It watches
 * claims, volumes, storage classes and, for bindings that wait for a consumer, nodes and pods.
 */
import { defaultStorageClass } from '../../api/helpers/default-class.ts';
import { driverOfPlugin } from '../../api/helpers/csi-translation/csi-translation.ts';
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { claimClass } from '../../api/helpers/persistent-volume-claims.ts';
import { isPodTerminal } from '../../api/helpers/pod-status.ts';
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  PersistentVolumeClaimStatus,
  Pod,
  StorageClass,
} from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import type { EventRecorder, EventType } from '../../client/event-recorder.ts';
import { objectReference } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { LastWritten } from '../util/last-written.ts';
import {
  bestVolume,
  bindCompleted,
  boundByController,
  hasClass,
  isReservedFor,
  mismatch,
  provisionedBy,
  sameVolumeMode,
  selectedNode,
} from './matching.ts';
import { addPodClaimIndex, podClaimIndex } from './pod-claims.ts';

const claimRef = resources.core.persistentvolumeclaims;
const volumeRef = resources.core.persistentvolumes;
const defaultSyncMs = 15_000;
const unboundIndex = 'unbound';
const unbound = 'unbound';
const provisionerAnnotation = 'volume.kubernetes.io/storage-provisioner';
const betaProvisionerAnnotation = 'volume.beta.kubernetes.io/storage-provisioner';
const migratedTo = 'pv.kubernetes.io/migrated-to';

const inTreeProtection = 'kubernetes.io/pv-controller';

/** With the note of the driver that a provisioner has become; undefined where the note is right. */
function withDriver<M extends { annotations?: Record<string, string> }>(
  metadata: M,
  provisioner: string | undefined,
): M | undefined {
  if (provisioner === undefined) return undefined;
  const driver = driverOfPlugin(provisioner);
  const { [migratedTo]: told, ...annotations } = metadata.annotations ?? {};
  if (told === driver) return undefined;
  return { ...metadata, annotations: driver === undefined ? annotations : { ...annotations, [migratedTo]: driver } };
}

const isBindCompleted = (claim: PersistentVolumeClaim): boolean =>
  claim.metadata.annotations?.[bindCompleted] !== undefined;

class PersistentVolumeBinder implements RunningController {
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #classes: Informer<StorageClass>;
  readonly #nodes: Informer<Node>;
  readonly #pods: Informer<Pod>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  /** Keys are `claim/<namespace>/<name>` and `volume/<name>`. One at a time: two claims must not choose one volume. */
  readonly #controller: Controller;
  readonly #syncMs: number;
  /** `--enable-dynamic-provisioning` */
  readonly #provisions: boolean;
  readonly #writtenClaims = new LastWritten<PersistentVolumeClaim>();
  readonly #writtenVolumes = new LastWritten<PersistentVolume>();

  constructor(context: ControllerContext) {
    const { informers, clock, logger } = context;
    this.#provisions = context.options.enableDynamicProvisioning ?? true;
    this.#client = context.clientFor('persistent-volume-binder');
    this.#recorder = context.recorder('persistentvolume-controller', this.#client);
    this.#claims = informers.informer(claimRef);
    this.#volumes = informers.informer(volumeRef);
    this.#classes = informers.informer(resources.storage.storageclasses);
    this.#nodes = informers.informer(resources.core.nodes);
    this.#pods = informers.informer(resources.core.pods);
    addPodClaimIndex(this.#pods);
    this.#claims.addIndex(unboundIndex, (claim) => (isBindCompleted(claim) ? [] : [unbound]));
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'persistentvolume-binder',
      clock,
      logger,
      workers: 1,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#claims.addHandler({
      onAdd: (claim) => this.#addClaim(claim),
      onUpdate: (_, claim) => this.#addClaim(claim),
      onDelete: (claim) => {
        this.#writtenClaims.forget(claim.metadata.uid);
        const name = claim.spec?.volumeName ?? '';
        if (name !== '') this.#addVolume(name);
      },
    });
    this.#volumes.addHandler({
      onAdd: (volume) => this.#volumeChanged(undefined, volume),
      onUpdate: (old, volume) => this.#volumeChanged(old, volume),
      onDelete: (volume) => {
        this.#writtenVolumes.forget(volume.metadata.uid);
        const claim = volume.spec?.claimRef;
        if (claim !== undefined) this.#controller.queue.add(`claim/${claim.namespace}/${claim.name}`);
      },
    });
    this.#classes.addHandler({ onAdd: () => this.#addUnbound(), onUpdate: () => this.#addUnbound() });
    this.#syncMs = context.options.pvClaimBinderSyncPeriodMs ?? defaultSyncMs;
    this.#controller.start(
      this.#claims.synced,
      this.#volumes.synced,
      this.#classes.synced,
      this.#nodes.synced,
      this.#pods.synced,
    );
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #addClaim(claim: PersistentVolumeClaim): void {
    this.#controller.queue.add(`claim/${keyOf(claim)}`);
  }

  #addVolume(name: string): void {
    this.#controller.queue.add(`volume/${name}`);
  }

  #addUnbound(): void {
    for (const claim of this.#claims.lister.byIndex(unboundIndex, unbound)) this.#addClaim(claim);
  }

  #volumeChanged(old: PersistentVolume | undefined, volume: PersistentVolume): void {
    this.#addVolume(volume.metadata.name!);
    const ref = volume.spec?.claimRef;
    if (ref !== undefined) this.#controller.queue.add(`claim/${ref.namespace}/${ref.name}`);
    // Free now: somebody may wait for it.
    if (volume.status?.phase === 'Available' && old?.status?.phase !== 'Available') this.#addUnbound();
  }

  #claim(namespace: string | undefined, name: string | undefined): PersistentVolumeClaim | undefined {
    const cached = this.#claims.lister.get(name ?? '', namespace);
    return cached === undefined ? undefined : this.#writtenClaims.newest(cached);
  }

  #volume(name: string): PersistentVolume | undefined {
    const cached = this.#volumes.lister.get(name);
    return cached === undefined ? undefined : this.#writtenVolumes.newest(cached);
  }

  *#allVolumes(): Iterable<PersistentVolume> {
    for (const volume of this.#volumes.lister.list()) yield this.#writtenVolumes.newest(volume);
  }

  #claimEvent(claim: PersistentVolumeClaim, type: EventType, reason: string, message: string): void {
    this.#recorder.event(claimRef, claim, type, reason, message);
  }

  async #reconcile(key: string): Promise<void> {
    const [kind, first, second] = key.split('/');
    if (kind === 'volume') {
      const volume = this.#volume(first!);
      if (volume !== undefined) await this.#syncVolume(await this.#tellVolumesDriver(volume));
      return;
    }
    const known = this.#claim(first, second);
    if (known === undefined) return;
    const claim = await this.#tellClaimsDriver(known);
    if (isBindCompleted(claim)) await this.#syncBoundClaim(claim);
    else {
      // What it waits for may be something that tells nobody.
      this.#controller.queue.addAfter(key, this.#syncMs);
      await this.#syncUnboundClaim(claim);
    }
  }

  /** Says of what was made by an in-tree plugin which driver looks after it now. */
  async #tellClaimsDriver(claim: PersistentVolumeClaim): Promise<PersistentVolumeClaim> {
    const { annotations } = claim.metadata;
    const provisioner = annotations?.[provisionerAnnotation] ?? annotations?.[betaProvisionerAnnotation];
    const metadata = withDriver(claim.metadata, provisioner);
    return metadata === undefined ? claim : this.#updateClaim({ ...claim, metadata });
  }

  async #tellVolumesDriver(volume: PersistentVolume): Promise<PersistentVolume> {
    const maker = volume.metadata.annotations?.[provisionedBy];
    const told = withDriver(volume.metadata, maker);
    const metadata = told ?? volume.metadata;
    // The driver's provisioner has a finalizer of its own.
    const migrated = maker !== undefined && driverOfPlugin(maker) !== undefined;
    const protectedInTree = migrated && metadata.finalizers?.includes(inTreeProtection) === true;
    if (told === undefined && !protectedInTree) return volume;
    const finalizers = metadata.finalizers?.filter((f) => !protectedInTree || f !== inTreeProtection);
    return this.#updateVolume({
      ...volume,
      metadata: { ...metadata, ...(finalizers === undefined ? {} : { finalizers }) },
    });
  }

  // Claims

  async #syncUnboundClaim(claim: PersistentVolumeClaim): Promise<void> {
    const wanted = claim.spec?.volumeName ?? '';
    if (wanted === '') {
      await this.#findVolume(claim);
      return;
    }
    const volume = this.#volume(wanted);
    if (volume === undefined) {
      await this.#claimStatus(claim, 'Pending', undefined);
      return;
    }
    if (volume.spec?.claimRef === undefined) {
      const why = mismatch(volume, claim);
      if (why === undefined) {
        await this.#bind(volume, claim);
        return;
      }
      this.#claimEvent(claim, 'Warning', 'VolumeMismatch', `Cannot bind to requested volume "${wanted}": ${why}`);
      await this.#claimStatus(claim, 'Pending', undefined);
    } else if (isReservedFor(volume, claim)) await this.#bind(volume, claim);
    else {
      const message = `volume "${wanted}" already bound to a different claim.`;
      this.#claimEvent(claim, 'Warning', 'FailedBinding', message);
      if (claim.metadata.annotations?.[boundByController] === undefined) {
        await this.#claimStatus(claim, 'Pending', undefined);
        return;
      }
      const other = volume.spec.claimRef;
      throw new Error(
        `invalid binding of claim "${keyOf(claim)}" to volume "${wanted}": volume already claimed by "${other.namespace}/${other.name}"`,
      );
    }
  }

  async #findVolume(claim: PersistentVolumeClaim): Promise<void> {
    const className = claimClass(claim);
    const storageClass = className === '' ? undefined : this.#classes.lister.get(className);
    const delayed = storageClass?.volumeBindingMode === 'WaitForFirstConsumer';
    const nodeName = claim.metadata.annotations?.[selectedNode];
    const node = nodeName === undefined ? undefined : this.#nodes.lister.get(nodeName);
    const volume = bestVolume(claim, this.#allVolumes(), {
      reservedOnly: delayed && node === undefined,
      ...(node === undefined || !delayed ? {} : { node }),
    });
    if (volume !== undefined) {
      await this.#bind(volume, claim);
      return;
    }
    if (!hasClass(claim)) {
      const byDefault = defaultStorageClass(this.#classes.lister.list());
      if (byDefault !== undefined) {
        await this.#updateClaim({ ...claim, spec: { ...claim.spec, storageClassName: byDefault.metadata.name! } });
        return;
      }
    }
    if (delayed && nodeName === undefined) this.#tellWhatIsAwaited(claim);
    else if (className !== '') {
      await this.#awaitProvisioner(claim, className, storageClass);
      return;
    } else {
      const message = 'no persistent volumes available for this claim and no storage class is set';
      this.#claimEvent(claim, 'Normal', 'FailedBinding', message);
    }
    await this.#claimStatus(claim, 'Pending', undefined);
  }

  #tellWhatIsAwaited(claim: PersistentVolumeClaim): void {
    const waiting: string[] = [];
    for (const pod of this.#pods.lister.byIndex(podClaimIndex, keyOf(claim)))
      if (!isPodTerminal(pod) && (pod.spec?.nodeName ?? '') === '') waiting.push(pod.metadata.name!);
    if (waiting.length === 0) {
      const message = 'waiting for first consumer to be created before binding';
      this.#claimEvent(claim, 'Normal', 'WaitForFirstConsumer', message);
      return;
    }
    const who = waiting.length === 1 ? `pod ${waiting[0]}` : `pods ${waiting.join(',')}`;
    this.#claimEvent(claim, 'Normal', 'WaitForPodScheduled', `waiting for ${who} to be scheduled`);
  }

  /** Volumes are made by programs outside; the claim says by which. */
  async #awaitProvisioner(
    claim: PersistentVolumeClaim,
    className: string,
    storageClass: StorageClass | undefined,
  ): Promise<void> {
    if (!this.#provisions) return;
    if (storageClass === undefined) {
      const message = `storageclass.storage.k8s.io "${className}" not found`;
      this.#claimEvent(claim, 'Warning', 'ProvisioningFailed', message);
      return;
    }
    const provisioner = driverOfPlugin(storageClass.provisioner) ?? storageClass.provisioner;
    if (provisioner.startsWith('kubernetes.io/')) {
      this.#claimEvent(claim, 'Warning', 'ProvisioningFailed', `no volume plugin matched name: ${provisioner}`);
      return;
    }
    let current = claim;
    if (claim.metadata.annotations?.[provisionerAnnotation] !== provisioner) {
      current = await this.#updateClaim({
        ...claim,
        metadata: {
          ...claim.metadata,
          annotations: {
            ...claim.metadata.annotations,
            [betaProvisionerAnnotation]: provisioner,
            [provisionerAnnotation]: provisioner,
          },
        },
      });
    }
    const message = `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`;
    this.#claimEvent(current, 'Normal', 'ExternalProvisioning', message);
  }

  async #syncBoundClaim(claim: PersistentVolumeClaim): Promise<void> {
    const name = claim.spec?.volumeName ?? '';
    const volume = name === '' ? undefined : this.#volume(name);
    const owner = volume?.spec?.claimRef;
    if (volume !== undefined && (owner === undefined || owner.uid === claim.metadata.uid)) {
      await this.#bind(volume, claim);
      return;
    }
    if (claim.status?.phase === 'Lost') return;
    const lost = await this.#claimStatus(claim, 'Lost', undefined);
    if (name === '')
      this.#claimEvent(
        lost,
        'Warning',
        'ClaimLost',
        'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!',
      );
    else if (volume === undefined)
      this.#claimEvent(
        lost,
        'Warning',
        'ClaimLost',
        'Bound claim has lost its PersistentVolume. Data on the volume is lost!',
      );
    else {
      const message = 'Two claims are bound to the same volume, this one is bound incorrectly';
      this.#claimEvent(lost, 'Warning', 'ClaimMisbound', message);
    }
  }

  async #updateClaim(claim: PersistentVolumeClaim): Promise<PersistentVolumeClaim> {
    const updated = await this.#client.core.persistentvolumeclaims.update(claim);
    this.#writtenClaims.wrote(updated);
    return updated;
  }

  async #claimStatus(
    claim: PersistentVolumeClaim,
    phase: string,
    volume: PersistentVolume | undefined,
  ): Promise<PersistentVolumeClaim> {
    const { accessModes: _, capacity, currentVolumeAttributesClassName, ...rest } = claim.status ?? {};
    const status: PersistentVolumeClaimStatus = { ...rest, phase };
    if (volume !== undefined) {
      status.accessModes = volume.spec?.accessModes ?? [];
      // What is bound already is resized by others.
      const size = claim.status?.phase === phase ? capacity : volume.spec?.capacity;
      if (size !== undefined) status.capacity = size;
      const attributes =
        claim.status?.phase === 'Pending' ? volume.spec?.volumeAttributesClassName : currentVolumeAttributesClassName;
      if (attributes !== undefined) status.currentVolumeAttributesClassName = attributes;
    }
    if (deepEqual(claim.status, status)) return claim;
    const updated = await this.#client.core.persistentvolumeclaims.updateStatus({ ...claim, status });
    this.#writtenClaims.wrote(updated);
    return updated;
  }

  /** Four writes, each of which may be the last before a crash: the volume first, so that nobody else takes it. */
  async #bind(volume: PersistentVolume, claim: PersistentVolumeClaim): Promise<void> {
    const bound = await this.#volumePhase(await this.#bindVolume(volume, claim), 'Bound');
    let current = claim;
    const points = claim.spec?.volumeName === bound.metadata.name;
    if (!points || !isBindCompleted(claim)) {
      const annotations: Record<string, string> = { ...claim.metadata.annotations, [bindCompleted]: 'yes' };
      if (!points) annotations[boundByController] ??= 'yes';
      current = await this.#updateClaim({
        ...claim,
        metadata: { ...claim.metadata, annotations },
        spec: { ...claim.spec, volumeName: bound.metadata.name! },
      });
    }
    await this.#claimStatus(current, 'Bound', bound);
  }

  async #bindVolume(volume: PersistentVolume, claim: PersistentVolumeClaim): Promise<PersistentVolume> {
    const ref = volume.spec?.claimRef;
    const complete =
      ref !== undefined &&
      ref.name === claim.metadata.name &&
      ref.namespace === claim.metadata.namespace &&
      ref.uid === claim.metadata.uid;
    const mark = !isReservedFor(volume, claim) && volume.metadata.annotations?.[boundByController] === undefined;
    if (complete && !mark) return volume;
    return this.#updateVolume({
      ...volume,
      metadata: mark
        ? { ...volume.metadata, annotations: { ...volume.metadata.annotations, [boundByController]: 'yes' } }
        : volume.metadata,
      spec: { ...volume.spec, claimRef: complete ? ref : objectReference(claimRef, claim) },
    });
  }

  // Volumes

  async #updateVolume(volume: PersistentVolume): Promise<PersistentVolume> {
    const updated = await this.#client.core.persistentvolumes.update(volume);
    this.#writtenVolumes.wrote(updated);
    return updated;
  }

  async #volumePhase(volume: PersistentVolume, phase: string, message?: string): Promise<PersistentVolume> {
    if (volume.status?.phase === phase) return volume;
    const { message: _, ...rest } = volume.status ?? {};
    const status = { ...rest, phase, ...(message === undefined ? {} : { message }) };
    const updated = await this.#client.core.persistentvolumes.updateStatus({ ...volume, status });
    this.#writtenVolumes.wrote(updated);
    return updated;
  }

  async #fail(volume: PersistentVolume, reason: string, message: string): Promise<void> {
    if (volume.status?.phase === 'Failed') return;
    const failed = await this.#volumePhase(volume, 'Failed', message);
    this.#recorder.event(volumeRef, failed, 'Warning', reason, message);
  }

  async #syncVolume(volume: PersistentVolume): Promise<void> {
    const ref = volume.spec?.claimRef;
    if (ref === undefined || (ref.uid ?? '') === '') {
      await this.#volumePhase(volume, 'Available');
      return;
    }
    const claim = await this.#claimOf(volume, ref.namespace, ref.name, ref.uid!);
    if (claim === undefined) {
      await this.#release(volume);
      return;
    }
    const target = claim.spec?.volumeName ?? '';
    if (target === volume.metadata.name) await this.#volumePhase(volume, 'Bound');
    else if (target === '') {
      if (sameVolumeMode(volume, claim)) {
        this.#addClaim(claim);
        return;
      }
      const cannot = (what: string) => `Cannot bind ${what} due to incompatible volumeMode.`;
      const toVolume = cannot(`PersistentVolume to requested PersistentVolumeClaim "${claim.metadata.name}"`);
      this.#recorder.event(volumeRef, volume, 'Warning', 'VolumeMismatch', toVolume);
      const toClaim = cannot(`PersistentVolume "${volume.metadata.name}" to requested PersistentVolumeClaim`);
      this.#claimEvent(claim, 'Warning', 'VolumeMismatch', toClaim);
    } else if (
      volume.metadata.annotations?.[provisionedBy] !== undefined &&
      volume.spec?.persistentVolumeReclaimPolicy === 'Delete'
    ) {
      // Made for this claim, which has found another: of no use to anybody.
      await this.#release(volume);
    } else await this.#unbind(volume);
  }

  /** The claim that the volume is bound to, as the server has it where the cache says it is gone. */
  async #claimOf(
    volume: PersistentVolume,
    namespace: string | undefined,
    name: string | undefined,
    uid: string,
  ): Promise<PersistentVolumeClaim | undefined> {
    const cached = this.#claim(namespace, name);
    if (cached?.metadata.uid === uid) return cached;
    const phase = volume.status?.phase;
    if (cached === undefined && (phase === 'Released' || phase === 'Failed')) return undefined;
    try {
      const claim = await this.#client.core.persistentvolumeclaims.get(name!, namespace);
      return claim.metadata.uid === uid ? claim : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #unbind(volume: PersistentVolume): Promise<void> {
    const { [boundByController]: byUs, ...annotations } = volume.metadata.annotations ?? {};
    const { claimRef: ref, ...spec } = volume.spec ?? {};
    const { annotations: _, ...metadata } = volume.metadata;
    const { uid: __, ...reservation } = ref ?? {};
    const updated = await this.#updateVolume({
      ...volume,
      metadata: Object.keys(annotations).length === 0 ? metadata : { ...metadata, annotations },
      spec: byUs === undefined ? { ...spec, claimRef: reservation } : spec,
    });
    await this.#volumePhase(updated, 'Available');
  }

  /** The claim is gone for good: the volume is kept, or deleted where that is for us to do. */
  async #release(volume: PersistentVolume): Promise<void> {
    const phase = volume.status?.phase;
    const released = phase === 'Released' || phase === 'Failed' ? volume : await this.#volumePhase(volume, 'Released');
    if (released.metadata.annotations?.[migratedTo] !== undefined) return;
    switch (released.spec?.persistentVolumeReclaimPolicy) {
      case 'Retain':
        return;
      case 'Recycle':
        await this.#fail(released, 'VolumeFailedRecycle', 'No recycler plugin found for the volume!');
        return;
      case 'Delete':
        await this.#delete(released);
        return;
      default:
        await this.#fail(
          released,
          'VolumeUnknownReclaimPolicy',
          'Volume has unrecognized PersistentVolumeReclaimPolicy',
        );
    }
  }

  async #delete(volume: PersistentVolume): Promise<void> {
    const { name, annotations, deletionTimestamp } = volume.metadata;
    const maker = annotations?.[provisionedBy];
    if (maker !== undefined && maker !== '' && !maker.startsWith('kubernetes.io/')) return;
    if (volume.spec?.csi !== undefined || deletionTimestamp !== undefined) return;
    const path = volume.spec?.hostPath?.path;
    if (path === undefined) {
      const message = `error getting deleter volume plugin for volume "${name}": no deletable volume plugin matched`;
      await this.#fail(volume, 'VolumeFailedDelete', message);
      return;
    }
    if (!/^\/tmp\/.+/.test(path)) {
      const message = `host_path deleter only supports /tmp/.+ but received provided ${path}`;
      await this.#fail(volume, 'VolumeFailedDelete', message);
      return;
    }
    try {
      await this.#client.core.persistentvolumes.delete(name!, undefined, {
        preconditions: { uid: volume.metadata.uid! },
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

export const persistentVolumeBinderController: ControllerDescriptor = {
  name: 'persistentvolume-binder-controller',
  aliases: ['persistentvolume-binder'],
  start: (context) => new PersistentVolumeBinder(context),
};
