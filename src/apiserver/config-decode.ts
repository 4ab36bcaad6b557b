/**
 * Strict decoding of the configuration files of apiserver.config.k8s.io: shapes as data, unknown fields and wrong types refused
 * as upstream's strict decoder refuses them. Durations become milliseconds.
 */
import { goQuote } from '../api/codec/json.ts';
import { DurationError, parseDurationNanos } from '../api/time.ts';

/** What a field holds. */
export type Shape =
  | 'string'
  | 'bool'
  | 'int'
  | 'any'
  | 'duration'
  | { readonly list: Shape }
  | { readonly fields: Readonly<Record<string, Shape>> };

export interface ConfigKind {
  readonly kind: string;
  /** Default apiserver.config.k8s.io. */
  readonly group?: string;
  /** Versions of the group that have it. */
  readonly versions: readonly string[];
  readonly fields: Readonly<Record<string, Shape>>;
}

const group = 'apiserver.config.k8s.io';

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}

class Decoder {
  readonly unknown: string[] = [];
  readonly #kind: ConfigKind;

  constructor(kind: ConfigKind) {
    this.#kind = kind;
  }

  #mismatch(value: unknown, path: string, type: string): never {
    const where = `${this.#kind.kind}.${path.replace(/\[\d+\]/g, '')}`;
    throw new Error(`json: cannot unmarshal ${typeName(value)} into Go struct field ${where} of type ${type}`);
  }

  value(value: unknown, shape: Shape, path: string): unknown {
    if (value === null || value === undefined) return undefined;
    if (shape === 'any') return value;
    if (shape === 'int') return Number.isInteger(value) ? value : this.#mismatch(value, path, 'int32');
    if (shape === 'string') return typeof value === 'string' ? value : this.#mismatch(value, path, 'string');
    if (shape === 'bool') return typeof value === 'boolean' ? value : this.#mismatch(value, path, 'bool');
    if (shape === 'duration') {
      if (typeof value !== 'string') return this.#mismatch(value, path, 'v1.Duration');
      try {
        return Number(parseDurationNanos(value)) / 1e6;
      } catch (error) {
        if (!(error instanceof DurationError)) throw error;
        throw new Error(error.message, { cause: error });
      }
    }
    if ('list' in shape) {
      if (!Array.isArray(value)) return this.#mismatch(value, path, 'slice');
      return value.map((item, i) => this.value(item, shape.list, `${path}[${i}]`));
    }
    if (typeof value !== 'object' || Array.isArray(value)) return this.#mismatch(value, path, 'struct');
    return this.object(value as Record<string, unknown>, shape.fields, path);
  }

  object(
    given: Readonly<Record<string, unknown>>,
    fields: Readonly<Record<string, Shape>>,
    path: string,
  ): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(given)) {
      const at = path === '' ? name : `${path}.${name}`;
      const shape = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (shape === undefined) {
        this.unknown.push(`unknown field ${goQuote(at)}`);
        continue;
      }
      const decoded = this.value(value, shape, at);
      if (decoded !== undefined) out[name] = decoded;
    }
    return out;
  }
}

/**
 * Decodes what a file holds (parsed YAML or JSON). Returns the fields, and the version it is written in. With `lenient`, unknown
 * fields are told to it and left out.
 * @throws {Error} with upstream's text
 */
export function decodeConfig(
  given: unknown,
  kind: ConfigKind,
  lenient?: (error: string) => void,
): { readonly version: string; readonly fields: Readonly<Record<string, unknown>> } {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new Error(`couldn't get version/kind; json parse error: json: cannot unmarshal ${typeName(given)}`);
  const object = given as Readonly<Record<string, unknown>>;
  const { apiVersion, kind: name } = object;
  if (typeof name !== 'string' || name === '')
    throw new Error(`Object 'Kind' is missing in '${JSON.stringify(given)}'`);
  if (typeof apiVersion !== 'string' || apiVersion === '')
    throw new Error(`Object 'apiVersion' is missing in '${JSON.stringify(given)}'`);
  const at = apiVersion.indexOf('/');
  const version = apiVersion.slice(at + 1);
  if (
    name !== kind.kind ||
    apiVersion.slice(0, Math.max(at, 0)) !== (kind.group ?? group) ||
    !kind.versions.includes(version)
  )
    throw new Error(`no kind ${goQuote(name)} is registered for version ${goQuote(apiVersion)}`);
  const decoder = new Decoder(kind);
  const fields = decoder.object(object, { apiVersion: 'string', kind: 'string', ...kind.fields }, '');
  if (decoder.unknown.length > 0) {
    const error = `strict decoding error: ${decoder.unknown.join(', ')}`;
    if (lenient === undefined) throw new Error(error);
    lenient(error);
  }
  return { version, fields };
}
