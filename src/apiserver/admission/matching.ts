/**
 * Which requests a webhook or policy is about: rules with wildcards and scope, equivalent resources (matchPolicy), namespace
 * and object selectors.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { GroupVersionKind } from '../../api/object.ts';
import { compileLabelSelector, SelectorError } from '../../api/selector.ts';
import type { LabelSelector, Selector } from '../../api/selector.ts';
import { internalError } from '../../api/status.ts';
import type { AdmissionAttributes } from '../context.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { metadataOf } from './attributes.ts';
import type { Namespaces } from './namespaces.ts';

/** `rules` of webhooks; `resourceRules` of policies, which name objects, too. */
export interface Rule {
  readonly operations?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly apiVersions?: readonly string[];
  readonly resources?: readonly string[];
  readonly scope?: string;
  readonly resourceNames?: readonly string[];
}

export interface GroupVersionResource {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
}

/** The kind of the request's object: that of the subresource where it has its own. */
export function kindOf(a: AdmissionAttributes): GroupVersionKind {
  const object = a.object ?? a.oldObject;
  const apiVersion = object?.['apiVersion'];
  const gv = typeof apiVersion === 'string' ? parseApiVersion(apiVersion) : undefined;
  return { group: gv?.group ?? a.group, version: gv?.version ?? a.version, kind: a.kind };
}

/** Webhooks and policies are not asked about themselves: nobody could take a wrong one back. */
export function isExempt(group: string): boolean {
  return group === 'admissionregistration.k8s.io';
}

const listed = (items: readonly string[] | undefined, wanted: string): boolean =>
  items !== undefined && (items.includes('*') || items.includes(wanted));

function scopeFits(rule: Rule, a: AdmissionAttributes, at: GroupVersionResource): boolean {
  if (rule.scope === undefined || rule.scope === '*') return true;
  // A request for a namespace carries its name as namespace and is cluster-scoped all the same.
  const cluster = a.namespace === '' || (at.group === '' && at.version === 'v1' && at.resource === 'namespaces');
  return rule.scope === 'Cluster' ? cluster : rule.scope === 'Namespaced' && !cluster;
}

function resourceFits(rule: Rule, resource: string, subresource: string): boolean {
  for (const text of rule.resources ?? []) {
    const slash = text.indexOf('/');
    const r = slash < 0 ? text : text.slice(0, slash);
    const s = slash < 0 ? '' : text.slice(slash + 1);
    if ((r === '*' || r === resource) && (s === '*' || s === subresource)) return true;
  }
  return false;
}

/** Does the rule fit the request as if it came to `at`? */
export function ruleFits(rule: Rule, a: AdmissionAttributes, at: GroupVersionResource): boolean {
  const operations = rule.operations ?? [];
  return (
    (operations.includes('*') || operations.includes(a.operation)) &&
    listed(rule.apiGroups, at.group) &&
    listed(rule.apiVersions, at.version) &&
    resourceFits(rule, at.resource, a.subresource) &&
    scopeFits(rule, a, at)
  );
}

/** Resources that are the same objects by another name: other versions, and events of both groups. */
export class EquivalentResources {
  readonly #directory: ResourceDirectory;
  #generation = -1;
  readonly #found = new Map<string, readonly ResourceInfo[]>();

  constructor(directory: ResourceDirectory) {
    this.#directory = directory;
  }

  /** All names of the resource that have the subresource, its own among them. */
  of(group: string, resource: string, subresource: string): readonly ResourceInfo[] {
    if (this.#generation !== this.#directory.generation) {
      this.#found.clear();
      this.#generation = this.#directory.generation;
    }
    const key = `${group}/${resource}/${subresource}`;
    let found = this.#found.get(key);
    if (found === undefined) {
      const all = this.#directory.groups().flatMap((g) => g.versions.flatMap((v) => v.resources));
      const own = all.find((r) => r.group === group && r.resource === resource);
      found =
        own === undefined
          ? []
          : all.filter(
              (r) =>
                r.keyPrefix === own.keyPrefix &&
                r.custom === own.custom &&
                (subresource === '' || r.subresources.some((s) => s.name === subresource)),
            );
      this.#found.set(key, found);
    }
    return found;
  }

  kind(resource: ResourceInfo, subresource: string): GroupVersionKind {
    if (subresource === '') return { group: resource.group, version: resource.version, kind: resource.kind };
    const { group, version, kind } = resource.subresources.find((s) => s.name === subresource)!;
    return { group, version, kind };
  }
}

/** As what a request is shown. */
export interface MatchedResource {
  readonly resource: GroupVersionResource;
  readonly kind: GroupVersionKind;
}

/** The first rule that fits, also by an equivalent resource where `equivalent` says so. */
export function matchRules(
  rules: readonly Rule[],
  a: AdmissionAttributes,
  equivalent: EquivalentResources | undefined,
): MatchedResource | undefined {
  const named = (rule: Rule): boolean =>
    rule.resourceNames === undefined || rule.resourceNames.length === 0 || rule.resourceNames.includes(a.name);
  for (const rule of rules)
    if (ruleFits(rule, a, a) && named(rule))
      return { resource: { group: a.group, version: a.version, resource: a.resource }, kind: kindOf(a) };
  if (equivalent === undefined) return undefined;
  const others = equivalent.of(a.group, a.resource, a.subresource);
  if (others.length < 2) return undefined;
  for (const rule of rules)
    for (const other of others) {
      if (other.group === a.group && other.version === a.version && other.resource === a.resource) continue;
      if (ruleFits(rule, a, other) && named(rule))
        return {
          resource: { group: other.group, version: other.version, resource: other.resource },
          kind: equivalent.kind(other, a.subresource),
        };
    }
  return undefined;
}

/** A label selector made ready; one that cannot be read refuses every request that it would have to judge. */
export function readSelector(selector: unknown): Selector | SelectorError {
  try {
    return compileLabelSelector(selector as LabelSelector | undefined);
  } catch (error) {
    if (error instanceof SelectorError) return error;
    throw error;
  }
}

function usable(selector: Selector | SelectorError): Selector {
  if (selector instanceof SelectorError) throw internalError(selector);
  return selector;
}

/** True where the new or the old object carries the labels. */
export function objectFits(selector: Selector | SelectorError, a: AdmissionAttributes): boolean {
  const s = usable(selector);
  if (s.empty) return true;
  return (
    (a.object !== undefined && s.matches(metadataOf(a.object).labels)) ||
    (a.oldObject !== undefined && s.matches(metadataOf(a.oldObject).labels))
  );
}

/** True where the request's namespace carries the labels, or it has none. */
export function namespaceFits(
  selector: Selector | SelectorError,
  a: AdmissionAttributes,
  namespaces: Namespaces,
): boolean | Promise<boolean> {
  if (a.namespace === '' && a.resource !== 'namespaces') return true;
  const s = usable(selector);
  if (s.empty) return true;
  if (a.resource === 'namespaces' && a.subresource === '' && (a.operation === 'CREATE' || a.operation === 'UPDATE'))
    return s.matches(metadataOf(a.object).labels);
  const namespace = namespaces.get(a.namespace);
  if (namespace instanceof Promise) return namespace.then((n) => s.matches(n.metadata?.labels));
  return s.matches(namespace.metadata?.labels);
}
