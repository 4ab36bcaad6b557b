/**
 * ControllerRevisions: the history of the pod templates of a StatefulSet or DaemonSet. A revision's name and label carry a hash of
 * the template; of equal templates there is one revision, whose number grows when it is gone back to.
 */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { controllerOf, newControllerRef } from '../../api/helpers/owner-references.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Selector } from '../../api/selector.ts';
import { timeMs } from '../../api/time.ts';
import type { ControllerRevision, PodTemplateSpec } from '../../api/types/index.gen.ts';
import type { ResourceClient } from '../../client/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../client/errors.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import type { TypedRef } from '../../client/resources.ts';
import { canonicalJson, fnv32, safeEncode } from './hash.ts';
import { orphanKey } from './pods.ts';

const revisionIndex = 'controller';
/** On pods: the revision they were made from (its name for StatefulSets, its hash for DaemonSets). */
export const podRevisionLabel = 'controller-revision-hash';
/** 253 characters less dash, hash and some room. */
const maxPrefix = 223;

/** Owners of revisions: both kinds keep a template. */
export interface RevisedObject extends KubeObject {
  spec?: { template?: PodTemplateSpec; revisionHistoryLimit?: number };
}

export interface RevisionHistoryOptions<T extends RevisedObject> {
  readonly revisions: Informer<ControllerRevision>;
  readonly client: ResourceClient<ControllerRevision>;
  readonly ref: TypedRef<T>;
  readonly ownerClient: ResourceClient<T>;
  /** Key of the label of a revision that carries the hash. */
  readonly label: string;
  readonly hash: (template: PodTemplateSpec | undefined, collisionCount: number) => string;
}

export class RevisionHistory<T extends RevisedObject> {
  readonly #o: RevisionHistoryOptions<T>;
  /** By owner's uid: the newest revision made or renumbered here, while the informer is behind it. */
  readonly #made = new Map<string, ControllerRevision>();

  constructor(options: RevisionHistoryOptions<T>) {
    this.#o = options;
    options.revisions.addIndex(revisionIndex, (r) => [controllerOf(r)?.uid ?? orphanKey(r.metadata.namespace)]);
  }

  forget(uid: string | undefined): void {
    if (uid !== undefined) this.#made.delete(uid);
  }

  /** The owner's revisions, oldest first; orphans that match are adopted. */
  async of(owner: T, selector: Selector): Promise<ControllerRevision[]> {
    const { revisions, client, ref, ownerClient } = this.#o;
    const { uid, name, namespace, deletionTimestamp } = owner.metadata;
    const found: ControllerRevision[] = [];
    for (const r of revisions.lister.byIndex(revisionIndex, uid!))
      if (selector.matches(r.metadata.labels)) found.push(r);
    const made = this.#made.get(uid!);
    if (made !== undefined) {
      const at = found.findIndex((r) => r.metadata.name === made.metadata.name);
      if (at !== -1 && found[at]!.revision >= made.revision) this.#made.delete(uid!);
      else if (at === -1) found.push(made);
      else found[at] = made;
    }
    const orphans =
      deletionTimestamp === undefined ? revisions.lister.byIndex(revisionIndex, orphanKey(namespace)) : [];
    const matching = [...orphans].filter((r) => selector.matches(r.metadata.labels));
    if (matching.length > 0) {
      const fresh = await ownerClient.get(name!, namespace);
      if (fresh.metadata.uid !== uid || fresh.metadata.deletionTimestamp !== undefined) {
        throw new Error(`can't adopt ControllerRevisions: ${ref.kind} ${keyOf(owner)} is gone or being deleted`);
      }
      for (const r of matching) {
        found.push(
          await client.patch(r.metadata.name!, namespace, 'strategic', {
            metadata: { uid: r.metadata.uid, ownerReferences: [newControllerRef(owner, ref)] },
          }),
        );
      }
    }
    return found.sort(byRevision);
  }

  /**
   * The revision of the owner's template: the newest one, an older one that becomes the newest again, or a new one. A hash that
   * another template has already is avoided by counting up.
   */
  async current(
    owner: T,
    sorted: readonly ControllerRevision[],
    collisionCount: number,
  ): Promise<{ revision: ControllerRevision; collisionCount: number }> {
    const data = templatePatch(owner.spec?.template);
    const equal = sorted.findLast((r) => deepEqual(r.data, data));
    if (equal !== undefined && equal === sorted.at(-1)) return { revision: equal, collisionCount };
    const number = (sorted.at(-1)?.revision ?? 0) + 1;
    const result =
      equal === undefined
        ? await this.#create(owner, data, number, collisionCount)
        : { revision: await this.#renumber(equal, number), collisionCount };
    this.#made.set(owner.metadata.uid!, result.revision);
    return result;
  }

  async #create(
    owner: T,
    data: unknown,
    revision: number,
    collisionCount: number,
  ): Promise<{ revision: ControllerRevision; collisionCount: number }> {
    const { client, ref, label } = this.#o;
    const { namespace, annotations } = owner.metadata;
    const template = owner.spec?.template;
    const prefix = (owner.metadata.name ?? '').slice(0, maxPrefix);
    for (let count = collisionCount; ; count++) {
      const hash = this.#o.hash(template, count);
      const name = `${prefix}-${hash}`;
      try {
        const created = await client.create({
          metadata: {
            name,
            ...(namespace === undefined ? {} : { namespace }),
            labels: { ...template?.metadata?.labels, [label]: hash },
            ...(annotations === undefined ? {} : { annotations }),
            ownerReferences: [newControllerRef(owner, ref)],
          },
          data,
          revision,
        });
        return { revision: created, collisionCount: count };
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
        const existing = await client.get(name, namespace);
        if (deepEqual(existing.data, data)) return { revision: existing, collisionCount: count };
      }
    }
  }

  async #renumber(revision: ControllerRevision, number: number): Promise<ControllerRevision> {
    const { client } = this.#o;
    let current = revision;
    for (let attempt = 1; ; attempt++) {
      if (current.revision === number) return current;
      try {
        return await client.update({ ...current, revision: number });
      } catch (error) {
        if (!isConflict(error) || attempt >= 5) throw error;
      }
      current = await client.get(current.metadata.name!, current.metadata.namespace);
    }
  }

  /** Deletes the oldest revisions that are not in use until no more are left than the owner wants to keep. */
  async truncate(
    owner: T,
    sorted: readonly ControllerRevision[],
    inUse: (revision: ControllerRevision) => boolean,
  ): Promise<void> {
    const old = sorted.filter((r) => !inUse(r));
    const limit = owner.spec?.revisionHistoryLimit ?? 10;
    for (const r of old.slice(0, Math.max(0, old.length - limit))) {
      try {
        await this.#o.client.delete(r.metadata.name!, r.metadata.namespace);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
  }
}

function byRevision(a: ControllerRevision, b: ControllerRevision): number {
  if (a.revision !== b.revision) return a.revision - b.revision;
  const x = timeMs(a.metadata.creationTimestamp);
  const y = timeMs(b.metadata.creationTimestamp);
  return x === y ? ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1) : x - y;
}

/**
 * What a revision keeps of its owner: a patch that puts the template back. Its members stand in the order of their names, since
 * tools find the current revision by comparing bytes with a patch that they make themselves.
 */
function templatePatch(template: PodTemplateSpec | undefined): unknown {
  return JSON.parse(canonicalJson({ spec: { template: { ...template, $patch: 'replace' } } }));
}

/** The template that a revision keeps. */
export function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const data = revision.data as { spec?: { template?: Record<string, unknown> } } | undefined;
  const { $patch: _, ...template } = data?.spec?.template ?? {};
  return template as PodTemplateSpec;
}

/** How StatefulSets hash: the patch and the count of collisions. */
export function hashOfPatch(template: PodTemplateSpec | undefined, collisionCount: number): string {
  return safeEncode(String(fnv32(canonicalJson(templatePatch(template)) + String(collisionCount))));
}
