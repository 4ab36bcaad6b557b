/**
 * The graph of owners and dependents, kept by uid. Only objects that have owners, or that wait for their dependents, stand in it;
 * edges point at owners by uid alone, whether these are known or not.
 */
import { sameOwnerReference } from '../../api/helpers/owner-references.ts';
import type { KubeObject, OwnerReference } from '../../api/object.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { TypedRef } from '../../client/resources.ts';

export const orphanFinalizer = 'orphan';
export const foregroundFinalizer = 'foregroundDeletion';

/** Where an object is found. */
export interface Identity {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface Node {
  readonly identity: Identity;
  readonly ref: TypedRef;
  owners: readonly OwnerReference[];
  beingDeleted: boolean;
  /** Being deleted in the foreground: it waits until its blocking dependents are gone. */
  deletingDependents: boolean;
}

export const isBeingDeleted = (o: KubeObject): boolean => o.metadata.deletionTimestamp !== undefined;
export const hasFinalizer = (o: KubeObject, f: string): boolean => o.metadata.finalizers?.includes(f) ?? false;

const noOwners: readonly OwnerReference[] = [];
const noNodes: ReadonlySet<Node> = new Set();

function identityOf(ref: TypedRef, object: KubeObject): Identity {
  const { namespace, name, uid } = object.metadata;
  return {
    apiVersion: apiVersionOf(ref),
    kind: ref.kind,
    namespace: namespace ?? '',
    name: name ?? '',
    uid: uid ?? '',
  };
}

/** What a change of the graph asks to be done. */
export interface GraphEffects {
  /** The node's owners have to be looked at, or it waits for its dependents. */
  attemptToDelete(node: Node): void;
  attemptToOrphan(node: Node): void;
  /** The node has got these owner references. */
  ownersAdded(node: Node, added: readonly OwnerReference[]): void;
  /** An object that others refer to is gone. */
  ownerGone(identity: Identity): void;
}

export class Graph {
  readonly #nodes = new Map<string, Node>();
  readonly #dependents = new Map<string, Set<Node>>();
  readonly #effects: GraphEffects;

  constructor(effects: GraphEffects) {
    this.#effects = effects;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(uid: string): Node | undefined {
    return this.#nodes.get(uid);
  }

  dependentsOf(uid: string): ReadonlySet<Node> {
    return this.#dependents.get(uid) ?? noNodes;
  }

  /** Dependents that hold up the foreground deletion of this owner. */
  blockingDependents(uid: string): Node[] {
    const out: Node[] = [];
    for (const d of this.dependentsOf(uid)) {
      if (d.owners.some((o) => o.uid === uid && o.blockOwnerDeletion === true)) out.push(d);
    }
    return out;
  }

  /** An object was added or changed. */
  put(ref: TypedRef, old: KubeObject | undefined, object: KubeObject): void {
    const uid = object.metadata.uid;
    if (uid === undefined) return;
    const owners = object.metadata.ownerReferences ?? noOwners;
    const deleted = isBeingDeleted(object);
    let node = this.#nodes.get(uid);
    if (node === undefined) {
      const waits = deleted && (hasFinalizer(object, foregroundFinalizer) || hasFinalizer(object, orphanFinalizer));
      // The common case by far: nobody owns it and nobody waits.
      if (owners.length === 0 && !waits) return;
      node = {
        identity: identityOf(ref, object),
        ref,
        owners,
        beingDeleted: deleted,
        deletingDependents: deleted && hasFinalizer(object, foregroundFinalizer),
      };
      this.#nodes.set(uid, node);
      for (const o of owners) this.#link(o.uid, node);
      if (owners.length > 0) this.#effects.ownersAdded(node, owners);
    } else {
      if (owners !== node.owners) this.#changeOwners(node, owners);
      if (deleted) node.beingDeleted = true;
    }
    if (deleted) this.#deletionBegan(node, old, object);
  }

  /** An object is gone. */
  remove(ref: TypedRef, object: KubeObject): void {
    const uid = object.metadata.uid;
    if (uid === undefined) return;
    const node = this.#nodes.get(uid);
    if (node !== undefined) {
      this.#nodes.delete(uid);
      for (const o of node.owners) this.#unlink(o.uid, node);
    }
    const dependents = this.#dependents.get(uid);
    if (dependents !== undefined && dependents.size > 0) {
      this.#effects.ownerGone(identityOf(ref, object));
      for (const d of dependents) this.#effects.attemptToDelete(d);
    }
    for (const o of node?.owners ?? noOwners) {
      const owner = this.#nodes.get(o.uid);
      if (owner?.deletingDependents === true) this.#effects.attemptToDelete(owner);
    }
  }

  #link(ownerUid: string, node: Node): void {
    const set = this.#dependents.get(ownerUid);
    if (set === undefined) this.#dependents.set(ownerUid, new Set([node]));
    else set.add(node);
  }

  #unlink(ownerUid: string, node: Node): void {
    const set = this.#dependents.get(ownerUid);
    if (set === undefined) return;
    set.delete(node);
    if (set.size === 0) this.#dependents.delete(ownerUid);
  }

  #changeOwners(node: Node, owners: readonly OwnerReference[]): void {
    const before = new Map(node.owners.map((o) => [o.uid, o]));
    const added: OwnerReference[] = [];
    const freed: string[] = [];
    for (const o of owners) {
      const old = before.get(o.uid);
      before.delete(o.uid);
      if (old === undefined) added.push(o);
      else if (!sameOwnerReference(old, o) && old.blockOwnerDeletion === true && o.blockOwnerDeletion !== true) {
        freed.push(o.uid);
      }
    }
    node.owners = owners;
    for (const o of added) this.#link(o.uid, node);
    for (const [uid, old] of before) {
      this.#unlink(uid, node);
      if (old.blockOwnerDeletion === true) freed.push(uid);
    }
    if (added.length > 0) this.#effects.ownersAdded(node, added);
    for (const uid of freed) {
      const owner = this.#nodes.get(uid);
      if (owner !== undefined) this.#effects.attemptToDelete(owner);
    }
  }

  #deletionBegan(node: Node, old: KubeObject | undefined, object: KubeObject): void {
    const began = (f: string): boolean =>
      hasFinalizer(object, f) && (old === undefined || !isBeingDeleted(old) || !hasFinalizer(old, f));
    if (began(orphanFinalizer)) {
      this.#effects.attemptToOrphan(node);
      return;
    }
    if (began(foregroundFinalizer)) {
      node.deletingDependents = true;
      for (const d of this.dependentsOf(node.identity.uid)) this.#effects.attemptToDelete(d);
      this.#effects.attemptToDelete(node);
    }
  }
}
