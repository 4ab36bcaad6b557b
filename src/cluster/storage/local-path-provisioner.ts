/**
 * The `local-path` provisioner, whose StorageClass is the default: a claim gets a directory of the node on which its first pod
 * runs, made by that node's kubelet when it mounts the volume. A released volume is deleted; the node's `LocalPathCleaner` then
 * removes the directory. Speaks the protocol of external provisioners (sig-storage-lib-external-provisioner).
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { KubeObject } from '../../api/object.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../client/errors.ts';
import { EventRecorder } from '../../client/event-recorder.ts';
import { dropManagedFields, Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';

export const localPathProvisionerName = 'knarr.dev/local-path';
const provisionedBy = 'pv.kubernetes.io/provisioned-by';
const selectedNode = 'volume.kubernetes.io/selected-node';
const claimProvisioner = 'volume.kubernetes.io/storage-provisioner';
const hostnameLabel = 'kubernetes.io/hostname';

/** Where volumes lie on a node, unless the class's parameter `path` says otherwise. */
export const localPathRoot = '/var/lib/knarr/local-path';

export function localPathClass(): KubeObject {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'local-path', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    provisioner: localPathProvisionerName,
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'WaitForFirstConsumer',
  };
}

export interface LocalPathOptions {
  /** As the provisioner's service account. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The directory of a volume; its name says whose it is to a person who looks. */
export function directoryOf(root: string, volume: string, namespace: string, claim: string): string {
  return `${root.replace(/\/+$/, '')}/${volume}_${namespace}_${claim}`;
}

export class LocalPathProvisioner {
  readonly #client: TypedClient;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #classes: Informer<StorageClass>;
  readonly #events: EventRecorder;
  readonly #provisioning: Controller;
  readonly #deleting: Controller;

  constructor(options: LocalPathOptions) {
    const { client, clock, random, logger } = options;
    this.#client = client;
    const shared = { clock, random, logger, transform: dropManagedFields };
    this.#claims = new Informer({ ...shared, client: client.core.persistentvolumeclaims });
    this.#volumes = new Informer({ ...shared, client: client.core.persistentvolumes });
    this.#classes = new Informer<StorageClass>({ ...shared, client: client.storage.storageclasses });
    this.#events = new EventRecorder({ client, clock, random, logger, component: localPathProvisionerName });
    this.#provisioning = new Controller({
      name: 'local_path_claims',
      clock,
      logger,
      reconcile: (key) => this.#provision(key),
    });
    this.#deleting = new Controller({
      name: 'local_path_volumes',
      clock,
      logger,
      reconcile: (key) => this.#delete(key),
    });
    const wakeClaim = (claim: PersistentVolumeClaim): void => {
      if (this.#isOurs(claim)) this.#provisioning.queue.add(keyOf(claim));
    };
    this.#claims.addHandler({ onAdd: wakeClaim, onUpdate: (_, claim) => wakeClaim(claim) });
    const wakeVolume = (volume: PersistentVolume): void => {
      if (isDiscarded(volume)) this.#deleting.queue.add(keyOf(volume));
    };
    this.#volumes.addHandler({ onAdd: wakeVolume, onUpdate: (_, volume) => wakeVolume(volume) });
  }

  start(): void {
    const all = [this.#claims, this.#volumes, this.#classes];
    for (const i of all) i.start();
    this.#provisioning.start(...all.map((i) => i.synced));
    this.#deleting.start(this.#volumes.synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#provisioning.stop(), this.#deleting.stop()]);
    await this.#events.stop();
    await Promise.all([this.#claims.stop(), this.#volumes.stop(), this.#classes.stop()]);
  }

  #isOurs(claim: PersistentVolumeClaim): boolean {
    const annotations = claim.metadata.annotations;
    return (
      claim.spec?.volumeName === undefined &&
      claim.metadata.deletionTimestamp === undefined &&
      annotations?.[claimProvisioner] === localPathProvisionerName &&
      annotations[selectedNode] !== undefined
    );
  }

  async #provision(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const claim = this.#claims.lister.get(name, namespace);
    if (claim === undefined || !this.#isOurs(claim)) return;
    const storageClass = this.#classes.lister.get(claim.spec?.storageClassName ?? '');
    if (storageClass?.provisioner !== localPathProvisionerName) return;
    const refused = refusalOf(claim);
    const about = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: claim.metadata };
    const tell = (type: 'Normal' | 'Warning', reason: string, message: string): void =>
      this.#events.event(resources.core.persistentvolumeclaims, about, type, reason, message);
    if (refused !== undefined) {
      tell(
        'Warning',
        'ProvisioningFailed',
        `failed to provision volume with StorageClass "${storageClass.metadata.name}": ${refused}`,
      );
      return;
    }
    const node = claim.metadata.annotations![selectedNode]!;
    let hostname = node;
    try {
      hostname = (await this.#client.core.nodes.get(node)).metadata.labels?.[hostnameLabel] ?? node;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      // The scheduler is to choose again.
      await this.#client.core.persistentvolumeclaims.patch(name, namespace, 'merge', {
        metadata: { annotations: { [selectedNode]: null } },
      });
      return;
    }
    const volumeName = `pvc-${claim.metadata.uid}`;
    const root = storageClass.parameters?.['path'] ?? localPathRoot;
    try {
      await this.#client.core.persistentvolumes.create({
        metadata: {
          name: volumeName,
          annotations: { [provisionedBy]: localPathProvisionerName },
        },
        spec: {
          accessModes: claim.spec?.accessModes ?? [],
          capacity: { storage: String(claim.spec?.resources?.requests?.['storage'] ?? '0') },
          claimRef: {
            apiVersion: 'v1',
            kind: 'PersistentVolumeClaim',
            name,
            namespace,
            uid: claim.metadata.uid!,
            resourceVersion: claim.metadata.resourceVersion!,
          },
          persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
          storageClassName: storageClass.metadata.name!,
          volumeMode: 'Filesystem',
          hostPath: { path: directoryOf(root, volumeName, namespace, name), type: 'DirectoryOrCreate' },
          nodeAffinity: {
            required: {
              nodeSelectorTerms: [{ matchExpressions: [{ key: hostnameLabel, operator: 'In', values: [hostname] }] }],
            },
          },
        },
      });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      return;
    }
    tell('Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${volumeName}`);
  }

  async #delete(key: string): Promise<void> {
    const volume = this.#volumes.lister.get(key);
    if (volume === undefined || !isDiscarded(volume)) return;
    try {
      await this.#client.core.persistentvolumes.delete(key, undefined, {
        preconditions: { uid: volume.metadata.uid! },
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

/** Ours, released, and nobody's to keep. */
function isDiscarded(volume: PersistentVolume): boolean {
  return (
    volume.metadata.annotations?.[provisionedBy] === localPathProvisionerName &&
    volume.metadata.deletionTimestamp === undefined &&
    volume.status?.phase === 'Released' &&
    volume.spec?.persistentVolumeReclaimPolicy === 'Delete'
  );
}

/** What a directory of one node cannot be. */
function refusalOf(claim: PersistentVolumeClaim): string | undefined {
  if (claim.spec?.volumeMode === 'Block') return 'a directory is no block device';
  const wide = (claim.spec?.accessModes ?? []).filter((m) => m === 'ReadWriteMany' || m === 'ReadOnlyMany');
  if (wide.length > 0)
    return `a directory of one node cannot be ${wide.join(', ')}: it is ReadWriteOnce or ReadWriteOncePod`;
  if (claim.spec?.selector !== undefined) return 'claim.Spec.Selector is not supported';
  if (claim.spec?.dataSource !== undefined || claim.spec?.dataSourceRef !== undefined)
    return 'volumes are not made from others';
  return undefined;
}

/** What the provisioner's service account needs. */
export const localPathRules = [
  { apiGroups: [''], resources: ['persistentvolumes'], verbs: ['get', 'list', 'watch', 'create', 'delete'] },
  { apiGroups: [''], resources: ['persistentvolumeclaims'], verbs: ['get', 'list', 'watch', 'patch'] },
  { apiGroups: [''], resources: ['nodes'], verbs: ['get'] },
  { apiGroups: ['storage.k8s.io'], resources: ['storageclasses'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
];
