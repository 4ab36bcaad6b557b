/**
 * The strategy of a kind that has none of its own: spec belongs to the object, status to its status subresource, and the
 * generation counts changes of what is not status. Custom resources and new kinds start from here.
 */
import { goQuote } from '../../api/codec/json.ts';
import { isQualifiedName } from '../../api/names.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { Draft, ResourceStrategies, Strategy } from '../strategy.ts';

function copyStatus(object: Draft, old: KubeObject): void {
  if (old['status'] === undefined) delete object['status'];
  else object['status'] = old['status'];
}

/** Everything but type and metadata (a status that has its own subresource is the old one here). */
function specChanged(object: KubeObject, old: KubeObject): boolean {
  const ignored = new Set(['apiVersion', 'kind', 'metadata']);
  for (const member of new Set([...Object.keys(object), ...Object.keys(old)])) {
    if (!ignored.has(member) && object[member] !== old[member] && !jsonEqual(object[member], old[member])) return true;
  }
  return false;
}

/** Finalizers that are not of a domain of their own. */
const standardFinalizers: ReadonlySet<string> = new Set(['orphan', 'foregroundDeletion', 'kubernetes']);

/** New finalizers of a custom resource whose names others may use as well. */
function finalizerWarnings(object: KubeObject, old: KubeObject | undefined): string[] {
  const { finalizers } = object.metadata;
  if (finalizers === undefined || finalizers.length === 0) return [];
  const before = new Set(old?.metadata.finalizers);
  const added = [...new Set(finalizers)].filter((f) => !before.has(f)).sort();
  return added.flatMap((name) => {
    const at = `metadata.finalizers: ${goQuote(name)}: `;
    const warnings = isQualifiedName(name).map((message) => at + message);
    if (!name.includes('/') && !standardFinalizers.has(name)) {
      const path = name.includes('.') ? ' including a path (/)' : '';
      warnings.push(
        `${at}prefer a domain-qualified finalizer name${path} to avoid accidental conflicts with other finalizer writers`,
      );
    }
    return warnings;
  });
}

interface DefaultStrategyOptions {
  /** The kind has a status subresource, so writes of the object leave status alone. */
  readonly hasStatus: boolean;
  /** metadata.generation is kept. */
  readonly hasGeneration: boolean;
  readonly custom: boolean;
}

/** Strategies of the object and of its `status` subresource. */
function defaultStrategies(options: DefaultStrategyOptions): {
  readonly main: Strategy;
  readonly status: Strategy;
} {
  const main: Strategy = {
    prepareForCreate(_ctx, object) {
      if (options.hasStatus) delete object['status'];
      if (options.hasGeneration) object.metadata.generation = 1;
    },
    prepareForUpdate(_ctx, object, old) {
      if (options.hasStatus) copyStatus(object, old);
      if (options.hasGeneration && specChanged(object, old)) {
        object.metadata.generation = (old.metadata.generation ?? 0) + 1;
      }
    },
    // A PUT of a custom resource says which version it replaces.
    ...(options.custom
      ? {
          allowUnconditionalUpdate: false,
          warningsOnCreate: (_ctx, object) => finalizerWarnings(object, undefined),
          warningsOnUpdate: (_ctx, object, old) => finalizerWarnings(object, old),
        }
      : {}),
    resetFields: options.hasStatus ? [['status']] : [],
  };
  const status: Strategy = {
    prepareForUpdate(_ctx, object, old) {
      for (const member of Object.keys(object)) {
        if (!['apiVersion', 'kind', 'metadata', 'status'].includes(member) && old[member] === undefined) {
          delete object[member];
        }
      }
      for (const member of Object.keys(old)) {
        if (!['apiVersion', 'kind', 'metadata', 'status'].includes(member)) object[member] = old[member];
      }
      // Labels and the like are not this endpoint's, except for what the managedFields record of it.
      const managed = object.metadata.managedFields;
      object.metadata = { ...old.metadata, resourceVersion: object.metadata.resourceVersion };
      if (managed !== undefined) object.metadata.managedFields = managed;
    },
    resetFields: options.custom
      ? [['spec'], ['metadata']]
      : [['spec'], ['metadata', 'labels'], ['metadata', 'annotations']],
  };
  return { main, status };
}

/** Default strategies for a resource of the catalogue or of a CRD. */
export function defaultStrategiesFor(resource: ResourceInfo): ResourceStrategies {
  const hasStatus = resource.subresources.some((s) => s.name === 'status');
  const { main, status } = defaultStrategies({
    hasStatus,
    hasGeneration: hasStatus || resource.custom,
    custom: resource.custom,
  });
  return { main, subresources: hasStatus ? { status } : {} };
}
