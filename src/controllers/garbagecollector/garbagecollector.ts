/**
 * The garbage collector: deletes what has lost all its owners, holds owners back while they are deleted in the foreground, and
 * lets dependents go where they are to be orphaned. It follows every resource that discovery knows, custom ones included.
 */
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject, OwnerReference } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import type { Timer } from '../../base/clock.ts';
import { Controller } from '../../client/controller.ts';
import type { DiscoveredResource, DiscoveryResult } from '../../client/discovery.ts';
import { RepeatedDiscovery, ResourceMapper } from '../../client/discovery.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { resources } from '../../client/resources.ts';
import { forEachLimit } from '../../client/slow-start.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import type { Identity, Node } from './graph.ts';
import { foregroundFinalizer, Graph, hasFinalizer, isBeingDeleted, orphanFinalizer } from './graph.ts';

/** New kinds are found by their CustomResourceDefinition or APIService; this only catches what these do not tell. */
const rediscoverMs = 5 * 60_000;
/** After a change of a definition the server needs a moment to serve it. */
const settleMs = 1000;
const maxAbsentOwners = 500;
const usualWorkers = 20;

interface Monitor {
  readonly resource: DiscoveredResource;
  readonly informer: Informer<KubeObject>;
  readonly remove: () => void;
}

/** A kind that discovery does not know (yet). */
class UnknownKindError extends Error {}

function absentKey(o: { apiVersion: string; kind: string; name: string; uid: string }, namespace: string): string {
  return `${o.apiVersion}|${o.kind}|${namespace}|${o.name}|${o.uid}`;
}

class GarbageCollector implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #graph: Graph;
  readonly #deleting: Controller;
  readonly #orphaning: Controller;
  readonly #monitors = new Map<string, Monitor>();
  #mapper = new ResourceMapper([]);
  readonly #discovery: RepeatedDiscovery;
  /** What was served when the monitors were last brought up to it. */
  #synced: DiscoveryResult | undefined;
  /** Owners known to be gone; the oldest are forgotten. */
  readonly #absent = new Set<string>();
  #sync: Controller;
  #ticker: Timer | undefined;
  #started = false;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('generic-garbage-collector');
    this.#discovery = new RepeatedDiscovery(this.#client);
    this.#recorder = context.recorder('garbage-collector-controller', this.#client);
    const workers = context.options.concurrency?.['gc'] ?? usualWorkers;
    this.#deleting = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'garbage-collector',
      clock: context.clock,
      logger: context.logger,
      workers,
      reconcile: (uid) => this.#attemptToDelete(uid),
    });
    this.#orphaning = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'garbage-collector-orphan',
      clock: context.clock,
      logger: context.logger,
      workers,
      reconcile: (uid) => this.#attemptToOrphan(uid),
    });
    this.#sync = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'garbage-collector-sync',
      clock: context.clock,
      logger: context.logger,
      workers: 1,
      maxDelayMs: 30_000,
      reconcile: () => this.#syncMonitors(),
    });
    this.#graph = new Graph({
      attemptToDelete: (node) => this.#deleting.queue.add(node.identity.uid),
      attemptToOrphan: (node) => this.#orphaning.queue.add(node.identity.uid),
      ownersAdded: (node, added) => this.#checkOwners(node, added),
      ownerGone: (identity) => this.#markAbsent(absentKey(identity, identity.namespace)),
    });
    const changed = (): void => this.#sync.queue.addAfter('discovery', settleMs);
    for (const ref of [resources.apiextensions.customresourcedefinitions, resources.apiregistration.apiservices]) {
      context.informers
        .informer<KubeObject>(ref)
        .addHandler({ onAdd: (_, initial) => (initial ? undefined : changed()), onUpdate: changed, onDelete: changed });
    }
    const { clock } = context;
    this.#ticker = clock.setTicker(rediscoverMs, () =>
      clock.now() + rediscoverMs <= clock.horizon() ? 'idle' : this.#sync.queue.add('discovery'),
    );
    this.#sync.queue.add('discovery');
    this.#sync.start();
  }

  async stop(): Promise<void> {
    this.#ticker?.cancel();
    await Promise.all([this.#sync.stop(), this.#deleting.stop(), this.#orphaning.stop()]);
  }

  /** Follows exactly the resources that can be listed, watched and deleted. Events are nobody's children. */
  async #syncMonitors(): Promise<void> {
    const served = await this.#discovery.read();
    if (served === this.#synced) return;
    const { resources: all, failures } = served;
    if (all.length === 0) throw new Error('no resources reported by discovery');
    this.#mapper = new ResourceMapper(all);
    const wanted = new Map<string, DiscoveredResource>();
    for (const r of all) {
      const usable = ['delete', 'list', 'watch'].every((verb) => r.verbs.includes(verb));
      if (r.preferred && usable && r.resource !== 'events') wanted.set(`${r.group}/${r.version}/${r.resource}`, r);
    }
    for (const [key, monitor] of this.#monitors) {
      if (wanted.has(key) || failures.has(key.slice(0, key.lastIndexOf('/')).replace(/^\//, ''))) continue;
      this.#monitors.delete(key);
      monitor.remove();
      await this.#c.informers.dropMetadataInformer(monitor.resource);
    }
    const added: Promise<void>[] = [];
    for (const [key, resource] of wanted) {
      if (this.#monitors.has(key)) continue;
      const informer = this.#c.informers.metadataInformer(resource);
      const remove = informer.addHandler({
        onAdd: (o) => this.#graph.put(resource, undefined, o),
        onUpdate: (old, o) => this.#graph.put(resource, old, o),
        onDelete: (o) => this.#graph.remove(resource, o),
      });
      this.#monitors.set(key, { resource, informer, remove });
      added.push(informer.synced);
    }
    this.#synced = served;
    if (this.#started) return;
    this.#started = true;
    // Before everything has been seen once, an owner may look absent or childless that is not.
    this.#deleting.start(...added);
    this.#orphaning.start(...added);
  }

  #markAbsent(key: string): void {
    this.#absent.delete(key);
    this.#absent.add(key);
    if (this.#absent.size > maxAbsentOwners) this.#absent.delete(this.#absent.values().next().value!);
  }

  /** The owner as the caches have it. */
  #cached(r: DiscoveredResource, namespace: string, name: string): KubeObject | undefined {
    return this.#monitors
      .get(`${r.group}/${r.version}/${r.resource}`)
      ?.informer.lister.get(name, r.namespaced ? namespace : undefined);
  }

  /** New references are believed when the caches know the owner; else the object is looked at more closely. */
  #checkOwners(node: Node, added: readonly OwnerReference[]): void {
    for (const ref of added) {
      const r = this.#mapper.forKind(ref.apiVersion, ref.kind);
      const owner = r === undefined ? undefined : this.#cached(r, node.identity.namespace, ref.name);
      if (owner?.metadata.uid !== ref.uid) {
        this.#deleting.queue.add(node.identity.uid);
        return;
      }
    }
  }

  #resource(apiVersion: string, kind: string): DiscoveredResource {
    const r = this.#mapper.forKind(apiVersion, kind);
    if (r === undefined) throw new UnknownKindError(`unable to get REST mapping for ${apiVersion}/${kind}.`);
    return r;
  }

  #get(i: Identity): Promise<KubeObject> {
    const r = this.#resource(i.apiVersion, i.kind);
    return this.#client.resource(r).get(i.name, r.namespaced ? i.namespace : undefined);
  }

  /** The owner that a reference means, or undefined when it does not exist. */
  async #owner(ref: OwnerReference, node: Node): Promise<KubeObject | undefined> {
    const { namespace } = node.identity;
    if (this.#absent.has(absentKey(ref, '')) || this.#absent.has(absentKey(ref, namespace))) return undefined;
    const r = this.#resource(ref.apiVersion, ref.kind);
    if (namespace === '' && r.namespaced) {
      throw new NamespacedOwnerError('cluster-scoped objects cannot refer to namespaced owners');
    }
    const cached = this.#cached(r, namespace, ref.name);
    // What the cache still has may be gone already; its deletion will bring us back here.
    if (cached?.metadata.uid === ref.uid) return cached;
    let owner: KubeObject | undefined;
    try {
      owner = await this.#client.resource(r).get(ref.name, r.namespaced ? namespace : undefined);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    if (owner?.metadata.uid === ref.uid) return owner;
    this.#markAbsent(absentKey(ref, r.namespaced ? namespace : ''));
    this.#reportWrongNamespace(ref, node, r);
    return undefined;
  }

  /** The uid exists, but in another namespace: a reference across namespaces, which means nothing. */
  #reportWrongNamespace(ref: OwnerReference, node: Node, r: DiscoveredResource): void {
    if (!r.namespaced) return;
    const monitor = this.#monitors.get(`${r.group}/${r.version}/${r.resource}`);
    if (monitor === undefined) return;
    for (const o of monitor.informer.lister.list()) {
      if (o.metadata.uid !== ref.uid || o.metadata.namespace === node.identity.namespace) continue;
      const { apiVersion, kind, namespace, name, uid } = node.identity;
      const owner = `[${ref.apiVersion}/${ref.kind}, namespace: ${namespace}, name: ${ref.name}, uid: ${ref.uid}]`;
      this.#recorder.eventFor(
        { apiVersion, kind, name, uid, ...(namespace === '' ? {} : { namespace }) },
        'Warning',
        'OwnerRefInvalidNamespace',
        `ownerRef ${owner} does not exist in namespace ${JSON.stringify(namespace)}`,
      );
      return;
    }
  }

  async #attemptToDelete(uid: string): Promise<void> {
    const node = this.#graph.get(uid);
    if (node === undefined) return;
    // Deletion is a one-way trip; only those that wait for their dependents need help.
    if (node.beingDeleted && !node.deletingDependents) return;
    try {
      if (node.deletingDependents) await this.#processDeletingDependents(node);
      else await this.#collect(node);
    } catch (error) {
      if (error instanceof NamespacedOwnerError) {
        // Trying again would not make it right.
        this.#c.logger.debug('garbage collector: invalid owner reference', { item: node.identity, error });
        return;
      }
      if (error instanceof UnknownKindError) {
        this.#c.logger.debug('garbage collector: unknown owner kind', { item: node.identity, error });
        this.#deleting.queue.addRateLimited(uid);
        return;
      }
      if (!isNotFound(error)) throw error;
    }
  }

  async #collect(node: Node): Promise<void> {
    const { identity } = node;
    const r = this.#resource(identity.apiVersion, identity.kind);
    const latest = this.#cached(r, identity.namespace, identity.name) ?? (await this.#get(identity));
    if (latest.metadata.uid !== identity.uid) return;
    const refs = latest.metadata.ownerReferences ?? [];
    if (refs.length === 0) return;
    const solid: OwnerReference[] = [];
    const dangling: OwnerReference[] = [];
    const waiting: OwnerReference[] = [];
    for (const ref of refs) {
      const owner = await this.#owner(ref, node);
      if (owner === undefined) dangling.push(ref);
      else if (isBeingDeleted(owner) && hasFinalizer(owner, foregroundFinalizer)) waiting.push(ref);
      else solid.push(ref);
    }
    if (solid.length > 0) {
      if (dangling.length === 0 && waiting.length === 0) return;
      // A waiting owner would otherwise wait for ever.
      await this.#removeReferences(
        node,
        [...dangling, ...waiting].map((o) => o.uid),
      );
      return;
    }
    const dependents = this.#graph.dependentsOf(identity.uid);
    if (waiting.length > 0 && dependents.size > 0) {
      for (const d of dependents) {
        if (!d.deletingDependents) continue;
        // A circle may be closing: let nobody wait for this one.
        await this.#unblock(node, latest);
        break;
      }
      await this.#delete(node, latest, 'Foreground');
      return;
    }
    const policy = hasFinalizer(latest, orphanFinalizer)
      ? 'Orphan'
      : hasFinalizer(latest, foregroundFinalizer)
        ? 'Foreground'
        : 'Background';
    await this.#delete(node, latest, policy);
  }

  /** Deletes this very object, as long as its owners are those that were looked at. */
  async #delete(node: Node, latest: KubeObject, policy: 'Orphan' | 'Foreground' | 'Background'): Promise<void> {
    const { identity } = node;
    const r = this.#resource(identity.apiVersion, identity.kind);
    const client = this.#client.resource(r);
    const namespace = r.namespaced ? identity.namespace : undefined;
    const { uid } = identity;
    const { resourceVersion } = latest.metadata;
    try {
      await client.delete(identity.name, namespace, {
        propagationPolicy: policy,
        preconditions: { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      });
    } catch (error) {
      if (!isConflict(error)) throw error;
      const live = await client.get(identity.name, namespace);
      const same = semanticEqual(live.metadata.ownerReferences, latest.metadata.ownerReferences);
      if (live.metadata.uid !== uid) return;
      if (!same) throw error;
      // It changed, but not in what matters here.
      await client.delete(identity.name, namespace, { propagationPolicy: policy, preconditions: { uid } });
    }
  }

  async #processDeletingDependents(node: Node): Promise<void> {
    const blocking = this.#graph.blockingDependents(node.identity.uid);
    if (blocking.length === 0) {
      await this.#removeFinalizer(node, foregroundFinalizer);
      return;
    }
    for (const d of blocking) if (!d.deletingDependents) this.#deleting.queue.add(d.identity.uid);
  }

  async #attemptToOrphan(uid: string): Promise<void> {
    const node = this.#graph.get(uid);
    if (node === undefined) return;
    await forEachLimit([...this.#graph.dependentsOf(uid)], 20, async (d) => {
      try {
        await this.#removeReferences(d, [uid]);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    });
    await this.#removeFinalizer(node, orphanFinalizer);
  }

  #patch(node: Node, type: 'strategic' | 'merge', metadata: Record<string, unknown>): Promise<KubeObject> {
    const { identity } = node;
    const r = this.#resource(identity.apiVersion, identity.kind);
    const namespace = r.namespaced ? identity.namespace : undefined;
    return this.#client.resource(r).patch(identity.name, namespace, type, { metadata });
  }

  async #removeReferences(node: Node, uids: readonly string[]): Promise<void> {
    const gone = uids.map((uid) => ({ $patch: 'delete', uid }));
    try {
      await this.#patch(node, 'strategic', { uid: node.identity.uid, ownerReferences: gone });
    } catch (error) {
      if (!(error instanceof StatusError) || error.code !== 415) throw error;
      // Custom resources know no strategic patches.
      await this.#mergeReferences(node, (refs) => refs.filter((o) => !uids.includes(o.uid)));
    }
  }

  async #mergeReferences(node: Node, map: (refs: readonly OwnerReference[]) => OwnerReference[]): Promise<void> {
    const live = await this.#get(node.identity);
    if (live.metadata.uid !== node.identity.uid) return;
    await this.#patch(node, 'merge', {
      resourceVersion: live.metadata.resourceVersion,
      ownerReferences: map(live.metadata.ownerReferences ?? []),
    });
  }

  async #unblock(node: Node, latest: KubeObject): Promise<void> {
    const free = (refs: readonly OwnerReference[]): OwnerReference[] =>
      refs.map((o) => (o.blockOwnerDeletion === true ? { ...o, blockOwnerDeletion: false } : o));
    const blocking = (latest.metadata.ownerReferences ?? []).filter((o) => o.blockOwnerDeletion === true);
    try {
      await this.#patch(node, 'strategic', { uid: node.identity.uid, ownerReferences: free(blocking) });
    } catch (error) {
      if (!(error instanceof StatusError) || error.code !== 415) throw error;
      await this.#mergeReferences(node, free);
    }
  }

  async #removeFinalizer(node: Node, finalizer: string): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      let live: KubeObject;
      try {
        live = await this.#get(node.identity);
      } catch (error) {
        if (isNotFound(error)) return;
        throw error;
      }
      if (live.metadata.uid !== node.identity.uid || !hasFinalizer(live, finalizer)) return;
      try {
        await this.#patch(node, 'merge', {
          resourceVersion: live.metadata.resourceVersion,
          finalizers: (live.metadata.finalizers ?? []).filter((f) => f !== finalizer),
        });
        return;
      } catch (error) {
        if (isNotFound(error)) return;
        if (!isConflict(error) || attempt >= 4) throw error;
      }
    }
  }
}

/** A cluster-scoped object that names a namespaced owner. */
class NamespacedOwnerError extends Error {}

export const garbageCollectorController: ControllerDescriptor = {
  name: 'garbage-collector-controller',
  aliases: ['garbagecollector'],
  start: (context) => new GarbageCollector(context),
};
