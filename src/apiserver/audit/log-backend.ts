/**
 * Audit events as lines of a file that is rotated when it is full, or of standard output. The writes are synchronous: a line
 * that a request has waited for is with the system, and lines never mix.
 */
import { chmodSync, closeSync, mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { pluginError, type AuditBackend, type BackendParts } from './backend.ts';
import { auditJson, auditLegacyLine, type AuditEvent } from './event.ts';

export interface LogFileOptions {
  readonly path: string;
  /** Mebibytes; 0: never rotated. */
  readonly maxSize: number;
  /** Days; 0: kept for ever. */
  readonly maxAge: number;
  /** 0: all. */
  readonly maxBackups: number;
  readonly compress: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const dayMs = 86_400_000;
const suffix = '.gz';

/** A file that moves aside as `name-2006-01-02T15-04-05.000.ext` when it has grown too large. */
export class RotatedFile {
  readonly #options: LogFileOptions;
  readonly #maxBytes: number;
  #fd: number | undefined;
  #size = 0;
  #milling: Promise<void> | undefined;
  #millAgain = false;

  /** Makes the folder and the file, as its errors are those of the start. */
  constructor(options: LogFileOptions) {
    this.#options = options;
    this.#maxBytes = options.maxSize === 0 ? Infinity : options.maxSize * 1024 * 1024;
    mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
    this.#open();
    this.#mill();
  }

  #open(): number {
    const { path } = this.#options;
    const fd = openSync(path, 'a', 0o600);
    this.#fd = fd;
    this.#size = statSync(path).size;
    return fd;
  }

  write(text: string): void {
    const bytes = Buffer.from(text);
    if (bytes.length > this.#maxBytes)
      throw new Error(`write length ${bytes.length} exceeds maximum file size ${this.#maxBytes}`);
    let fd = this.#fd ?? this.#open();
    if (this.#size + bytes.length > this.#maxBytes) fd = this.rotate();
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    this.#size += bytes.length;
  }

  /** Moves what there is aside and begins anew. */
  rotate(): number {
    const { path, clock } = this.#options;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    const mode = statSync(path).mode & 0o777;
    const time = new Date(clock.now()).toISOString().replace('Z', '').replaceAll(':', '-');
    const ext = extname(path);
    renameSync(path, join(dirname(path), `${basename(path, ext)}-${time}${ext}`));
    const fd = this.#open();
    chmodSync(path, mode);
    this.#mill();
    return fd;
  }

  /** Removes and compresses old files, one turn at a time. */
  #mill(): void {
    if (this.#milling !== undefined) {
      this.#millAgain = true;
      return;
    }
    this.#milling = this.#millOnce()
      .catch((error: unknown) => this.#options.logger.warn('old audit logs were not cleared away', { error }))
      .finally(() => {
        this.#milling = undefined;
        if (!this.#millAgain) return;
        this.#millAgain = false;
        this.#mill();
      });
  }

  async #millOnce(): Promise<void> {
    const { path, maxAge, maxBackups, compress, clock } = this.#options;
    if (maxAge === 0 && maxBackups === 0 && !compress) return;
    const folder = dirname(path);
    const ext = extname(path);
    const prefix = `${basename(path, ext)}-`;
    const old: { name: string; time: number }[] = [];
    for (const name of await readdir(folder)) {
      const bare = name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
      if (!bare.startsWith(prefix) || !bare.endsWith(ext)) continue;
      const m = /^(\d{4}-\d\d-\d\dT)(\d\d)-(\d\d)-(\d\d\.\d{3})$/.exec(
        bare.slice(prefix.length, bare.length - ext.length),
      );
      if (m !== null) old.push({ name, time: Date.parse(`${m[1]}${m[2]}:${m[3]}:${m[4]}Z`) });
    }
    old.sort((a, b) => b.time - a.time);
    const kept = new Set<string>();
    for (const { name, time } of old) {
      const bare = name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
      kept.add(bare);
      const file = join(folder, name);
      if ((maxBackups > 0 && kept.size > maxBackups) || (maxAge > 0 && time < clock.now() - maxAge * dayMs))
        await unlink(file);
      else if (compress && bare === name) await this.#compress(file);
    }
  }

  async #compress(file: string): Promise<void> {
    const half = `${file}${suffix}.tmp`;
    await pipeline(createReadStream(file), createGzip(), createWriteStream(half, { mode: 0o600 }));
    await chmod(half, statSync(file).mode & 0o777);
    await rename(half, `${file}${suffix}`);
    await unlink(file);
  }

  async close(): Promise<void> {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    while (this.#milling !== undefined) await this.#milling;
  }
}

export type AuditFormat = 'legacy' | 'json';
export const auditFormats: readonly AuditFormat[] = ['legacy', 'json'];

export interface AuditOutput {
  write(text: string): void;
  close(): Promise<void>;
}

/** `--audit-log-path=-` */
export function standardOutput(): AuditOutput {
  return { write: (text) => void process.stdout.write(text), close: () => Promise.resolve() };
}

/** Writes each event as a line. */
export function logBackend(output: AuditOutput, format: AuditFormat, parts: BackendParts): AuditBackend {
  const line = format === 'json' ? auditJson : auditLegacyLine;
  return {
    process(events: readonly AuditEvent[]) {
      try {
        output.write(events.length === 1 ? line(events[0]!) : events.map(line).join(''));
        return true;
      } catch (error) {
        pluginError(parts, 'log', error, events);
        return false;
      }
    },
    close: () => output.close(),
  };
}
