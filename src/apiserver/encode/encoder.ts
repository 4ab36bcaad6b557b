/**
 * The encoder turns what a handler answered into what goes out: bytes for HTTP, parsed objects for callers in the same
 * process. Committed objects are spliced, lists are made in pieces, nothing is parsed on the plain JSON path.
 */
import { StatusError } from '../../api/status.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import { stringifyJson } from '../../api/codec/json.ts';
import { stringifyYaml } from '../../api/codec/yaml.ts';
import { Slice } from '../../base/yield.ts';
import type { Scope } from '../filters/scope.ts';
import { cacheControl } from '../filters/cache-control.ts';
import { acceptsGzip } from '../http/headers.ts';
import type { Committed, KubeObjectLike, OutgoingResponse, ResponseBody } from '../request.ts';
import type { TableMaker } from '../tables/table.ts';
import { ObjectCodec } from './codec.ts';
import type { CborCodec, ProtobufCodec } from './codec.ts';
import { FormCache, FormSizes } from './form-cache.ts';
import { listForm, type ListForm } from './list-forms.ts';
import { ChunkBuffers, listChunks, listObject } from './list.ts';
import { partialMetadata } from './metadata.ts';
import { podAddresses, seesAddressesAlone } from './pod-addresses.ts';
import { type Negotiated, Negotiator, type Offer, mediaTypes, plainJson } from './negotiate.ts';
import { WatchEncoder } from './watch.ts';
import type { WireBody, WireHeaders, WireResponse } from './wire.ts';

/** Bodies longer than this are compressed when the client takes gzip (upstream's threshold). */
const gzipThreshold = 128 * 1024;

export interface EncoderOptions {
  readonly tables: TableMaker;
  readonly protobuf?: ProtobufCodec;
  readonly cbor?: CborCodec | undefined;
  /** APIResponseCompression is on, which it is by default. */
  readonly compression?: boolean;
}

/** Verbs whose answers may be asked for as Table or PartialObjectMetadata. */
const plainOffer = { transforms: false, tables: false, watch: false, protobuf: false };
/** Subresources whose answers have no columns. */
const onlyAsked: ReadonlySet<string> = new Set(['binding', 'eviction', 'token']);

/** Verbs that are answered with the object. */
const answering = new Set(['get', 'create', 'update', 'patch']);

export class Encoder {
  readonly codec = new ObjectCodec();
  readonly tables: TableMaker;
  readonly protobuf: ProtobufCodec | undefined;
  readonly cbor: CborCodec | undefined;
  readonly negotiator = new Negotiator();
  /** Items of protobuf lists. */
  readonly forms = new FormCache();
  readonly formSizes = new FormSizes();
  readonly #watch: WatchEncoder;
  readonly #compression: boolean;
  readonly #offers = new WeakMap<ResourceInfo, { readonly once: Offer; readonly watch: Offer }>();

  constructor(options: EncoderOptions) {
    this.tables = options.tables;
    this.protobuf = options.protobuf;
    this.cbor = options.cbor;
    this.#watch = new WatchEncoder(this);
    this.#compression = options.compression ?? true;
  }

  /**
   * Settles what the answer of a resource request will look like; throws 406, or 400 for a bad `includeObject`. Returns what is to be
   * said once there is an answer: that it has no such form.
   */
  negotiate(scope: Scope, resource: ResourceInfo): StatusError | undefined {
    let offers = this.#offers.get(resource);
    if (offers === undefined) {
      const protobuf = this.protobuf?.supports(apiVersionOf(resource), resource.kind) ?? false;
      const cbor = this.cbor !== undefined;
      const tables = resource.verbs.includes('get') || resource.verbs.includes('list');
      offers = {
        once: { transforms: true, tables, watch: false, protobuf, cbor },
        watch: { transforms: true, tables, watch: true, protobuf, cbor },
      };
      this.#offers.set(resource, offers);
    }
    let offer = scope.info.verb === 'watch' ? offers.watch : offers.once;
    if (onlyAsked.has(scope.info.subresource)) offer = { ...offer, tables: false };
    const asked = this.negotiator.negotiate(scope.request, offer);
    const output: Negotiated = seesAddressesAlone(scope, resource) ? { ...asked, as: 'PodAddresses' } : asked;
    if (output.as === 'Table') this.tables.includeObject(scope.request.query);
    scope.output = output;
    return this.#wrongForm(scope, resource, output);
  }

  /** Metadata of one object is no form of a list, nor that of a list one of an object. */
  #wrongForm(scope: Scope, resource: ResourceInfo, output: Negotiated): StatusError | undefined {
    const { verb } = scope.info;
    const lists = verb === 'list' || verb === 'deletecollection';
    const wrong =
      (lists && output.as === 'PartialObjectMetadata' && 'a list') ||
      (answering.has(verb) && output.as === 'PartialObjectMetadataList' && 'not a list');
    if (wrong === false) return undefined;
    const list = lists ? 'List' : '';
    const pkg = resource.group === '' ? 'core' : resource.group.split('.')[0]!;
    const type = resource.custom ? `unstructured.Unstructured${list}` : `${pkg}.${resource.kind}${list}`;
    const why = `you requested ${output.as}, but the requested object is ${wrong} (*${type})`;
    return new StatusError(406, 'NotAcceptable', why);
  }

  /** The answer as parsed objects, for a caller in the same process. Watches and streams are left as they are. */
  async objects(scope: Scope, response: OutgoingResponse): Promise<unknown> {
    const body = response.body;
    const output = scope.output ?? plainJson;
    switch (body.kind) {
      case 'none':
      case 'hijacked':
        return undefined;
      case 'object':
        return this.transform(scope, output, body.object);
      case 'committed':
        return this.#transformed(scope, output, body.committed);
      case 'list':
        return listObject(this, scope, output, body);
      case 'bytes': {
        const text = Buffer.from(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength).toString('utf8');
        return body.contentType.startsWith('application/json') ? (JSON.parse(text) as unknown) : text;
      }
      case 'watch':
      case 'stream':
        throw new Error(`a ${body.kind} answers a request that asked for one object`);
    }
  }

  /** Table or metadata form of one object, where asked for. A Status is never transformed. */
  transform(scope: Scope, output: Negotiated, object: KubeObjectLike, hub = object): KubeObjectLike {
    if (output.as === '' || object.kind === 'Status' || scope.resource === undefined) return object;
    const { items } = object;
    if (scope.resource.computed === true && Array.isArray(items)) return this.#madeList(scope, output, items);
    if (output.as === 'Table') return this.tables.ofObject(scope, output, object, hub);
    if (output.as === 'PodAddresses') return podAddresses(object);
    return partialMetadata(object, output.asVersion);
  }

  /** Table or metadata form of a list that no store has. */
  #madeList(scope: Scope, output: Negotiated, items: readonly KubeObjectLike[]): KubeObjectLike {
    if (output.as === 'Table') return this.tables.ofList(scope, output, items);
    return {
      kind: 'PartialObjectMetadataList',
      apiVersion: `meta.k8s.io/${output.asVersion}`,
      metadata: {},
      items: items.map((o) => partialMetadata(o, output.asVersion)),
    };
  }

  #transformed(scope: Scope, output: Negotiated, committed: Committed): KubeObjectLike {
    const object = this.codec.object(committed, scope.resource!);
    return output.as === '' ? object : this.transform(scope, output, object, committed.object());
  }

  watchEncoder(): WatchEncoder {
    return this.#watch;
  }

  /** The answer as bytes. Synchronous wherever the body is short. */
  wire(scope: Scope, response: OutgoingResponse): WireResponse | Promise<WireResponse> {
    const body = response.body;
    switch (body.kind) {
      case 'none':
        return this.#finish(scope, response, undefined, { kind: 'none' });
      case 'hijacked':
        return this.#finish(scope, response, undefined, { kind: 'hijacked' });
      case 'bytes':
        return this.#bytes(scope, response, body.contentType, body.bytes);
      case 'stream':
        return this.#finish(scope, response, body.contentType, { kind: 'stream', stream: body.stream });
      case 'object': {
        const output = this.#outputFor(scope, response.status);
        // What cannot be negotiated must not hide the error that is being told.
        if (output === undefined)
          return this.#bytes(scope, response, mediaTypes.json, Buffer.from(prettyJson(body.object)));
        return this.#bytes(
          scope,
          response,
          mediaTypes[output.format],
          this.encodeObject(output, this.transform(scope, output, body.object)),
        );
      }
      case 'committed': {
        const output = scope.output ?? plainJson;
        const resource = scope.resource!;
        if (output.format === 'json' && !output.pretty && output.as === '')
          return this.#bytes(
            scope,
            response,
            mediaTypes.json,
            this.codec.json(body.committed, resource, nothing, newline),
          );
        const object = this.#transformed(scope, output, body.committed);
        return this.#bytes(scope, response, mediaTypes[output.format], this.encodeObject(output, object));
      }
      case 'list':
        return this.#list(scope, response, body);
      case 'watch': {
        const output = scope.output ?? plainJson;
        const contentType =
          output.format === 'protobuf'
            ? `${mediaTypes.protobuf};stream=watch`
            : output.format === 'cbor'
              ? 'application/cbor-seq'
              : mediaTypes[output.format];
        return this.#finish(scope, response, contentType, {
          kind: 'watch',
          watch: this.#watch.wire(scope, output, body.source),
        });
      }
    }
  }

  /** One parsed object in the negotiated format. */
  encodeObject(output: Negotiated, object: KubeObjectLike): Buffer {
    switch (output.format) {
      case 'json':
        return Buffer.from(output.pretty ? prettyJson(object) : `${stringifyJson(object)}\n`);
      case 'yaml':
        return Buffer.from(stringifyYaml(object));
      case 'protobuf':
        return this.protobuf!.encode(object);
      case 'cbor':
        return this.cbor!.encode(object);
    }
  }

  #outputFor(scope: Scope, status: number): Negotiated | undefined {
    if (scope.output !== undefined && status < 400) return scope.output;
    const found = this.negotiator.find(scope.request, {
      ...plainOffer,
      protobuf: this.protobuf?.supports('v1', 'Status') ?? false,
      cbor: this.cbor !== undefined,
    });
    if (found === undefined && status < 400) return plainJson;
    return found;
  }

  async #list(scope: Scope, response: OutgoingResponse, body: ResponseBody & { kind: 'list' }): Promise<WireResponse> {
    const output = scope.output ?? plainJson;
    const gzip = this.#mayCompress(scope);
    if (output.format !== 'json' || output.pretty) {
      const form = await listForm(this, scope.resource!, output, body);
      if (form !== undefined) return this.#form(scope, response, mediaTypes[output.format], form, gzip);
      const object = await listObject(this, scope, output, body);
      return this.#bytes(scope, response, mediaTypes[output.format], this.encodeObject(output, object));
    }
    const buffers = new ChunkBuffers();
    const chunks = listChunks(this, scope, output, body, buffers);
    const first = chunks.next();
    if (first.done === true) return this.#bytes(scope, response, mediaTypes.json, Buffer.alloc(0));
    const second = chunks.next();
    if (second.done === true) return this.#bytes(scope, response, mediaTypes.json, first.value);
    const rest = paced(first.value, second.value, chunks);
    const recycle = (chunk: Buffer): void => buffers.give(chunk);
    return this.#finish(scope, response, mediaTypes.json, { kind: 'chunks', chunks: rest, gzip, recycle }, gzip);
  }

  #mayCompress(scope: Scope): boolean {
    return this.#compression && acceptsGzip(scope.request.headers['accept-encoding']);
  }

  /** Short ones with their length. */
  async #form(
    scope: Scope,
    response: OutgoingResponse,
    contentType: string,
    form: ListForm,
    gzip: boolean,
  ): Promise<WireResponse> {
    if ('bytes' in form) return this.#bytes(scope, response, contentType, form.bytes);
    const first = await form.chunks.next();
    if (first.done === true) return this.#bytes(scope, response, contentType, nothing);
    const second = await form.chunks.next();
    if (second.done === true) return this.#bytes(scope, response, contentType, first.value);
    const chunks = resumed(first.value, second.value, form.chunks);
    return this.#finish(scope, response, contentType, { kind: 'chunks', chunks, gzip, recycle: form.recycle }, gzip);
  }

  #bytes(scope: Scope, response: OutgoingResponse, contentType: string, bytes: Uint8Array): WireResponse {
    // What the handler has compressed already goes as it is.
    const encoded = response.headers?.['content-encoding'] !== undefined;
    if (!encoded && bytes.length > gzipThreshold && this.#mayCompress(scope))
      return this.#finish(scope, response, contentType, { kind: 'chunks', chunks: single(bytes), gzip: true }, true);
    return this.#finish(scope, response, contentType, { kind: 'bytes', bytes });
  }

  #finish(
    scope: Scope,
    response: OutgoingResponse,
    contentType: string | undefined,
    body: WireBody,
    gzip = false,
  ): WireResponse {
    const headers: WireHeaders = { 'audit-id': scope.auditId, 'cache-control': cacheControl };
    if (contentType !== undefined) headers['content-type'] = contentType;
    if (body.kind === 'bytes') headers['content-length'] = body.bytes.length;
    if (gzip) {
      headers['content-encoding'] = 'gzip';
      headers['vary'] = 'Accept-Encoding';
    }
    if (scope.warnings !== undefined) headers['warning'] = scope.warnings.values.map(headerBytes);
    if (scope.flow !== undefined) {
      headers['x-kubernetes-pf-flowschema-uid'] = scope.flow.uid;
      headers['x-kubernetes-pf-prioritylevel-uid'] = scope.flow.level.uid;
    }
    if (response.headers !== undefined) for (const name in response.headers) headers[name] = response.headers[name]!;
    return { status: response.status, headers, body };
  }
}

const nothing = Buffer.alloc(0);
const newline = Buffer.from('\n');

/** Indented by two, for people. Integers beyond 2^53 (never in anything built in) lose their last digits here alone. */
function prettyJson(object: unknown): string {
  return JSON.stringify(object, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value), 2);
}

/** Header bytes are latin1 on the wire: UTF-8 text goes out as its bytes. */
function headerBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

async function* single(bytes: Uint8Array): AsyncGenerator<Buffer> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < buffer.length; at += 65_536) yield buffer.subarray(at, at + 65_536);
}

async function* resumed(first: Buffer, second: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield second;
  yield* rest;
}

/** Gives the event loop its turns while a long list is made. */
async function* paced(first: Buffer, second: Buffer, rest: Iterator<Buffer>): AsyncGenerator<Buffer> {
  const slice = new Slice();
  yield first;
  yield second;
  for (;;) {
    await slice.turn();
    const next = rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}
