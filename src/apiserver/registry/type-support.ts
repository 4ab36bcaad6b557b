/**
 * `TypeSupport`: all that depends on the shape of one kind in one version, for registries and verbs: reading bodies,
 * canonical form, managed fields and strategic merges. Built-in kinds get it from the catalogue, custom ones from their CRD.
 */
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ListPath } from '../../api/schema/empty-lists.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';

export interface DecodedObject {
  /** Fresh, defaulted and canonical; metadata is always there. */
  readonly object: KubeObject;
  /** `unknown field "spec.x"`, … */
  readonly strictErrors: readonly string[];
  /** Lists of a built-in type that were given empty, which the canonical form has not. */
  readonly emptyLists?: readonly ListPath[] | undefined;
}

export interface DecodeRequest {
  readonly strict: boolean;
  /** The input was parsed for this call alone. */
  readonly owned: boolean;
  /** Nulls that a custom resource's schema does not allow stay for validation to refuse, as what was applied keeps them. */
  readonly keepNulls?: boolean;
}

export interface FieldManagerRequest {
  readonly manager: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Server-side apply's bookkeeping for one kind in one version. Objects are in that version. A promise comes back only where a
 * conversion webhook had to be asked.
 */
export interface FieldManaging {
  /** `next` with the managedFields of a write by `manager`. Never fails: what cannot be tracked is left out. */
  update(
    live: KubeObject | undefined,
    next: KubeObject,
    request: FieldManagerRequest,
  ): KubeObject | Promise<KubeObject>;
  /**
   * The object that results of applying a configuration, with its managedFields; not yet defaulted.
   * @throws {StatusError} 409 for conflicts
   */
  apply(
    live: KubeObject | undefined,
    patch: Record<string, unknown>,
    request: FieldManagerRequest & { readonly force: boolean },
  ): KubeObject | Promise<KubeObject>;
}

/** Where a kind keeps what its scale subresource shows, as JSON paths (`.spec.replicas`). */
export interface ScalePaths {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath?: string;
}

export interface TypeSupport {
  readonly apiVersion: string;
  readonly kind: string;
  /** Swagger definition or the CRD's schema; undefined for a CRD without one. */
  readonly schema: ObjectSchema | undefined;
  /** A body (or a patched object) as a clean object. @throws {DecodeError} */
  decode(input: unknown, request: DecodeRequest): DecodedObject;
  /** As it is stored: upstream's order and presence, what is unchanged shared with `previous`. */
  canonicalize(object: KubeObject, previous?: KubeObject): KubeObject;
  /** Custom resources against their schema and its rules; what an update need not put right goes to `warn`. */
  validate?(
    object: KubeObject,
    old: KubeObject | undefined,
    warn: (text: string) => void,
    subresource: string,
  ): readonly FieldError[];
  /** Its schema has a default for what its strategy left out: it is stored without it, and read with it. */
  lacksDefaults?(object: KubeObject): boolean;
  /** Custom resources: what the store has in this version, as its schema of today has it. @throws {DecodeError} */
  stored?(object: KubeObject): KubeObject;
  /** Custom resources: what came of another version, without what this one does not know. @throws {DecodeError} */
  converted?(object: KubeObject): KubeObject;
  readonly fields: FieldManaging;
  /** Custom resources with a scale subresource. */
  readonly scale?: ScalePaths | undefined;
  /** Undefined for custom resources: upstream answers 415. */
  strategicMerge?(document: KubeObject, patch: unknown): KubeObject;
}
