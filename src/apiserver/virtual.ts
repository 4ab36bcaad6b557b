/**
 * Resources that are computed instead of stored: reviews and tokens. The verb handlers find them by
 * `group/resource[/subresource]` and hand them the decoded, defaulted body.
 */
import type { KubeObject } from '../api/object.ts';
import type { RequestContext } from './context.ts';

/**
 * Answers a create. `object` is decoded, defaulted, has passed mutating admission and is not shared (metadata present); the
 * result is sent with 201. `admit` runs validating admission; a handler calls it after its own static validation.
 */
export type VirtualCreate = (
  ctx: RequestContext,
  object: KubeObject,
  admit: (object: KubeObject) => Promise<void>,
) => Promise<KubeObject>;

/** By `group/resource` or `group/resource/subresource`; the core group is the empty string (`/serviceaccounts/token`). */
export type VirtualResources = ReadonlyMap<string, VirtualCreate>;

/** RFC 3339 with seconds, as metav1.Time is written. */
export function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
