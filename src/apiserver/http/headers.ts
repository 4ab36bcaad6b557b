/** Reading request headers by hand: repeated values, tokens in comma-separated lists. */
import type { IncomingRequest } from '../request.ts';

/** Every value of a header, each as it was sent. */
export function headerValues(request: IncomingRequest, name: string): readonly string[] {
  const joined = request.headers[name];
  if (joined === undefined) return [];
  const raw = request.rawHeaders;
  if (raw === undefined) return [joined];
  const values: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) if (raw[i]!.toLowerCase() === name) values.push(raw[i + 1]!);
  return values.length === 0 ? [joined] : values;
}

/** True when a comma-separated header holds `token` (case ignored), as `Connection: keep-alive, Upgrade` does. */
export function hasToken(header: string | undefined, token: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((t) => t.trim().toLowerCase() === token);
}

/** `gzip` is among the accepted encodings. Parameters (q) are not looked at, as upstream. */
export function acceptsGzip(header: string | undefined): boolean {
  if (header === undefined || header === '') return false;
  return header.split(',').some((t) => t.trim() === 'gzip');
}
