/** What a header block says of a request, field by field as it is decoded, and whether it is one (RFC 9113, 8.3.1). */
import { type FieldKind, fieldKind } from './header-fields.ts';
import { type FieldSink, entryOverhead } from './hpack-decoder.ts';

export type Headers = Record<string, string>;

/** Objects without a prototype that keep a shape: what a client calls `__proto__` or `constructor` is a header like others. */
const HeaderBag = function HeaderBag() {} as unknown as new () => Headers;
(HeaderBag as { prototype: unknown }).prototype = Object.create(null);

const number = /^\d{1,15}$/;

export class RequestHead implements FieldSink {
  method = '';
  path = '';
  scheme = '';
  headers: Headers = new HeaderBag();
  /** Names and values as they came, where a name came twice. */
  raw: string[] | undefined = undefined;
  /** The declared length of the body, or -1. */
  contentLength = -1;
  /** As SETTINGS_MAX_HEADER_LIST_SIZE counts. */
  size = 0;
  /** What makes it malformed, if anything does. */
  fault: string | undefined = undefined;
  readonly #limit: number;
  #pseudo = 0;
  #regular = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Forgets everything: for the next one. */
  reset(): void {
    this.method = '';
    this.path = '';
    this.scheme = '';
    this.headers = new HeaderBag();
    this.raw = undefined;
    this.contentLength = -1;
    this.size = 0;
    this.fault = undefined;
    this.#pseudo = 0;
    this.#regular = false;
  }

  get tooLarge(): boolean {
    return this.size > this.#limit;
  }

  field(kind: FieldKind, name: string, value: string): void {
    this.size += name.length + value.length + entryOverhead;
    // The rest is decoded for the table's sake only.
    if (this.size > this.#limit) return;
    if (name.charCodeAt(0) === 0x3a) {
      this.#pseudoField(kind, name, value);
      return;
    }
    this.#regular = true;
    switch (kind) {
      case fieldKind.invalid:
        this.fault = `invalid field ${JSON.stringify(name)}`;
        return;
      case fieldKind.te:
        if (value !== 'trailers') this.fault = 'te is not trailers';
        break;
      case fieldKind.contentLength:
        if (!number.test(value) || (this.contentLength >= 0 && this.contentLength !== Number(value))) {
          this.fault = 'invalid content-length';
          return;
        }
        this.contentLength = Number(value);
        break;
      default:
    }
    const before = this.headers[name];
    if (before === undefined) {
      this.headers[name] = value;
      if (this.raw !== undefined) this.raw.push(name, value);
    } else this.#again(kind, name, before, value);
  }

  #again(kind: FieldKind, name: string, before: string, value: string): void {
    this.raw ??= Object.entries(this.headers).flat();
    this.raw.push(name, value);
    if (kind === fieldKind.single || kind === fieldKind.contentLength) return;
    this.headers[name] = `${before}${kind === fieldKind.cookie ? '; ' : ', '}${value}`;
  }

  #pseudoField(kind: FieldKind, name: string, value: string): void {
    const bit = 1 << kind;
    if (this.#regular || (this.#pseudo & bit) !== 0) {
      this.fault = `${name} is out of place`;
      return;
    }
    this.#pseudo |= bit;
    switch (kind) {
      case fieldKind.method:
        this.method = value;
        return;
      case fieldKind.path:
        this.path = value;
        return;
      case fieldKind.scheme:
        this.scheme = value;
        return;
      case fieldKind.authority:
        this.headers[name] = value;
        return;
      default:
        this.fault = `invalid field ${JSON.stringify(name)}`;
    }
  }

  /** Looks at the whole. */
  finish(): void {
    if (this.fault !== undefined || this.tooLarge) return;
    if (this.method === 'CONNECT') {
      if (this.path !== '' || this.scheme !== '') this.fault = 'CONNECT has no path and no scheme';
      else this.path = '/';
    } else if (this.method === '' || this.scheme === '' || this.path === '') this.fault = 'a pseudo header is missing';
    else if (this.path.charCodeAt(0) !== 0x2f && this.path !== '*') this.fault = 'invalid :path';
  }
}

/** The fields behind a body: they mean nothing here, but they may not be just any. */
export class TrailerFields implements FieldSink {
  fault = false;

  field(kind: FieldKind, name: string): void {
    if (kind === fieldKind.invalid || name.charCodeAt(0) === 0x3a) this.fault = true;
  }
}
