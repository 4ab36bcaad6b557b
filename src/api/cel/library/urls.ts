/** Kubernetes' URLs in expressions. */
import type { Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { boolType, libraryType, listType, mapType, stringType } from '../types.ts';
import { CelMap, LibraryValue } from '../values.ts';
import type { GoURL } from './go-url.ts';
import { URLError, checkRequestURI, escapedPath, formatURL, hostname, parseURL, port, queryOf } from './go-url.ts';

const urlType = libraryType('kubernetes.URL');

class URLValue extends LibraryValue {
  readonly url: GoURL;

  constructor(url: GoURL) {
    super();
    this.url = url;
  }

  get celType(): typeof urlType {
    return urlType;
  }

  equals(other: LibraryValue): boolean {
    return this.toJSON() === (other as URLValue).toJSON();
  }

  override toJSON(): string {
    return formatURL(this.url);
  }
}

/** The URL, or why it is none. */
function read(text: string): GoURL | string {
  try {
    checkRequestURI(text);
    return parseURL(text);
  } catch (error) {
    if (error instanceof URLError) return error.message;
    throw error;
  }
}

/** The error of a text that is no URI; undefined for one. */
export function uriError(text: string): string | undefined {
  const url = read(text);
  return typeof url === 'string' ? url : undefined;
}

function toURL(text: string): URLValue {
  const url = read(text);
  return typeof url === 'string' ? fail(`URL parse error during conversion from string: ${url}`) : new URLValue(url);
}

const get = (id: string, part: (url: GoURL) => string): ReturnType<typeof member>[] => [
  member(id, [urlType], stringType, ([v]) => part((v as URLValue).url)),
];

export const urlsLibrary: Library = {
  name: 'kubernetes.urls',
  types: [urlType],
  functions: {
    url: [global('string_to_url', [stringType], urlType, ([s]) => toURL(s as string))],
    isURL: [global('is_url_string', [stringType], boolType, ([s]) => uriError(s as string) === undefined)],
    getScheme: get('url_get_scheme', (u) => u.scheme),
    getHost: get('url_get_host', (u) => u.host),
    getHostname: get('url_get_hostname', hostname),
    getPort: get('url_get_port', port),
    getEscapedPath: get('url_get_escaped_path', escapedPath),
    getQuery: [
      member(
        'url_get_query',
        [urlType],
        mapType(stringType, listType(stringType)),
        ([v]) => new CelMap(new Map(queryOf((v as URLValue).url))),
      ),
    ],
  },
};
