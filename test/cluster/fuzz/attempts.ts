/** How valid requests are broken: changed objects, odd patches, flipped bytes, odd URLs, queries and headers. */
import { queryParameters } from './query-parameters.ts';
import fc from 'fast-check';
import { loadCatalog } from '../../../src/api/catalog/catalog.ts';
import { encodeCbor } from '../../../src/api/codec/cbor.ts';
import { stringifyYaml } from '../../../src/api/codec/yaml.ts';
import type { KubeObject } from '../../../src/api/object.ts';
import { ProtobufObjects } from '../../../src/api/protobuf.ts';
import type { HttpMethod } from '../../../src/client/transport.ts';
import { targets } from './targets.ts';
import type { Json, Members, Target } from './targets.ts';

const oddStrings = [
  '',
  ' ',
  'a',
  'fuzz-a',
  'Bad_Name',
  '..',
  '.',
  '/',
  'a/b',
  '%',
  '%00',
  '\u0000',
  'ä',
  '\u{1f600}',
  '\ud800',
  'x'.repeat(300),
  '-1',
  '0',
  '65536',
  'null',
  '{}',
  '[]',
  '1e999',
  '*',
  '=',
  '"',
  '\\',
  '$patch',
  '__proto__',
  'constructor',
  'toString',
  '2026-01-01T00:00:00Z',
  '10.0.0.1',
  '::1',
  '10.0.0.0/8',
  '50%',
  '1.5Gi',
  '99999999999999999999',
  'Always',
  'Exists',
  'Never',
  'TCP',
  'Foreground',
  '(?<',
  '[a-z',
  '{{',
  '$(A)',
  '@every 1s',
  '0 0 31 2 *',
];
const odd: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    null,
    true,
    false,
    0,
    -1,
    1,
    1.5,
    2 ** 31,
    -(2 ** 31) - 1,
    2 ** 53,
    1e21,
    [],
    {},
    [null],
    [[]],
    { '': '' },
    { $patch: 'delete' },
    { $patch: 'replace' },
    ['', null],
  ),
  fc.constantFrom<Json>(...oddStrings),
  fc.string({ unit: 'binary', maxLength: 12 }),
);

interface Change {
  /** Which of all places. */
  readonly at: number;
  readonly how: 'set' | 'remove' | 'add' | 'double' | 'swap' | 'nest';
  readonly key: string;
  readonly value: Json;
  readonly other: number;
}
const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(1000),
  how: fc.constantFrom('set', 'set', 'set', 'remove', 'add', 'double', 'swap', 'nest'),
  key: fc.constantFrom(
    'name',
    'spec',
    'metadata',
    'status',
    'finalizers',
    'managedFields',
    'generateName',
    'namespace',
    'uid',
    'resourceVersion',
    'deletionTimestamp',
    '$patch',
    '__proto__',
    'constructor',
    'x',
  ),
  value: odd,
  other: fc.nat(1000),
});

type Place = { readonly holder: Members | Json[]; readonly key: string | number };

function places(value: Json, found: Place[] = []): Place[] {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    found.push({ holder: value, key });
    places((value as Members)[key as string]!, found);
  }
  return found;
}

function put(holder: Members | Json[], key: string | number, value: Json): void {
  Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
}

function mutate(object: Members, changes: readonly Change[]): Members {
  const out = structuredClone(object);
  for (const c of changes) {
    const all = places(out);
    const place = all[c.at % all.length];
    const other = all[c.other % all.length];
    if (place === undefined || other === undefined) break;
    const { holder, key } = place;
    // Odd values are shared by all attempts.
    const given = structuredClone(c.value);
    const value = (holder as Members)[key as string]!;
    const otherValue = structuredClone((other.holder as Members)[other.key as string]!);
    if (c.how === 'set') put(holder, key, given);
    else if (c.how === 'swap') put(holder, key, otherValue);
    else if (c.how === 'nest') put(holder, key, [value]);
    else if (Array.isArray(holder)) {
      if (c.how === 'remove') holder.splice(key as number, 1);
      else holder.push(c.how === 'double' ? structuredClone(value) : given);
    } else if (c.how === 'remove') delete holder[key as string];
    else put(holder, c.key, c.how === 'double' ? structuredClone(value) : given);
  }
  return out;
}

const jsonPatch: fc.Arbitrary<Json> = fc.array(
  fc.record({
    op: fc.constantFrom<Json>('add', 'remove', 'replace', 'move', 'copy', 'test', 'zap', null),
    path: fc.constantFrom<Json>(
      '',
      '/',
      '/metadata',
      '/metadata/labels/a',
      '/metadata/labels',
      '/spec',
      '/spec/containers/0',
      '/spec/containers/-',
      '/spec/replicas',
      '/data/~1',
      '/data/~2',
      '/metadata/finalizers/-',
      '/kind',
      'x',
      1,
    ),
    from: fc.constantFrom<Json>('/metadata/labels', '/spec', '/nowhere', '', '/metadata'),
    value: odd,
  }),
  { maxLength: 4 },
) as fc.Arbitrary<Json>;

export interface Attempt {
  readonly target: Target;
  readonly method: HttpMethod;
  readonly form: 'json' | 'yaml' | 'protobuf' | 'cbor' | 'json-patch' | 'merge' | 'strategic' | 'apply';
  readonly changes: readonly Change[];
  readonly patch: Json;
  readonly flips: readonly (readonly [at: number, byte: number])[];
  readonly where: 'collection' | 'object' | 'subresource' | 'odd';
  readonly subresource: number;
  readonly oddPath: readonly string[];
  readonly query: readonly (readonly [string, string])[];
  readonly headers: readonly (readonly [string, string])[];
}

const queryValues = [
  ...oddStrings.filter((s) => s !== '99999999999999999999' && s !== '65536'),
  'true',
  'Strict',
  'Warn',
  'Ignore',
  'All',
  'fuzz',
  'a in (b,c)',
  'a,!b',
  'a>1',
  'metadata.name=fuzz-a',
  'status.phase=Running',
  'NotOlderThan',
  'Exact',
  'Orphan',
  'eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0',
];
export const attempt: fc.Arbitrary<Attempt> = fc.record({
  target: fc.constantFrom(...targets),
  method: fc.constantFrom<HttpMethod>(
    'POST',
    'POST',
    'POST',
    'PUT',
    'PUT',
    'PATCH',
    'PATCH',
    'PATCH',
    'GET',
    'DELETE',
    'HEAD',
    'OPTIONS',
  ),
  form: fc.constantFrom('json', 'json', 'yaml', 'protobuf', 'cbor', 'json-patch', 'merge', 'strategic', 'apply'),
  changes: fc.array(change, { maxLength: 4 }),
  patch: jsonPatch,
  flips: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(fc.tuple(fc.nat(5000), fc.nat(255)), { maxLength: 3 }) },
  ),
  where: fc.constantFrom('collection', 'object', 'object', 'subresource', 'odd'),
  subresource: fc.nat(9),
  oddPath: fc.array(
    fc.constantFrom(
      'api',
      'apis',
      'v1',
      'apps',
      'namespaces',
      'fuzz',
      'pods',
      'fuzz-a',
      'status',
      'watch',
      'proxy',
      'openapi',
      'v3',
      '..',
      '',
      ...oddStrings,
    ),
    { maxLength: 7 },
  ),
  query: fc.array(fc.tuple(fc.constantFrom(...queryParameters), fc.constantFrom(...queryValues)), { maxLength: 3 }),
  headers: fc.array(
    fc.constantFrom<readonly [string, string]>(
      ['accept', 'application/json;as=Table;v=v1;g=meta.k8s.io'],
      ['accept', 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io'],
      ['accept', 'application/yaml'],
      ['accept', 'application/vnd.kubernetes.protobuf'],
      ['accept', 'application/cbor'],
      ['accept', '*/*;q=x'],
      ['accept', 'text/html'],
      ['accept-encoding', 'gzip'],
      ['content-type', 'text/plain'],
      ['content-type', ';'],
      ['content-type', 'application/json; charset=nope'],
      ['impersonate-user', 'jane'],
      ['impersonate-group', 'a'],
      ['authorization', 'Bearer x.y.z'],
      ['user-agent', 'curl/8'],
      ['user-agent', ''],
      ['if-none-match', '"x"'],
      ['connection', 'upgrade'],
      ['x-remote-user', 'root'],
    ),
    { maxLength: 2 },
  ),
});

const protobuf = new ProtobufObjects(loadCatalog());
const patchTypes = {
  'json-patch': 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

export interface Made {
  readonly path: string;
  readonly contentType: string;
  readonly object: Json;
  readonly bytes: Buffer;
}

export function make(a: Attempt): Made {
  const object = mutate(a.target.object, a.changes);
  const form = a.method === 'PATCH' && !(a.form in patchTypes) ? 'merge' : a.form;
  const content = form === 'json-patch' ? a.patch : object;
  let contentType =
    form === 'yaml' ? 'application/yaml' : form in patchTypes ? patchTypes[form as 'merge'] : 'application/json';
  let bytes: Buffer;
  if (form === 'protobuf' && a.target.builtIn) {
    contentType = 'application/vnd.kubernetes.protobuf';
    try {
      bytes = protobuf.encode(object as unknown as KubeObject);
    } catch {
      // What is too broken for the encoder is sent as the bytes of what is not.
      bytes = protobuf.encode(a.target.object as unknown as KubeObject);
    }
  } else if (form === 'cbor' || (form === 'apply' && a.flips.length === 1)) {
    contentType = form === 'cbor' ? 'application/cbor' : 'application/apply-patch+cbor';
    bytes = encodeCbor(content);
  } else bytes = Buffer.from(form === 'yaml' ? stringifyYaml(content) : JSON.stringify(content));
  if (a.flips.length > 0) {
    bytes = Buffer.from(bytes);
    for (const [at, byte] of a.flips) if (bytes.length > 0) bytes[at % bytes.length] = byte;
  }
  const name = ((a.target.object['metadata'] as Members)['name'] as string | undefined) ?? 'fuzz-a';
  const item = `${a.target.path}/${name}`;
  const sub = a.target.subresources[a.subresource % Math.max(1, a.target.subresources.length)];
  let path: string;
  if (a.where === 'odd')
    path = `/${a.oddPath.map((s) => (s === '..' ? s : encodeURIComponent(s.isWellFormed() ? s : '?'))).join('/')}`;
  else if (a.where === 'subresource' && sub !== undefined) path = `${item}/${sub}`;
  // POST goes to the collection, and what is deleted is one object: the collections hold the cluster's own.
  else if (a.where === 'collection' || a.method === 'POST') path = a.method === 'DELETE' ? item : a.target.path;
  else path = item;
  if (a.query.length > 0)
    path += `?${a.query.map(([k, v]) => `${k}=${encodeURIComponent(v.isWellFormed() ? v : '?')}`).join('&')}`;
  return { path, contentType, object: content, bytes };
}
