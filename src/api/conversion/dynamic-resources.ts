/**
 * resource.k8s.io/v1beta1 ↔ v1 (upstream pkg/apis/resource/v1beta1/conversion.go): requests had the members of `exactly`
 * beside their name, and devices kept theirs in `basic`.
 */
import type { KubeObject } from '../object.ts';

type Json = Record<string, unknown>;

const exactMembers = [
  'deviceClassName',
  'selectors',
  'allocationMode',
  'count',
  'adminAccess',
  'tolerations',
  'capacity',
] as const;

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '' && value !== 0;
}

/** null in a list of structs is the zero struct, as Go's decoder has it: an applied configuration may still hold one. */
const elements = (list: readonly unknown[]): Json[] => list.map((e) => (e ?? {}) as Json);

function requestToV1(request: Json): Json {
  const exactly: Json = {};
  let any = false;
  for (const member of exactMembers) {
    const value = request[member];
    if (!isSet(value)) continue;
    any = true;
    exactly[member] = value;
  }
  const out: Json = { name: request['name'] ?? '' };
  if (any) out['exactly'] = { deviceClassName: '', ...exactly };
  if (request['firstAvailable'] !== undefined) out['firstAvailable'] = request['firstAvailable'];
  return out;
}

function requestToV1beta1(request: Json): Json {
  const exactly = (request['exactly'] ?? {}) as Json;
  const out: Json = { name: request['name'] ?? '', deviceClassName: exactly['deviceClassName'] ?? '' };
  for (const member of ['selectors', 'allocationMode', 'count', 'adminAccess'] as const)
    if (isSet(exactly[member])) out[member] = exactly[member];
  if (request['firstAvailable'] !== undefined) out['firstAvailable'] = request['firstAvailable'];
  for (const member of ['tolerations', 'capacity'] as const) if (isSet(exactly[member])) out[member] = exactly[member];
  return out;
}

function claimSpec(spec: unknown, request: (request: Json) => Json): unknown {
  const devices = (spec as Json | undefined)?.['devices'] as Json | undefined;
  const requests = devices?.['requests'];
  if (!Array.isArray(requests)) return spec;
  return { ...(spec as Json), devices: { ...devices, requests: elements(requests).map(request) } };
}

const claim =
  (apiVersion: string, request: (request: Json) => Json) =>
  (object: KubeObject): KubeObject => ({ ...object, apiVersion, spec: claimSpec(object['spec'], request) });

const template =
  (apiVersion: string, request: (request: Json) => Json) =>
  (object: KubeObject): KubeObject => {
    const spec = object['spec'] as Json | undefined;
    if (spec === undefined) return { ...object, apiVersion };
    return { ...object, apiVersion, spec: { ...spec, spec: claimSpec(spec['spec'], request) } };
  };

/** Members of a device in the order of both types; those of v1beta1 that hold nothing were left out in v1. */
function deviceToV1(device: Json): Json {
  const { basic, ...rest } = device;
  const out: Json = { name: rest['name'] ?? '' };
  for (const [member, value] of Object.entries((basic ?? {}) as Json)) {
    const empty =
      (member === 'attributes' || member === 'capacity') && Object.keys((value ?? {}) as object).length === 0;
    if (value !== undefined && value !== null && !empty) out[member] = value;
  }
  return out;
}

function deviceToV1beta1(device: Json): Json {
  const { name, ...basic } = device;
  return { name: name ?? '', basic };
}

const slice =
  (apiVersion: string, device: (device: Json) => Json, strict: boolean) =>
  (object: KubeObject): KubeObject => {
    const spec = object['spec'] as Json | undefined;
    if (spec === undefined) return { ...object, apiVersion };
    const out: Json = { ...spec };
    // Not pointers in v1beta1: their zero values are not there in v1, and v1's are not written in v1beta1.
    if (strict ? out['nodeName'] === '' : !isSet(out['nodeName'])) delete out['nodeName'];
    if (out['allNodes'] === false) delete out['allNodes'];
    if (Array.isArray(out['devices'])) out['devices'] = elements(out['devices']).map(device);
    return { ...object, apiVersion, spec: out };
  };

const v1 = 'resource.k8s.io/v1';
const v1beta1 = 'resource.k8s.io/v1beta1';
const v1beta2 = 'resource.k8s.io/v1beta2';

type Entry = readonly [kind: string, from: string, to: string, convert: (object: KubeObject) => KubeObject];

/** v1beta2 has the shape of v1. */
export const dynamicResourceConversions: readonly Entry[] = [v1, v1beta2].flatMap((newer): Entry[] => [
  ['ResourceClaim', v1beta1, newer, claim(newer, requestToV1)],
  ['ResourceClaim', newer, v1beta1, claim(v1beta1, requestToV1beta1)],
  ['ResourceClaimTemplate', v1beta1, newer, template(newer, requestToV1)],
  ['ResourceClaimTemplate', newer, v1beta1, template(v1beta1, requestToV1beta1)],
  ['ResourceSlice', v1beta1, newer, slice(newer, deviceToV1, true)],
  ['ResourceSlice', newer, v1beta1, slice(v1beta1, deviceToV1beta1, false)],
]);
