/**
 * Serves `/openapi/v2` and `/openapi/v3`. Documents are made when first asked for and kept until their resources change; v3
 * URLs carry a hash, so that clients may keep what they have read for ever.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { macrotask } from '../../base/yield.ts';
import { convertToV3, mergeV2 } from '../aggregation/merge-openapi.ts';
import type { RemoteOpenApi } from '../aggregation/remote-documents.ts';
import { aggregatorUser, identityHeaders, RemoteError, sendRemote } from '../aggregation/remote-request.ts';
import { returnedHeaders } from '../connect/headers.ts';
import { parseAccept } from '../encode/negotiate.ts';
import { textResponse } from '../filters/panic.ts';
import type { Scope } from '../filters/scope.ts';
import { acceptsGzip } from '../http/headers.ts';
import type { OutgoingResponse } from '../request.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import type { Routes } from '../routes.ts';
import type { DocumentOptions, RootName } from './documents.ts';
import { OpenAPIDocuments, rootNames } from './documents.ts';
import { encodeDocumentV2 } from './proto-v2.ts';
import { RenderedDocuments, type Rendered } from './rendered.ts';

/** OpenAPI of aggregated servers. */
export interface RemoteOpenApis {
  readonly generation: number;
  openApi(): readonly RemoteOpenApi[];
}

export interface OpenAPIServiceOptions extends DocumentOptions {
  readonly directory: ResourceDirectory;
  readonly remote?: RemoteOpenApis;
}

type Json = Record<string, unknown>;

const compress = promisify(gzip);
const protoV2 = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
/** What is answered for it: an `@` may not stand in a media type, so clients that parse it would fail. */
const protoV2Returned = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

function accepts(accept: string, type: string): boolean {
  if (accept === '') return true;
  const [major, minor] = type.split('/');
  return parseAccept(accept).some(
    (c) => c.type === '*' || (c.type === major && (c.subtype === '*' || c.subtype === minor)),
  );
}

/** The document as the aggregated server itself gives it. */
async function passDocument(scope: Scope, service: RemoteOpenApi['service']): Promise<OutgoingResponse> {
  const { path, rawQuery, query, headers, rawHeaders, wantsObjects } = scope.request;
  const search = rawQuery ?? query.toString();
  const wanted = ['accept', 'if-none-match', ...(wantsObjects ? [] : ['accept-encoding'])];
  const sent = (rawHeaders === undefined ? Object.keys(headers) : wanted)
    .filter((name) => wanted.includes(name) && headers[name] !== undefined)
    .flatMap((name) => [name, headers[name]!]);
  try {
    const response = await sendRemote(service, {
      method: scope.request.method,
      path: search === '' ? path : `${path}?${search}`,
      headers: [...sent, ...identityHeaders(aggregatorUser)],
      signal: scope.signal,
    });
    const returned = returnedHeaders(response.headers);
    const contentType = returned['content-type'] ?? 'application/json';
    return {
      status: response.statusCode ?? 502,
      headers: returned,
      body: { kind: 'stream', contentType, stream: response },
    };
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    return textResponse(503, `error trying to reach service: ${error.message}`);
  }
}

export class OpenAPIService {
  readonly #directory: ResourceDirectory;
  readonly #documents: OpenAPIDocuments;
  readonly #gitVersion: string;
  readonly #customSchema: DocumentOptions['customSchema'];
  readonly #rendered = new RenderedDocuments();
  #hashes: ReadonlyMap<string, string> | undefined;
  #generation = -1;
  readonly #remote: RemoteOpenApis | undefined;
  #remoteGeneration = -1;

  constructor(options: OpenAPIServiceOptions) {
    this.#directory = options.directory;
    this.#remote = options.remote;
    this.#gitVersion = options.gitVersion;
    this.#customSchema = options.customSchema;
    this.#documents = new OpenAPIDocuments(options);
  }

  install(routes: Routes): void {
    routes.add('/openapi/v2', (scope) => this.#serveV2(scope));
    routes.add('/openapi/v3', (scope) => this.#serveIndex(scope));
    routes.addPrefix('/openapi/v3/', (scope) => this.#serveV3(scope));
  }

  #fresh(): void {
    const remote = this.#remote?.generation ?? 0;
    if (this.#generation === this.#directory.generation && this.#remoteGeneration === remote) return;
    this.#generation = this.#directory.generation;
    this.#remoteGeneration = remote;
    this.#hashes = undefined;
  }

  /** A hash a document. It is made of what the document is made of, since making all documents first would take long. */
  #allHashes(): ReadonlyMap<string, string> {
    if (this.#hashes !== undefined) return this.#hashes;
    const hashes = new Map<string, string>();
    const hash = (...parts: string[]): string =>
      createHash('sha512').update(parts.join('\n')).digest('hex').toUpperCase();
    for (const name of rootNames) hashes.set(name, hash(this.#gitVersion, name));
    for (const g of this.#directory.groups()) {
      if (g.group !== '') hashes.set(`apis/${g.group}`, hash(this.#gitVersion, g.group));
      for (const v of g.versions) {
        const content = g.custom
          ? v.resources
              .map((r) => JSON.stringify([r, r.schemaDigest === undefined ? this.#customSchema(r) : '']))
              .join('\n')
          : '';
        const key = g.group === '' ? `api/${v.version}` : `apis/${g.group}/${v.version}`;
        hashes.set(key, hash(this.#gitVersion, g.group, v.version, content));
      }
    }
    for (const { service: s, v3, v2 } of this.#remote?.openApi() ?? []) {
      const key = `apis/${s.group}/${s.version}`;
      const own = v3 === undefined ? undefined : /[?&]hash=([^&]+)/.exec(v3)?.[1];
      hashes.set(key, own ?? hash(key, v3 ?? JSON.stringify(v2)));
    }
    this.#hashes = hashes;
    this.#rendered.retain((key) => key.startsWith('v2') || hashes.has(key));
    return hashes;
  }

  #make(key: string): Json | undefined {
    if (key === 'v2') {
      let document = this.#documents.wholeDocument(this.#directory.groups());
      for (const { service: s, v2 } of this.#remote?.openApi() ?? [])
        if (v2 !== undefined) document = mergeV2(document, v2, `/apis/${s.group}/${s.version}/`);
      return document;
    }
    const foreign = this.#remoteOf(key);
    if (foreign?.v2 !== undefined)
      return convertToV3(foreign.v2, `/apis/${foreign.service.group}/${foreign.service.version}/`);
    if ((rootNames as readonly string[]).includes(key)) return this.#documents.rootDocument(key as RootName);
    const parts = key.split('/');
    const group = this.#directory.group(parts[0] === 'api' ? '' : (parts[1] ?? ''));
    if (group === undefined) return undefined;
    const version = parts[0] === 'api' ? parts[1] : parts[2];
    if (version === undefined) return this.#documents.groupDocument(group.group);
    const served = group.versions.find((v) => v.version === version);
    return served === undefined ? undefined : this.#documents.versionDocument(served);
  }

  /** The aggregated server whose group version this document is about. */
  #remoteOf(key: string): RemoteOpenApi | undefined {
    return this.#remote
      ?.openApi()
      .find(({ service: s }) => key === (s.group === '' ? `api/${s.version}` : `apis/${s.group}/${s.version}`));
  }

  #render(key: string): Promise<Rendered> {
    this.#fresh();
    // The whole is made of everything; the others change when their own resources do.
    const state = key.startsWith('v2')
      ? `${this.#generation} ${this.#remoteGeneration}`
      : (this.#allHashes().get(key) ?? '');
    return this.#rendered.get(key, state, () => this.#renderNow(key));
  }

  async #renderNow(key: string): Promise<Rendered> {
    // Making one takes some milliseconds: other requests that are due come first.
    await macrotask();
    const document = this.#make(key === 'v2.proto' ? 'v2' : key);
    if (document === undefined) throw new Error(`no OpenAPI document ${key}`);
    await macrotask();
    const bytes = key === 'v2.proto' ? encodeDocumentV2(document) : Buffer.from(JSON.stringify(document));
    const etag = createHash('sha512').update(bytes).digest('hex').toUpperCase();
    return { bytes, etag, gzipped: undefined };
  }

  /** The document, compressed once for all where the client takes that. */
  async #send(
    scope: Scope,
    rendered: Rendered,
    contentType: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<OutgoingResponse> {
    if (scope.request.wantsObjects || !acceptsGzip(scope.request.headers['accept-encoding']))
      return { status: 200, headers, body: { kind: 'bytes', contentType, bytes: rendered.bytes } };
    rendered.gzipped ??= compress(rendered.bytes, { level: constants.Z_BEST_SPEED });
    const bytes = await rendered.gzipped;
    return {
      status: 200,
      headers: { ...headers, 'content-encoding': 'gzip' },
      body: { kind: 'bytes', contentType, bytes },
    };
  }

  async #serveV2(scope: Scope): Promise<OutgoingResponse> {
    const accept = scope.request.headers['accept'] ?? '';
    const json = accepts(accept, 'application/json');
    if (!json && !accepts(accept, protoV2))
      return { status: 406, headers: { vary: 'Accept-Encoding, Accept' }, body: { kind: 'none' } };
    const key = json ? 'v2' : 'v2.proto';
    const rendered = await this.#render(key);
    const etag = `"${rendered.etag}"`;
    const headers = { etag, vary: 'Accept-Encoding, Accept' };
    if (scope.request.headers['if-none-match'] === etag) return { status: 304, headers, body: { kind: 'none' } };
    return this.#send(scope, rendered, json ? 'application/json' : protoV2Returned, headers);
  }

  #serveIndex(scope: Scope): OutgoingResponse {
    this.#fresh();
    const paths: Record<string, { serverRelativeURL: string }> = {};
    for (const [key, hash] of [...this.#allHashes()].sort(([a], [b]) => (a < b ? -1 : 1)))
      paths[key] = { serverRelativeURL: `/openapi/v3/${key}?hash=${hash}` };
    const bytes = Buffer.from(JSON.stringify({ paths }));
    const etag = `"${createHash('sha512').update(bytes).digest('hex').toUpperCase()}"`;
    const headers = { etag };
    if (scope.request.headers['if-none-match'] === etag) return { status: 304, headers, body: { kind: 'none' } };
    return { status: 200, headers, body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes } };
  }

  async #serveV3(scope: Scope): Promise<OutgoingResponse> {
    this.#fresh();
    const key = scope.info.path.slice('/openapi/v3/'.length).replace(/\/$/, '');
    const hash = this.#allHashes().get(key);
    if (hash === undefined) return { status: 404, body: { kind: 'none' } };
    const foreign = this.#remoteOf(key);
    if (foreign?.v3 !== undefined) return passDocument(scope, foreign.service);
    const asked = scope.request.query.get('hash') ?? '';
    if (asked !== '' && asked !== hash)
      return { status: 301, headers: { location: `/openapi/v3/${key}?hash=${hash}` }, body: { kind: 'none' } };
    if (!accepts(scope.request.headers['accept'] ?? '', 'application/json'))
      return { status: 406, headers: { vary: 'Accept' }, body: { kind: 'none' } };
    const etag = `"${hash}"`;
    const headers: Record<string, string> = { etag, vary: 'Accept' };
    if (asked !== '') {
      headers['cache-control'] = 'public, immutable';
      headers['expires'] = new Date(253_402_300_799_000).toUTCString();
    }
    if (scope.request.headers['if-none-match'] === etag) return { status: 304, headers, body: { kind: 'none' } };
    return this.#send(scope, await this.#render(key), 'application/json', headers);
  }
}
