/**
 * Claims of dynamic resources (KEP-4381) on the node: before a pod starts, the drivers of its claims' devices make them ready and name
 * the devices of the container device interface that its containers get; when no pod uses a claim any more, they are told that too.
 * Who gets which device is decided elsewhere: the claim's status has it.
 */
import { InTurn } from '../../base/in-turn.ts';
import type { Timer } from '../../base/clock.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { timedCalls } from '../metrics/timed-calls.ts';
import { formatPod } from '../pod-util.ts';
import { errorText } from '../object-cache.ts';
import type { PluginHandler } from '../volumes/csi/plugin-registry.ts';
import type { ClaimReference, DraStub, PreparedDevice } from './messages.ts';

const stateName = 'knarr_claim_state';
const maxStateBytes = 16 * 1024 * 1024;
const reconcileMs = 60_000;

/** What is kept of a claim while a pod of the node uses it. */
interface Kept {
  readonly claim: ClaimReference;
  readonly pods: Set<string>;
  readonly drivers: readonly string[];
  /** By driver, once all have made theirs ready. */
  devices: Readonly<Record<string, readonly PreparedDevice[]>> | undefined;
}

interface Driver {
  readonly endpoint: string;
  readonly stub: DraStub;
}

/** The claims of a pod: by the name in its spec, that of the object; undefined where none was made for it. */
function claimNames(pod: Pod): Map<string, { readonly name: string | undefined; readonly own: boolean }> {
  const out = new Map<string, { name: string | undefined; own: boolean }>();
  for (const c of pod.spec?.resourceClaims ?? []) {
    if (c.resourceClaimName !== undefined) out.set(c.name, { name: c.resourceClaimName, own: false });
    else {
      const status = pod.status?.resourceClaimStatuses?.find((s) => s.name === c.name);
      if (status === undefined) throw new Error(`pod "${formatPod(pod)}": ResourceClaim not created yet`);
      out.set(c.name, { name: status.resourceClaimName, own: true });
    }
  }
  return out;
}

export class DynamicResources {
  readonly #ctx: KubeletContext;
  readonly #drivers = new Map<string, Driver>();
  /** By the claim's uid. */
  readonly #kept = new Map<string, Kept>();
  #timer: Timer | undefined;
  /** One after another: a claim may be several pods'. */
  readonly #alone = new InTurn();

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
  }

  /** Of sockets in the kubelet's `plugins_registry`. */
  readonly handler: PluginHandler = {
    register: async (name, endpoint, versions) => {
      const version = versions.includes('v1.DRAPlugin')
        ? 'v1'
        : versions.includes('v1beta1.DRAPlugin')
          ? 'v1beta1'
          : undefined;
      if (version === undefined)
        throw new Error(
          `none of the versions ["${versions.join('" "')}"] of DRA driver ${name} is one of v1.DRAPlugin and v1beta1.DRAPlugin`,
        );
      const { openDraDriver } = await import('./grpc.ts');
      this.#drivers.get(name)?.stub.close();
      this.#drivers.set(name, { endpoint, stub: openDraDriver(this.#ctx.host.socketAddress!(endpoint), version) });
      this.#ctx.logger.info('Registered DRA driver', { driver: name, version });
    },
    deregister: (name, endpoint) => {
      const driver = this.#drivers.get(name);
      if (driver?.endpoint === endpoint) {
        driver.stub.close();
        this.#drivers.delete(name);
      }
      return Promise.resolve();
    },
  };

  /** `active`: whether a pod is on the node and has not ended; undefined as long as that is not known. */
  async start(active: (uid: string) => boolean | undefined): Promise<void> {
    await this.#restore();
    this.#ctx.metrics?.gauge('dra_resource_claims_in_use', () => {
      const used = new Map([['<any>', this.#kept.size]]);
      for (const k of this.#kept.values()) for (const d of k.drivers) used.set(d, (used.get(d) ?? 0) + 1);
      return [...used].map(([driver, n]) => [[driver], n]);
    });
    this.#timer = this.#ctx.clock.setTicker(reconcileMs, () => {
      const gone = new Set<string>();
      for (const k of this.#kept.values()) for (const uid of k.pods) if (active(uid) === false) gone.add(uid);
      for (const uid of gone) this.release(uid);
    });
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#alone.ended();
    for (const d of this.#drivers.values()) d.stub.close();
    this.#drivers.clear();
  }

  /** Makes a pod's claims ready. Rejects with what is to be told of it. */
  async prepare(pod: Pod): Promise<void> {
    if ((pod.spec?.resourceClaims?.length ?? 0) === 0) return;
    try {
      await this.#counted('PrepareResources', () => this.#alone.run(() => this.#prepare(pod)));
    } catch (error) {
      throw new Error(`prepare dynamic resources: ${errorText(error)}`, { cause: error });
    }
  }

  async #prepare(pod: Pod): Promise<void> {
    const { namespace = '', name: podName = '', uid = '' } = pod.metadata;
    const todo: Kept[] = [];
    for (const { name, own } of claimNames(pod).values()) {
      if (name === undefined) continue;
      const claim = await this.#ctx.client.dra.resourceclaims.get(name, namespace).catch((error: unknown) => {
        throw new Error(`fetch ResourceClaim ${name}: ${errorText(error)}`, { cause: error });
      });
      const claimUid = claim.metadata.uid!;
      if (own && claim.metadata.ownerReferences?.some((o) => o.controller === true && o.uid === uid) !== true)
        throw new Error(
          `ResourceClaim ${namespace}/${name} was not created for pod ${namespace}/${podName} (pod is not owner)`,
        );
      if (claim.status?.reservedFor?.some((r) => r.uid === uid) !== true)
        throw new Error(`pod ${podName} (${uid}) is not allowed to use ResourceClaim ${name} (${claimUid})`);
      const drivers = [...new Set((claim.status.allocation?.devices?.results ?? []).map((r) => r.driver))];
      for (const d of drivers) this.#driver(d);
      for (const k of this.#kept.values())
        if (k.claim.name === name && k.claim.namespace === namespace && k.claim.uid !== claimUid)
          throw new Error(
            `old ResourceClaim with same name ${name} and different UID ${k.claim.uid} still exists (previous pod force-deleted?!)`,
          );
      let kept = this.#kept.get(claimUid);
      if (kept === undefined) {
        kept = { claim: { namespace, uid: claimUid, name }, pods: new Set(), drivers, devices: undefined };
        this.#kept.set(claimUid, kept);
      }
      kept.pods.add(uid);
      if (kept.devices === undefined) todo.push(kept);
    }
    // What was begun is known after a crash, so that it can be undone.
    await this.#save();
    const ready = new Map<Kept, Record<string, readonly PreparedDevice[]>>(todo.map((k) => [k, {}]));
    for (const driver of new Set(todo.flatMap((k) => k.drivers))) {
      const mine = todo.filter((k) => k.drivers.includes(driver));
      const claims = mine.map((k) => k.claim);
      const answers = await this.#timed(driver, 'NodePrepareResources', () =>
        this.#driver(driver).prepare(claims),
      ).catch((error: unknown) => {
        throw new Error(`NodePrepareResources: ${errorText(error)}`, { cause: error });
      });
      for (const k of mine) {
        const answer = answers[k.claim.uid];
        if (answer === undefined) throw new Error('NodePrepareResources skipped 1 ResourceClaims');
        if (answer.error !== '')
          throw new Error(`NodePrepareResources failed for ResourceClaim ${k.claim.name}: ${answer.error}`);
        ready.get(k)![driver] = answer.devices;
      }
    }
    for (const [k, devices] of ready) k.devices = devices;
    if (ready.size > 0) await this.#save();
  }

  #timed<T>(driver: string, method: string, call: () => Promise<T>): Promise<T> {
    const timed = timedCalls(this.#ctx, 'dra_grpc_operations_duration_seconds', driver);
    return timed === undefined ? call() : timed(`/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/${method}`, call);
  }

  async #counted(operation: string, work: () => Promise<void>): Promise<void> {
    const { clock, metrics } = this.#ctx;
    const began = clock.monotonic();
    let failed = true;
    try {
      await work();
      failed = false;
    } finally {
      const seconds = (clock.monotonic() - began) / 1000;
      metrics?.observe('dra_operations_duration_seconds', seconds, [operation, String(failed)]);
    }
  }

  #driver(name: string): DraStub {
    const driver = this.#drivers.get(name);
    if (driver === undefined) throw new Error(`DRA driver ${name} is not registered`);
    return driver.stub;
  }

  /** The devices of the container device interface that a container's claims stand for. */
  cdiDevices(pod: Pod, container: Container): readonly string[] {
    const claims = container.resources?.claims ?? [];
    if (claims.length === 0) return [];
    const names = claimNames(pod);
    const out = new Set<string>();
    for (const { name, request = '' } of claims) {
      const object = names.get(name)?.name;
      const kept = [...this.#kept.values()].find(
        (k) => k.claim.name === object && k.claim.namespace === pod.metadata.namespace,
      );
      for (const devices of Object.values(kept?.devices ?? {}))
        for (const d of devices) {
          const wanted =
            request === '' || d.requestNames.length === 0 || d.requestNames.some((r) => r.split('/')[0] === request);
          if (wanted) for (const id of d.cdiDeviceIds) out.add(id);
        }
    }
    return [...out];
  }

  /** A pod's containers are dead: claims that nobody else uses are given back, as soon as their drivers answer. */
  release(uid: string): void {
    if (![...this.#kept.values()].some((k) => k.pods.has(uid))) return;
    const work = this.#counted('UnprepareResources', () => this.#alone.run(() => this.#unprepare(uid))).catch(
      (error: unknown) =>
        this.#ctx.logger.warn('Failed to unprepare dynamic resources; trying again later', { pod: uid, error }),
    );
    void this.#ctx.clock.activity.track(work);
  }

  async #unprepare(uid: string): Promise<void> {
    for (const [claimUid, k] of [...this.#kept]) {
      if (!k.pods.has(uid)) continue;
      if (k.pods.size === 1) {
        for (const driver of k.drivers) {
          const unprepare = () => this.#driver(driver).unprepare([k.claim]);
          const answer = (await this.#timed(driver, 'NodeUnprepareResources', unprepare))[claimUid];
          if (answer === undefined) throw new Error('NodeUnprepareResources skipped 1 ResourceClaims');
          if (answer.error !== '')
            throw new Error(`NodeUnprepareResources failed for ResourceClaim ${k.claim.name}: ${answer.error}`);
        }
        this.#kept.delete(claimUid);
      }
      k.pods.delete(uid);
    }
    await this.#save();
  }

  async #save(): Promise<void> {
    const kept = [...this.#kept.values()].map((k) => ({ ...k, pods: [...k.pods] }));
    await this.#ctx.host.replaceFile(`${this.#ctx.rootDir}/${stateName}`, JSON.stringify({ kept }), 0o600);
  }

  async #restore(): Promise<void> {
    const text = await this.#ctx.host.readFile(`${this.#ctx.rootDir}/${stateName}`, { maxBytes: maxStateBytes });
    if (text === undefined) return;
    try {
      const { kept } = JSON.parse(text.toString()) as { kept: (Omit<Kept, 'pods'> & { pods: string[] })[] };
      for (const k of kept) this.#kept.set(k.claim.uid, { ...k, pods: new Set(k.pods) });
    } catch (error) {
      this.#ctx.logger.error('Cannot read which claims are in use', { why: errorText(error) });
    }
  }
}
