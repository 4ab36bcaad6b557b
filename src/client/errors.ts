/** Questions about an error that came back from the API server, as apimachinery's `errors.Is…`. */
import { StatusError } from '../api/status.ts';

const is = (error: unknown, reason: string, code: number): boolean =>
  error instanceof StatusError && (error.reason === '' ? error.code === code : error.reason === reason);

export const isNotFound = (error: unknown): boolean => is(error, 'NotFound', 404);
export const isAlreadyExists = (error: unknown): boolean => is(error, 'AlreadyExists', 409);
export const isConflict = (error: unknown): boolean => is(error, 'Conflict', 409);
export const isForbidden = (error: unknown): boolean => is(error, 'Forbidden', 403);
export const isInvalid = (error: unknown): boolean => is(error, 'Invalid', 422);
export const isMethodNotSupported = (error: unknown): boolean => is(error, 'MethodNotAllowed', 405);
/** The resource version is too old to list or watch from. */
export const isExpired = (error: unknown): boolean =>
  error instanceof StatusError && (error.reason === 'Expired' || error.reason === 'Gone' || error.code === 410);

/** True when the status carries a cause with this reason (`NamespaceTerminating`, `ResourceVersionTooLarge`). */
export function hasCause(error: unknown, reason: string): boolean {
  return error instanceof StatusError && (error.details?.causes ?? []).some((c) => c.reason === reason);
}

/** The namespace is being deleted: creating in it is refused until it is gone. */
export function isNamespaceTerminating(error: unknown): boolean {
  return hasCause(error, 'NamespaceTerminating');
}
