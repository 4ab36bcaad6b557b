/**
 * Exec and attach sessions, apart from the protocol that carries them: joins the streams of the runtime with those of the client
 * and reports how it ended.
 */
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ExecStreams, TerminalSize } from '../runtime/container-runtime.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';

/** The client's side of a session. Streams that it did not ask for are undefined. */
export interface ClientSession {
  /** Ends when the client closes its side (or goes away). */
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  onResize(listener: (size: TerminalSize) => void): void;
  /** Resolves when the client has gone. */
  readonly closed: Promise<void>;
  /** Tells the outcome in the form of the protocol. */
  finish(outcome: Outcome): Promise<void>;
}

export type Outcome =
  | { readonly kind: 'success' }
  | { readonly kind: 'exit'; readonly code: number; readonly command: readonly string[] }
  | { readonly kind: 'error'; readonly message: string };

/** The members of metav1.Status that an outcome has. */
export interface OutcomeStatus {
  metadata?: Record<string, never>;
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  details?: { causes: { reason?: string; message: string }[] };
  code?: number;
}

/**
 * An outcome as the status that is written to the error channel. In version 5 upstream's translator stands between the client
 * and the runtime and words it once more.
 */
export function outcomeStatus(outcome: Outcome, version: 4 | 5): OutcomeStatus {
  const metadata = version === 5 ? { metadata: {} } : {};
  switch (outcome.kind) {
    case 'success':
      return { ...metadata, status: 'Success' };
    case 'exit': {
      const what =
        version === 5
          ? `command terminated with exit code ${outcome.code}`
          : `error executing command [${outcome.command.join(' ')}], exit code ${outcome.code}`;
      return {
        ...metadata,
        status: 'Failure',
        message: `command terminated with non-zero exit code: ${what}`,
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: String(outcome.code) }] },
      };
    }
    case 'error': {
      const inner = `Internal error occurred: ${outcome.message}`;
      return {
        ...metadata,
        status: 'Failure',
        message: version === 5 ? `Internal error occurred: ${inner}` : inner,
        reason: 'InternalError',
        ...(version === 5 ? { details: { causes: [{ message: inner }] } } : {}),
        code: 500,
      };
    }
  }
}

async function copy(from: NodeJS.ReadableStream | undefined, to: Writable | undefined): Promise<void> {
  if (from === undefined || to === undefined) return;
  try {
    await pipeline(from, to);
  } catch {
    // The client has gone; `closed` tells so, and what else comes out has no reader.
    (from as Readable).resume();
  }
}

/** Runs a session to its end. `open` starts it in the runtime. */
export async function runSession(
  session: ClientSession,
  open: () => Promise<ExecStreams>,
  what: { readonly failure: string; readonly command?: readonly string[] },
): Promise<void> {
  let outcome: Outcome;
  try {
    const streams = await open();
    // A client that leaves ends the session, also one that left while it was being opened.
    void session.closed.then(() => streams.close());
    session.onResize((size) => streams.resize(size));
    const { stdin } = streams;
    if (session.stdin !== undefined && stdin !== undefined) {
      // The process may end without reading all that the client sends.
      stdin.on('error', () => session.stdin?.resume());
      stdin.on('close', () => session.stdin?.resume());
      session.stdin.on('error', () => stdin.end());
      session.stdin.pipe(stdin as Writable);
    }
    const copied = Promise.all([copy(streams.stdout, session.stdout), copy(streams.stderr, session.stderr)]);
    const code = await streams.done;
    await copied;
    outcome = code === 0 ? { kind: 'success' } : { kind: 'exit', code, command: what.command ?? [] };
  } catch (error) {
    // The runtime's streaming server says it itself: without the form of a gRPC error.
    const why =
      error instanceof RuntimeError ? error.description : error instanceof Error ? error.message : String(error);
    outcome = { kind: 'error', message: `${what.failure}: ${why}` };
  }
  await session.finish(outcome);
}
