/** What the strategies share: who owns spec and status, when the generation counts, what a status write may change. */
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { withEmptyLists } from '../../api/schema/empty-lists.ts';
import type { Draft, Findings, ResourceStrategies, Strategy, StrategyContext } from '../strategy.ts';

/** Puts a member back to what it was. */
export function keepMember(object: Draft, old: KubeObject, member: string): void {
  if (old[member] === undefined) delete object[member];
  else object[member] = old[member];
}

export const keepStatus = (object: Draft, old: KubeObject): void => keepMember(object, old, 'status');
export const keepSpec = (object: Draft, old: KubeObject): void => keepMember(object, old, 'spec');

export function bump(object: Draft, old: KubeObject): void {
  object.metadata.generation = (old.metadata.generation ?? 0) + 1;
}

/** Counts the generation when one of the members changed. */
export function bumpWhenChanged(object: Draft, old: KubeObject, members: readonly string[]): void {
  if (members.some((m) => !canonicalEqual(object[m], old[m]))) bump(object, old);
}

/**
 * An `update` for the few kinds whose generation also counts when a list of the member is given empty instead of not at all,
 * because upstream compares them to the letter.
 */
export function bumpForEmptyLists(member: string): NonNullable<KindOptions['update']> {
  return (object, old, ctx) => {
    const given = ctx.request.emptyLists?.filter((path) => path[0] === member) ?? [];
    if (withEmptyLists(object, given) !== object) bump(object, old);
  };
}

/** A status write keeps all metadata but managedFields (metav1.ResetObjectMetaForStatus). */
export function keepMetadataForStatus(object: Draft, old: KubeObject): void {
  const kept: (keyof ObjectMeta)[] = [
    'deletionTimestamp',
    'generation',
    'selfLink',
    'labels',
    'annotations',
    'finalizers',
    'ownerReferences',
  ];
  const to = object.metadata as Record<string, unknown>;
  for (const member of kept) {
    if (old.metadata[member] === undefined) delete to[member];
    else to[member] = old.metadata[member];
  }
}

export interface KindOptions {
  /** Members whose change counts a generation; undefined: the kind keeps none. */
  readonly generation?: readonly string[];
  /** The kind has a status that only its subresource writes. */
  readonly status?: boolean;
  readonly allowUnconditionalUpdate?: boolean;
  readonly allowCreateOnUpdate?: boolean;
  readonly defaultPropagation?: 'Background' | 'Orphan';
  readonly orphansWarning?: string;
  readonly validateName?: Strategy['validateName'];
  validate?(object: KubeObject, ctx: StrategyContext): Findings;
  /** All errors of an update: those of the new object too. */
  validateUpdate?(object: KubeObject, old: KubeObject, ctx: StrategyContext): Findings;
  warnings?(object: KubeObject, old: KubeObject | undefined): readonly string[];
  /** More than the rules above. */
  create?(object: Draft, ctx: StrategyContext): void;
  update?(object: Draft, old: KubeObject, ctx: StrategyContext): void;
}

/** The strategy of a kind that follows the usual rules. */
export function kindStrategy(options: KindOptions): Strategy {
  const { generation, validate, validateUpdate, warnings } = options;
  return {
    prepareForCreate(ctx, object) {
      if (options.status === true) delete object['status'];
      if (generation !== undefined) object.metadata.generation = 1;
      options.create?.(object, ctx);
    },
    prepareForUpdate(ctx, object, old) {
      if (options.status === true) keepStatus(object, old);
      options.update?.(object, old, ctx);
      if (generation !== undefined && object.metadata.generation === old.metadata.generation)
        bumpWhenChanged(object, old, generation);
    },
    ...(validate === undefined ? {} : { validate: (ctx, object) => validate(object, ctx) }),
    ...(validateUpdate === undefined ? {} : { validateUpdate: (ctx, object, old) => validateUpdate(object, old, ctx) }),
    ...(warnings === undefined
      ? {}
      : {
          warningsOnCreate: (_ctx, object) => warnings(object, undefined),
          warningsOnUpdate: (_ctx, object, old) => warnings(object, old),
        }),
    ...(options.validateName === undefined ? {} : { validateName: options.validateName }),
    allowCreateOnUpdate: options.allowCreateOnUpdate ?? false,
    allowUnconditionalUpdate: options.allowUnconditionalUpdate ?? true,
    ...(options.orphansWarning === undefined ? {} : { orphansWarning: options.orphansWarning }),
    defaultPropagation: options.defaultPropagation ?? 'Background',
    resetFields: options.status === true ? [['status']] : [],
  };
}

export interface StatusOptions {
  /** The status endpoint changes no metadata either. */
  readonly keepsMetadata?: boolean;
  readonly allowUnconditionalUpdate?: boolean;
  readonly resetFields?: readonly (readonly string[])[];
  validateUpdate?(object: KubeObject, old: KubeObject, ctx: StrategyContext): Findings;
  warnings?(object: KubeObject): readonly string[];
  update?(object: Draft, old: KubeObject, ctx: StrategyContext): void;
}

/** The strategy of a status subresource: spec stays as it is. */
export function statusStrategy(options: StatusOptions = {}): Strategy {
  const { validateUpdate, warnings } = options;
  return {
    prepareForUpdate(ctx, object, old) {
      keepSpec(object, old);
      if (options.keepsMetadata === true) keepMetadataForStatus(object, old);
      options.update?.(object, old, ctx);
    },
    ...(validateUpdate === undefined ? {} : { validateUpdate: (ctx, object, old) => validateUpdate(object, old, ctx) }),
    ...(warnings === undefined ? {} : { warningsOnUpdate: (_ctx, object) => warnings(object) }),
    allowUnconditionalUpdate: options.allowUnconditionalUpdate ?? true,
    resetFields: options.resetFields ?? (options.keepsMetadata === true ? [['spec'], ['metadata']] : [['spec']]),
  };
}

/** A kind that follows the usual rules. `status: true` gives it the subresource. */
export function plainKind(options: KindOptions, status?: StatusOptions): ResourceStrategies {
  return {
    main: kindStrategy(options),
    subresources: options.status === true ? { status: statusStrategy(status) } : {},
  };
}
