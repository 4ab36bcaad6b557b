/**
 * Claims of a StatefulSet's pods: created before their pod, and owned by the set or the pod as its retention policy says, so that
 * garbage collection deletes them with their owner (KEP-1847).
 */
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject, OwnerReference } from '../../api/object.ts';
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../../api/types/index.gen.ts';
import type { ResourceClient } from '../../client/client.ts';
import { isAlreadyExists } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import type { TypedRef } from '../../client/resources.ts';
import { resources } from '../../client/resources.ts';
import { claimName, claimsOf, isInRange, ordinalOf } from './pods.ts';

const setRef = resources.apps.statefulsets;
const podRef = resources.core.pods;

export class StatefulClaims {
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #client: ResourceClient<PersistentVolumeClaim>;
  readonly #recorder: EventRecorder;
  /** Written by us and not yet seen by the informer, by key. */
  readonly #ahead = new Map<string, PersistentVolumeClaim>();

  constructor(
    claims: Informer<PersistentVolumeClaim>,
    client: ResourceClient<PersistentVolumeClaim>,
    recorder: EventRecorder,
  ) {
    this.#claims = claims;
    this.#client = client;
    this.#recorder = recorder;
    const seen = (claim: PersistentVolumeClaim): void => void this.#ahead.delete(keyOf(claim));
    claims.addHandler({ onAdd: seen, onDelete: seen });
  }

  #get(set: StatefulSet, name: string): PersistentVolumeClaim | undefined {
    const key = `${set.metadata.namespace}/${name}`;
    return this.#claims.lister.getByKey(key) ?? this.#ahead.get(key);
  }

  /** Creates what is missing of an ordinal's claims. Throws for a claim that is going away. */
  async create(set: StatefulSet, pod: Pod): Promise<void> {
    const errors: Error[] = [];
    for (const claim of claimsOf(set, ordinalOf(pod)).values()) {
      const name = claim.metadata.name!;
      const existing = this.#get(set, name);
      if (existing !== undefined) {
        if (existing.metadata.deletionTimestamp !== undefined) errors.push(new Error(`pvc ${name} is being deleted`));
        continue;
      }
      const which = `Claim ${name}`;
      const whose = `Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
      try {
        const created = await this.#client.create(claim);
        if (this.#claims.lister.getByKey(keyOf(created)) === undefined) this.#ahead.set(keyOf(created), created);
        this.#recorder.event(setRef, set, 'Normal', 'SuccessfulCreate', `Create ${which} ${whose} success`);
      } catch (error) {
        const message = (error as Error).message;
        errors.push(new Error(`failed to create PVC ${name}: ${message}`, { cause: error }));
        if (!isAlreadyExists(error)) {
          const text = `Create ${which} for ${whose} failed error: ${message}`;
          this.#recorder.event(setRef, set, 'Warning', 'FailedCreate', text);
        }
      }
    }
    if (errors.length === 1) throw errors[0]!;
    if (errors.length > 1) throw new AggregateError(errors, `[${errors.map((e) => e.message).join(', ')}]`);
  }

  /** A claim of the pod still belongs to an earlier pod of that name, with which it will be deleted. */
  isStale(set: StatefulSet, pod: Pod): boolean {
    if ((set.spec?.persistentVolumeClaimRetentionPolicy?.whenScaled ?? 'Retain') === 'Retain') return false;
    for (const claim of claimsOf(set, ordinalOf(pod)).values()) {
      const existing = this.#get(set, claim.metadata.name!);
      if (existing !== undefined && hasStaleOwner(existing, pod, podRef)) return true;
    }
    return false;
  }

  /** The owners of the pod's claims are as the policy wants them. */
  matchPolicy(set: StatefulSet, pod: Pod): boolean {
    return this.#existing(set, pod).every((claim) => ownersMatch(claim, set, pod));
  }

  /** Gives the pod's claims the owners that the policy wants. */
  async enforcePolicy(set: StatefulSet, pod: Pod): Promise<void> {
    for (const claim of this.#existing(set, pod)) {
      if (hasUnexpectedController(claim, set, pod)) {
        const text = `PersistentVolumeClaim ${claim.metadata.name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim`;
        this.#recorder.event(setRef, set, 'Warning', 'ConflictingController', text);
      }
      if (ownersMatch(claim, set, pod)) continue;
      const { ownerReferences: _, ...metadata } = claim.metadata;
      const owners = wantedOwners(claim, set, pod);
      const updated = await this.#client.update({
        ...claim,
        metadata: owners.length === 0 ? metadata : { ...metadata, ownerReferences: owners },
      });
      if (this.#ahead.has(keyOf(updated))) this.#ahead.set(keyOf(updated), updated);
    }
  }

  #existing(set: StatefulSet, pod: Pod): PersistentVolumeClaim[] {
    const ordinal = ordinalOf(pod);
    const out: PersistentVolumeClaim[] = [];
    for (const template of set.spec?.volumeClaimTemplates ?? []) {
      const claim = this.#get(set, claimName(set, template, ordinal));
      if (claim !== undefined) out.push(claim);
    }
    return out;
  }
}

type Owners = readonly OwnerReference[];

const owners = (claim: PersistentVolumeClaim): Owners => claim.metadata.ownerReferences ?? [];

function refers(ref: OwnerReference, object: KubeObject, kind: TypedRef): boolean {
  return ref.apiVersion === apiVersionOf(kind) && ref.kind === kind.kind && ref.name === object.metadata.name;
}

const isOwnedBy = (claim: PersistentVolumeClaim, object: KubeObject): boolean =>
  owners(claim).some((r) => r.uid === object.metadata.uid);

function hasStaleOwner(claim: PersistentVolumeClaim, object: KubeObject, kind: TypedRef): boolean {
  const ref = owners(claim).find((r) => refers(r, object, kind));
  return ref !== undefined && ref.uid !== object.metadata.uid;
}

function policyOf(set: StatefulSet): { whenDeleted: boolean; whenScaled: boolean } {
  const policy = set.spec?.persistentVolumeClaimRetentionPolicy;
  return { whenDeleted: policy?.whenDeleted === 'Delete', whenScaled: policy?.whenScaled === 'Delete' };
}

/** Somebody else controls the claim, or an earlier object of the same name does. */
function hasUnexpectedController(claim: PersistentVolumeClaim, set: StatefulSet, pod: Pod): boolean {
  const policy = policyOf(set);
  if (!policy.whenDeleted && !policy.whenScaled) return false;
  for (const ref of owners(claim)) {
    if (refers(ref, set, setRef)) {
      if (ref.uid !== set.metadata.uid) return true;
    } else if (refers(ref, pod, podRef)) {
      if (ref.uid !== pod.metadata.uid) return true;
    } else if (ref.controller === true) return true;
  }
  return false;
}

function ownersMatch(claim: PersistentVolumeClaim, set: StatefulSet, pod: Pod): boolean {
  // Left alone until garbage collection has dealt with the earlier owner.
  if (hasStaleOwner(claim, set, setRef) || hasStaleOwner(claim, pod, podRef)) return true;
  const bySet = isOwnedBy(claim, set);
  const byPod = isOwnedBy(claim, pod);
  if (hasUnexpectedController(claim, set, pod)) return !bySet && !byPod;
  const ours = owners(claim).filter((r) => r.uid === set.metadata.uid || r.uid === pod.metadata.uid);
  if (ours.some((r) => r.controller !== true)) return false;
  const policy = policyOf(set);
  const scaledDown = !isInRange(set, pod);
  return (
    bySet === (policy.whenDeleted && !(policy.whenScaled && scaledDown)) && byPod === (policy.whenScaled && scaledDown)
  );
}

function wantedOwners(claim: PersistentVolumeClaim, set: StatefulSet, pod: Pod): OwnerReference[] {
  const rest = owners(claim).filter((r) => !refers(r, set, setRef) && !refers(r, pod, podRef));
  if (hasUnexpectedController(claim, set, pod)) return rest;
  const policy = policyOf(set);
  if (policy.whenScaled && !isInRange(set, pod)) return [...rest, newControllerRef(pod, podRef)];
  return policy.whenDeleted ? [...rest, newControllerRef(set, setRef)] : rest;
}
