/** Options of requests from their query: read as upstream's parameter codec does, checked with upstream's messages. */
import { forbiddenField, invalidStatus, notSupported, required } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import { byteLength } from '../../api/names.ts';
import { badRequest } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import { validateDeleteOptions } from '../registry/deletion.ts';
import { validateFieldManager } from '../registry/object-meta.ts';
import type { DeleteRequestOptions, ReadListOptions, ReadWatchOptions } from '../registry.ts';

const metaGroup = 'meta.k8s.io';
const maxManagerBytes = 128;

function text(query: URLSearchParams, name: string): string {
  return query.get(name) ?? '';
}

/** Any value but `0` and `false` is true, also the empty one. */
function flag(query: URLSearchParams, name: string): boolean | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  return value !== '0' && value.toLowerCase() !== 'false';
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  const quoted = JSON.stringify(value);
  if (!/^[+-]?[0-9]+$/.test(value)) throw badRequest(`strconv.ParseInt: parsing ${quoted}: invalid syntax`);
  const n = BigInt(value);
  if (n > 9223372036854775807n || n < -9223372036854775808n) {
    throw badRequest(`strconv.ParseInt: parsing ${quoted}: value out of range`);
  }
  return Number(n);
}

/** What the writing verbs share. */
export interface WriteQuery {
  readonly dryRun: boolean;
  /** As given; see `managerOf`. */
  readonly fieldManager: string;
  readonly fieldValidation: 'Ignore' | 'Warn' | 'Strict';
  readonly force: boolean;
  /** CreateOptions, UpdateOptions or PatchOptions as an object, for admission. */
  readonly options: Record<string, unknown>;
}

/** The object that admission sees as the request's options. */
function optionsObject(kind: string, query: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return { kind, apiVersion: 'meta.k8s.io/v1', ...query };
}

const noOptions = new Map<string, WriteQuery>();
for (const kind of ['CreateOptions', 'UpdateOptions', 'PatchOptions']) {
  noOptions.set(
    kind,
    Object.freeze({
      dryRun: false,
      fieldManager: '',
      fieldValidation: 'Warn',
      force: false,
      options: Object.freeze(optionsObject(kind, {})),
    } as const),
  );
}

/**
 * Options of a create, update or patch.
 * @throws {StatusError} 400 for what cannot be read, 422 for what is not allowed
 */
export function readWriteQuery(
  ctx: RequestContext,
  kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions',
  apply = false,
): WriteQuery {
  const { query } = ctx.request;
  if (query.size === 0 && !apply) return noOptions.get(kind)!;
  const errors: FieldError[] = [];
  const fieldManager = text(query, 'fieldManager');
  const force = kind === 'PatchOptions' ? flag(query, 'force') : undefined;
  if (apply) {
    if (fieldManager === '') errors.push(required('fieldManager', 'is required for apply patch'));
  } else if (force !== undefined) errors.push(forbiddenField('force', 'may not be specified for non-apply patch'));
  errors.push(...validateFieldManager(fieldManager, 'fieldManager'));
  const dryRun = query.getAll('dryRun');
  errors.push(...validateDryRun(dryRun));
  const fieldValidation = text(query, 'fieldValidation');
  const directives = ['', 'Ignore', 'Strict', 'Warn'];
  if (!directives.includes(fieldValidation)) {
    errors.push(notSupported('fieldValidation', fieldValidation, directives));
  }
  if (errors.length > 0) throw invalidStatus(metaGroup, kind, '', errors);
  return {
    dryRun: dryRun.length > 0,
    fieldManager,
    fieldValidation: fieldValidation === '' ? 'Warn' : (fieldValidation as WriteQuery['fieldValidation']),
    force: force ?? false,
    options: optionsObject(kind, {
      ...(dryRun.length > 0 ? { dryRun } : {}),
      ...(force === undefined ? {} : { force }),
      ...(fieldManager === '' ? {} : { fieldManager }),
      ...(fieldValidation === '' ? {} : { fieldValidation }),
    }),
  };
}

function validateDryRun(dryRun: readonly string[]): FieldError[] {
  return dryRun.every((v) => v === 'All') ? [] : [notSupported('dryRun', dryRun, ['All'])];
}

/** The manager of a write: the one given, else the client's name from its User-Agent. */
export function managerOf(ctx: RequestContext, given: string): string {
  if (given !== '') return given;
  const agent = ctx.request.headers['user-agent'] ?? '';
  const name = agent.split('/')[0] ?? '';
  if (name.length <= maxManagerBytes && /^[\x20-\x7e]*$/.test(name)) return name;
  let out = '';
  let size = 0;
  for (const ch of name) {
    if (ch !== ' ' && /^[\p{C}\p{Z}]$/u.test(ch)) continue;
    size += byteLength(ch);
    if (size > maxManagerBytes) break;
    out += ch;
  }
  return out;
}

/** Path namespace for the registry; a Namespace's own path carries its name there. */
export function namespaceOf(ctx: RequestContext): string {
  return ctx.resource?.namespaced === true ? ctx.info.namespace : '';
}

/** The field selector, with the name from the path in it. */
function fieldSelectorOf(ctx: RequestContext, selector: string): string {
  const { name } = ctx.info;
  if (name === '') return selector;
  if (selector === '') return `metadata.name=${name}`;
  const exact = selector.split(',').some((term) => {
    const m = /^metadata\.name==?(.*)$/.exec(term);
    return m !== null && m[1] === name;
  });
  if (!exact) throw badRequest("fieldSelector metadata.name doesn't match requested name");
  return selector;
}

export interface ListQuery {
  readonly list: ReadListOptions;
  readonly watch: ReadWatchOptions;
}

/**
 * ListOptions of a list, watch or deletecollection. `watchList`: lists may be streamed as watches.
 * @throws {StatusError} 400, 422
 */
export function readListQuery(ctx: RequestContext, watching: boolean, watchList = true): ListQuery {
  const { query } = ctx.request;
  const namespace = namespaceOf(ctx);
  const labelSelector = text(query, 'labelSelector');
  const fieldSelector = fieldSelectorOf(ctx, text(query, 'fieldSelector'));
  const limit = integer(query, 'limit') ?? 0;
  const timeoutSeconds = integer(query, 'timeoutSeconds');
  const continueToken = text(query, 'continue');
  const resourceVersion = text(query, 'resourceVersion');
  let match = text(query, 'resourceVersionMatch');
  let sendInitialEvents = flag(query, 'sendInitialEvents');
  const errors: FieldError[] = [];
  const path = 'resourceVersionMatch';
  if (watching) {
    // An old-style watch from the beginning is a streaming list.
    if (
      watchList &&
      sendInitialEvents === undefined &&
      match === '' &&
      (resourceVersion === '' || resourceVersion === '0')
    ) {
      sendInitialEvents = true;
      match = 'NotOlderThan';
    }
    if (sendInitialEvents !== undefined && match !== 'NotOlderThan') {
      errors.push(forbiddenField(path, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'));
    }
    if (sendInitialEvents !== undefined && !watchList) {
      const why = 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled';
      errors.push(forbiddenField('sendInitialEvents', why));
    }
    if (match !== '') {
      if (sendInitialEvents === undefined) {
        errors.push(
          forbiddenField(path, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'),
        );
      }
      if (match !== 'NotOlderThan') errors.push(notSupported(path, match, ['NotOlderThan']));
      if (continueToken !== '') {
        errors.push(forbiddenField(path, 'resourceVersionMatch is forbidden when continue is provided'));
      }
    }
  } else {
    if (match !== '') {
      if (resourceVersion === '') {
        errors.push(forbiddenField(path, 'resourceVersionMatch is forbidden unless resourceVersion is provided'));
      }
      if (continueToken !== '') {
        errors.push(forbiddenField(path, 'resourceVersionMatch is forbidden when continue is provided'));
      }
      if (match !== 'Exact' && match !== 'NotOlderThan') {
        errors.push(notSupported(path, match, ['Exact', 'NotOlderThan', '']));
      }
      if (match === 'Exact' && resourceVersion === '0') {
        errors.push(forbiddenField(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'));
      }
    }
    if (sendInitialEvents !== undefined) {
      errors.push(forbiddenField('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
    }
  }
  if (errors.length > 0) throw invalidStatus(metaGroup, 'ListOptions', '', errors);
  return {
    list: {
      namespace,
      labelSelector,
      fieldSelector,
      limit: Math.max(0, limit),
      continue: continueToken,
      resourceVersion,
      resourceVersionMatch: match,
    },
    watch: {
      namespace,
      labelSelector,
      fieldSelector,
      resourceVersion,
      resourceVersionMatch: match,
      allowWatchBookmarks: flag(query, 'allowWatchBookmarks') ?? false,
      sendInitialEvents,
      timeoutSeconds,
    },
  };
}

/** DeleteOptions from the query, where there is no body. */
export function deleteQuery(query: URLSearchParams): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const grace = integer(query, 'gracePeriodSeconds');
  if (grace !== undefined) out['gracePeriodSeconds'] = grace;
  const orphan = flag(query, 'orphanDependents');
  if (orphan !== undefined) out['orphanDependents'] = orphan;
  const policy = query.get('propagationPolicy');
  if (policy !== null) out['propagationPolicy'] = policy;
  const dryRun = query.getAll('dryRun');
  if (dryRun.length > 0) out['dryRun'] = dryRun;
  const uid = query.get('uid');
  if (uid !== null) out['preconditions'] = { uid };
  return out;
}

/**
 * DeleteOptions (already decoded) as the registry wants them.
 * @throws {StatusError} 422
 */
export function deleteOptions(given: Readonly<Record<string, unknown>>): DeleteRequestOptions {
  const preconditions = given['preconditions'] as { uid?: string; resourceVersion?: string } | undefined;
  const dryRun = (given['dryRun'] as readonly string[] | undefined) ?? [];
  const options: DeleteRequestOptions = {
    dryRun: dryRun.length > 0,
    gracePeriodSeconds: given['gracePeriodSeconds'] as number | undefined,
    propagationPolicy: given['propagationPolicy'] as string | undefined,
    orphanDependents: given['orphanDependents'] as boolean | undefined,
    preconditions,
    options: optionsObject('DeleteOptions', given),
  };
  const errors = [...validateDeleteOptions(options), ...validateDryRun(dryRun)];
  if (errors.length > 0) throw invalidStatus(metaGroup, 'DeleteOptions', '', errors);
  return options;
}
