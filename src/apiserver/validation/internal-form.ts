/**
 * A value in the form of upstream's internal API version, as its JSON shows it: Go's names, every member present, null for what
 * is not set. Validation upstream looks at that version, so bad values and differences are told in it.
 */
import { GoTypes } from '../../api/catalog/go-types.ts';

type Members = Readonly<Record<string, unknown>>;

const scalarZeros: Readonly<Record<string, unknown>> = {
  s: '',
  n: 0,
  b: false,
  Quantity: '0',
  Time: null,
  MicroTime: null,
  Duration: '0s',
  IntOrString: 0,
  bytes: null,
  any: null,
  RawExtension: null,
};

const hostMembers = ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace', 'hostUsers'] as const;

/** Internally the host's namespaces belong to the security context, which every pod has. */
function withHostMembers(spec: Members): Members {
  const context: Record<string, unknown> = { ...(spec['securityContext'] as Members | undefined) };
  for (const member of hostMembers) if (spec[member] !== undefined) context[`?${member}`] = spec[member];
  return { ...spec, securityContext: context };
}

class InternalForm {
  readonly #types = new GoTypes('internal');

  of(type: string, value: unknown): unknown {
    if (type.startsWith('*')) return value === undefined || value === null ? null : this.of(type.slice(1), value);
    if (type.startsWith('[]'))
      return Array.isArray(value) ? value.map((item: unknown) => this.of(type.slice(2), item)) : null;
    if (type.startsWith('{}')) {
      if (typeof value !== 'object' || value === null) return null;
      const entries = value as Members;
      return Object.fromEntries(
        Object.keys(entries)
          .toSorted()
          .map((key) => [key, this.of(type.slice(2), entries[key])]),
      );
    }
    if (type in scalarZeros) return value ?? scalarZeros[type];
    const out: Record<string, unknown> = {};
    this.#members(type, (value ?? {}) as Members, out);
    return out;
  }

  #members(type: string, value: Members, out: Record<string, unknown>): void {
    const fields = this.#types.fields(type);
    // Types of the meta package show themselves as in the API.
    if (fields === undefined) {
      for (const [key, member] of Object.entries(value))
        if (!Array.isArray(member) || member.length > 0) out[key] = member;
      return;
    }
    const from = type === 'core.PodSpec' ? withHostMembers(value) : value;
    for (const field of fields) {
      if (!field.embedded)
        out[field.name] = this.of(field.type, from[field.json === '?' ? `?${lowerFirst(field.name)}` : field.json!]);
      else if (field.type === 'ObjectMeta') this.#members(field.type, (from['metadata'] ?? {}) as Members, out);
      else this.#members(field.type, from, out);
    }
  }
}

function lowerFirst(name: string): string {
  return name.startsWith('HostPID') || name.startsWith('HostIPC')
    ? `host${name.slice(4)}`
    : name[0]!.toLowerCase() + name.slice(1);
}

/** @param type as the table of Go types names it: `core.PodSpec`, `*core.NodeSelector`, `[]core.Toleration` */
export function internalForm(type: string, value: unknown): unknown {
  return new InternalForm().of(type, value);
}
