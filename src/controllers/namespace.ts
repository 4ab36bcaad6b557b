/**
 * The namespace controller: empties a namespace that is being deleted, pods first, then everything else that discovery knows,
 * and takes its finalizer away. What stands in the way is told in the namespace's conditions.
 */
import { formatTime, timeMs } from '../api/time.ts';
import type { Namespace, NamespaceCondition, Pod } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import type { DiscoveredResource } from '../client/discovery.ts';
import { discover } from '../client/discovery.ts';
import { isConflict, isMethodNotSupported, isNotFound } from '../client/errors.ts';
import type { Informer } from '../client/informer.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const finalizer = 'kubernetes';
/** Other API servers and store members may need this long to notice that the namespace is closed. */
const defaultGraceMs = 5000;
/** How long finalizers of the content are given before the next look, in seconds. */
const finalizerEstimate = 15;

interface Remaining {
  /** Seconds until it should be gone; 0 with `count` 0 means it is. */
  readonly estimate: number;
  readonly count: number;
  readonly finalizers: ReadonlyMap<string, number>;
}

const nothingLeft: Remaining = { estimate: 0, count: 0, finalizers: new Map() };

/** What went wrong or is left, on the way to conditions. */
class Findings {
  readonly conditions = new Map<string, { reason: string; message: string }>();
  readonly contentErrors: string[] = [];
  readonly errors: unknown[] = [];
  readonly counts = new Map<string, number>();
  readonly finalizers = new Map<string, number>();
  estimate = 0;

  add(resource: DiscoveredResource, remaining: Remaining): void {
    this.estimate = Math.max(this.estimate, remaining.estimate);
    if (remaining.count === 0) return;
    this.counts.set(`${resource.resource}.${resource.group}`, remaining.count);
    for (const [f, n] of remaining.finalizers) this.finalizers.set(f, (this.finalizers.get(f) ?? 0) + n);
  }

  fail(error: unknown): void {
    this.errors.push(error);
    this.contentErrors.push((error as Error).message);
  }

  finish(): void {
    if (this.contentErrors.length > 0) {
      const list = this.contentErrors.toSorted().join(', ');
      this.conditions.set('NamespaceDeletionContentFailure', {
        reason: 'ContentDeletionFailed',
        message: `Failed to delete all resource types, ${this.contentErrors.length} remaining: ${list}`,
      });
    }
    if (this.counts.size > 0) {
      const list = [...this.counts].map(([r, n]) => `${r} has ${n} resource instances`).toSorted();
      this.conditions.set('NamespaceContentRemaining', {
        reason: 'SomeResourcesRemain',
        message: `Some resources are remaining: ${list.join(', ')}`,
      });
    }
    if (this.finalizers.size > 0) {
      const list = [...this.finalizers].map(([f, n]) => `${f} in ${n} resource instances`).toSorted();
      this.conditions.set('NamespaceFinalizersRemaining', {
        reason: 'SomeFinalizersRemain',
        message: `Some content in the namespace has finalizers remaining: ${list.join(', ')}`,
      });
    }
  }
}

const healthy: Readonly<Record<string, readonly [reason: string, message: string]>> = {
  NamespaceDeletionDiscoveryFailure: ['ResourcesDiscovered', 'All resources successfully discovered'],
  NamespaceDeletionGroupVersionParsingFailure: ['ParsedGroupVersions', 'All legacy kube types successfully parsed'],
  NamespaceDeletionContentFailure: [
    'ContentDeleted',
    'All content successfully deleted, may be waiting on finalization',
  ],
  NamespaceContentRemaining: ['ContentRemoved', 'All content successfully removed'],
  NamespaceFinalizersRemaining: ['ContentHasNoFinalizers', 'All content-preserving finalizers finished'],
};

class NamespaceController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #namespaces: Informer<Namespace>;
  readonly #pods: Informer<Pod>;
  readonly #controller: Controller;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('namespace-controller');
    this.#namespaces = context.informers.informer(resources.core.namespaces);
    this.#pods = context.informers.informer(resources.core.pods);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'namespace',
      workers: context.options.concurrency?.['namespace'] ?? 10,
      clock: context.clock,
      logger: context.logger,
      maxDelayMs: 60_000,
      reconcile: (key) => this.#reconcile(key),
    });
    const changed = (ns: Namespace): void => {
      if (ns.metadata.deletionTimestamp === undefined) return;
      const grace = context.options.namespaceDeletionGracePeriodMs ?? defaultGraceMs;
      this.#controller.queue.addAfter(ns.metadata.name!, grace);
    };
    this.#namespaces.addHandler({ onAdd: changed, onUpdate: (_, ns) => changed(ns) });
    this.#pods.addHandler({
      onDelete: (pod) => {
        // The last pod of a namespace in deletion is gone: no need to wait out the estimate.
        const name = pod.metadata.namespace!;
        if (this.#namespaces.lister.get(name)?.metadata.deletionTimestamp === undefined) return;
        for (const _ of this.#pods.lister.list(name)) return;
        this.#controller.queue.add(name);
      },
    });
    this.#controller.start(this.#namespaces.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  async #reconcile(name: string): Promise<void> {
    if (this.#namespaces.lister.get(name) === undefined) return;
    try {
      const estimate = await this.#delete(name);
      if (estimate > 0) this.#controller.queue.addAfter(name, (Math.floor(estimate / 2) + 1) * 1000);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Seconds after which to look again; 0 when the namespace is free to go. */
  async #delete(name: string): Promise<number> {
    let ns = await this.#client.core.namespaces.get(name);
    if (ns.metadata.deletionTimestamp === undefined) return 0;
    ns = await this.#retry(ns, (n) =>
      n.status?.phase === 'Terminating'
        ? Promise.resolve(n)
        : this.#client.core.namespaces.updateStatus({ ...n, status: { ...n.status, phase: 'Terminating' } }),
    );
    if (ns.metadata.deletionTimestamp === undefined || (ns.spec?.finalizers ?? []).length === 0) return 0;
    const estimate = await this.#deleteContent(ns);
    if (estimate > 0) return estimate;
    ns = await this.#client.core.namespaces.get(name);
    await this.#retry(ns, (n) =>
      this.#client.core.namespaces.update(
        { ...n, spec: { ...n.spec, finalizers: (n.spec?.finalizers ?? []).filter((f) => f !== finalizer) } },
        { subresource: 'finalize' },
      ),
    );
    return 0;
  }

  async #retry(start: Namespace, write: (ns: Namespace) => Promise<Namespace>): Promise<Namespace> {
    let ns = start;
    for (let attempt = 0; ; attempt++) {
      try {
        return await write(ns);
      } catch (error) {
        if (!isConflict(error) || attempt >= 20) throw error;
      }
      const uid = ns.metadata.uid;
      ns = await this.#client.core.namespaces.get(ns.metadata.name!);
      if (ns.metadata.uid !== uid) throw new Error('namespace uid has changed across retries');
    }
  }

  async #deleteContent(ns: Namespace): Promise<number> {
    const findings = new Findings();
    let all: readonly DiscoveredResource[] = [];
    try {
      const discovered = await discover(this.#client);
      all = discovered.resources;
      if (discovered.failures.size > 0) {
        const list = [...discovered.failures].map(([gv, why]) => `${gv}: ${why}`).join(', ');
        const text = `unable to retrieve the complete list of server APIs: ${list}`;
        findings.errors.push(new Error(text));
        findings.conditions.set('NamespaceDeletionDiscoveryFailure', {
          reason: 'DiscoveryFailed',
          message: `Discovery failed for some groups, ${discovered.failures.size} failing: ${text}`,
        });
      }
    } catch (error) {
      findings.errors.push(error);
      findings.conditions.set('NamespaceDeletionDiscoveryFailure', {
        reason: 'DiscoveryFailed',
        message: (error as Error).message,
      });
    }
    const deletable = all.filter((r) => r.namespaced && r.preferred && r.verbs.includes('delete'));
    const isPods = (r: DiscoveredResource): boolean => r.group === '' && r.resource === 'pods';
    // Pods first: what they use must outlive them.
    const pods = deletable.find(isPods);
    if (pods !== undefined) await this.#deleteResource(ns, pods, findings);
    if (pods === undefined || !findings.counts.has(`${pods.resource}.${pods.group}`)) {
      for (const r of deletable) if (!isPods(r)) await this.#deleteResource(ns, r, findings);
    }
    findings.finish();
    await this.#writeConditions(ns, findings);
    if (findings.errors.length > 0) throw findings.errors[0];
    return findings.estimate;
  }

  async #deleteResource(ns: Namespace, r: DiscoveredResource, findings: Findings): Promise<void> {
    try {
      findings.add(r, await this.#deleteAll(ns, r));
    } catch (error) {
      findings.fail(error);
    }
  }

  async #deleteAll(ns: Namespace, r: DiscoveredResource): Promise<Remaining> {
    const client = this.#client.resource(r);
    const namespace = ns.metadata.name!;
    const list = async () => {
      if (!r.verbs.includes('list')) return undefined;
      try {
        return (await client.list({ namespace })).items;
      } catch (error) {
        if (isMethodNotSupported(error) || isNotFound(error)) return undefined;
        throw error;
      }
    };
    const before = await list();
    if (before !== undefined && before.length === 0) return nothingLeft;
    const estimate = r.group === '' && r.resource === 'pods' ? this.#podEstimate(ns, (before ?? []) as Pod[]) : 0;
    const options = { propagationPolicy: 'Background' } as const;
    let collection = r.verbs.includes('deletecollection');
    if (collection) {
      try {
        await client.deleteCollection({ namespace }, options);
      } catch (error) {
        if (!isMethodNotSupported(error) && !isNotFound(error)) throw error;
        collection = false;
      }
    }
    if (!collection) {
      for (const item of before ?? []) {
        try {
          await client.delete(item.metadata.name!, namespace, options);
        } catch (error) {
          if (!isNotFound(error) && !isMethodNotSupported(error)) throw error;
        }
      }
    }
    const after = await list();
    if (after === undefined) return { estimate, count: 0, finalizers: new Map() };
    if (after.length === 0) return nothingLeft;
    const finalizers = new Map<string, number>();
    for (const item of after) {
      for (const f of item.metadata.finalizers ?? []) finalizers.set(f, (finalizers.get(f) ?? 0) + 1);
    }
    if (estimate > 0) return { estimate, count: after.length, finalizers };
    if (finalizers.size > 0) return { estimate: finalizerEstimate, count: after.length, finalizers };
    const gvr = `${r.group}/${r.version}, Resource=${r.resource}`;
    throw new Error(`unexpected items still remain in namespace: ${namespace} for gvr: ${gvr}`);
  }

  /** The longest grace period of the pods that still run, unless the deletion is older than that. */
  #podEstimate(ns: Namespace, pods: readonly Pod[]): number {
    let seconds = 0;
    for (const pod of pods) {
      const phase = pod.status?.phase;
      if (phase === 'Succeeded' || phase === 'Failed') continue;
      seconds = Math.max(seconds, pod.spec?.terminationGracePeriodSeconds ?? 0);
    }
    const since = this.#c.clock.now() - timeMs(ns.metadata.deletionTimestamp);
    return since >= seconds * 1000 ? 0 : seconds;
  }

  async #writeConditions(ns: Namespace, findings: Findings): Promise<void> {
    const now = formatTime(this.#c.clock.now());
    const old = ns.status?.conditions ?? [];
    const conditions: NamespaceCondition[] = [...old];
    let changed = false;
    for (const [type, [reason, message]] of Object.entries(healthy)) {
      const bad = findings.conditions.get(type);
      const wanted = {
        type,
        status: bad === undefined ? 'False' : 'True',
        reason: bad?.reason ?? reason,
        message: bad?.message ?? message,
      };
      const i = conditions.findIndex((c) => c.type === type);
      const current = conditions[i];
      if (current === undefined) {
        conditions.push({ ...wanted, lastTransitionTime: now });
        changed = true;
      } else if (
        current.status !== wanted.status ||
        current.reason !== wanted.reason ||
        current.message !== wanted.message
      ) {
        const lastTransitionTime = current.status === wanted.status ? current.lastTransitionTime : now;
        conditions[i] = { ...wanted, lastTransitionTime };
        changed = true;
      }
    }
    if (!changed) return;
    try {
      await this.#client.core.namespaces.updateStatus({ ...ns, status: { ...ns.status, conditions } });
    } catch (error) {
      // The conditions are for the reader; the deletion goes on without them.
      if (!isNotFound(error)) {
        const namespace = ns.metadata.name;
        this.#c.logger.debug("couldn't update status condition for namespace", { namespace, error });
      }
    }
  }
}

export const namespaceController: ControllerDescriptor = {
  name: 'namespace-controller',
  aliases: ['namespace'],
  start: (context) => new NamespaceController(context),
};
