/** The parameters of a binding: the objects that its `paramRef` names or selects, of the kind that the policy declares. */
import { parseApiVersion } from '../../../api/object.ts';
import type { GroupVersionKind } from '../../../api/object.ts';
import type { ResourceInfo } from '../../../api/catalog/resource.ts';
import { compileLabelSelector } from '../../../api/selector.ts';
import type { LabelSelector } from '../../../api/selector.ts';
import type { ParamKind, ParamRef } from '../../../api/types/admissionregistration-v1.gen.ts';
import type { RegistriesImpl } from '../../registry/registries.ts';
import type { Committed } from '../../request.ts';
import type { ResourceDirectory } from '../../resource-directory.ts';
import { metadataOf } from '../attributes.ts';
import type { ObjectVersions } from '../object-versions.ts';

type Json = Record<string, unknown>;

export interface ParamsDeps {
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly versions: ObjectVersions;
}

/** The resource that serves a kind. */
export function resourceOfKind(directory: ResourceDirectory, kind: GroupVersionKind): ResourceInfo | undefined {
  const { group, version } = kind;
  return directory
    .groups()
    .find((g) => g.group === group)
    ?.versions.find((v) => v.version === version)
    ?.resources.find((r) => r.kind === kind.kind);
}

export function paramKindOf({ apiVersion = '', kind = '' }: ParamKind): GroupVersionKind {
  const { group, version } = parseApiVersion(apiVersion) ?? { group: '', version: apiVersion };
  return { group, version, kind };
}

export class Params {
  readonly #deps: ParamsDeps;

  constructor(deps: ParamsDeps) {
    this.#deps = deps;
  }

  /** @throws {Error} when the policy's kind of parameters does not exist */
  check(kind: ParamKind | undefined): ResourceInfo | undefined {
    if (kind === undefined) return undefined;
    const gvk = paramKindOf(kind);
    const resource = resourceOfKind(this.#deps.directory, gvk);
    if (resource !== undefined && this.#deps.registries.registry(resource.group, resource.resource) !== undefined)
      return resource;
    throw new Error(`failed to find resource referenced by paramKind: '${gvk.group}/${gvk.version}, Kind=${gvk.kind}'`);
  }

  /**
   * What to run the policy with, one after the other: undefined stands for no parameters.
   * @throws {Error} when the binding is not right, or forbids that there are none
   */
  async collect(
    kind: ParamKind | undefined,
    ref: ParamRef | undefined,
    namespace: string,
  ): Promise<readonly (Json | undefined)[]> {
    const resource = this.check(kind);
    if (kind === undefined || ref === undefined || resource === undefined) return [undefined];
    const { name = '', namespace: named = '', selector, parameterNotFoundAction: missing } = ref;
    let where = '';
    if (resource.namespaced) {
      where = named === '' ? namespace : named;
      if (where === '')
        throw new Error('cannot use namespaced paramRef in policy binding that matches cluster-scoped resources');
    } else if (named !== '') {
      throw new Error('paramRef.namespace must not be provided for a cluster-scoped `paramKind`');
    }
    const found = [...(await this.#find(resource, where, name, selector))];
    if (found.length === 0 && missing === 'Deny')
      throw new Error('no params found for policy binding with `Deny` parameterNotFoundAction');
    const gvk = paramKindOf(kind);
    return Promise.all(found.map((c) => this.#deps.versions.convert(c.object(), resource, gvk)));
  }

  async #find(
    { group, resource }: ResourceInfo,
    namespace: string,
    name: string,
    selector: LabelSelector | undefined,
  ): Promise<readonly Committed[]> {
    const { registries } = this.#deps;
    await registries.warm([[group, resource]]);
    if (name !== '') {
      if (selector !== undefined) throw new Error('paramRef.name and paramRef.selector are mutually exclusive');
      const one = registries.cachedGet(group, resource, namespace, name);
      return one === undefined ? [] : [one];
    }
    if (selector === undefined) throw new Error('one of name or selector must be provided');
    const compiled = compileLabelSelector(selector);
    return [...registries.cached(group, resource, namespace)].filter((c) =>
      compiled.matches(metadataOf(c.object()).labels),
    );
  }
}
