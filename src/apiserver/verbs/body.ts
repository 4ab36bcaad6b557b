/**
 * Bodies of requests: reading within the limit, content types, JSON and YAML, and upstream's errors for what is not the
 * object that was wanted.
 */
import type { Catalog } from '../../api/catalog/catalog.ts';
import { CborError, decodeCbor } from '../../api/codec/cbor.ts';
import {
  JsonSyntaxError,
  JsonTypeError,
  parseJson,
  strictErrorsInOrder,
  typeMetaOf,
  versionKindErrorPrefix,
} from '../../api/codec/json.ts';
import { parseYaml, YamlError, yamlStrictErrorText } from '../../api/codec/yaml.ts';
import { invalid, invalidStatus } from '../../api/field-error.ts';
import { apiVersionOf, parseApiVersion } from '../../api/object.ts';
import { ProtobufError } from '../../api/protobuf-wire.ts';
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import { cannotBeHandled, copyJson, decode, DecodeError, strictDecodingMessage } from '../../api/schema/decode.ts';
import { sortMembers } from '../../api/schema/prune.ts';
import { isObject } from '../../api/patch/values.ts';
import { badRequest, StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import type { WriteQuery } from './options.ts';

/** Upstream's limit on request bodies. */
const maxBodyBytes = 3 * 1024 * 1024;

/** Reads `application/vnd.kubernetes.protobuf` bodies, where protobuf is built in. */
export interface ProtobufReader {
  /** The object as JSON, apiVersion and kind set. @throws {ProtobufError} */
  decode(bytes: Buffer, defaults?: { readonly apiVersion: string; readonly kind: string }): KubeObject;
}

export interface BodyReader {
  readonly catalog: Catalog;
  readonly protobuf: ProtobufReader | undefined;
  /** CBORServingAndStorage is on. */
  readonly cbor: boolean;
}

/** 415 with the media types that would do. */
export function unsupportedMediaType(accepted: readonly string[]): StatusError {
  return new StatusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );
}

const cborType = 'application/cbor';
const objectTypes = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];

/** The media type of a content type, lower-case, without parameters; undefined when it is malformed. */
function mediaTypeOf(contentType: string): string | undefined {
  const semi = contentType.indexOf(';');
  const type = (semi < 0 ? contentType : contentType.slice(0, semi)).trim().toLowerCase();
  return /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/.test(type) ? type : undefined;
}

type ObjectFormat = 'json' | 'yaml' | 'protobuf' | 'cbor';

/** `custom`: a custom resource is to be read. */
function formatOf(ctx: RequestContext, reader: BodyReader, custom: boolean): ObjectFormat {
  const contentType = ctx.request.headers['content-type'] ?? '';
  if (contentType === '') return 'json';
  switch (mediaTypeOf(contentType)) {
    case 'application/json':
      return 'json';
    case 'application/yaml':
      return 'yaml';
    case 'application/vnd.kubernetes.protobuf':
      if (reader.protobuf !== undefined && !custom) return 'protobuf';
      // Upstream breaks off at these: there is no protobuf of custom resources.
      if (custom) throw unsupportedMediaType(objectTypes.slice(0, 2));
      break;
    case cborType:
      if (reader.cbor) return 'cbor';
  }
  throw unsupportedMediaType(reader.cbor ? [...objectTypes, cborType] : objectTypes);
}

const empty = Buffer.alloc(0);

/** The bytes of the body. @throws {StatusError} 413 */
export async function readBytes(ctx: RequestContext): Promise<Buffer> {
  const { body } = ctx.request;
  switch (body.kind) {
    case 'none':
      return empty;
    case 'bytes':
      return body.read(maxBodyBytes);
    case 'object':
      return Buffer.from(JSON.stringify(body.value) ?? '', 'utf8');
  }
}

/** As upstream's summarizeData: the start of a body in an error text. */
function summary(bytes: Buffer): string {
  const max = 30;
  if (bytes.length === 0) return '<empty>';
  const isText = bytes[0] === 0x7b;
  const head = bytes.subarray(0, max);
  const shown = isText ? head.toString('utf8') : head.toString('hex');
  return bytes.length > max ? `${shown} ...` : shown;
}

function unrecognized(kind: string, why: string, bytes: Buffer): StatusError {
  return badRequest(`the object provided is unrecognized (must be of type ${kind}): ${why} (${summary(bytes)})`);
}

interface ParsedBody {
  readonly value: unknown;
  readonly strictErrors: readonly string[];
  /** Nobody else holds the value. */
  readonly owned: boolean;
  readonly bytes: Buffer;
  /** The bytes are JSON text. */
  readonly json?: true;
}

/** The body as a JSON value. */
async function parseBody(
  ctx: RequestContext,
  reader: BodyReader,
  types: TypeSupport,
  strict: boolean,
): Promise<ParsedBody> {
  const { body } = ctx.request;
  if (body.kind === 'object') return { value: body.value, strictErrors: [], owned: false, bytes: empty };
  const format = formatOf(ctx, reader, ctx.resource?.custom === true);
  const bytes = await readBytes(ctx);
  const { kind } = types;
  try {
    if (format === 'protobuf')
      return { value: reader.protobuf!.decode(bytes, types), strictErrors: [], owned: true, bytes };
    if (format === 'cbor') return { value: decodeCbor(bytes), strictErrors: [], owned: true, bytes };
    if (format === 'yaml') {
      const { value, strictErrors } = await parseYaml(bytes, { strict });
      const errors = strictErrors.length > 0 ? [yamlStrictErrorText(strictErrors)] : [];
      // Upstream makes JSON of it first, whose members stand in order.
      return { value: sortMembers(value), strictErrors: errors, owned: true, bytes };
    }
    return { ...parseJson(bytes, { strict }), owned: true, bytes, json: true };
  } catch (error) {
    if (error instanceof YamlError || error instanceof CborError) throw unrecognized(kind, error.message, bytes);
    if (error instanceof ProtobufError) {
      const gv = error.type === undefined ? undefined : parseApiVersion(error.type.apiVersion);
      if (gv === undefined) throw unrecognized(kind, error.message, bytes);
      throw cannotBeHandled({ ...gv, kind: error.type!.kind }, kind, error);
    }
    if (error instanceof JsonSyntaxError) throw unrecognized(kind, `${versionKindErrorPrefix}${error.message}`, bytes);
    throw error;
  }
}

const legacyScheme = 'scheme "pkg/api/legacyscheme/scheme.go:30"';

/**
 * The body as an object of the type wanted, defaulted and canonical.
 * @throws {StatusError} 400, 413, 415
 */
export async function readObject(
  ctx: RequestContext,
  reader: BodyReader,
  types: TypeSupport,
  fieldValidation: WriteQuery['fieldValidation'],
  accepts?: (apiVersion: string) => boolean,
): Promise<KubeObject> {
  const strict = fieldValidation !== 'Ignore';
  const parsed = await parseBody(ctx, reader, types, strict);
  let meta: { apiVersion: string; kind: string };
  try {
    meta = typeMetaOf(parsed.value);
  } catch (error) {
    if (!(error instanceof JsonTypeError)) throw error;
    throw unrecognized(types.kind, `${versionKindErrorPrefix}${error.message}`, parsed.bytes);
  }
  if (ctx.resource?.custom === true) checkCustomType(types, meta, parsed.value);
  // The core group has no name: /v1 is its v1.
  const apiVersion = meta.apiVersion === '' ? types.apiVersion : meta.apiVersion.replace(/^\//, '');
  const kind = meta.kind === '' ? types.kind : meta.kind;
  if (apiVersion !== types.apiVersion || kind !== types.kind) {
    const accepted = kind === types.kind && accepts?.(apiVersion) === true;
    const known = accepted ? undefined : checkType(reader, types, apiVersion, kind, parsed.bytes);
    if (known !== undefined) throw known;
    if (!accepted) {
      throw badRequest(
        `the API version in the data (${apiVersion}) does not match the expected API version (${types.apiVersion})`,
      );
    }
  }
  const gv = parseApiVersion(apiVersion) ?? { group: '', version: apiVersion };
  let object: KubeObject;
  let strictErrors: readonly string[];
  try {
    const value = parsed.value ?? {};
    const decoded = types.decode(value, { strict, owned: parsed.owned });
    ({ object, strictErrors } = decoded);
    ctx.emptyLists = decoded.emptyLists;
  } catch (error) {
    if (error instanceof StatusError) throw error;
    const why = parsed.json && error instanceof DecodeError ? asWritten(error.message, parsed.bytes) : error;
    throw cannotBeHandled({ ...gv, kind }, types.kind, why);
  }
  if (strict) {
    // Upstream's decoder of typed JSON finds both as it reads; other forms are read first and understood afterwards.
    const errors =
      parsed.json && parsed.strictErrors.length > 0 && strictErrors.length > 0 && ctx.resource?.custom !== true
        ? strictErrorsInOrder(parsed.bytes, new Set(strictErrors))
        : [...parsed.strictErrors, ...strictErrors];
    if (errors.length > 0) {
      if (fieldValidation === 'Strict') {
        throw cannotBeHandled({ ...gv, kind }, types.kind, strictDecodingMessage(errors));
      }
      warnStrict(ctx, errors);
    }
  }
  ctx.audit?.request(object);
  return object;
}

/** The message with a number in it as the text has it, not as it was read. */
function asWritten(message: string, bytes: Buffer): string {
  return message.replace(/(?<=cannot unmarshal number )\S+/, (read) => {
    let found: string | undefined;
    const look = (_key: string, value: unknown, context?: { source?: string }): unknown => {
      if (typeof value === 'number' && String(value) === read) found ??= context?.source;
      return value;
    };
    JSON.parse(bytes.toString('utf8'), look);
    return found ?? read;
  });
}

/** Custom resources must say what they are, and nothing is converted. */
function checkCustomType(types: TypeSupport, meta: { apiVersion: string; kind: string }, value: unknown): void {
  if (meta.kind === '') throw badRequest("Object 'Kind' is missing in 'object has no kind field '");
  if (meta.apiVersion === '')
    throw badRequest(`the API version in the data () does not match the expected API version (${types.apiVersion})`);
  if (meta.apiVersion !== types.apiVersion || meta.kind === types.kind) return;
  const name = (value as { metadata?: { name?: unknown } }).metadata?.name;
  throw invalidStatus(parseApiVersion(meta.apiVersion)!.group, meta.kind, typeof name === 'string' ? name : '', [
    invalid('kind', meta.kind, `must be ${types.kind}`),
  ]);
}

/** The error for a body of another kind; undefined when it is the kind in another version. */
function checkType(
  reader: BodyReader,
  types: TypeSupport,
  apiVersion: string,
  kind: string,
  bytes: Buffer,
): StatusError | undefined {
  const gv = parseApiVersion(apiVersion);
  if (gv === undefined) return unrecognized(types.kind, `unexpected GroupVersion string: ${apiVersion}`, bytes);
  const gvk = { ...gv, kind };
  const why = kindMismatch(reader.catalog, types, gvk);
  return why === undefined ? undefined : cannotBeHandled(gvk, types.kind, why);
}

/** Why an object of a kind cannot be taken for one of the type wanted; undefined where that is not for its kind. */
export function kindMismatch(catalog: Catalog, types: TypeSupport, gvk: GroupVersionKind): string | undefined {
  const apiVersion = apiVersionOf(gvk);
  const { kind } = gvk;
  if (catalog.definitionForKind(gvk) === undefined && apiVersion + kind !== 'v1List') {
    if (kind === types.kind && types.schema?.name === '') return undefined;
    return `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)} in ${legacyScheme}`;
  }
  if (kind === types.kind) return undefined;
  const wanted = parseApiVersion(types.apiVersion)!;
  const pkg = wanted.group === '' ? 'core' : wanted.group.split('.')[0]!;
  return `converting (${gvk.version}.${kind}) to (${pkg}.${types.kind}): unknown conversion`;
}

/** Strict errors as warnings; those of YAML one by one. */
export function warnStrict(ctx: RequestContext, errors: readonly string[]): void {
  for (const error of errors) {
    const yaml = /^(?:yaml: unmarshal errors:\n|error converting YAML to JSON: yaml: unmarshal errors:\n)/.exec(error);
    if (yaml === null) ctx.warn(error);
    else for (const line of error.slice(yaml[0].length).split('\n')) ctx.warn(line.trim());
  }
}

/** Kinds beside the groups' own, which every scheme knows in v1. */
const everyVersions = new Set(['Status', 'APIVersions', 'APIGroup', 'APIGroupList', 'APIResourceList']);

/** A member by its name, or else by the name in other letters. */
function memberIn(value: Record<string, unknown>, name: string): Record<string, unknown> {
  const found = Object.hasOwn(value, name)
    ? name
    : Object.keys(value).find((key) => key.toLowerCase() === name.toLowerCase());
  return found === undefined ? {} : { [name]: value[found] };
}

/**
 * An options object from the body, decoded; undefined when there is no body.
 * @throws {StatusError} 400
 */
export async function readOptions(
  ctx: RequestContext,
  reader: BodyReader,
  kind: 'DeleteOptions',
): Promise<Record<string, unknown> | undefined> {
  const { body } = ctx.request;
  if (body.kind === 'none' || (body.kind === 'object' && (body.value === undefined || body.value === null))) {
    return undefined;
  }
  let value: unknown;
  if (body.kind === 'object') value = copyJson(body.value);
  else {
    const bytes = await readBytes(ctx);
    if (bytes.length === 0) return undefined;
    const format = formatOf(ctx, reader, false);
    try {
      if (format === 'yaml') ({ value } = await parseYaml(bytes));
      else if (format === 'protobuf') value = reader.protobuf!.decode(bytes);
      else if (format === 'cbor') value = decodeCbor(bytes);
      else ({ value } = parseJson(bytes));
    } catch (error) {
      if (error instanceof YamlError || error instanceof ProtobufError || error instanceof CborError)
        throw badRequest(error.message, error);
      if (error instanceof JsonSyntaxError) throw badRequest(`${versionKindErrorPrefix}${error.message}`, error);
      throw error;
    }
  }
  let meta: { apiVersion: string; kind: string };
  try {
    // What they are is read without regard to case.
    meta = typeMetaOf(isObject(value) ? { ...memberIn(value, 'apiVersion'), ...memberIn(value, 'kind') } : value);
  } catch (error) {
    if (error instanceof JsonTypeError) throw badRequest(`${versionKindErrorPrefix}${error.message}`, error);
    throw error;
  }
  if (meta.kind !== '' && meta.kind !== kind) {
    const apiVersion = meta.apiVersion === '' ? 'meta.k8s.io/v1' : meta.apiVersion;
    if (apiVersion === 'v1' && everyVersions.has(meta.kind))
      throw badRequest(`converting (v1.${meta.kind}) to (v1.${kind}): unknown conversion`);
    if (parseApiVersion(apiVersion) === undefined) throw badRequest(`unexpected GroupVersion string: ${apiVersion}`);
    throw badRequest(
      `no kind ${JSON.stringify(meta.kind)} is registered for version ${JSON.stringify(apiVersion)} in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"`,
    );
  }
  const schema = reader.catalog.schemaForKind({ group: 'meta.k8s.io', version: 'v1', kind });
  if (schema === undefined) throw new Error(`the catalogue does not know ${kind}`);
  try {
    const { object } = decode(schema, value ?? {}, { owned: true });
    ctx.audit?.request({ ...object, kind, apiVersion: meta.apiVersion === '' ? 'v1' : meta.apiVersion });
    delete object['kind'];
    delete object['apiVersion'];
    return object;
  } catch (error) {
    if (error instanceof DecodeError) throw badRequest(error.message, error);
    throw error;
  }
}

/** 400: an object does not say its name where the URL does. */
export function namelessError(name: string): StatusError {
  return badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`);
}

/** The object's name and namespace against those of the URL. @throws {StatusError} 400 */
export function checkName(object: KubeObject, name: string): void {
  const own = object.metadata.name ?? '';
  if (own === '') {
    throw namelessError(name);
  }
  if (own !== name) {
    throw badRequest(`the name of the object (${own}) does not match the name on the URL (${name})`);
  }
}
