/**
 * `Strategy`: what is particular to one kind on the way of a write, as upstream's rest strategies. Everything general is
 * done by the registry: metadata, defaulting, managedFields, admission, storage.
 *
 * Drafts: `object` passed to prepare* is a fresh top level with fresh `metadata`, `spec` and `status` objects that the
 * strategy may assign to; everything deeper may be shared with the stored object and is copied before it is changed.
 */
import type { FieldError } from '../api/field-error.ts';
import type { KubeObject } from '../api/object.ts';
import type { RequestContext } from './context.ts';

export type Draft = KubeObject;

/** Services of the server that strategies may use. */
export interface StrategyContext {
  readonly request: RequestContext;
  /** Milliseconds since the epoch, cluster time. */
  readonly now: number;
  readonly dryRun: boolean;
}

/** What is wrong with an object; later, where a library has to be loaded or an authorizer asked. */
export type Findings = readonly FieldError[] | Promise<readonly FieldError[]>;

export interface Strategy {
  /** Clears what a client may not set (status), sets generation and initial values. */
  prepareForCreate?(ctx: StrategyContext, object: Draft): void;
  /** Semantic validation of a new object (metadata is validated by the registry with `validateName`). */
  validate?(ctx: StrategyContext, object: KubeObject): Findings;
  warningsOnCreate?(ctx: StrategyContext, object: KubeObject): readonly string[];
  /** Keeps what this endpoint may not change, bumps generation. */
  prepareForUpdate?(ctx: StrategyContext, object: Draft, old: KubeObject): void;
  validateUpdate?(ctx: StrategyContext, object: KubeObject, old: KubeObject): Findings;
  warningsOnUpdate?(ctx: StrategyContext, object: KubeObject, old: KubeObject): readonly string[];
  /** Error messages for a name (empty: fine). `prefix`: it is a generateName. Default DNS-1123 subdomain. */
  validateName?(name: string, prefix: boolean): readonly string[];
  /** PUT on a missing object creates it. Default false. */
  readonly allowCreateOnUpdate?: boolean;
  /** PUT without a resourceVersion is accepted. Default true. */
  readonly allowUnconditionalUpdate?: boolean;
  /** Fields that writes through this endpoint reset, as paths; left out of managedFields (upstream GetResetFields). */
  readonly resetFields?: readonly (readonly string[])[];
  /**
   * Graceful deletion (pods): returns the grace period in seconds to store, or undefined when the kind is deleted at once.
   * `requested`: gracePeriodSeconds of the DeleteOptions.
   */
  gracePeriod?(ctx: StrategyContext, object: KubeObject, requested: number | undefined): number | undefined;
  /** Told to who deletes without saying what is to happen to dependents. */
  readonly orphansWarning?: string;
  /** What happens to dependents when the client names no policy. Default background. */
  readonly defaultPropagation?: 'Background' | 'Orphan';
  /** Values of the field labels beyond metadata.name and metadata.namespace. */
  selectableFields?(object: KubeObject): Readonly<Record<string, string>>;
  /** Runs inside a create, after validation and before commit; returns undo for a failed commit (Service IPs and ports). */
  beginCreate?(ctx: StrategyContext, object: Draft): Promise<(committed: boolean) => Promise<void>>;
  beginUpdate?(ctx: StrategyContext, object: Draft, old: KubeObject): Promise<(committed: boolean) => Promise<void>>;
  /** How what earlier releases stored is to be read. */
  readonly onRead?: OnRead;
  /** After the object is really gone from the store. */
  afterDelete?(ctx: StrategyContext, object: KubeObject): Promise<void>;
}

/** What an earlier release, or somebody by hand, may have stored without what is expected today. */
export interface OnRead {
  /** Whether this JSON may be such; asked of every object that somebody else stored, so it only looks for words. */
  dated(json: Buffer): boolean;
  /** Completes what has its kind's defaults already. */
  complete?(object: KubeObject): KubeObject;
}

/** A strategy for the resource itself and one for each subresource that is written with the object's own kind. */
export interface ResourceStrategies {
  readonly main: Strategy;
  /** `status`, `ephemeralcontainers`, `resize`, `finalize`, `approval`, … Missing: not served that way. */
  readonly subresources: Readonly<Record<string, Strategy>>;
  /** Behaviour or validation of this kind is not there yet: each write answers with this Warning text. */
  readonly incomplete?: string;
}

/** All strategies, by `group/resource`. Asked once per resource at start, or when a CRD is established. */
export interface StrategyCatalog {
  strategies(group: string, resource: string): ResourceStrategies;
}
