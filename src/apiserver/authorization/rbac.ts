/**
 * The RBAC authorizer: in-memory indexes of roles and bindings by subject, kept by following the registries, so that a
 * decision is synchronous. What a user may do in a namespace is resolved once and kept until a role or binding changes.
 */
import { StatusError } from '../../api/status.ts';
import type { AuthorizationAttributes, Authorizer, Decision } from '../context.ts';
import type { Registries } from '../registry.ts';
import type { Committed, UserInfo } from '../request.ts';
import { combinedResource, ruleAllows, type PolicyRule } from './rule.ts';

export const rbacGroup = 'rbac.authorization.k8s.io';

export interface RoleRef {
  readonly apiGroup?: string;
  readonly kind: string;
  readonly name: string;
}

export interface Subject {
  readonly kind: string;
  readonly apiGroup?: string;
  readonly name: string;
  readonly namespace?: string;
}

interface Binding {
  readonly name: string;
  /** Empty for a ClusterRoleBinding. */
  readonly namespace: string;
  readonly roleRef: RoleRef;
  readonly subjects: readonly Subject[];
}

interface SubjectBinding {
  readonly binding: Binding;
  readonly subject: Subject;
}

/** Rules of one binding, where they come from, and the answer to what they allow (made once: it is a long text). */
interface Granted {
  readonly rules: readonly PolicyRule[];
  readonly from: SubjectBinding;
  outcome: { decision: Decision; reason: string } | undefined;
}

/** Rules that apply to a user in a namespace. */
interface Resolved {
  readonly generation: number;
  readonly entries: readonly Granted[];
  readonly errors: readonly string[];
}

/** Bindings of one scope (the cluster, or one namespace) by subject. */
type SubjectIndex = Map<string, Map<string, SubjectBinding>>;

const resolvedLimit = 256;

function subjectKey(subject: Subject, namespace: string): string | undefined {
  switch (subject.kind) {
    case 'User':
      return `u:${subject.name}`;
    case 'Group':
      return `g:${subject.name}`;
    case 'ServiceAccount': {
      const ns = subject.namespace !== undefined && subject.namespace !== '' ? subject.namespace : namespace;
      return ns === '' ? undefined : `u:system:serviceaccount:${ns}:${subject.name}`;
    }
    default:
      return undefined;
  }
}

function describe({ binding, subject }: SubjectBinding): string {
  let who = `${subject.kind} "${subject.name}"`;
  if (subject.kind === 'ServiceAccount')
    who = `${subject.kind} "${subject.name}/${subject.namespace || binding.namespace}"`;
  const kind = binding.namespace === '' ? 'ClusterRoleBinding' : 'RoleBinding';
  const name = binding.namespace === '' ? binding.name : `${binding.name}/${binding.namespace}`;
  return `${kind} "${name}" of ${binding.roleRef.kind} "${binding.roleRef.name}" to ${who}`;
}

/** Go's aggregate of errors: one as it is, several in brackets, each text once. */
function aggregate(errors: readonly string[]): string {
  const unique = [...new Set(errors)];
  return unique.length === 1 ? unique[0]! : `[${unique.join(', ')}]`;
}

export class RbacAuthorizer implements Authorizer {
  readonly #clusterRoles = new Map<string, readonly PolicyRule[]>();
  readonly #roles = new Map<string, readonly PolicyRule[]>();
  readonly #bindings = new Map<string, Binding>();
  readonly #clusterIndex: SubjectIndex = new Map();
  readonly #namespaceIndexes = new Map<string, SubjectIndex>();
  #generation = 0;
  #resolved = new WeakMap<UserInfo, Map<string, Resolved>>();
  readonly #stops: (() => void)[] = [];

  /** Fills the indexes and keeps them; resolves when what exists is in. */
  async start(registries: Registries): Promise<void> {
    const follow = async (resource: string, on: (type: 'put' | 'delete', c: Committed) => void): Promise<void> => {
      this.#stops.push(
        await registries.follow(rbacGroup, resource, (type, committed) => {
          this.#generation++;
          on(type, committed);
        }),
      );
    };
    const rulesOf = (c: Committed): readonly PolicyRule[] => (c.object()['rules'] ?? []) as readonly PolicyRule[];
    await Promise.all([
      follow('clusterroles', (type, c) => {
        if (type === 'delete') this.#clusterRoles.delete(c.name);
        else this.#clusterRoles.set(c.name, rulesOf(c));
      }),
      follow('roles', (type, c) => {
        const key = `${c.namespace}/${c.name}`;
        if (type === 'delete') this.#roles.delete(key);
        else this.#roles.set(key, rulesOf(c));
      }),
      follow('clusterrolebindings', (type, c) => this.#onBinding(type, c)),
      follow('rolebindings', (type, c) => this.#onBinding(type, c)),
    ]);
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #index(namespace: string): SubjectIndex {
    if (namespace === '') return this.#clusterIndex;
    let index = this.#namespaceIndexes.get(namespace);
    if (index === undefined) this.#namespaceIndexes.set(namespace, (index = new Map()));
    return index;
  }

  #onBinding(type: 'put' | 'delete', committed: Committed): void {
    const id = `${committed.namespace}/${committed.name}`;
    const index = this.#index(committed.namespace);
    const before = this.#bindings.get(id);
    if (before !== undefined) {
      for (const subject of before.subjects) {
        const key = subjectKey(subject, before.namespace);
        if (key === undefined) continue;
        const entries = index.get(key);
        entries?.delete(id);
        if (entries?.size === 0) index.delete(key);
      }
      this.#bindings.delete(id);
    }
    if (type === 'put') {
      const object = committed.object();
      const binding: Binding = {
        name: committed.name,
        namespace: committed.namespace,
        roleRef: object['roleRef'] as RoleRef,
        subjects: (object['subjects'] ?? []) as readonly Subject[],
      };
      this.#bindings.set(id, binding);
      for (const subject of binding.subjects) {
        const key = subjectKey(subject, binding.namespace);
        if (key === undefined) continue;
        let entries = index.get(key);
        if (entries === undefined) index.set(key, (entries = new Map()));
        if (!entries.has(id)) entries.set(id, { binding, subject });
      }
    }
    if (committed.namespace !== '' && index.size === 0) this.#namespaceIndexes.delete(committed.namespace);
  }

  /** The rules of a role reference; `namespace` is that of the binding. Throws 404 as the binding strategies answer it. */
  roleRules(roleRef: RoleRef, namespace: string): readonly PolicyRule[] {
    const rules = this.#find(roleRef, namespace);
    if (rules !== undefined) return rules;
    if (roleRef.kind !== 'Role' && roleRef.kind !== 'ClusterRole')
      throw new StatusError(
        500,
        'InternalError',
        `Internal error occurred: unsupported role reference kind: "${roleRef.kind}"`,
      );
    const kind = roleRef.kind === 'Role' ? 'role' : 'clusterrole';
    throw new StatusError(404, 'NotFound', `${kind}.${rbacGroup} "${roleRef.name}" not found`, {
      name: roleRef.name,
      group: rbacGroup,
      kind,
    });
  }

  #find(roleRef: RoleRef, namespace: string): readonly PolicyRule[] | undefined {
    if (roleRef.kind === 'Role') return this.#roles.get(`${namespace}/${roleRef.name}`);
    if (roleRef.kind === 'ClusterRole') return this.#clusterRoles.get(roleRef.name);
    return undefined;
  }

  #collect(index: SubjectIndex | undefined, user: UserInfo): SubjectBinding[] {
    if (index === undefined) return [];
    const found = new Map<Binding, SubjectBinding>();
    const add = (key: string): void => {
      for (const entry of index.get(key)?.values() ?? [])
        if (!found.has(entry.binding)) found.set(entry.binding, entry);
    };
    add(`u:${user.name}`);
    for (const group of user.groups) add(`g:${group}`);
    return [...found.values()].toSorted((a, b) => (a.binding.name < b.binding.name ? -1 : 1));
  }

  #resolve(user: UserInfo, namespace: string): Resolved {
    let byNamespace = this.#resolved.get(user);
    const hit = byNamespace?.get(namespace);
    if (hit !== undefined && hit.generation === this.#generation) return hit;
    const entries: Granted[] = [];
    const errors: string[] = [];
    const indexes =
      namespace === '' ? [this.#clusterIndex] : [this.#clusterIndex, this.#namespaceIndexes.get(namespace)];
    for (const index of indexes)
      for (const from of this.#collect(index, user)) {
        const { roleRef, namespace: ns } = from.binding;
        const rules = this.#find(roleRef, ns);
        if (rules !== undefined) entries.push({ rules, from, outcome: undefined });
        else if (roleRef.kind === 'Role') errors.push(`role.${rbacGroup} "${roleRef.name}" not found`);
        else if (roleRef.kind === 'ClusterRole') errors.push(`clusterrole.${rbacGroup} "${roleRef.name}" not found`);
        else errors.push(`unsupported role reference kind: "${roleRef.kind}"`);
      }
    const resolved: Resolved = { generation: this.#generation, entries, errors };
    if (byNamespace === undefined) this.#resolved.set(user, (byNamespace = new Map()));
    if (byNamespace.size >= resolvedLimit) byNamespace.delete(byNamespace.keys().next().value!);
    byNamespace.set(namespace, resolved);
    return resolved;
  }

  authorize(attributes: AuthorizationAttributes): { decision: Decision; reason: string } {
    const { entries, errors } = this.#resolve(attributes.user, attributes.namespace);
    const combined = combinedResource(attributes);
    for (const entry of entries)
      for (const rule of entry.rules)
        if (ruleAllows(rule, attributes, combined))
          return (entry.outcome ??= { decision: 'allow', reason: `RBAC: allowed by ${describe(entry.from)}` });
    return { decision: 'noOpinion', reason: errors.length === 0 ? '' : `RBAC: ${aggregate(errors)}` };
  }

  /** All rules that apply to the user in the namespace, and what could not be resolved. */
  rulesFor(user: UserInfo, namespace: string): { rules: readonly PolicyRule[]; error: string } {
    const { entries, errors } = this.#resolve(user, namespace);
    return { rules: entries.flatMap((e) => e.rules), error: errors.length === 0 ? '' : aggregate(errors) };
  }
}
