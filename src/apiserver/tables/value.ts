/** Reading untyped objects: a member at a path, with a default where it is missing or of another type. */
import type { KubeObjectLike } from '../request.ts';

export type Json = Readonly<Record<string, unknown>>;

const nothing: Json = Object.freeze({});
const none: readonly never[] = Object.freeze([]);

/** The object at a path; an empty one when there is none. */
export function obj(from: unknown, ...path: string[]): Json {
  const v = at(from, path);
  return typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : nothing;
}

/** True when there is something other than null at the path. */
export function has(from: unknown, ...path: string[]): boolean {
  const v = at(from, path);
  return v !== undefined && v !== null;
}

export function list(from: unknown, ...path: string[]): readonly Json[] {
  const v = at(from, path);
  return Array.isArray(v) ? (v as Json[]) : none;
}

export function strings(from: unknown, ...path: string[]): readonly string[] {
  const v = at(from, path);
  return Array.isArray(v) ? (v as string[]) : none;
}

export function str(from: unknown, ...path: string[]): string {
  const v = at(from, path);
  return typeof v === 'string' ? v : typeof v === 'number' ? String(v) : '';
}

export function num(from: unknown, ...path: string[]): number {
  const v = at(from, path);
  return typeof v === 'number' ? v : 0;
}

/** A boolean, `fallback` when unset. */
export function bool(from: unknown, fallback: boolean, ...path: string[]): boolean {
  const v = at(from, path);
  return typeof v === 'boolean' ? v : fallback;
}

function at(from: unknown, path: readonly string[]): unknown {
  let v = from;
  for (const member of path) {
    if (typeof v !== 'object' || v === null) return undefined;
    v = (v as Json)[member];
  }
  return v;
}

export function nameOf(object: KubeObjectLike): string {
  return str(object.metadata, 'name');
}
