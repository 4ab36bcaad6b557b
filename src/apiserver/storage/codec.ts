/**
 * The stored form of an object and its way into responses. What is stored is JSON with the type header first and no
 * resourceVersion; a response splices the resourceVersion in behind the uid (upstream's order) and leaves the header off
 * where a list's items carry none. On the way of get, list and watch nothing is parsed or stringified.
 */
import { JsonPicker } from '../../api/codec/json-pick.ts';
import type { Wanted } from '../../api/codec/json-pick.ts';
import { parseTrustedJson, stringifyJson } from '../../api/codec/json.ts';
import { convert, isSameShape } from '../../api/conversion/convert.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import type { Committed } from '../request.ts';
import type { Slab, Tenant } from './arena.ts';
import { fromKeyText, toKeyText } from './keys.ts';
import { findMetadataEnd, labelsIn, spliceOffset } from './stored-json.ts';
import type { MetadataSpan } from './stored-json.ts';

type Labels = Readonly<Record<string, string>>;
type Fields = Readonly<Record<string, string>>;

export interface LayoutOptions {
  /** `/registry` */
  readonly root: string;
  /** `pods`, `services/specs` */
  readonly keyPrefix: string;
  readonly namespaced: boolean;
  /** Storage version. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly custom: boolean;
  /** Fields for field selectors beyond name and namespace. */
  readonly selectableFields?: (object: KubeObject) => Readonly<Record<string, string>>;
  /** What `selectableFields` looks at; undefined: that may be anything. */
  readonly fieldsWanted?: Wanted | undefined;
  readonly parsed: ParsedCache;
  /** Freezes parsed objects deeply, so that a mutation by a reader fails at once. */
  readonly freeze: boolean;
  /** What its schema makes of an object that others stored (custom resources: pruned, with defaults). */
  readonly complete?: ((object: KubeObject) => KubeObject) | undefined;
  /** It is what `complete` would make of it. */
  readonly finished?: ((value: Buffer) => boolean) | undefined;
  /** What is to be written, as it will be read; the same object where that is no other. */
  readonly shown?: ((object: KubeObject) => KubeObject) | undefined;
  /** Reads what another API server has stored as protobuf; in the storage version, with defaults. */
  readonly fromProtobuf?: ((bytes: Buffer) => KubeObject) | undefined;
  /** JSON of the storage version that may lack what its kind has today. */
  readonly dated?: ((json: Buffer) => boolean) | undefined;
  /** What is dated, with what it lacks. */
  readonly updated?: ((object: KubeObject) => KubeObject) | undefined;
  /** What is stored in place of the JSON (`--storage-media-type`). */
  readonly stored?: ((object: KubeObject) => Buffer) | undefined;
}

/** `k8s` and a zero byte: upstream's protobuf. */
const protobufMagic = 0x6b38_7300;

function isProtobuf(value: Buffer): boolean {
  return value.length > 4 && value.readUInt32BE(0) === protobufMagic;
}

/** How one resource lies in the store; shared by all its objects. */
export class StorageLayout {
  /** `/registry/pods/` */
  readonly prefix: string;
  readonly namespaced: boolean;
  readonly apiVersion: string;
  readonly kind: string;
  readonly custom: boolean;
  /** `{"kind":"Pod","apiVersion":"v1",` */
  readonly header: Buffer;
  readonly selectableFields: LayoutOptions['selectableFields'];
  readonly #fieldsPicker: JsonPicker | undefined;
  readonly parsed: ParsedCache;
  readonly freeze: boolean;
  readonly #complete: LayoutOptions['complete'];
  readonly #finished: LayoutOptions['finished'];
  readonly #shown: LayoutOptions['shown'];
  readonly #fromProtobuf: LayoutOptions['fromProtobuf'];
  readonly #dated: LayoutOptions['dated'];
  readonly #updated: LayoutOptions['updated'];
  readonly #stored: LayoutOptions['stored'];

  constructor(options: LayoutOptions) {
    this.#stored = options.stored;
    this.#complete = options.complete;
    this.#finished = options.finished;
    this.#shown = options.shown;
    this.#fromProtobuf = options.fromProtobuf;
    this.#dated = options.dated;
    this.#updated = options.updated;
    this.prefix = `${options.root}/${options.keyPrefix}/`;
    this.namespaced = options.namespaced;
    this.apiVersion = options.apiVersion;
    this.kind = options.kind;
    this.custom = options.custom;
    this.header = headerOf(options.kind, options.apiVersion, options.custom);
    this.selectableFields = options.selectableFields;
    this.#fieldsPicker = options.fieldsWanted === undefined ? undefined : new JsonPicker(options.fieldsWanted);
    this.parsed = options.parsed;
    this.freeze = options.freeze;
  }

  key(namespace: string, name: string): string {
    return this.namespaced
      ? `${this.prefix}${toKeyText(namespace)}/${toKeyText(name)}`
      : `${this.prefix}${toKeyText(name)}`;
  }

  /** Prefix of all keys of a namespace (of everything when empty or cluster-scoped). */
  namespacePrefix(namespace: string): string {
    return this.namespaced && namespace !== '' ? `${this.prefix}${toKeyText(namespace)}/` : this.prefix;
  }

  /** What `selectableFields` looks at of an object that is not parsed. */
  forFields(bytes: Buffer): KubeObject {
    try {
      if (this.#fieldsPicker !== undefined) return this.#fieldsPicker.read(bytes, 0) as KubeObject;
    } catch (error) {
      // Other servers of the same store may write it with spaces.
      if (!(error instanceof SyntaxError)) throw error;
    }
    return parseTrustedJson(bytes) as KubeObject;
  }

  /** Stored bytes in this layout; what another version or writer stored is converted. */
  normalize(bytes: Buffer): Buffer {
    const n = this.header.length;
    const ours = bytes.length > n && bytes.compare(this.header, 0, n, 0, n) === 0;
    if (this.#complete === undefined) {
      if (ours && this.#dated?.(bytes) !== true) return bytes;
      if (this.#fromProtobuf !== undefined && isProtobuf(bytes)) return this.encode(this.#fromProtobuf(bytes));
      const object = convert(parseTrustedJson(bytes) as KubeObject, this.apiVersion);
      if (this.#dated?.(bytes) !== true) return this.encode(object);
      const updated = this.encode(this.#updated!(object));
      return updated.equals(bytes) ? bytes : updated;
    }
    if (ours && this.#finished?.(bytes) === true) return bytes;
    const object = parseTrustedJson(bytes) as KubeObject;
    const complete = this.#complete(ours ? object : { ...object, apiVersion: this.apiVersion });
    const made = this.encode(complete);
    return made.equals(bytes) ? bytes : made;
  }

  /** What goes into the store for an object whose JSON is `bytes`. */
  stored(object: KubeObject, bytes: Buffer): Buffer {
    if (this.#stored === undefined) return bytes;
    const { apiVersion, kind } = this;
    return this.#stored({ ...object, apiVersion, kind, metadata: storedMetadata(object.metadata) as ObjectMeta });
  }

  /** The object as it will be read: with defaults, and without what the storage version does not know. */
  shown(object: KubeObject): KubeObject {
    return this.#shown === undefined ? object : this.#shown(object);
  }

  /** What lies in the store, as an object. */
  read(key: string, revision: number, value: Buffer): StoredObject {
    const bytes = this.normalize(value);
    const object = new StoredObject(this, key, revision, bytes);
    object.foreign = this.#stored === undefined ? bytes !== value : !isProtobuf(value);
    return object;
  }

  /** The JSON of an object of the storage version. */
  encode(object: KubeObject): Buffer {
    const out: Record<string, unknown> = this.custom
      ? { apiVersion: this.apiVersion, kind: this.kind }
      : { kind: this.kind, apiVersion: this.apiVersion };
    out['metadata'] = this.custom ? storedCustomMetadata(object.metadata) : storedMetadata(object.metadata);
    for (const member in object) {
      if (member !== 'kind' && member !== 'apiVersion' && member !== 'metadata') out[member] = object[member];
    }
    return Buffer.from(`${stringifyJson(out)}\n`, 'utf8');
  }
}

/** The bytes before `"metadata":` of an object. */
function headerOf(kind: string, apiVersion: string, custom: boolean): Buffer {
  const k = `"kind":${JSON.stringify(kind)}`;
  const v = `"apiVersion":${JSON.stringify(apiVersion)}`;
  return Buffer.from(custom ? `{${v},${k},` : `{${k},${v},`, 'utf8');
}

const beforeVersion = ['name', 'generateName', 'namespace', 'selfLink', 'uid'] as const;
const afterVersion = [
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'labels',
  'annotations',
  'ownerReferences',
  'finalizers',
  'managedFields',
] as const;

/** Metadata in upstream's order, without resourceVersion. */
function storedMetadata(meta: ObjectMeta): Record<string, unknown> {
  const from = meta as Record<string, unknown>;
  const out: Record<string, unknown> = {};
  for (const k of beforeVersion) if (from[k] !== undefined && from[k] !== '') out[k] = from[k];
  for (const k of afterVersion) if (from[k] !== undefined && from[k] !== null) out[k] = from[k];
  return out;
}

/** The same of custom resources, which upstream holds as maps: entries of managedFields are in the order of their names. */
export function storedCustomMetadata(meta: ObjectMeta): Record<string, unknown> {
  const out = storedMetadata(meta);
  if (out['managedFields'] === undefined) return out;
  out['managedFields'] = meta.managedFields!.map(
    ({ apiVersion, fieldsType, fieldsV1, manager, operation, subresource, time }) => ({
      apiVersion,
      fieldsType,
      fieldsV1,
      manager,
      operation,
      ...(subresource === undefined ? {} : { subresource }),
      time,
    }),
  );
  return out;
}

/** Metadata in upstream's order with this resourceVersion. */
function metadataAt(meta: ObjectMeta, revision: number): ObjectMeta {
  const from = meta as Record<string, unknown>;
  const out: Record<string, unknown> = {};
  for (const k of beforeVersion) if (from[k] !== undefined && from[k] !== '') out[k] = from[k];
  if (revision > 0) out['resourceVersion'] = String(revision);
  for (const k of afterVersion) if (from[k] !== undefined && from[k] !== null) out[k] = from[k];
  return out as ObjectMeta;
}

/**
 * Keeps parsed objects alive, up to a number of stored bytes. What was just written waits shortly for a reader in this
 * process and dies young without one; what was read stays longer. Later it is reachable only as long as somebody else (an
 * informer) holds it, and is parsed again otherwise.
 */
export class ParsedCache {
  readonly #fresh: ParsedQueue;
  readonly #used: ParsedQueue;

  /** `budget`: stored bytes whose parsed form is kept. */
  constructor(budget: number) {
    this.#fresh = new ParsedQueue(budget / 32);
    this.#used = new ParsedQueue(budget);
  }

  add(object: StoredObject, used: boolean): void {
    (used ? this.#used : this.#fresh).add(object);
  }
}

class ParsedQueue {
  readonly #budget: number;
  #queue: StoredObject[] = [];
  #head = 0;
  #bytes = 0;

  constructor(budget: number) {
    this.#budget = budget;
  }

  add(object: StoredObject): void {
    this.#queue.push(object);
    object.kept++;
    this.#bytes += object.bytes.length;
    while (this.#bytes > this.#budget && this.#head < this.#queue.length - 1) {
      const oldest = this.#queue[this.#head]!;
      this.#head++;
      this.#bytes -= oldest.bytes.length;
      if (--oldest.kept === 0) oldest.release();
    }
    if (this.#head > 512 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }
}

const brace = 0x7b;
const newline = 0x0a;

/** One version of one object, as the watch cache and responses hold it. Immutable. */
export class StoredObject implements Committed, Tenant {
  readonly layout: StorageLayout;
  readonly key: string;
  /** 0: never stored (dry run), no resourceVersion is written. */
  readonly revision: number;
  /** Where the watch cache keeps it, while it is the newest version. */
  slab: Slab | undefined = undefined;
  /** It lies in the store in another form or version than it would be written in. */
  foreign = false;
  /** How often the parsed cache holds it. */
  kept = 0;
  formSize = 0;
  #bytes: Buffer;
  /** Offset behind the uid; 0: not looked for yet, -1: there is none. */
  #splice = 0;
  #parsed: KubeObject | WeakRef<KubeObject> | undefined;
  /** Somebody outside may hold the parsed form. */
  #handedOut = false;
  #labels: Labels | null | undefined;
  #fields: Fields | undefined;

  constructor(layout: StorageLayout, key: string, revision: number, bytes: Buffer) {
    this.layout = layout;
    this.key = key;
    this.revision = revision;
    this.#bytes = bytes;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  move(bytes: Buffer, slab: Slab): void {
    this.#bytes = bytes;
    this.slab = slab;
  }

  get namespace(): string {
    if (!this.layout.namespaced) return '';
    const start = this.layout.prefix.length;
    return fromKeyText(this.key.slice(start, this.key.indexOf('/', start)));
  }

  get name(): string {
    const start = this.layout.prefix.length;
    return fromKeyText(this.key.slice(this.layout.namespaced ? this.key.indexOf('/', start) + 1 : start));
  }

  /** Hands over the parsed form (without resourceVersion) that the bytes were made of. */
  adopt(object: KubeObject): void {
    const whole: KubeObject = { ...object, metadata: metadataAt(object.metadata, this.revision) };
    this.#keep(whole, false);
  }

  #keep(object: KubeObject, used: boolean): void {
    if (this.layout.freeze) deepFreeze(object);
    this.#parsed = object;
    this.layout.parsed.add(this, used);
  }

  /** Called by the parsed cache: the object is no longer kept alive from here. */
  release(): void {
    if (this.#parsed === undefined || this.#parsed instanceof WeakRef) return;
    this.#parsed = this.#handedOut ? new WeakRef(this.#parsed) : undefined;
  }

  /** The parsed form when it is at hand, without making it. */
  peek(): KubeObject | undefined {
    return this.#parsed instanceof WeakRef ? this.#parsed.deref() : this.#parsed;
  }

  object(): KubeObject & { metadata: ObjectMeta & Record<string, unknown> } {
    type Whole = KubeObject & { metadata: ObjectMeta & Record<string, unknown> };
    const kept = this.peek();
    if (kept !== undefined) {
      if (!this.#handedOut) {
        this.#handedOut = true;
        if (!(this.#parsed instanceof WeakRef)) this.layout.parsed.add(this, true);
      }
      return kept as Whole;
    }
    this.#handedOut = true;
    const object = this.#parse();
    this.#keep(object, true);
    return object as Whole;
  }

  /** The parsed form for one look: it is not kept where it is not at hand. */
  passing(): KubeObject {
    return this.peek() ?? this.#parse();
  }

  #parse(): KubeObject {
    const at = this.#offset();
    if (at < 0 || this.revision === 0) {
      const object = parseTrustedJson(this.#bytes) as KubeObject;
      if (this.revision > 0) object.metadata = metadataAt(object.metadata, this.revision);
      return object;
    }
    // The offset counts bytes; names of some kinds need not be ASCII.
    const head = this.#bytes.toString('utf8', 0, at);
    const rest = this.#bytes.toString('utf8', at);
    return parseTrustedJson(`${head},"resourceVersion":"${this.revision}"${rest}`) as KubeObject;
  }

  /** Its labels; kept once asked for. */
  labels(): Labels | undefined {
    if (this.#labels === undefined) {
      const parsed = this.peek();
      const found = parsed === undefined ? labelsIn(this.#bytes, this.#offset()) : parsed.metadata.labels;
      this.#labels = (found === 'unknown' ? this.#quick().metadata.labels : found) ?? null;
    }
    return this.#labels ?? undefined;
  }

  /** The value of a field label of the stored form. */
  field(label: string): string | undefined {
    if (label === 'metadata.name') return this.name;
    if (label === 'metadata.namespace') return this.namespace;
    const { selectableFields } = this.layout;
    if (selectableFields === undefined) return undefined;
    this.#fields ??= selectableFields(this.peek() ?? this.layout.forFields(this.#bytes));
    return this.#fields[label];
  }

  /** For a look inside: the parsed form without keeping it. */
  #quick(): KubeObject {
    return this.peek() ?? (parseTrustedJson(this.#bytes) as KubeObject);
  }

  /** Takes over what is known of another version of the same content. */
  withRevision(revision: number): StoredObject {
    const other = new StoredObject(this.layout, this.key, revision, this.#bytes);
    other.foreign = this.foreign;
    other.#splice = this.#splice;
    other.#labels = this.#labels;
    other.#fields = this.#fields;
    return other;
  }

  #offset(): number {
    if (this.#splice === 0) this.#splice = spliceOffset(this.#bytes, this.layout.header.length);
    return this.#splice;
  }

  #end(): number {
    return this.#bytes[this.#bytes.length - 1] === newline ? this.#bytes.length - 1 : this.#bytes.length;
  }

  /**
   * The JSON of this object in pieces, resourceVersion included, without a newline at the end. `header` replaces the type
   * header (another version of the same shape); an empty one leaves it off.
   */
  pieces(header: Buffer | undefined): Buffer[] {
    const skip = this.layout.header.length;
    const out: Buffer[] = [];
    let from = 0;
    if (header !== undefined) {
      out.push(header.length === 0 ? openBrace : header);
      from = skip;
    }
    const at = this.#offset();
    if (this.revision === 0) out.push(this.#bytes.subarray(from, this.#end()));
    else if (at < 0) return [Buffer.from(stringifyJson(reheader(this.object(), header)), 'utf8')];
    else {
      out.push(this.#bytes.subarray(from, at));
      out.push(Buffer.from(`,"resourceVersion":"${this.revision}"`, 'latin1'));
      out.push(this.#bytes.subarray(at, this.#end()));
    }
    return out;
  }

  /** Upper bound of what `writeInto` writes. */
  maxSize(header: Buffer | undefined): number {
    return this.#bytes.length + (header?.length ?? 0) + 48;
  }

  /** Writes what `pieces` describes into `target` and returns the offset behind it. */
  writeInto(target: Buffer, at: number, header: Buffer | undefined): number {
    const splice = this.#offset();
    if (splice < 0 && this.revision > 0) {
      const bytes = Buffer.concat(this.pieces(header));
      return at + bytes.copy(target, at);
    }
    let from = 0;
    let to = at;
    if (header !== undefined) {
      if (header.length === 0) target[to++] = brace;
      else to += header.copy(target, to);
      from = this.layout.header.length;
    }
    if (this.revision === 0) return to + this.#bytes.copy(target, to, from, this.#end());
    to += this.#bytes.copy(target, to, from, splice);
    to += target.write(`,"resourceVersion":"${this.revision}"`, to, 'latin1');
    return to + this.#bytes.copy(target, to, splice, this.#end());
  }

  /** Where its resource version belongs; -1: it has none, or no place for it. */
  get versionAt(): number {
    return this.revision === 0 ? -1 : this.#offset();
  }

  get version(): string {
    return String(this.revision);
  }

  /** The offset of its metadata's opening brace, with what `span` tells then; -1 where only the parsed form serves. */
  metadataStart(span: MetadataSpan): number {
    const splice = this.#offset();
    if (splice < 0 || this.revision === 0) return -1;
    const start = this.layout.header.length + metadataMark.length;
    if (this.#bytes.compare(metadataMark, 0, metadataMark.length, start - metadataMark.length, start) !== 0) return -1;
    if (this.#bytes[start] !== brace) return -1;
    findMetadataEnd(this.#bytes, splice, span);
    return span.end < 0 ? -1 : start;
  }

  /** Writes its metadata from `start` to `end`, resourceVersion included; needs `resourceVersionRoom` bytes more than that. */
  writeMetadata(target: Buffer, at: number, start: number, end: number): number {
    const splice = this.#offset();
    let to = at + this.#bytes.copy(target, at, start, splice);
    to += target.write(`,"resourceVersion":"${this.revision}"`, to, 'latin1');
    return to + this.#bytes.copy(target, to, splice, end);
  }
}

const metadataMark = Buffer.from('"metadata":', 'latin1');
export const resourceVersionRoom = 48;

const openBrace = Buffer.from('{', 'latin1');
const noHeader = Buffer.alloc(0);

function reheader(object: KubeObject, header: Buffer | undefined): Record<string, unknown> {
  if (header === undefined) return object;
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  if (header.length === 0) return rest;
  return { ...(JSON.parse(`${header.toString('utf8').slice(0, -1)}}`) as Record<string, unknown>), ...rest };
}

export interface WriteOptions {
  /** Items of built-in lists carry no type header. */
  readonly typeHeader: boolean;
  /** Version to answer in; the storage version when left out. */
  readonly apiVersion?: string;
}

/** The replacement header for a version of the same shape; undefined: the stored one stays; null: needs conversion. */
function headerFor(stored: StoredObject, options: WriteOptions): Buffer | undefined | null {
  const { layout } = stored;
  const same = options.apiVersion === undefined || options.apiVersion === layout.apiVersion;
  if (!same && !layout.custom && !isSameShape(layout.apiVersion, options.apiVersion!, layout.kind)) return null;
  if (!options.typeHeader) return noHeader;
  return same ? undefined : headerOf(layout.kind, options.apiVersion!, layout.custom);
}

function plainBytes(committed: Committed, options: WriteOptions): Buffer {
  const object =
    options.apiVersion === undefined ? (committed.object() as KubeObject) : objectIn(committed, options.apiVersion);
  if (options.typeHeader) return Buffer.from(stringifyJson(object), 'utf8');
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return Buffer.from(stringifyJson(rest), 'utf8');
}

/** A committed object as JSON, ready to be sent (no newline at the end). */
export function writeCommitted(committed: Committed, options: WriteOptions): Buffer {
  if (!(committed instanceof StoredObject)) return plainBytes(committed, options);
  const header = headerFor(committed, options);
  if (header === null) return plainBytes(committed, options);
  const target = Buffer.allocUnsafe(committed.maxSize(header));
  return target.subarray(0, committed.writeInto(target, 0, header));
}

/** Upper bound of what `writeCommittedInto` will need; undefined when the object has to be stringified anyway. */
export function committedSize(committed: Committed, options: WriteOptions): number | undefined {
  if (!(committed instanceof StoredObject)) return undefined;
  const header = headerFor(committed, options);
  return header === null ? undefined : committed.maxSize(header);
}

/** Writes into a buffer that has `committedSize` bytes free at `at`; returns the offset behind what was written. */
export function writeCommittedInto(committed: Committed, target: Buffer, at: number, options: WriteOptions): number {
  if (committed instanceof StoredObject) {
    const header = headerFor(committed, options);
    if (header !== null) return committed.writeInto(target, at, header);
  }
  return at + plainBytes(committed, options).copy(target, at);
}

/** The parsed object in a version; the shared one when that is the storage version. Never mutate. */
export function objectIn(committed: Committed, apiVersion: string): KubeObject {
  const object = committed.object() as KubeObject;
  if (object.apiVersion === apiVersion) return object;
  const custom = committed instanceof StoredObject && committed.layout.custom;
  return custom ? { ...object, apiVersion } : convert(object, apiVersion);
}

/** The same for one look, and the stored form beside it: what has to be parsed for it is not kept. */
export function passingPair(committed: Committed, apiVersion: string): readonly [object: KubeObject, hub: KubeObject] {
  const hub = committed instanceof StoredObject ? committed.passing() : (committed.object() as KubeObject);
  if (hub.apiVersion === apiVersion) return [hub, hub];
  const custom = committed instanceof StoredObject && committed.layout.custom;
  return [custom ? { ...hub, apiVersion } : convert(hub, apiVersion), hub];
}

export function objectInPassing(committed: Committed, apiVersion: string): KubeObject {
  return passingPair(committed, apiVersion)[0];
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
}
