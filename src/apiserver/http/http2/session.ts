/**
 * `Http2Session`: the server's end of one HTTP/2 connection (RFC 9113), over whatever carries bytes. It takes frames apart where
 * they lie in what was read, and writes all frames of one turn of the loop at once. Node's own module does the same through
 * an object with events and several calls into C++ for each stream, which costs more than all that is done for a short request.
 *
 * A fault of one stream ends the stream, a fault of the connection ends that; what is no fault but a burden has an allowance.
 */
import type { Duplex } from 'node:stream';
import { ioNow, ioTimer } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import { defaultWindow, errorCode, flag, frameType, maxStreamId, maxWindow, readUint32, setting } from './frames.ts';
import { ClosedStreams } from './closed-streams.ts';
import { FrameOutput } from './frame-output.ts';
import { type FrameHandler, FrameReader } from './frame-reader.ts';
import { type DecoderScratch, HpackDecoder } from './hpack-decoder.ts';
import { type EncoderScratch, HpackEncoder } from './hpack-encoder.ts';
import {
  Allowance,
  connectionWindow,
  lingerTimeout,
  maxHeaderBlock,
  maxHeaderList,
  maxHeadersTogether,
  maxWaiting,
  prefaceTimeout,
  streamWindow,
} from './limits.ts';
import type { OutputBuffers } from './output-buffers.ts';
import { RequestHead, TrailerFields } from './request-head.ts';
import { Sender } from './sender.ts';
import { readSettings } from './settings.ts';
import { StreamBody } from './stream-body.ts';
import { Http2Stream, type StreamOwner } from './stream.ts';

/** What the connections of a listener share. */
export interface SessionContext {
  readonly logger: Logger;
  readonly maxStreams: number;
  readonly buffers: OutputBuffers;
  readonly encoding: EncoderScratch;
  readonly decoding: DecoderScratch;
  /** The `date` of an answer made now. */
  readonly date: () => string;
  /** The head is the connection's own and good until this returns. */
  readonly onRequest: (stream: Http2Stream, head: RequestHead) => void;
}

/** The client answers it when it has read that the connection ends. */
const leavePing = Buffer.from('farewell', 'latin1');
const headersTooLarge = Buffer.from('<h1>HTTP Error 431</h1><p>Request Header Field(s) Too Large</p>');

/** The parts of a header block that are spread over frames. */
interface Fragments {
  readonly stream: number;
  readonly endStream: boolean;
  readonly parts: Buffer[];
  length: number;
}

export class Http2Session implements StreamOwner, FrameHandler {
  readonly #socket: Duplex;
  readonly #context: SessionContext;
  readonly #streams = new Map<number, Http2Stream>();
  readonly #closed = new ClosedStreams();
  readonly #head = new RequestHead(maxHeaderList);
  readonly #decoder: HpackDecoder;
  readonly #encoder: HpackEncoder;
  /** Pings, settings and other frames that carry no request; and requests that are taken back. */
  readonly #idleFrames = new Allowance(2000, 200, ioNow);
  readonly #resets = new Allowance(1000, 100, ioNow);
  readonly #onClose: () => void;

  // Reading.
  #state: 'new' | 'open' | 'ended' = 'new';
  #fragments: Fragments | undefined = undefined;
  #lastId = 0;
  /** Streams above are not taken any more. */
  #lastTaken = maxStreamId;
  #receiveWindow = connectionWindow;
  #headerBytes = 0;
  #working = 0;

  // Writing.
  readonly #output: FrameOutput;
  readonly #sender: Sender;
  #creditable = 0;
  #leaving: 'no' | 'announced' | 'said' = 'no';
  #cancelPreface: (() => void) | undefined;
  #cancelLeave: (() => void) | undefined = undefined;

  constructor(socket: Duplex, context: SessionContext, onClose: () => void) {
    this.#socket = socket;
    this.#context = context;
    this.#onClose = onClose;
    this.#decoder = new HpackDecoder(context.decoding);
    this.#encoder = new HpackEncoder(context.encoding);
    this.#output = new FrameOutput(socket, context.buffers, () => this.#sender.pumpAll());
    this.#sender = new Sender(
      this.#output,
      (stream) => this.#localEnd(stream),
      (stream) => this.reset(stream, errorCode.cancel),
    );
    this.#cancelPreface = ioTimer(prefaceTimeout, () => socket.destroy());
    const reader = new FrameReader(this);
    socket.on('data', (bytes: Buffer) => {
      try {
        reader.read(bytes);
      } catch (error) {
        // One connection must not end the others.
        context.logger.error('http2 connection failed', { error });
        socket.destroy();
      }
    });
    // Who says no more hears no more.
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#end());
    this.#output.settings([
      [setting.maxConcurrentStreams, context.maxStreams],
      [setting.initialWindowSize, streamWindow],
      [setting.maxHeaderListSize, maxHeaderList],
    ]);
    this.#output.windowUpdate(0, connectionWindow - defaultWindow);
  }

  /** Requests that are not over. */
  get size(): number {
    return this.#streams.size;
  }

  /** Takes no new requests after those that are on their way, and ends when all are answered. */
  goAway(): void {
    if (this.#leaving !== 'no' || this.#state === 'ended') return;
    this.#leaving = 'announced';
    if (this.#state === 'new') {
      this.#leave();
      return;
    }
    // Requests that were sent before the client reads this are still served: a ping tells when it has.
    this.#output.goAway(maxStreamId, errorCode.noError, '');
    this.#output.ping(leavePing, 0, false);
    this.#cancelLeave = ioTimer(lingerTimeout, () => this.#leave());
  }

  /** At once. */
  destroy(): void {
    this.#socket.destroy();
  }

  // Reading ------------------------------------------------------------------------------------------------------------------

  get reads(): boolean {
    return this.#state !== 'ended';
  }

  onTooLarge(): void {
    this.#fail(errorCode.frameSize, 'frame too large');
  }

  onWrongPreface(): void {
    this.#fail(errorCode.protocol, 'no HTTP/2 preface');
  }

  onFrame(bytes: Buffer, start: number, size: number, type: number, flags: number, id: number): void {
    if (this.#fragments !== undefined && (type !== frameType.continuation || id !== this.#fragments.stream)) {
      this.#fail(errorCode.protocol, 'a header block is interrupted');
      return;
    }
    if (this.#state === 'new') {
      if (type !== frameType.settings || (flags & flag.ack) !== 0) {
        this.#fail(errorCode.protocol, 'no settings come first');
        return;
      }
      this.#state = 'open';
      this.#cancelPreface?.();
      this.#cancelPreface = undefined;
    }
    switch (type) {
      case frameType.headers:
        this.#onHeaders(bytes, start, size, flags, id);
        return;
      case frameType.data:
        this.#onData(bytes, start, size, flags, id);
        return;
      case frameType.windowUpdate:
        this.#onWindowUpdate(bytes, start, size, id);
        return;
      case frameType.rstStream:
        this.#onReset(size, id);
        return;
      case frameType.settings:
        this.#onSettings(bytes, start, size, flags, id);
        return;
      case frameType.ping:
        this.#onPing(bytes, start, size, flags, id);
        return;
      case frameType.continuation:
        this.#onContinuation(bytes, start, size, flags);
        return;
      case frameType.priority:
        this.#onPriority(bytes, start, size, id);
        return;
      case frameType.goaway:
        if (id !== 0) this.#fail(errorCode.protocol, 'GOAWAY on a stream');
        else if (size < 8) this.#fail(errorCode.frameSize, 'GOAWAY too short');
        return;
      case frameType.pushPromise:
        this.#fail(errorCode.protocol, 'clients push nothing');
        return;
      default:
        // Extensions are ignored.
        this.#burden();
    }
  }

  #onHeaders(bytes: Buffer, from: number, size: number, flags: number, id: number): void {
    if ((id & 1) === 0) {
      this.#fail(errorCode.protocol, 'HEADERS on no stream of a client');
      return;
    }
    const end = this.#withoutPadding(bytes, from, size, flags);
    if (end < 0) return;
    let start = (flags & flag.padded) === 0 ? from : from + 1;
    let selfish = false;
    if ((flags & flag.priority) !== 0) {
      if (end - start < 5) {
        this.#fail(errorCode.frameSize, 'HEADERS too short');
        return;
      }
      selfish = (readUint32(bytes, start) & maxStreamId) === id;
      start += 5;
    }
    const endStream = (flags & flag.endStream) !== 0;
    if ((flags & flag.endHeaders) !== 0) this.#headerBlock(id, endStream, bytes, start, end, selfish);
    else {
      if (start === end && !this.#burden()) return;
      const part = Buffer.from(bytes.subarray(start, end));
      this.#fragments = { stream: id, endStream, parts: [part], length: part.length };
    }
  }

  /** Where a payload ends that may be padded; -1 when the padding is longer than the frame. */
  #withoutPadding(bytes: Buffer, from: number, size: number, flags: number): number {
    if ((flags & flag.padded) === 0) return from + size;
    if (size > 0 && bytes[from]! < size) return from + size - bytes[from]!;
    this.#fail(errorCode.protocol, 'padding longer than its frame');
    return -1;
  }

  #onContinuation(bytes: Buffer, start: number, size: number, flags: number): void {
    const fragments = this.#fragments;
    if (fragments === undefined) {
      this.#fail(errorCode.protocol, 'CONTINUATION of nothing');
      return;
    }
    fragments.length += size;
    if (fragments.length > maxHeaderBlock) {
      this.#fail(errorCode.enhanceYourCalm, 'headers too large');
      return;
    }
    // Who cuts headers into crumbs is not heard for long.
    if (size < 1024 && (flags & flag.endHeaders) === 0 && !this.#burden()) return;
    fragments.parts.push(Buffer.from(bytes.subarray(start, start + size)));
    if ((flags & flag.endHeaders) === 0) return;
    this.#fragments = undefined;
    const block = Buffer.concat(fragments.parts, fragments.length);
    this.#headerBlock(fragments.stream, fragments.endStream, block, 0, block.length, false);
  }

  #headerBlock(id: number, endStream: boolean, block: Buffer, start: number, end: number, selfish: boolean): void {
    if (id <= this.#lastId) {
      this.#trailers(id, endStream, block, start, end);
      return;
    }
    const head = this.#head;
    head.reset();
    if (!this.#decoder.decode(block, start, end, head)) {
      this.#fail(errorCode.compression, 'header block cannot be decoded');
      return;
    }
    if (id > this.#lastTaken) return;
    this.#lastId = id;
    head.finish();
    if (head.fault !== undefined || selfish) {
      this.#context.logger.debug('malformed request', { why: head.fault ?? 'depends on itself' });
      this.#refuse(id, errorCode.protocol);
      return;
    }
    if (
      this.#streams.size >= this.#context.maxStreams ||
      this.#working >= this.#context.maxStreams ||
      this.#sender.waitingBytes > maxWaiting ||
      this.#headerBytes + head.size > maxHeadersTogether
    ) {
      this.#refuse(id, errorCode.refusedStream);
      return;
    }
    const stream = new Http2Stream(id, this, this.#sender.initialWindow, streamWindow);
    this.#streams.set(id, stream);
    stream.headerSize = head.size;
    this.#headerBytes += head.size;
    if (endStream) {
      if (head.contentLength > 0) {
        this.reset(stream, errorCode.protocol);
        return;
      }
      stream.remoteEnded = true;
    } else {
      stream.bodyLeft = head.contentLength;
      stream.body = new StreamBody(head.contentLength, (n) => this.#credit(stream, n));
    }
    if (head.tooLarge) {
      stream.respond(
        431,
        { 'content-type': 'text/html; charset=utf-8', 'content-length': headersTooLarge.length },
        false,
      );
      stream.end(headersTooLarge);
      return;
    }
    this.#working++;
    this.#context.onRequest(stream, head);
  }

  /** A header block on a stream that is there already. */
  #trailers(id: number, endStream: boolean, block: Buffer, start: number, end: number): void {
    const fields = new TrailerFields();
    if (!this.#decoder.decode(block, start, end, fields)) {
      this.#fail(errorCode.compression, 'header block cannot be decoded');
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      const was = this.#closed.find(id);
      // It was on its way when the stream was reset here.
      if (was === 'reset') this.#burden();
      else if (was === 'ended') this.#fail(errorCode.streamClosed, 'HEADERS on a closed stream');
      else this.#fail(errorCode.protocol, 'a stream number that is not new');
      return;
    }
    if (stream.remoteEnded) this.reset(stream, errorCode.streamClosed);
    else if (!endStream || fields.fault || stream.bodyLeft > 0) this.reset(stream, errorCode.protocol);
    else this.#remoteEnd(stream);
  }

  #onData(bytes: Buffer, from: number, size: number, flags: number, id: number): void {
    if (id === 0 || id > this.#lastId) {
      // A stream that came too late has not been opened for this end.
      if (id !== 0 && id > this.#lastTaken) {
        this.#receiveWindow -= size;
        this.#creditConnection(size);
      } else this.#fail(errorCode.protocol, 'DATA on no stream');
      return;
    }
    const end = this.#withoutPadding(bytes, from, size, flags);
    if (end < 0) return;
    const start = (flags & flag.padded) === 0 ? from : from + 1;
    if (size > this.#receiveWindow) {
      this.#fail(errorCode.flowControl, 'more DATA than the window takes');
      return;
    }
    this.#receiveWindow -= size;
    const endStream = (flags & flag.endStream) !== 0;
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      this.#creditConnection(size);
      if (stream !== undefined) this.reset(stream, errorCode.streamClosed);
      else if (this.#closed.find(id) !== 'reset') {
        if (this.#burden()) this.#output.reset(id, errorCode.streamClosed);
      } else if (size === 0) this.#burden();
      return;
    }
    if (size > stream.receiveWindow) {
      this.#creditConnection(size);
      this.reset(stream, errorCode.flowControl);
      return;
    }
    stream.receiveWindow -= size;
    const length = end - start;
    // The padding is no part of any body.
    if (size > length) this.#credit(stream, size - length);
    if (stream.bodyLeft >= 0) {
      stream.bodyLeft -= length;
      if (stream.bodyLeft < 0 || (endStream && stream.bodyLeft > 0)) {
        this.#creditConnection(length);
        this.reset(stream, errorCode.protocol);
        return;
      }
    }
    if (length > 0) stream.body!.push(bytes.subarray(start, end));
    else if (!endStream && !this.#burden()) return;
    if (endStream && this.#streams.has(id)) this.#remoteEnd(stream);
  }

  #remoteEnd(stream: Http2Stream): void {
    stream.remoteEnded = true;
    stream.body?.end();
    if (stream.localEnded) this.#forget(stream, false);
  }

  #onWindowUpdate(bytes: Buffer, start: number, size: number, id: number): void {
    if (size !== 4) {
      this.#fail(errorCode.frameSize, 'WINDOW_UPDATE of another size');
      return;
    }
    const increment = readUint32(bytes, start) & maxWindow;
    if (id === 0) {
      if (increment === 0) this.#fail(errorCode.protocol, 'WINDOW_UPDATE by nothing');
      else if (!this.#sender.widen(increment)) this.#fail(errorCode.flowControl, 'window too large');
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (id > this.#lastId && id <= this.#lastTaken) this.#fail(errorCode.protocol, 'WINDOW_UPDATE on an idle stream');
      else this.#burden();
      return;
    }
    if (increment === 0) this.reset(stream, errorCode.protocol);
    else if (stream.sendWindow + increment > maxWindow) this.reset(stream, errorCode.flowControl);
    else {
      stream.sendWindow += increment;
      if (stream.waiting !== undefined) this.#sender.pump(stream);
    }
  }

  #onReset(size: number, id: number): void {
    if (size !== 4) {
      this.#fail(errorCode.frameSize, 'RST_STREAM of another size');
      return;
    }
    if (id === 0 || (id > this.#lastId && id <= this.#lastTaken)) {
      this.#fail(errorCode.protocol, 'RST_STREAM on an idle stream');
      return;
    }
    const stream = this.#streams.get(id);
    // Requests that are sent and taken back at once would be work for nothing, without end.
    if (!this.#resets.take()) {
      this.#fail(errorCode.enhanceYourCalm, 'too many resets');
      return;
    }
    if (stream !== undefined) this.#forget(stream, false);
  }

  #onSettings(bytes: Buffer, start: number, size: number, flags: number, id: number): void {
    if (id !== 0) {
      this.#fail(errorCode.protocol, 'SETTINGS on a stream');
      return;
    }
    if ((flags & flag.ack) !== 0) {
      if (size !== 0) this.#fail(errorCode.frameSize, 'an acknowledgement that says something');
      else this.#burden();
      return;
    }
    if (size % 6 !== 0) {
      this.#fail(errorCode.frameSize, 'SETTINGS of another size');
      return;
    }
    if (!this.#burden()) return;
    const settings = readSettings(bytes, start, size);
    if (settings.fault !== undefined) return this.#fail(settings.fault, 'invalid SETTINGS');
    if (settings.headerTableSize !== undefined) this.#encoder.limit(settings.headerTableSize);
    if (settings.initialWindowSize !== undefined && !this.#resizeWindows(settings.initialWindowSize)) return;
    this.#output.settingsAck();
    this.#sender.pumpAll();
  }

  #resizeWindows(size: number): boolean {
    const by = size - this.#sender.initialWindow;
    this.#sender.initialWindow = size;
    for (const stream of this.#streams.values()) {
      stream.sendWindow += by;
      if (stream.sendWindow <= maxWindow) continue;
      this.#fail(errorCode.flowControl, 'window too large');
      return false;
    }
    return true;
  }

  #onPing(bytes: Buffer, start: number, size: number, flags: number, id: number): void {
    if (id !== 0) {
      this.#fail(errorCode.protocol, 'PING on a stream');
      return;
    }
    if (size !== 8) {
      this.#fail(errorCode.frameSize, 'PING of another size');
      return;
    }
    if ((flags & flag.ack) !== 0) {
      if (this.#leaving === 'announced' && bytes.compare(leavePing, 0, 8, start, start + 8) === 0) this.#leave();
      else this.#burden();
      return;
    }
    if (!this.#burden()) return;
    this.#output.ping(bytes, start, true);
  }

  #onPriority(bytes: Buffer, start: number, size: number, id: number): void {
    if (id === 0) {
      this.#fail(errorCode.protocol, 'PRIORITY on no stream');
      return;
    }
    if (!this.#burden()) return;
    const fault =
      size !== 5
        ? errorCode.frameSize
        : (readUint32(bytes, start) & maxStreamId) === id
          ? errorCode.protocol
          : undefined;
    if (fault === undefined) return;
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.reset(stream, fault);
    // A stream that is not there cannot be reset.
    else if (id > this.#lastId) this.#fail(fault, 'invalid PRIORITY');
    else this.#output.reset(id, fault);
  }

  /** Counts a frame that does nothing for anybody; false when there were too many and the connection is over. */
  #burden(): boolean {
    if (this.#idleFrames.take()) return true;
    this.#fail(errorCode.enhanceYourCalm, 'too many frames that carry nothing');
    return false;
  }

  // Windows of what is received ----------------------------------------------------------------------------------------------

  /** Somebody has read `n` bytes of a body. */
  #credit(stream: Http2Stream, n: number): void {
    this.#creditConnection(n);
    if (stream.remoteEnded || !this.#streams.has(stream.id)) return;
    stream.creditable += n;
    if (stream.creditable < streamWindow / 2) return;
    if (stream.localEnded) {
      // It has its answer: nobody wants the rest.
      this.reset(stream, errorCode.noError);
      return;
    }
    stream.receiveWindow += stream.creditable;
    this.#output.windowUpdate(stream.id, stream.creditable);
    stream.creditable = 0;
  }

  #creditConnection(n: number): void {
    this.#creditable += n;
    if (this.#creditable < connectionWindow / 2) return;
    this.#receiveWindow += this.#creditable;
    this.#output.windowUpdate(0, this.#creditable);
    this.#creditable = 0;
  }

  // Answers and ends --------------------------------------------------------------------------------------------------------

  sendHeaders(
    stream: Http2Stream,
    status: number,
    headers: Readonly<Record<string, string | number | readonly string[]>>,
    end: boolean,
  ): void {
    const encoder = this.#encoder;
    encoder.begin(status);
    for (const name in headers) {
      const value = headers[name]!;
      if (typeof value === 'string') encoder.field(name, value);
      else if (typeof value === 'number') encoder.field(name, String(value));
      else if (value !== undefined) for (const one of value) encoder.field(name, String(one));
    }
    if (headers['date'] === undefined) encoder.field('date', this.#context.date());
    this.#output.headers(stream.id, encoder.bytes, encoder.length, end);
    // So a handler ends the connection that its request came by.
    if (headers['connection'] === 'close') this.goAway();
    if (end) this.#localEnd(stream);
  }

  send(stream: Http2Stream, added: number): void {
    stream.waitingBytes += added;
    this.#sender.waitingBytes += added;
    this.#sender.pump(stream);
  }

  settled(): void {
    this.#working--;
  }

  reset(stream: Http2Stream, code: number): void {
    if (!this.#streams.has(stream.id)) return;
    this.#output.reset(stream.id, code);
    this.#forget(stream, true);
  }

  /** A request that never becomes a stream. */
  #refuse(id: number, code: number): void {
    if (!this.#burden()) return;
    this.#output.reset(id, code);
    this.#closed.add(id, true);
  }

  #localEnd(stream: Http2Stream): void {
    stream.localEnded = true;
    stream.over(true);
    if (stream.remoteEnded) this.#forget(stream, false);
    // What the client still sends is let come to its end.
    else if (this.#leaving === 'said') this.reset(stream, errorCode.noError);
  }

  /** It is no more; `reset`: the client learns so from here. */
  #forget(stream: Http2Stream, reset: boolean): void {
    this.#streams.delete(stream.id);
    this.#closed.add(stream.id, reset);
    this.#headerBytes -= stream.headerSize;
    this.#sender.forget(stream);
    if (!stream.destroyed) stream.over(false);
    if (this.#leaving === 'said' && this.#streams.size === 0) this.#finish();
  }

  /** Those that have come are the last. */
  #leave(): void {
    if (this.#leaving === 'said' || this.#state === 'ended') return;
    this.#leaving = 'said';
    this.#cancelLeave?.();
    this.#lastTaken = this.#lastId;
    this.#output.goAway(this.#lastId, errorCode.noError, '');
    for (const stream of [...this.#streams.values()]) if (stream.localEnded) this.reset(stream, errorCode.noError);
    if (this.#streams.size === 0) this.#finish();
  }

  /** The client has broken the protocol, or is too much of a burden. */
  #fail(code: number, why: string): void {
    if (this.#state === 'ended') return;
    this.#context.logger.debug('http2 connection failed', { code, why });
    this.#output.goAway(this.#lastId, code, why);
    this.#finish();
  }

  /** The last frame is written. What the client still sends is not looked at. */
  #finish(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#fragments = undefined;
    this.#dropAll();
    this.#cancelLeave?.();
    this.#output.end();
    this.#cancelLeave = ioTimer(lingerTimeout, () => this.#socket.destroy());
  }

  #dropAll(): void {
    for (const stream of this.#streams.values()) {
      this.#sender.forget(stream);
      if (!stream.destroyed) stream.over(false);
    }
    this.#streams.clear();
  }

  /** The socket is gone. */
  #end(): void {
    this.#state = 'ended';
    this.#cancelPreface?.();
    this.#cancelLeave?.();
    this.#sender.close();
    this.#dropAll();
    this.#onClose();
  }
}
