/**
 * Header blocks of SPDY/3.1: name-value lists, compressed with zlib against a dictionary of the protocol. One state lasts for a
 * whole connection and direction, so blocks are read strictly in order.
 */
import type { Inflate } from 'node:zlib';
import { constants, createInflate } from 'node:zlib';

/** Names lower-case; several values of one name are joined by NUL. */
export type SpdyHeaders = Readonly<Record<string, string>>;

const maxBlock = 1024 * 1024;
const maxHeaders = 1000;

/** The dictionary's words, each with a length in front, and its tail (draft-mbelshe-httpbis-spdy-00, section 2.6.10.1). */
const words =
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status';
const moreWords = ['200 OK', 'version', 'HTTP/1.1', 'url', 'public', 'set-cookie', 'keep-alive', 'origin'];
const tail =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const out = Buffer.alloc(4 + bytes.length);
  out.writeUInt32BE(bytes.length, 0);
  bytes.copy(out, 4);
  return out;
}

const dictionary = Buffer.concat([
  ...[...words.split(' '), ...moreWords].map(lengthAndText),
  Buffer.from(tail, 'latin1'),
]);
/** Adler-32 of the dictionary, by which a zlib stream names it. */
const dictionaryId = 0xe3c6a7c2;

/** A block in plain form. */
function encode(headers: SpdyHeaders): Buffer {
  const names = Object.keys(headers);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(names.length, 0);
  const parts: Buffer[] = [count];
  for (const name of names) parts.push(lengthAndText(name.toLowerCase()), lengthAndText(headers[name]!));
  return Buffer.concat(parts);
}

function decode(block: Buffer): SpdyHeaders {
  let at = 0;
  const word = (): number => {
    if (at + 4 > block.length) throw new Error('SPDY header block is cut off');
    const n = block.readUInt32BE(at);
    at += 4;
    return n;
  };
  const text = (): string => {
    const n = word();
    if (n > block.length - at) throw new Error('SPDY header block is cut off');
    at += n;
    return block.toString('latin1', at - n, at);
  };
  const count = word();
  if (count > maxHeaders) throw new Error('SPDY header block has too many headers');
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (let i = 0; i < count; i++) {
    const name = text().toLowerCase();
    if (name in out) throw new Error('SPDY header block has a header twice');
    out[name] = text();
  }
  return out;
}

/** Writes blocks. They go out as stored blocks of deflate: the few that a connection has are not worth a compressor's state. */
export class HeaderEncoder {
  #started = false;

  encode(headers: SpdyHeaders): Buffer {
    const plain = encode(headers);
    const parts: Buffer[] = [];
    if (!this.#started) {
      this.#started = true;
      // zlib header: deflate, 32 KiB window, with a preset dictionary.
      const start = Buffer.from([0x78, 0xbb, 0, 0, 0, 0]);
      start.writeUInt32BE(dictionaryId, 2);
      parts.push(start);
    }
    for (let at = 0; at < plain.length; at += 0xffff) {
      const piece = plain.subarray(at, at + 0xffff);
      const head = Buffer.alloc(5);
      head.writeUInt16LE(piece.length, 1);
      head.writeUInt16LE(~piece.length & 0xffff, 3);
      parts.push(head, piece);
    }
    // What a sync flush ends with: there are readers (Go's) that hand nothing out before they see it.
    parts.push(Buffer.from([0, 0, 0, 0xff, 0xff]));
    return Buffer.concat(parts);
  }
}

/** Reads blocks, one at a time. */
export class HeaderDecoder {
  #inflate: Inflate | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  #fail: ((error: Error) => void) | undefined;

  #open(): Inflate {
    const inflate = createInflate({ dictionary, flush: constants.Z_SYNC_FLUSH });
    inflate.on('data', (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size > maxBlock) inflate.destroy(new Error('SPDY header block is too long'));
      else this.#chunks.push(chunk);
    });
    inflate.on('error', (error) => this.#fail?.(error));
    this.#inflate = inflate;
    return inflate;
  }

  /** Rejects for what is no block; nothing can be read after that. */
  decode(compressed: Buffer): Promise<SpdyHeaders> {
    const inflate = this.#inflate ?? this.#open();
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      inflate.write(compressed, (error) => {
        if (error) {
          reject(error);
          return;
        }
        // The error of a block that is too long is on its way.
        if (this.#size > maxBlock) return;
        const block = Buffer.concat(this.#chunks, this.#size);
        this.#chunks = [];
        this.#size = 0;
        try {
          resolve(decode(block));
        } catch (cause) {
          reject(cause as Error);
        }
      });
    });
  }

  close(): void {
    this.#inflate?.destroy();
  }
}
