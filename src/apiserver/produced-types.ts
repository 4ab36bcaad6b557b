/**
 * Upstream's router looks at media types before anything is negotiated: it knows no wildcards but the full one, and compares
 * without parameters.
 */
import { StatusError } from '../api/status.ts';

/** What discovery, and objects that are built in, are written as. */
export const objectTypes: readonly string[] = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
];

/** @throws {StatusError} 406 where none of `types` is accepted; `shown`: what it tells of instead of them */
export function checkProduced(accept: string | undefined, types: readonly string[], shown = types): void {
  if (accept === undefined || accept === '' || accept === '*/*' || accept === types[0]) return;
  const fits = (part: string): boolean => {
    const type = part.split(';')[0]!.trim();
    return type === '*/*' || types.includes(type);
  };
  if (accept.split(',').some(fits)) return;
  throw new StatusError(
    406,
    'NotAcceptable',
    `406: Not Acceptable\n\nAvailable representations: ${shown.join(', ')}`,
    {},
  );
}
