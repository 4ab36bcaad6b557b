/** PATCH: JSON patch, merge patch and strategic merge patch; apply patches are sent on to `apply.ts`. */
import {
  JsonSyntaxError,
  JsonTypeError,
  goQuote,
  jsonTypeName,
  parseJson,
  strictErrorsInOrder,
  stringifyJson,
  typeMetaOf,
  versionKindErrorPrefix,
} from '../../api/codec/json.ts';
import { invalid, invalidStatus } from '../../api/field-error.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { applyJsonPatch, jsonPatchStrictErrors } from '../../api/patch/json-patch.ts';
import { applyMergePatch } from '../../api/patch/merge-patch.ts';
import { isObject, printGo } from '../../api/patch/values.ts';
import { copyJson, DecodeError, strictDecodingMessage } from '../../api/schema/decode.ts';
import { badRequest, notFound } from '../../api/status.ts';
import type { StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import { withRequestNamespace } from '../registry/object-meta.ts';
import { applyCborType, handleApply } from './apply.ts';
import { checkName, kindMismatch, namelessError, readBytes, unsupportedMediaType, warnStrict } from './body.ts';
import { managerOf, namespaceOf, readWriteQuery } from './options.ts';
import type { WriteQuery } from './options.ts';
import { answer, registryOf, typesOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

const jsonPatchType = 'application/json-patch+json';
const mergePatchType = 'application/merge-patch+json';
const strategicMergePatchType = 'application/strategic-merge-patch+json';
export const applyPatchType = 'application/apply-patch+yaml';

/** Of built-in resources; a custom one has no strategic merge patch. */
export const patchTypes: readonly string[] = [jsonPatchType, mergePatchType, strategicMergePatchType, applyPatchType];

/** The patch type of a request; `cbor`: applied configurations may be CBOR too. @throws {StatusError} 415 */
export function patchTypeOf(ctx: RequestContext, cbor: boolean): string {
  const contentType = ctx.request.headers['content-type'] ?? '';
  const semi = contentType.indexOf(';');
  const type = semi > 0 ? contentType.slice(0, semi) : contentType;
  const accepted = ctx.resource?.custom === true ? [jsonPatchType, mergePatchType, applyPatchType] : patchTypes;
  if (cbor && type === applyCborType) return applyPatchType;
  if (!accepted.includes(type)) throw unsupportedMediaType(cbor ? [...accepted, applyCborType] : accepted);
  return type;
}

export interface Patch {
  readonly type: string;
  readonly value: unknown;
  readonly strictErrors: readonly string[];
  /** It has been read as what it should be. */
  readonly strict: boolean;
}

/** The patch from the body. @throws {StatusError} 400 */
export async function readPatch(ctx: RequestContext, type: string, query: WriteQuery): Promise<Patch> {
  const { body } = ctx.request;
  const strict = query.fieldValidation !== 'Ignore';
  let value: unknown;
  let strictErrors: readonly string[] = [];
  let text: Uint8Array | undefined;
  if (body.kind === 'object') value = copyJson(body.value);
  else {
    text = await readBytes(ctx);
    try {
      ({ value, strictErrors } = parseJson(text, { strict }));
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      if (strict && type !== strategicMergePatchType) throw badRequest(`error decoding patch: ${error.message}`, error);
      throw badRequest(type === mergePatchType ? 'Invalid JSON Patch' : error.message, error);
    }
  }
  if (type === jsonPatchType && strict) {
    const unknown = jsonPatchStrictErrors(value);
    const all = strictErrors.length > 0 && text !== undefined ? strictErrorsInOrder(text, new Set(unknown)) : unknown;
    strictErrors = all.map((e) => `json patch ${e}`);
  }
  if (!strict) {
    // Not read as what it should be before it is used.
    if (type === jsonPatchType && value !== null && !Array.isArray(value))
      throw badRequest(`json: cannot unmarshal ${jsonTypeName(value)} into Go value of type jsonpatch.Patch`);
    if (type === mergePatchType && !isObject(value) && !Array.isArray(value)) throw badRequest('Invalid JSON Patch');
  }
  ctx.audit?.patch(value);
  return { type, value, strictErrors, strict };
}

/** The patched document, before it is read as an object again. */
export function patchDocument(types: TypeSupport, document: KubeObject, patch: Patch): KubeObject {
  let patched: unknown;
  switch (patch.type) {
    case jsonPatchType:
      patched = applyJsonPatch(document, patch.value);
      break;
    case strategicMergePatchType:
      if (types.strategicMerge === undefined)
        throw unsupportedMediaType([jsonPatchType, mergePatchType, applyPatchType]);
      patched = types.strategicMerge(document, patch.value ?? {});
      break;
    default:
      // A list takes the place of the whole.
      patched = patch.strict || !Array.isArray(patch.value) ? applyMergePatch(document, patch.value) : patch.value;
  }
  return patched as KubeObject;
}

/** Members of what a patch reaches into come out sorted; the rest is as it was. */
function sortedAlong(value: unknown, reached: Reached): unknown {
  if (!isObject(value)) {
    if (!Array.isArray(value)) return value;
    return value.map((item: unknown, i) =>
      reached.has(String(i)) ? sortedAlong(item, reached.get(String(i))!) : item,
    );
  }
  const out: Record<string, unknown> = {};
  for (const key of Object.keys(value).toSorted()) {
    const below = reached.get(key);
    out[key] = below === undefined || below.size === 0 ? value[key] : sortedAlong(value[key], below);
  }
  return out;
}

/** The members that a patch reaches into; nothing below the ones that it replaces. */
interface Reached extends ReadonlyMap<string, Reached> {}

function reachOf(patch: Patch): Reached {
  const root = new Map<string, Reached>();
  if (patch.type === jsonPatchType) {
    for (const op of Array.isArray(patch.value) ? (patch.value as unknown[]) : []) {
      let at = root;
      const path = isObject(op) ? op['path'] : undefined;
      for (const part of typeof path === 'string' ? path.split('/').slice(1) : []) {
        const below = (at.get(part) as Map<string, Reached> | undefined) ?? new Map<string, Reached>();
        at.set(part, below);
        at = below;
      }
    }
    return root;
  }
  const walk = (value: unknown): Reached => {
    const members = new Map<string, Reached>();
    if (isObject(value)) for (const key of Object.keys(value)) members.set(key, walk(value[key]));
    return members;
  };
  return walk(patch.value);
}

const goKinds: Readonly<Record<string, string>> = { object: 'map', array: 'slice', number: 'int64' };

/** The same fault in the words of upstream's conversion of parsed objects, which strategic merge patches go through. */
function conversionFault(message: string): string {
  const found = /^json: cannot unmarshal (\w+) into Go (?:struct field \S+|value) of type (\S+)$/.exec(message);
  if (found === null) return message;
  const [, given = '', type = ''] = found;
  const kind = goKinds[given] ?? given;
  if (type.startsWith('[]')) return `cannot restore slice from ${kind}`;
  if (type.startsWith('map[')) return `cannot restore map from ${kind}`;
  if (given === 'number' && !type.startsWith('int')) return `cannot convert ${kind} to ${type}`;
  if (!type.includes('.')) return `unrecognized type: ${type}`;
  return given === 'object' ? 'unrecognized type: string' : `cannot restore struct from: ${kind}`;
}

/** 422 about the outcome of a patch. */
function invalidPatch(patched: unknown, why: string, patch: Patch): StatusError {
  const strategic = patch.type === strategicMergePatchType;
  const shown = strategic ? printGo(patch.value) : stringifyJson(sortedAlong(patched, reachOf(patch)));
  return invalidStatus('', '', '', [invalid('patch', shown, strategic ? conversionFault(why) : why)]);
}

/**
 * A built-in object that a patch left without a version: upstream takes it for its internal one, none of whose members is
 * called as in the API. So it knows no field of it, and misses the name.
 */
function versionless(
  ctx: RequestContext,
  patched: KubeObject,
  patch: Patch,
  query: WriteQuery,
  report: boolean,
): StatusError {
  const members = Object.keys(patched).filter((member) => member !== 'kind' && member !== 'apiVersion');
  const errors = [...patch.strictErrors, ...members.toSorted().map((member) => `unknown field ${goQuote(member)}`)];
  if (errors.length > 0) {
    if (query.fieldValidation === 'Strict') return invalidPatch(patched, strictDecodingMessage(errors), patch);
    if (report && query.fieldValidation !== 'Ignore') warnStrict(ctx, errors);
  }
  return namelessError(ctx.info.name);
}

/** A patched document as a clean object of its type, unknown fields reported. */
export function readPatched(
  ctx: RequestContext,
  catalog: Catalog,
  types: TypeSupport,
  patched: KubeObject,
  patch: Patch,
  query: WriteQuery,
  report: boolean,
): KubeObject {
  const strict = query.fieldValidation !== 'Ignore';
  let meta: { readonly apiVersion: string; readonly kind: string };
  try {
    meta = typeMetaOf(patched);
  } catch (error) {
    if (error instanceof JsonTypeError) throw invalidPatch(patched, `${versionKindErrorPrefix}${error.message}`, patch);
    throw error;
  }
  let { apiVersion, kind } = meta;
  // A built-in kind is known from the URL; only custom resources need to say it.
  if (types.strategicMerge !== undefined) {
    kind ||= types.kind;
    if (apiVersion === '' && kind === types.kind && patch.type !== strategicMergePatchType)
      throw versionless(ctx, patched, patch, query, report);
    apiVersion ||= types.apiVersion;
  }
  if (kind !== types.kind || apiVersion !== types.apiVersion) {
    const builtInMismatch = (): string | undefined => {
      const gv = parseApiVersion(apiVersion);
      if (gv === undefined || types.strategicMerge === undefined) return undefined;
      return kindMismatch(catalog, types, { ...gv, kind });
    };
    const why =
      kind === ''
        ? `Object 'Kind' is missing in '${stringifyJson(patched)}'`
        : apiVersion === ''
          ? `Object 'apiVersion' is missing in '${stringifyJson(patched)}'`
          : (builtInMismatch() ??
            `no kind ${goQuote(kind)} is registered for version ${goQuote(apiVersion)} in scheme "pkg/api/legacyscheme/scheme.go:30"`);
    throw invalidPatch(patched, why, patch);
  }
  let object: KubeObject;
  let unknown: readonly string[];
  try {
    const decoded = types.decode(patched ?? {}, { strict, owned: false });
    ({ object, strictErrors: unknown } = decoded);
    ctx.emptyLists = decoded.emptyLists;
  } catch (error) {
    if (error instanceof DecodeError) throw invalidPatch(patched, error.message, patch);
    throw error;
  }
  // Parsed objects are looked at by name, not as they were written.
  let own = unknown;
  if (patch.type === strategicMergePatchType) own = unknown.toSorted();
  else if (unknown.length > 1)
    own = types.decode(sortedAlong(patched, reachOf(patch)), { strict, owned: false }).strictErrors;
  const errors = [...patch.strictErrors, ...own];
  if (errors.length > 0) {
    if (query.fieldValidation === 'Strict') throw invalidPatch(patched, strictDecodingMessage(errors), patch);
    if (report) warnStrict(ctx, errors);
  }
  return object;
}

export const handlePatch: VerbHandler = async (verbs, ctx) => {
  const type = patchTypeOf(ctx, verbs.body.cbor);
  if (type === applyPatchType) return handleApply(verbs, ctx);
  const registry = registryOf(verbs, ctx);
  const types = typesOf(registry, ctx);
  const query = readWriteQuery(ctx, 'PatchOptions');
  const patch = await readPatch(ctx, type, query);
  const namespace = namespaceOf(ctx);
  const { name, subresource } = ctx.info;
  let first = true;
  const { committed } = await registry.update(
    ctx,
    namespace,
    name,
    (current) => {
      // Kinds that a PUT may create are still not made by a patch; only apply does that.
      if (current === undefined) throw notFound(ctx.resource ?? registry.resource, name);
      const patched = patchDocument(types, current, patch);
      const report = first;
      first = false;
      if (patched === current) {
        if (report && patch.strictErrors.length > 0)
          readPatched(ctx, verbs.catalog, types, patched, patch, query, true);
        return current;
      }
      const object = withRequestNamespace(
        readPatched(ctx, verbs.catalog, types, patched, patch, query, report),
        namespace,
      );
      checkName(object, name);
      return object;
    },
    {
      dryRun: query.dryRun,
      fieldManager: managerOf(ctx, query.fieldManager),
      subresource,
      options: { ...query.options, kind: 'UpdateOptions' },
      apply: false,
      createIfMissing: false,
    },
  );
  return answer(200, committed);
};
