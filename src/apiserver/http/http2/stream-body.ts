/**
 * `StreamBody`: the body of a request as its frames bring it. A handler reads it whole, or as a stream where it is passed on; what
 * has been read is credited to the client, so nobody has to hold more than a window of it.
 */
import { Readable } from 'node:stream';
import { badRequest } from '../../../api/status.ts';
import { tooLarge } from '../read-body.ts';

/** Gives a client room to send `bytes` more. */
export type Credit = (bytes: number) => void;

const empty = Buffer.alloc(0);

interface Reading {
  readonly limit: number;
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: Error) => void;
}

function clientLeft(): Error {
  return badRequest('unable to read the request body: the client went away');
}

class BodyReadable extends Readable {
  readonly #resume: () => void;
  readonly #leave: () => void;

  constructor(resume: () => void, leave: () => void) {
    super();
    this.#resume = resume;
    this.#leave = leave;
    // Whoever passes it on sees it end; nobody else has to.
    this.on('error', () => {});
  }

  override _read(): void {
    this.#resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#leave();
    done(error);
  }
}

/** A `RequestBody`. */
export class StreamBody {
  readonly kind = 'bytes' as const;
  readonly #declared: number;
  readonly #credit: Credit;
  /** What has come and nobody has taken. */
  #waiting: Buffer[] = [];
  /** All that has come. */
  #size = 0;
  /** What of it the client has no credit for yet. */
  #owed = 0;
  #state: 'open' | 'ended' | 'aborted' = 'open';
  /** What comes is dropped. */
  #discards = false;
  #reading: Reading | undefined = undefined;
  #readable: BodyReadable | undefined = undefined;
  #wanted = false;

  /** `declared`: its content-length, or -1. */
  constructor(declared: number, credit: Credit) {
    this.#declared = declared;
    this.#credit = credit;
  }

  read(limit: number): Promise<Buffer> {
    if (this.#declared > limit) return this.#refuse(tooLarge(limit));
    if (this.#state === 'aborted') return Promise.reject(clientLeft());
    this.#settle();
    if (this.#size > limit) return this.#refuse(tooLarge(limit));
    if (this.#state === 'ended') return Promise.resolve(this.#whole());
    return new Promise((resolve, reject) => {
      this.#reading = { limit, resolve, reject };
    });
  }

  readonly stream = (): Readable => {
    this.#readable ??= new BodyReadable(
      () => {
        this.#wanted = true;
        this.#feed();
      },
      () => this.discard(),
    );
    if (this.#state === 'aborted') this.#readable.destroy(clientLeft());
    return this.#readable;
  };

  /** Nobody is going to read it. */
  discard(): void {
    this.#discards = true;
    this.#waiting = [];
    this.#settle();
  }

  push(bytes: Buffer): void {
    if (this.#discards) {
      this.#credit(bytes.length);
      return;
    }
    this.#waiting.push(bytes);
    this.#size += bytes.length;
    this.#owed += bytes.length;
    if (this.#readable !== undefined) {
      this.#feed();
      return;
    }
    const reading = this.#reading;
    if (reading === undefined) return;
    this.#settle();
    if (this.#size <= reading.limit) return;
    this.#reading = undefined;
    reading.reject(tooLarge(reading.limit));
    this.discard();
  }

  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    if (this.#readable !== undefined) this.#feed();
    const reading = this.#reading;
    this.#reading = undefined;
    reading?.resolve(this.#whole());
  }

  /** The stream is over. What had come to its end can still be read; what had not is no body. */
  close(): void {
    this.#settle();
    if (this.#state !== 'open') return;
    this.#state = 'aborted';
    this.discard();
    this.#readable?.destroy(clientLeft());
    const reading = this.#reading;
    this.#reading = undefined;
    reading?.reject(clientLeft());
  }

  #refuse(error: Error): Promise<never> {
    this.discard();
    return Promise.reject(error);
  }

  #settle(): void {
    const owed = this.#owed;
    this.#owed = 0;
    if (owed > 0) this.#credit(owed);
  }

  #whole(): Buffer {
    const parts = this.#waiting;
    this.#waiting = [];
    if (parts.length === 0) return empty;
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts, this.#size);
  }

  #feed(): void {
    const readable = this.#readable!;
    while (this.#wanted && this.#waiting.length > 0) {
      const bytes = this.#waiting.shift()!;
      this.#owed -= bytes.length;
      this.#credit(bytes.length);
      this.#wanted = readable.push(bytes);
    }
    if (this.#state === 'ended' && this.#waiting.length === 0 && this.#wanted) {
      this.#wanted = false;
      readable.push(null);
    }
  }
}
