/** Query parameters of connect requests, converted with upstream's rules and errors. */
import { timeMs } from '../../api/time.ts';
import { badRequest } from '../../api/status.ts';

/** A boolean: absent is false, "false" and "0" are false, anything else (even nothing) is true. */
export function boolParam(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  if (value === null) return false;
  const v = value.toLowerCase();
  return v !== 'false' && v !== '0';
}

/** An integer; undefined when absent or empty. Throws 400 with Go's text. */
export function intParam(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  if (!/^[-+]?\d+$/.test(value)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
  const n = Number(value);
  if (!Number.isSafeInteger(n))
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(value)}: value out of range`);
  return n;
}

/** An RFC 3339 time, as it stands; undefined when absent or empty. */
export function timeParam(query: URLSearchParams, name: string): string | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  const q = JSON.stringify(value);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value) || Number.isNaN(timeMs(value)))
    throw badRequest(`parsing time ${q} as "2006-01-02T15:04:05Z07:00": cannot parse ${q} as "2006"`);
  return value;
}

/** Several integers, each parameter or comma-separated, as `ports` of port-forward. */
export function intsParam(query: URLSearchParams, name: string): number[] {
  return query
    .getAll(name)
    .flatMap((v) => v.split(','))
    .filter((v) => v !== '')
    .map((v) => {
      if (!/^[-+]?\d+$/.test(v)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(v)}: invalid syntax`);
      return Number(v);
    });
}
