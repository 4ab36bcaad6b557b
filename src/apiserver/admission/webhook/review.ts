/** `AdmissionReview` in v1 and v1beta1: the request that a webhook gets, and what it may answer. */
import {
  JsonSyntaxError,
  JsonTypeError,
  jsonTypeName,
  parseJson,
  typeMetaOf,
  versionKindErrorPrefix,
} from '../../../api/codec/json.ts';
import { isObject } from '../../../api/patch/values.ts';
import { StatusError } from '../../../api/status.ts';
import type { Status, StatusDetails } from '../../../api/status.ts';
import type { AdmissionAttributes } from '../../context.ts';
import { admissionRequest } from '../admission-request.ts';
import type { MatchedResource } from '../matching.ts';

type Json = Record<string, unknown>;

export type ReviewVersion = 'v1' | 'v1beta1';

/** The first version of the webhook's that we speak. */
export function reviewVersionOf(versions: readonly string[]): ReviewVersion | undefined {
  return versions.find((v): v is ReviewVersion => v === 'v1' || v === 'v1beta1');
}

export interface ReviewSubject {
  readonly attributes: AdmissionAttributes;
  readonly matched: MatchedResource;
  /** Both in the version of `matched`. */
  readonly object: Json | undefined;
  readonly oldObject: Json | undefined;
}

/** The body of the call. */
export function reviewRequest(version: ReviewVersion, uid: string, subject: ReviewSubject): string {
  const { attributes, matched, object, oldObject } = subject;
  const objects = { object: object ?? null, oldObject: oldObject ?? null };
  return JSON.stringify({
    kind: 'AdmissionReview',
    apiVersion: `admission.k8s.io/${version}`,
    request: { uid, ...admissionRequest(attributes, matched.resource, matched.kind, objects) },
  });
}

/** What a webhook answered, checked. */
export interface ReviewResponse {
  readonly allowed: boolean;
  readonly status: Partial<Status> | undefined;
  /** Decoded. */
  readonly patch: string;
  readonly patchType: string;
  readonly auditAnnotations: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
}

/** The answer is none of a webhook's: upstream tells so apart from what it could not read at all. */
export class InvalidReview extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvalidReview';
  }
}

function wrongType(value: unknown, field: string, type: string): JsonTypeError {
  return new JsonTypeError(
    `json: cannot unmarshal ${jsonTypeName(value)} into Go struct field AdmissionResponse.response.${field} of type ${type}`,
  );
}

function textMember(response: Json, name: string, type = 'string'): string | undefined {
  const value = response[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw wrongType(value, name, type);
  return value;
}

function decodeBase64(text: string): string {
  const bad = /[^A-Za-z0-9+/=\r\n]/.exec(text);
  if (bad !== null) throw new Error(`illegal base64 data at input byte ${bad.index}`);
  return Buffer.from(text, 'base64').toString('utf8');
}

function annotationsOf(response: Json): Record<string, string> {
  const value = response['auditAnnotations'];
  if (value === undefined || value === null) return {};
  if (!isObject(value)) throw wrongType(value, 'auditAnnotations', 'map[string]string');
  for (const v of Object.values(value)) if (typeof v !== 'string') throw wrongType(v, 'auditAnnotations', 'string');
  return value as Record<string, string>;
}

function warningsOf(response: Json): string[] {
  const value = response['warnings'];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrongType(value, 'warnings', '[]string');
  for (const v of value) if (typeof v !== 'string') throw wrongType(v, 'warnings', 'string');
  return value as string[];
}

function statusOf(response: Json): Partial<Status> | undefined {
  const value = response['status'];
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw wrongType(value, 'status', 'v1.Status');
  for (const [name, type] of [
    ['message', 'string'],
    ['reason', 'string'],
    ['code', 'number'],
  ] as const)
    if (value[name] !== undefined && value[name] !== null && typeof value[name] !== type)
      throw wrongType(value[name], `status.${name}`, type === 'number' ? 'int32' : 'string');
  return value as Partial<Status>;
}

/**
 * Reads the answer of a webhook.
 * @throws {InvalidReview} for a review that may not be answered so
 * @throws {Error} for what is no review, with the text of upstream's decoder
 */
export function readReview(body: Buffer, version: ReviewVersion, uid: string, mutating: boolean): ReviewResponse {
  let value: unknown;
  let meta: { apiVersion: string; kind: string };
  try {
    ({ value } = parseJson(body));
    meta = typeMetaOf(value);
  } catch (error) {
    if (error instanceof JsonSyntaxError || error instanceof JsonTypeError)
      throw new Error(`${versionKindErrorPrefix}${error.message}`, { cause: error });
    throw error;
  }
  const wanted = `admission.k8s.io/${version}`;
  const { apiVersion, kind } = meta;
  if (apiVersion !== '' && apiVersion !== wanted && kind === 'AdmissionReview') {
    const other = /^admission\.k8s\.io\/(v1|v1beta1)$/.exec(apiVersion);
    if (other !== null)
      throw new Error(`converting (${other[1]}.AdmissionReview) to (${version}.AdmissionReview): unknown conversion`);
  }
  if (apiVersion !== '' && kind !== '' && (kind !== 'AdmissionReview' || apiVersion !== wanted))
    throw new Error(
      `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)} in scheme "pkg/runtime/scheme.go:110"`,
    );
  const given = isObject(value) ? value['response'] : undefined;
  if (given === undefined || given === null) throw new InvalidReview('webhook response was absent');
  if (!isObject(given)) throw wrongType(given, '', 'v1.AdmissionResponse');
  const allowed = given['allowed'];
  if (allowed !== undefined && allowed !== null && typeof allowed !== 'boolean')
    throw wrongType(allowed, 'allowed', 'bool');
  const answered = textMember(given, 'uid', 'types.UID') ?? '';
  const encoded = textMember(given, 'patch', '[]uint8') ?? '';
  const type = textMember(given, 'patchType', 'v1.PatchType');
  const status = statusOf(given);
  const auditAnnotations = annotationsOf(given);
  const warnings = warningsOf(given);
  const patch = decodeBase64(encoded);
  if (version === 'v1beta1')
    return {
      allowed: allowed === true,
      status,
      patch: mutating ? patch : '',
      patchType: mutating && patch !== '' ? 'JSONPatch' : '',
      auditAnnotations,
      warnings,
    };
  if (answered !== uid)
    throw new InvalidReview(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(answered)}`);
  if (apiVersion !== wanted || kind !== 'AdmissionReview') {
    const slash = apiVersion.indexOf('/');
    const gv = slash < 0 ? `/${apiVersion}` : apiVersion;
    throw new InvalidReview(`expected webhook response of ${wanted}, Kind=AdmissionReview, got ${gv}, Kind=${kind}`);
  }
  if (!mutating) {
    if (patch !== '') throw new InvalidReview('validating webhook may not return response.patch');
    if (type !== undefined) throw new InvalidReview('validating webhook may not return response.patchType');
  } else {
    if (patch !== '' && type === undefined)
      throw new InvalidReview('webhook returned response.patch but not response.patchType');
    if (patch === '' && type !== undefined)
      throw new InvalidReview('webhook returned response.patchType but not response.patch');
    if (type === '') throw new InvalidReview('webhook returned invalid response.patchType of ""');
  }
  return { allowed: allowed === true, status, patch, patchType: type ?? '', auditAnnotations, warnings };
}

/** The refusal of a webhook as the client gets it. */
export function rejection(webhook: string, result: Partial<Status> | undefined): StatusError {
  const denied = `admission webhook ${JSON.stringify(webhook)} denied the request`;
  const { message = '', reason = '' } = result ?? {};
  const code = result?.code ?? 0;
  const text =
    message !== '' ? `${denied}: ${message}` : reason !== '' ? `${denied}: ${reason}` : `${denied} without explanation`;
  return new StatusError(code < 400 ? 400 : code, reason, text, result?.details as StatusDetails | undefined);
}
