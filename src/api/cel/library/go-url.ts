/** URLs as Go's net/url reads them, with its error texts. */
import { Buffer } from 'node:buffer';
import { goQuote as quote } from '../../codec/json.ts';

export class URLError extends Error {}

export interface GoURL {
  readonly scheme: string;
  readonly opaque: string;
  /** `user:password`, as it was written; undefined without one. */
  readonly user: string | undefined;
  readonly host: string;
  /** Decoded. */
  readonly path: string;
  /** As written, where that is not the default encoding of `path`. */
  readonly rawPath: string;
  readonly rawQuery: string;
  readonly forceQuery: boolean;
  readonly omitHost: boolean;
  readonly fragment: string;
}

type Part = 'path' | 'host' | 'zone' | 'query' | 'user';

/** Decodes percent escapes. @throws {URLError} */
function unescape(text: string, part: Part): string {
  const bytes: number[] = [];
  const raw = Buffer.from(text);
  for (let i = 0; i < raw.length; i++) {
    const c = raw[i]!;
    if (c === 0x25) {
      const hex = raw.subarray(i + 1, i + 3).toString('latin1');
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) {
        const shown = raw.subarray(i, i + 3).toString();
        throw new URLError(`invalid URL escape ${quote(shown)}`);
      }
      const value = Number.parseInt(hex, 16);
      // In a host, percent-encoding is for non-ASCII alone, and %25 for zones.
      if (part === 'host' && value < 0x80 && hex !== '25') throw new URLError(`invalid URL escape ${quote(`%${hex}`)}`);
      bytes.push(value);
      i += 2;
    } else if (c === 0x2b && part === 'query') bytes.push(0x20);
    else {
      if (part === 'host' && c < 0x80 && !/[A-Za-z0-9\-._~!$&'()*+,;=:[\]<>"]/.test(String.fromCharCode(c))) {
        throw new URLError(`invalid character ${quote(String.fromCharCode(c))} in host name`);
      }
      bytes.push(c);
    }
  }
  return Buffer.from(bytes).toString();
}

/** Go's default encoding of a path. */
export const escapePath = (path: string): string =>
  [...Buffer.from(path)]
    .map((b) => {
      const c = String.fromCharCode(b);
      return b < 0x80 && /[A-Za-z0-9\-_.~$&+,/:;=@]/.test(c) ? c : `%${b.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');

const validEncodedPath = (text: string): boolean => /^[A-Za-z0-9\-_.~!$&'()*+,;=:@[\]%/]*$/.test(text);

const validPort = (text: string): boolean => /^(?::[0-9]*)?$/.test(text);

function parseHost(host: string): string {
  if (host.startsWith('[')) {
    const end = host.lastIndexOf(']');
    if (end < 0) throw new URLError("missing ']' in host");
    const port = host.slice(end + 1);
    if (!validPort(port)) throw new URLError(`invalid port ${quote(port)} after host`);
    const zone = host.slice(0, end).indexOf('%25');
    if (zone >= 0) {
      return (
        unescape(host.slice(0, zone), 'host') +
        unescape(host.slice(zone, end), 'zone') +
        unescape(host.slice(end), 'host')
      );
    }
  } else {
    const colon = host.lastIndexOf(':');
    if (colon !== -1 && !validPort(host.slice(colon))) {
      throw new URLError(`invalid port ${quote(host.slice(colon))} after host`);
    }
  }
  return unescape(host, 'host');
}

function getScheme(text: string): readonly [scheme: string, rest: string] {
  const m = /^([A-Za-z][A-Za-z0-9+\-.]*):/.exec(text);
  if (m !== null) return [m[1]!.toLowerCase(), text.slice(m[0].length)];
  if (text.startsWith(':')) throw new URLError('missing protocol scheme');
  return ['', text];
}

function parse(text: string, viaRequest: boolean, fragment: string): GoURL {
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(text)) throw new URLError('net/url: invalid control character in URL');
  if (text === '' && viaRequest) throw new URLError('empty url');
  const url = {
    scheme: '',
    opaque: '',
    user: undefined as string | undefined,
    host: '',
    path: '',
    rawPath: '',
    rawQuery: '',
    forceQuery: false,
    omitHost: false,
    fragment,
  };
  if (text === '*') return { ...url, path: '*' };
  let rest: string;
  [url.scheme, rest] = getScheme(text);
  const question = rest.indexOf('?');
  if (question !== -1 && question === rest.length - 1) {
    url.forceQuery = true;
    rest = rest.slice(0, -1);
  } else if (question !== -1) {
    url.rawQuery = rest.slice(question + 1);
    rest = rest.slice(0, question);
  }
  if (!rest.startsWith('/')) {
    if (url.scheme !== '') return { ...url, opaque: rest };
    if (viaRequest) throw new URLError('invalid URI for request');
    if (rest.split('/', 1)[0]!.includes(':')) throw new URLError('first path segment in URL cannot contain colon');
  }
  if ((url.scheme !== '' || (!viaRequest && !rest.startsWith('///'))) && rest.startsWith('//')) {
    let authority = rest.slice(2);
    const slash = authority.indexOf('/');
    rest = slash < 0 ? '' : authority.slice(slash);
    if (slash >= 0) authority = authority.slice(0, slash);
    const at = authority.lastIndexOf('@');
    url.host = parseHost(authority.slice(at + 1));
    if (at >= 0) {
      const user = authority.slice(0, at);
      if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(user)) throw new URLError('net/url: invalid userinfo');
      unescape(user, 'user');
      url.user = user;
    }
  } else if (url.scheme !== '' && rest.startsWith('/')) url.omitHost = true;
  url.path = unescape(rest, 'path');
  url.rawPath = escapePath(url.path) === rest ? '' : rest;
  return url;
}

function wrap<T>(text: string, what: () => T): T {
  try {
    return what();
  } catch (error) {
    if (error instanceof URLError) throw new URLError(`parse ${quote(text)}: ${error.message}`);
    throw error;
  }
}

/** url.ParseRequestURI: absolute URLs and absolute paths. @throws {URLError} */
export const checkRequestURI = (text: string): void => void wrap(text, () => parse(text, true, ''));

/** url.Parse. @throws {URLError} */
export function parseURL(text: string): GoURL {
  const hash = text.indexOf('#');
  const [before, fragment] = hash < 0 ? [text, ''] : [text.slice(0, hash), text.slice(hash + 1)];
  return wrap(text, () => parse(before, false, fragment));
}

export function escapedPath(url: GoURL): string {
  if (url.rawPath !== '' && validEncodedPath(url.rawPath)) return url.rawPath;
  return url.path === '*' ? '*' : escapePath(url.path);
}

const hasPort = (host: string): number => {
  const colon = host.lastIndexOf(':');
  return colon !== -1 && validPort(host.slice(colon)) ? colon : -1;
};

export function hostname({ host }: GoURL): string {
  const colon = hasPort(host);
  const name = colon < 0 ? host : host.slice(0, colon);
  return name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name;
}

export function port({ host }: GoURL): string {
  const colon = hasPort(host);
  return colon < 0 ? '' : host.slice(colon + 1);
}

/** Parameters by name; what cannot be decoded is left out. */
export function queryOf({ rawQuery }: GoURL): Map<string, string[]> {
  const out = new Map<string, string[]>();
  for (const part of rawQuery.split('&')) {
    if (part === '' || part.includes(';')) continue;
    const equals = part.indexOf('=');
    try {
      const key = unescape(equals < 0 ? part : part.slice(0, equals), 'query');
      const value = unescape(equals < 0 ? '' : part.slice(equals + 1), 'query');
      const known = out.get(key);
      if (known === undefined) out.set(key, [value]);
      else known.push(value);
    } catch (error) {
      if (!(error instanceof URLError)) throw error;
    }
  }
  return out;
}

/** The whole URL again: what equality compares. */
export function formatURL(url: GoURL): string {
  let out = url.scheme === '' ? '' : `${url.scheme}:`;
  if (url.opaque !== '') out += url.opaque;
  else {
    if ((url.scheme !== '' || url.host !== '' || url.user !== undefined) && !(url.omitHost && url.host === '')) {
      out += `//${url.user === undefined ? '' : `${url.user}@`}${url.host}`;
    }
    out += escapedPath(url);
  }
  if (url.forceQuery || url.rawQuery !== '') out += `?${url.rawQuery}`;
  return url.fragment === '' ? out : `${out}#${url.fragment}`;
}
