/**
 * The OpenAPI v2 document in gnostic's protobuf form (openapi.v2.Document), which client-go's `OpenAPISchema` asks for.
 * Field numbers are those of gnostic's OpenAPIv2.proto; only members that our own documents have are known here.
 */
import { stringifyYaml } from '../../api/codec/yaml-emit.ts';

type Json = Readonly<Record<string, unknown>>;

function varint(n: number): Buffer {
  const bytes: number[] = [];
  let v = n;
  while (v > 0x7f) {
    bytes.push((v % 128) | 0x80);
    v = Math.floor(v / 128);
  }
  bytes.push(v);
  return Buffer.from(bytes);
}

/** Collects the fields of one message. */
class Message {
  readonly #parts: Buffer[] = [];

  bytes(field: number, value: Buffer): this {
    this.#parts.push(varint(field * 8 + 2), varint(value.length), value);
    return this;
  }

  text(field: number, value: unknown): this {
    return typeof value === 'string' && value !== '' ? this.bytes(field, Buffer.from(value)) : this;
  }

  texts(field: number, values: unknown): this {
    if (Array.isArray(values)) for (const v of values) this.bytes(field, Buffer.from(String(v)));
    return this;
  }

  bool(field: number, value: unknown): this {
    if (value === true) this.#parts.push(varint(field * 8), varint(1));
    return this;
  }

  int(field: number, value: unknown): this {
    if (typeof value === 'number' && value > 0) this.#parts.push(varint(field * 8), varint(value));
    return this;
  }

  double(field: number, value: unknown): this {
    if (typeof value !== 'number') return this;
    const b = Buffer.alloc(8);
    b.writeDoubleLE(value);
    this.#parts.push(varint(field * 8 + 1), b);
    return this;
  }

  /** A nested message, also when empty. */
  nest(field: number, value: Message | undefined): this {
    return value === undefined ? this : this.bytes(field, value.done());
  }

  /** `Named…` entries: name in field 1, value in field 2. */
  named(field: number, entries: Iterable<readonly [string, Message]>): this {
    for (const [name, value] of entries) this.nest(field, new Message().text(1, name).nest(2, value));
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Any value as YAML text, in blocks as gnostic writes it. */
function any(value: unknown): Message {
  return new Message().text(2, stringifyYaml(value));
}

function extensions(from: Json): [string, Message][] {
  return Object.entries(from)
    .filter(([k]) => k.startsWith('x-'))
    .map(([k, v]) => [k, any(v)]);
}

function has(from: Json, member: string): boolean {
  return from[member] !== undefined;
}

function schema(s: Json): Message {
  const m = new Message().text(1, s['$ref']).text(2, s['format']).text(3, s['title']).text(4, s['description']);
  if (has(s, 'default')) m.nest(5, any(s['default']));
  m.double(6, s['multipleOf'])
    .double(7, s['maximum'])
    .bool(8, s['exclusiveMaximum'])
    .double(9, s['minimum'])
    .bool(10, s['exclusiveMinimum'])
    .int(11, s['maxLength'])
    .int(12, s['minLength'])
    .text(13, s['pattern'])
    .int(14, s['maxItems'])
    .int(15, s['minItems'])
    .bool(16, s['uniqueItems'])
    .int(17, s['maxProperties'])
    .int(18, s['minProperties'])
    .texts(19, s['required']);
  if (Array.isArray(s['enum'])) for (const v of s['enum']) m.nest(20, any(v));
  const more = s['additionalProperties'];
  if (typeof more === 'boolean') m.nest(21, new Message().bool(2, more));
  else if (more !== undefined) m.nest(21, new Message().nest(1, schema(more as Json)));
  if (has(s, 'type')) m.nest(22, new Message().texts(1, [s['type']].flat()));
  if (has(s, 'items')) m.nest(23, new Message().nest(1, schema(s['items'] as Json)));
  if (Array.isArray(s['allOf'])) for (const v of s['allOf']) m.nest(24, schema(v as Json));
  if (has(s, 'properties'))
    m.nest(
      25,
      new Message().named(
        1,
        Object.entries(s['properties'] as Json).map(([k, v]): [string, Message] => [k, schema(v as Json)]),
      ),
    );
  if (has(s, 'example')) m.nest(30, any(s['example']));
  return m.named(31, extensions(s));
}

function parameter(p: Json): Message {
  let made: Message;
  if (p['in'] === 'body') {
    const body = new Message().text(1, p['description']).text(2, p['name']).text(3, 'body').bool(4, p['required']);
    body.nest(5, schema(p['schema'] as Json)).named(6, extensions(p));
    made = new Message().nest(1, body);
  } else {
    const query = p['in'] === 'query';
    const sub = new Message()
      .bool(1, p['required'])
      .text(2, p['in'])
      .text(3, p['description'])
      .text(4, p['name'])
      .text(query ? 6 : 5, p['type'])
      .text(query ? 7 : 6, p['format'])
      .bool(query ? 20 : 19, p['uniqueItems']);
    made = new Message().nest(2, new Message().nest(query ? 3 : 4, sub));
  }
  return new Message().nest(1, made);
}

function operation(o: Json): Message {
  const m = new Message()
    .texts(1, o['tags'])
    .text(2, o['summary'])
    .text(3, o['description'])
    .text(5, o['operationId'])
    .texts(6, o['produces'])
    .texts(7, o['consumes']);
  for (const p of (o['parameters'] as Json[] | undefined) ?? []) m.nest(8, parameter(p));
  const responses = Object.entries((o['responses'] ?? {}) as Json).map(([code, value]): [string, Message] => {
    const r = value as Json;
    const response = new Message().text(1, r['description']);
    if (has(r, 'schema')) response.nest(2, new Message().nest(1, schema(r['schema'] as Json)));
    return [code, new Message().nest(1, response)];
  });
  return m.nest(9, new Message().named(1, responses)).texts(10, o['schemes']).named(13, extensions(o));
}

const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch'] as const;

function pathItem(item: Json): Message {
  const m = new Message();
  methods.forEach((method, i) => {
    if (has(item, method)) m.nest(i + 2, operation(item[method] as Json));
  });
  for (const p of (item['parameters'] as Json[] | undefined) ?? []) m.nest(9, parameter(p));
  return m.named(10, extensions(item));
}

/** The whole document. */
export function encodeDocumentV2(document: Json): Buffer {
  const info = document['info'] as Json;
  const map = (of: unknown, make: (v: Json) => Message): [string, Message][] =>
    Object.entries((of ?? {}) as Json).map(([k, v]) => [k, make(v as Json)]);
  const m = new Message()
    .text(1, document['swagger'])
    .nest(2, new Message().text(1, info['title']).text(2, info['version']))
    .nest(8, new Message().named(2, map(document['paths'], pathItem)))
    .nest(9, new Message().named(1, map(document['definitions'], schema)));
  for (const requirement of (document['security'] as Json[] | undefined) ?? [])
    m.nest(
      12,
      new Message().named(
        1,
        Object.entries(requirement).map(([k, v]) => [k, new Message().texts(1, v)]),
      ),
    );
  const security = map(document['securityDefinitions'], (d) =>
    new Message().nest(
      2,
      new Message().text(1, d['type']).text(2, d['name']).text(3, d['in']).text(4, d['description']),
    ),
  );
  return m.nest(13, new Message().named(1, security)).done();
}
