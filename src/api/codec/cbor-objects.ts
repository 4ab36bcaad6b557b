/** Kubernetes objects as CBOR: built-in kinds by their schemas, which tell what is binary; all others as the JSON they are. */
import type { Catalog } from '../catalog/catalog.ts';
import { parseApiVersion } from '../object.ts';
import type { ObjectSchema } from '../schema/schema.ts';
import { encodeBareCbor, encodeCbor, encodeCborEvent } from './cbor.ts';

interface Typed {
  readonly apiVersion?: string;
  readonly kind?: string;
}

export class CborObjects {
  readonly #catalog: Catalog;
  readonly #schemas = new Map<string, ObjectSchema | undefined>();

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  #schemaOf({ apiVersion = '', kind = '' }: Typed): ObjectSchema | undefined {
    const key = `${apiVersion} ${kind}`;
    if (this.#schemas.has(key)) return this.#schemas.get(key);
    const gv = parseApiVersion(apiVersion);
    const schema = gv === undefined ? undefined : this.#catalog.schemaForKind({ ...gv, kind });
    if (this.#schemas.size >= 1024) this.#schemas.clear(); // custom kinds come and go
    this.#schemas.set(key, schema);
    return schema;
  }

  encode(object: object): Buffer {
    return encodeCbor(object, this.#schemaOf(object as Typed));
  }

  /** One item of a list; `typed`: it carries apiVersion and kind. */
  item(object: object, typed: boolean): Buffer {
    const schema = this.#schemaOf(object as Typed);
    if (typed) return encodeBareCbor(object, schema);
    const { kind: _kind, apiVersion: _apiVersion, ...rest } = object as Typed;
    return encodeBareCbor(rest, schema);
  }

  event(type: string, object: Buffer): Buffer {
    return encodeCborEvent(type, object);
  }
}
