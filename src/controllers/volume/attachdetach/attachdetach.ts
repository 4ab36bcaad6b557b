/**
 * The attach/detach controller: brings VolumeAttachments in line with where the pods are that use CSI volumes, waits for what their
 * external attachers make of them, and tells the nodes' status what is attached. A volume is detached when its node's kubelet no
 * longer uses it; by force when an unhealthy node has not let go of it for six minutes, or at once when it is out of service.
 */
import {
  driverOfPlugin,
  inTreePluginOf,
  standsForInline,
} from '../../../api/helpers/csi-translation/csi-translation.ts';
import { attachmentName, parseUniqueVolumeName, uniqueVolumeName } from '../../../api/helpers/csi-volumes.ts';
import { isPodTerminal } from '../../../api/helpers/pod-status.ts';
import type {
  CSIDriver,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Volume,
  VolumeAttachment,
} from '../../../api/types/index.gen.ts';
import type { Timer } from '../../../base/clock.ts';
import { Controller } from '../../../client/controller.ts';
import { isAlreadyExists, isNotFound } from '../../../client/errors.ts';
import type { EventRecorder } from '../../../client/event-recorder.ts';
import type { Informer } from '../../../client/informer.ts';
import { keyOf } from '../../../client/lister.ts';
import { resources } from '../../../client/resources.ts';
import type { TypedClient } from '../../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../../context.ts';
import { isNodeReady } from '../../util/nodes.ts';
import { addPodClaimIndex, claimName, podClaimIndex } from '../pod-claims.ts';
import { ActualState } from './actual-state.ts';
import { AttachedReport } from './attached-report.ts';
import type { WantedVolume } from './desired-state.ts';
import { DesiredState } from './desired-state.ts';
import { multiAttachMessages } from './multi-attach.ts';
import type { Operation, OperationKind } from './operations.ts';
import { attachTimeoutMs, errorKey, Operations } from './operations.ts';
import { VolumeSpecs } from './volume-specs.ts';

const managedAnnotation = 'volumes.kubernetes.io/controller-managed-attach-detach';
const outOfService = 'node.kubernetes.io/out-of-service';
const maxWaitForUnmountMs = 360_000;
const defaultSyncMs = 60_000;
/** An attachment that was deleted or made is not missing just because the cache is behind. */
const settleMs = 500;

const isMultiAttachAllowed = (spec: PersistentVolume | undefined): boolean => {
  const modes = spec?.spec?.accessModes ?? [];
  return modes.length === 0 || modes.some((m) => m === 'ReadWriteMany' || m === 'ReadOnlyMany');
};

/** No container of it runs, and none will. */
function isPodTerminated(pod: Pod): boolean {
  if (isPodTerminal(pod)) return true;
  if (pod.metadata.deletionTimestamp === undefined) return false;
  return (pod.status?.containerStatuses ?? []).every(
    (s) => s.state?.terminated !== undefined || s.state?.waiting !== undefined,
  );
}

class AttachDetachController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #pods: Informer<Pod>;
  readonly #nodes: Informer<Node>;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #drivers: Informer<CSIDriver>;
  readonly #attachments: Informer<VolumeAttachment>;
  readonly #desired = new DesiredState();
  readonly #actual = new ActualState();
  readonly #operations: Operations;
  /** Keys are `volume/<unique name>` and `node/<name>`. */
  readonly #controller: Controller;
  readonly #specs: VolumeSpecs;
  readonly #report: AttachedReport;
  /** Keys of pods on nodes that we do not manage, by node. */
  readonly #unmanaged = new Map<string, Set<string>>();
  readonly #syncMs: number;
  #timer: Timer | undefined;
  #populated = false;
  #stopped = false;

  constructor(context: ControllerContext) {
    const { informers, clock, logger, options } = context;
    this.#c = context;
    this.#client = context.clientFor('attachdetach-controller');
    this.#recorder = context.recorder('attachdetach-controller', this.#client);
    this.#pods = informers.informer(resources.core.pods);
    this.#nodes = informers.informer(resources.core.nodes);
    this.#claims = informers.informer(resources.core.persistentvolumeclaims);
    this.#volumes = informers.informer(resources.core.persistentvolumes);
    this.#drivers = informers.informer(resources.storage.csidrivers);
    this.#attachments = informers.informer(resources.storage.volumeattachments);
    this.#specs = new VolumeSpecs(this.#volumes, this.#claims, this.#drivers, logger);
    this.#report = new AttachedReport(this.#client, this.#nodes, this.#actual);
    addPodClaimIndex(this.#pods);
    this.#operations = new Operations(clock);
    const sync = options.attachDetachReconcileSyncPeriodMs ?? defaultSyncMs;
    this.#syncMs = options.disableAttachDetachReconcileSync === true || sync < 1000 ? 0 : sync;
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'attachdetach',
      clock,
      logger,
      workers: 10,
      baseDelayMs: 500,
      maxDelayMs: 122_000,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#follow();
    const synced = [this.#pods, this.#nodes, this.#claims, this.#volumes, this.#drivers, this.#attachments].map(
      (i) => i.synced,
    );
    this.#controller.start(Promise.all(synced).then(() => this.#populate()));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#controller.stop();
  }

  // What changes

  #follow(): void {
    // Until everything is there the caches are read as a whole, by `#populate`.
    const then =
      <A extends unknown[]>(handle: (...args: A) => void) =>
      (...args: A): void => {
        if (this.#populated) handle(...args);
      };
    this.#pods.addHandler({
      onAdd: then((pod: Pod) => this.#pod(pod)),
      onUpdate: then((old: Pod, pod: Pod) => {
        if (old.metadata.uid !== pod.metadata.uid) this.#podGone(old);
        this.#pod(pod);
      }),
      onDelete: then((pod: Pod) => this.#podGone(pod)),
    });
    this.#nodes.addHandler({
      onAdd: then((node: Node) => {
        this.#node(node);
        // Its status may be a new one, in which nothing is attached.
        this.#actual.reportAgain(node.metadata.name!);
        this.#wakeNode(node.metadata.name!);
      }),
      onUpdate: then((_: Node, node: Node) => this.#node(node)),
      onDelete: then((node: Node) => {
        const name = node.metadata.name!;
        this.#desired.deleteNode(name);
        this.#inUse(node);
        this.#actual.forgetNode(name);
        for (const v of this.#actual.ofNode(name)) this.#wake(v);
      }),
    });
    const claimed = (claim: PersistentVolumeClaim): void => {
      if (claim.status?.phase === 'Bound' && (claim.spec?.volumeName ?? '') !== '') this.#podsOf(keyOf(claim));
    };
    this.#claims.addHandler({
      onAdd: then(claimed),
      onUpdate: then((old: PersistentVolumeClaim, claim: PersistentVolumeClaim) => {
        if (old.status?.phase !== claim.status?.phase || old.spec?.volumeName !== claim.spec?.volumeName)
          claimed(claim);
      }),
    });
    const volume = (pv: PersistentVolume): void => {
      const ref = pv.spec?.claimRef;
      if (ref !== undefined && (pv.spec?.csi ?? inTreePluginOf(pv)) !== undefined)
        this.#podsOf(`${ref.namespace}/${ref.name}`);
    };
    this.#volumes.addHandler({
      onAdd: then(volume),
      onUpdate: then((old: PersistentVolume, pv: PersistentVolume) => {
        if (old.spec?.claimRef?.uid !== pv.spec?.claimRef?.uid) volume(pv);
      }),
    });
    const driver = then((d: CSIDriver) => this.#driverChanged(d.metadata.name!));
    this.#drivers.addHandler({ onAdd: driver, onUpdate: (_, d) => driver(d), onDelete: driver });
    const attachment = (a: VolumeAttachment, gone: boolean): void => {
      const name = this.#volumeOf(a);
      if (name === undefined) return;
      const key = this.#operationKey(name, a.spec.nodeName);
      const pending = this.#operations.pending(key);
      if (gone && pending?.node === a.spec.nodeName) pending.gone = true;
      if (gone) this.#operations.retryNow(key);
      this.#wake(name);
    };
    this.#attachments.addHandler({
      onAdd: then((a: VolumeAttachment) => attachment(a, false)),
      onUpdate: then((_: VolumeAttachment, a: VolumeAttachment) => attachment(a, false)),
      onDelete: then((a: VolumeAttachment) => attachment(a, true)),
    });
  }

  #wake(volume: string): void {
    this.#controller.queue.add(`volume/${volume}`);
  }

  #wakeNode(node: string): void {
    this.#controller.queue.add(`node/${node}`);
  }

  /** The state that an earlier controller left: in the nodes' status, and in VolumeAttachments beyond that. */
  #populate(): void {
    this.#populated = true;
    for (const node of this.#nodes.lister.list()) {
      const name = node.metadata.name!;
      // Without its spec for now; a pod that uses it brings it.
      for (const v of node.status?.volumesAttached ?? []) this.#actual.attached(v.name, name, undefined, v.devicePath);
      this.#actual.setInUse(name, node.status?.volumesInUse ?? []);
      if (node.metadata.annotations?.[managedAnnotation] !== undefined) this.#desired.addNode(name);
    }
    for (const a of this.#attachments.lister.list()) {
      const pv = this.#specs.ofAttachment(a);
      const name = this.#volumeOf(a);
      if (pv === undefined || name === undefined) continue;
      const node = a.spec.nodeName;
      const known = this.#actual.attachment(name, node);
      if (known === undefined) this.#actual.uncertain(name, node, pv);
      else if (known.confirmed) this.#actual.attached(name, node, pv, this.#actual.get(name)?.devicePath ?? '');
    }
    for (const pod of this.#pods.lister.list()) this.#pod(pod);
    for (const [name, v] of this.#actual.volumes()) {
      this.#wake(name);
      for (const node of v.nodes.keys()) this.#wakeNode(node);
    }
    this.#arm();
  }

  /** The unique name of an attachment's volume. */
  #volumeOf(a: VolumeAttachment): string | undefined {
    const csi = this.#specs.ofAttachment(a)?.spec?.csi;
    if (csi !== undefined) return uniqueVolumeName(csi.driver, csi.volumeHandle);
    // The volume is gone already: by its name alone.
    for (const [name, v] of this.#actual.volumes()) {
      const id = parseUniqueVolumeName(name);
      if (id === undefined || !v.nodes.has(a.spec.nodeName)) continue;
      if (attachmentName(id.handle, id.driver, a.spec.nodeName) === a.metadata.name) return name;
    }
    return undefined;
  }

  #pod(pod: Pod): void {
    const volumes = pod.spec?.volumes;
    const node = pod.spec?.nodeName ?? '';
    if (node === '' || volumes === undefined || volumes.length === 0) return;
    if (isPodTerminated(pod)) {
      this.#podGone(pod);
      return;
    }
    if (!volumes.some((v) => (claimName(pod, v) ?? inTreePluginOf(v)) !== undefined)) return;
    if (!this.#desired.hasNode(node)) {
      let waiting = this.#unmanaged.get(node);
      if (waiting === undefined) this.#unmanaged.set(node, (waiting = new Set()));
      waiting.add(keyOf(pod));
      return;
    }
    for (const v of volumes) {
      const pv = this.#specs.ofPodVolume(pod, v);
      if (pv === undefined || !this.#specs.isAttachable(pv)) continue;
      const { driver, volumeHandle } = pv.spec!.csi!;
      const unique = uniqueVolumeName(driver, volumeHandle);
      const known = this.#actual.get(unique);
      if (known !== undefined) known.spec ??= pv;
      if (this.#desired.add(pod, unique, pv)) this.#wake(unique);
    }
  }

  #podGone(pod: Pod): void {
    this.#unmanaged.get(pod.spec?.nodeName ?? '')?.delete(keyOf(pod));
    for (const v of this.#desired.deletePod(pod.metadata.uid!)) this.#wake(v);
  }

  #podsOf(claim: string): void {
    for (const pod of this.#pods.lister.byIndex(podClaimIndex, claim)) this.#pod(pod);
  }

  #node(node: Node): void {
    const name = node.metadata.name!;
    if (node.metadata.annotations?.[managedAnnotation] !== undefined && this.#desired.addNode(name)) {
      const waiting = this.#unmanaged.get(name);
      this.#unmanaged.delete(name);
      for (const key of waiting ?? []) {
        const pod = this.#pods.lister.getByKey(key);
        if (pod !== undefined) this.#pod(pod);
      }
    }
    this.#inUse(node);
  }

  #inUse(node: Node): void {
    const name = node.metadata.name!;
    this.#actual.setInUse(name, node.status?.volumesInUse ?? []);
    for (const v of this.#actual.ofNode(name)) if (!this.#desired.wants(v, name)) this.#wake(v);
  }

  /** Its volumes are to be attached now, or no longer. */
  #driverChanged(driver: string): void {
    for (const name of [...this.#desired.volumes()]) {
      if (parseUniqueVolumeName(name)?.driver !== driver) continue;
      const spec = this.#desired.nodesOf(name).values().next().value?.spec;
      if (spec === undefined || this.#specs.isAttachable(spec)) continue;
      this.#desired.deleteVolume(name);
      this.#wake(name);
    }
    const driverOf = (volume: PersistentVolume | Volume): string | undefined => {
      const plugin = inTreePluginOf(volume);
      return plugin === undefined ? undefined : driverOfPlugin(plugin);
    };
    for (const pv of this.#volumes.lister.list()) {
      const ref = pv.spec?.claimRef;
      if (ref !== undefined && (pv.spec?.csi?.driver ?? driverOf(pv)) === driver)
        this.#podsOf(`${ref.namespace}/${ref.name}`);
    }
    for (const pod of this.#pods.lister.list())
      if (pod.spec?.volumes?.some((v) => driverOf(v) === driver) === true) this.#pod(pod);
  }

  // What is done

  async #reconcile(key: string): Promise<void> {
    const at = key.indexOf('/');
    const name = key.slice(at + 1);
    if (key.startsWith('node/')) {
      await this.#report.write(name);
      return;
    }
    // First what is in the way of others.
    for (const node of [...(this.#actual.get(name)?.nodes.keys() ?? [])])
      if (!this.#desired.wants(name, node)) await this.#detach(name, node);
    for (const [node, wanted] of [...this.#desired.nodesOf(name)]) await this.#attach(name, node, wanted);
  }

  #specOf(volume: string): PersistentVolume | undefined {
    return this.#actual.get(volume)?.spec ?? this.#desired.nodesOf(volume).values().next().value?.spec;
  }

  #operationKey(volume: string, node: string): string {
    return isMultiAttachAllowed(this.#specOf(volume)) ? `${volume} ${node}` : volume;
  }

  /** Undefined: nothing to be done now. Else the operation that is under way, or true where one may begin. */
  #turn(volume: string, key: string, kind: OperationKind, node: string): Operation | true | undefined {
    const pending = this.#operations.pending(key);
    if (pending !== undefined) return pending.kind === kind && pending.node === node ? pending : undefined;
    const wait = this.#operations.wait(key, kind);
    if (wait === 0) return true;
    this.#later(volume, wait);
    return undefined;
  }

  #later(volume: string, ms: number): void {
    this.#controller.queue.addAfter(`volume/${volume}`, ms);
  }

  #attachmentOf(volume: string, node: string): { readonly id: string; readonly object: VolumeAttachment | undefined } {
    const { driver, handle } = parseUniqueVolumeName(volume)!;
    const id = attachmentName(handle, driver, node);
    return { id, object: this.#attachments.lister.get(id) };
  }

  // Attaching

  async #attach(volume: string, node: string, wanted: WantedVolume): Promise<void> {
    const key = this.#operationKey(volume, node);
    const now = this.#actual.attachment(volume, node);
    if (now?.confirmed === true && this.#operations.pending(key) === undefined) {
      now.detachRequestedAt = undefined;
      return;
    }
    const { id, object } = this.#attachmentOf(volume, node);
    // An attacher that has succeeded after all need not be waited for.
    if (object?.status?.attached === true) this.#operations.retryNow(key);
    const turn = this.#turn(volume, key, 'attach', node);
    if (turn === undefined) return;
    if (turn === true && !isMultiAttachAllowed(wanted.spec)) {
      const holders = [...(this.#actual.get(volume)?.nodes ?? [])].filter(([, a]) => a.confirmed).map(([n]) => n);
      if (holders.length > 0) {
        if (!wanted.multiAttachTold) this.#tellMultiAttach(volume, node, wanted, holders);
        wanted.multiAttachTold = true;
        return;
      }
    }
    let operation = turn;
    if (operation === true) {
      if (object === undefined)
        try {
          await this.#client.storage.volumeattachments.create({
            metadata: { name: id },
            spec: {
              attacher: wanted.spec.spec!.csi!.driver,
              nodeName: node,
              source: standsForInline(wanted.spec)
                ? { inlineVolumeSpec: wanted.spec.spec! }
                : { persistentVolumeName: wanted.spec.metadata.name! },
            },
          });
        } catch (error) {
          if (!isAlreadyExists(error)) {
            const text = `kubernetes.io/csi: attacher.Attach failed: ${(error as Error).message}`;
            this.#attachFailed(volume, node, wanted, key, text);
            return;
          }
        }
      operation = this.#operations.begin(key, 'attach', node, object?.status?.attachError);
      // Should nobody want it before it is attached, it is to be detached all the same.
      this.#actual.uncertain(volume, node, wanted.spec);
      this.#later(volume, attachTimeoutMs);
    }
    this.#attachProgress(volume, node, wanted, key, operation);
  }

  #attachProgress(volume: string, node: string, wanted: WantedVolume, key: string, operation: Operation): void {
    const { object } = this.#attachmentOf(volume, node);
    const { driver, volumeHandle } = wanted.spec.spec!.csi!;
    const name = wanted.spec.metadata.name!;
    const error = object?.status?.attachError;
    const fail = (text: string): void => this.#attachFailed(volume, node, wanted, key, text);
    if (operation.gone) fail('volume attachment has been deleted');
    else if (object?.metadata.deletionTimestamp !== undefined) fail('volume attachment is being deleted');
    else if (object?.status?.attached === true) {
      this.#operations.done(key);
      this.#actual.attached(volume, node, wanted.spec, '');
      this.#wakeNode(node);
      this.#arm();
      // Others may wait for their turn with this volume.
      this.#wake(volume);
      const text = `AttachVolume.Attach succeeded for volume "${name}" `;
      for (const pod of wanted.pods.values())
        this.#recorder.event(resources.core.pods, pod, 'Normal', 'SuccessfulAttachVolume', text);
    } else if (error !== undefined && errorKey(error) !== operation.oldError) fail(error.message ?? '');
    else if (this.#c.clock.now() >= operation.deadline)
      fail(`timed out waiting for external-attacher of ${driver} CSI driver to attach volume ${volumeHandle}`);
  }

  #attachFailed(volume: string, node: string, wanted: WantedVolume, key: string, why: string): void {
    this.#actual.uncertain(volume, node, wanted.spec);
    const text = `AttachVolume.Attach failed for volume "${wanted.spec.metadata.name}" : ${why}`;
    for (const pod of wanted.pods.values())
      this.#recorder.event(resources.core.pods, pod, 'Warning', 'FailedAttachVolume', text);
    this.#c.logger.debug(text, { node });
    this.#later(volume, this.#operations.fail(key, 'attach'));
  }

  #tellMultiAttach(volume: string, node: string, wanted: WantedVolume, holders: readonly string[]): void {
    const others: Pod[] = [];
    const elsewhere = this.#desired.nodesOf(volume);
    for (const n of holders) if (n !== node) others.push(...(elsewhere.get(n)?.pods.values() ?? []));
    const name = wanted.spec.metadata.name!;
    for (const [pod, message] of multiAttachMessages(name, [...wanted.pods.values()], others))
      this.#recorder.event(resources.core.pods, pod, 'Warning', 'FailedAttachVolume', message);
    this.#c.logger.info('Multi-Attach error: volume is already exclusively attached', { volume, node, holders });
  }

  // Detaching

  async #detach(volume: string, node: string): Promise<void> {
    const at = this.#actual.attachment(volume, node);
    if (at === undefined) return;
    const key = this.#operationKey(volume, node);
    const turn = this.#turn(volume, key, 'detach', node);
    if (turn === undefined) {
      // Nobody wants it any more: what is under way need not be finished.
      const pending = this.#operations.pending(key);
      if (pending?.kind !== 'attach' || pending.node !== node) return;
      this.#operations.done(key);
      this.#actual.uncertain(volume, node, undefined);
      this.#wake(volume);
      return;
    }
    let operation = turn;
    if (operation === true) {
      const begun = await this.#beginDetach(volume, node, key);
      if (begun === undefined) return;
      operation = begun;
    }
    const { object } = this.#attachmentOf(volume, node);
    const now = this.#c.clock.now();
    const error = object?.status?.detachError;
    if (operation.gone || (object === undefined && now - operation.startedAt >= settleMs)) {
      this.#operations.done(key);
      this.#actual.detached(volume, node);
      this.#wakeNode(node);
      this.#wake(volume);
    } else if (error !== undefined && errorKey(error) !== operation.oldError)
      this.#detachFailed(volume, node, key, error.message ?? '');
    else if (now >= operation.deadline) {
      const { handle } = parseUniqueVolumeName(volume)!;
      const why = `timed out waiting for external-attacher of unknown CSI driver to detach volume ${handle}`;
      this.#detachFailed(volume, node, key, why);
    } else if (object === undefined) this.#later(volume, settleMs);
  }

  #detachFailed(volume: string, node: string, key: string, why: string): void {
    this.#actual.uncertain(volume, node, undefined);
    const name = this.#specOf(volume)?.metadata.name ?? volume;
    this.#c.logger.warn(`DetachVolume.Detach failed for volume "${name}" : ${why}`, { node });
    this.#later(volume, this.#operations.fail(key, 'detach'));
  }

  /** Undefined when the volume cannot be detached now. */
  async #beginDetach(volume: string, node: string, key: string): Promise<Operation | undefined> {
    const { clock, logger, options } = this.#c;
    const at = this.#actual.attachment(volume, node)!;
    at.detachRequestedAt ??= clock.now();
    const elapsed = clock.now() - at.detachRequestedAt;
    const object = this.#nodes.lister.get(node);
    const late = elapsed > maxWaitForUnmountMs && options.disableForceDetachOnTimeout !== true;
    const healthy = object !== undefined && isNodeReady(object);
    const abandoned = object?.spec?.taints?.some((t) => t.key === outOfService) === true;
    if (this.#actual.inUse(volume, node) && !(late && !healthy) && !abandoned) {
      // The node's status will tell when it is no longer in use; its silence ends here.
      if (elapsed <= maxWaitForUnmountMs) this.#later(volume, maxWaitForUnmountMs - elapsed + 1);
      else this.#later(volume, maxWaitForUnmountMs);
      return undefined;
    }
    this.#actual.unreport(volume, node);
    try {
      await this.#report.write(node);
    } catch (error) {
      this.#actual.report(volume, node);
      throw error;
    }
    // A pod may have come meanwhile.
    if (this.#desired.wants(volume, node)) {
      this.#actual.report(volume, node);
      this.#wakeNode(node);
      return undefined;
    }
    const verify = !late && !abandoned;
    try {
      if (verify) await this.#verifySafe(volume, node);
      else logger.info('volume is detached by force', { volume, node, reason: late ? 'timeout' : 'out-of-service' });
      const { id, object: attachment } = this.#attachmentOf(volume, node);
      const operation = this.#operations.begin(key, 'detach', node, attachment?.status?.detachError);
      this.#later(volume, attachTimeoutMs);
      try {
        await this.#client.storage.volumeattachments.delete(id);
      } catch (error) {
        if (!isNotFound(error))
          throw new Error(
            `kubernetes.io/csi: detacher.Detach failed to delete VolumeAttachment [${id}]: ${(error as Error).message}`,
            { cause: error },
          );
        operation.gone = true;
      }
      return operation;
    } catch (error) {
      this.#detachFailed(volume, node, key, (error as Error).message);
      return undefined;
    }
  }

  /** Rejects when the node says, in its newest status, that it uses the volume. */
  async #verifySafe(volume: string, node: string): Promise<void> {
    let object: Node;
    try {
      object = await this.#client.core.nodes.get(node);
    } catch (error) {
      if (isNotFound(error)) return;
      throw error;
    }
    if ((object.status?.volumesInUse ?? []).includes(volume))
      throw new Error('volume is still in use by node, according to Node status');
  }

  // Reconcile sync

  #arm(): void {
    if (this.#timer !== undefined || this.#stopped || this.#syncMs === 0 || this.#actual.empty) return;
    this.#timer = this.#c.clock.setTimer(this.#syncMs, () => {
      this.#timer = undefined;
      void this.#c.clock.activity
        .track(this.#sync())
        .catch((error: unknown) => this.#c.logger.warn('checking attached volumes failed', { error }))
        .finally(() => this.#arm());
    });
  }

  /** What is attached no longer, although nobody here detached it, is attached again where it is wanted. */
  async #sync(): Promise<void> {
    for (const [volume, v] of [...this.#actual.volumes()])
      for (const [node, at] of [...v.nodes]) {
        if (!at.confirmed || v.spec === undefined || !this.#specs.isAttachable(v.spec)) continue;
        if (this.#operations.pending(this.#operationKey(volume, node)) !== undefined) continue;
        const { id, object } = this.#attachmentOf(volume, node);
        let attached = object?.status?.attached === true;
        if (object === undefined)
          try {
            attached = (await this.#client.storage.volumeattachments.get(id)).status?.attached === true;
          } catch (error) {
            if (!isNotFound(error)) throw error;
          }
        if (attached || this.#actual.attachment(volume, node) !== at) continue;
        this.#c.logger.info('volume is no longer attached', { volume, node });
        this.#actual.detached(volume, node);
        this.#wakeNode(node);
        this.#wake(volume);
      }
  }
}

export const attachDetachController: ControllerDescriptor = {
  name: 'persistentvolume-attach-detach-controller',
  aliases: ['attachdetach'],
  start: (context) => new AttachDetachController(context),
};
