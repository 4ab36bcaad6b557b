/**
 * Upstream's Go structs, where their shape can be seen from outside: those of the internal API version, in whose form messages
 * tell a bad value, and those of `v1` that pod templates are made of, whose printed form controllers take the hash of.
 * `go-types.json` holds one line a struct, `GoName[=jsonName] type` divided by `;`, made by reflection over the release's types.
 */
import goTypes from './go-types.json' with { type: 'json' };

/** A type as written in the table: `*T`, `[]T`, `{}T` (internal) or `map[K]T` (versioned), a scalar, the name of a struct. */
export interface GoField {
  readonly name: string;
  /** Undefined for an embedded struct. */
  readonly json: string | undefined;
  readonly embedded: boolean;
  readonly type: string;
}

/** What a named type is that is no struct; a name that is not in the table is a string. */
const underlying = '= ';

function parse(line: string): readonly GoField[] {
  if (line === '') return [];
  return line.split(';').map((text) => {
    const space = text.indexOf(' ');
    if (space < 0) return { name: '', json: undefined, embedded: true, type: text.slice(1) };
    const [name = '', json] = text.slice(0, space).split('=');
    const type = text.slice(space + 1);
    if (name.startsWith('+')) return { name: name.slice(1), json: undefined, embedded: true, type };
    return { name, json: json ?? name[0]!.toLowerCase() + name.slice(1), embedded: false, type };
  });
}

/** Structs by name, read when first asked for. */
export class GoTypes {
  readonly #lines: Readonly<Record<string, string>>;
  readonly #fields = new Map<string, readonly GoField[] | undefined>();

  constructor(version: 'internal' | 'versioned') {
    this.#lines = goTypes[version];
  }

  /** Reads all of them now, so that nothing changes in use. */
  readAll(): this {
    for (const name of Object.keys(this.#lines)) this.fields(name);
    return this;
  }

  /** The type behind a name that is neither a struct's nor a string's: `map[v1.ResourceName]resource.Quantity`. */
  underlying(name: string): string | undefined {
    const line = this.#lines[name];
    return line?.startsWith(underlying) === true ? line.slice(underlying.length) : undefined;
  }

  /** Undefined: not a struct of the table. */
  fields(name: string): readonly GoField[] | undefined {
    let fields = this.#fields.get(name);
    if (fields === undefined && name in this.#lines && !this.#lines[name]!.startsWith(underlying)) {
      fields = parse(this.#lines[name]!);
      this.#fields.set(name, fields);
    }
    return fields;
  }
}
