/** The shape of a hand-written defaulting function, and small helpers for writing them over plain objects. */

/** A draft being defaulted: fresh from the decoder, so it may be written to. */
export type Draft = Record<string, unknown>;

export interface DefaultsContext {
  /** The current time as metav1.Time, for the few defaults that stamp it. */
  readonly now: () => string;
}

export type Hook = (draft: Draft, context: DefaultsContext) => void;

export const isUnset = (v: unknown): v is undefined | null => v === undefined || v === null;

/** Unset or Go's zero: '', 0, false, an empty list or map. */
export function isEmpty(v: unknown): boolean {
  if (isUnset(v) || v === '' || v === 0 || v === false) return true;
  if (Array.isArray(v)) return v.length === 0;
  return typeof v === 'object' && Object.keys(v as object).length === 0;
}

/** The struct member of that name, made when unset. */
export function struct(draft: Draft, name: string): Draft {
  const v = draft[name];
  if (!isUnset(v)) return v as Draft;
  const made: Draft = {};
  draft[name] = made;
  return made;
}

export const structOf = (draft: Draft | undefined, name: string): Draft | undefined => {
  const v = draft?.[name];
  return typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Draft) : undefined;
};

export const listOf = (draft: Draft | undefined, name: string): Draft[] => {
  const v = draft?.[name];
  return Array.isArray(v) ? (v as Draft[]) : [];
};

export function setIfUnset(draft: Draft, name: string, value: unknown): void {
  if (isUnset(draft[name])) draft[name] = value;
}

export function setIfEmpty(draft: Draft, name: string, value: unknown): void {
  if (isEmpty(draft[name])) draft[name] = value;
}
