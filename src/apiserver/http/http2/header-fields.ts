/**
 * What is known of header fields before any is seen: HPACK's static table (RFC 7541, appendix A), which fields mean something to
 * the framing, and which may stand in a request at all (RFC 9113, 8.2 and 8.3).
 */

/** Index 1 is the first. */
export const staticTable: readonly (readonly [name: string, value: string])[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
];

/** What a field is to the framing; all but `plain` want a look. */
export const fieldKind = {
  plain: 0,
  /** Its name or value may stand in no message. */
  invalid: 1,
  method: 2,
  path: 3,
  scheme: 4,
  authority: 5,
  te: 6,
  contentLength: 7,
  cookie: 8,
  /** Of several only the first counts. */
  single: 9,
} as const;

export type FieldKind = (typeof fieldKind)[keyof typeof fieldKind];

/** About this hop only, which HTTP/2 has frames for. */
export const connectionFields: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

const singles = [
  'age',
  'authorization',
  'content-encoding',
  'content-language',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'user-agent',
  'x-content-type-options',
];

const kinds: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ...[...connectionFields].map((name) => [name, fieldKind.invalid] as const),
  ...singles.map((name) => [name, fieldKind.single] as const),
  [':method', fieldKind.method],
  [':path', fieldKind.path],
  [':scheme', fieldKind.scheme],
  [':authority', fieldKind.authority],
  ['te', fieldKind.te],
  ['content-length', fieldKind.contentLength],
  ['cookie', fieldKind.cookie],
]);

/** Token characters of a name, without capitals. */
const nameCharacters = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") nameCharacters[c.charCodeAt(0)] = 1;

/** The kind of a field by its name. */
export function kindOfName(name: string): FieldKind {
  const known = kinds.get(name);
  if (known !== undefined) return known;
  if (name.length === 0) return fieldKind.invalid;
  for (let i = 0; i < name.length; i++) if (nameCharacters[name.charCodeAt(i) & 255] === 0) return fieldKind.invalid;
  return fieldKind.plain;
}

/** No control characters but tabs. */
export function validValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if ((c < 0x20 && c !== 0x09) || c === 0x7f) return false;
  }
  return true;
}
