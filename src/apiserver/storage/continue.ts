/** Continue tokens and the errors of lists and watches that ask for a revision which is gone or has not happened yet. */
import { JsonSyntaxError, parseJson } from '../../api/codec/json.ts';
import { badRequest, resourceExpired, StatusError } from '../../api/status.ts';
import type { Status } from '../../api/status.ts';
import { fromKeyText, toKeyText } from './keys.ts';

export interface ContinueToken {
  /** Full key at which the next page starts. */
  readonly startKey: string;
  /** Revision of the list; -1: whatever is newest. */
  readonly revision: number;
}

const tokenVersion = 'meta.k8s.io/v1';
const alphabet = /^[A-Za-z0-9_-]*$/;

function invalidToken(message: string): StatusError {
  return badRequest(`invalid continue token: ${message}`);
}

function decodeBase64Url(text: string): string {
  if (!alphabet.test(text)) {
    const at = [...text].findIndex((c) => !/[A-Za-z0-9_-]/.test(c));
    throw invalidToken(`continue key is not valid: illegal base64 data at input byte ${at}`);
  }
  if (text.length % 4 === 1) {
    throw invalidToken(`continue key is not valid: illegal base64 data at input byte ${text.length - 1}`);
  }
  return Buffer.from(text, 'base64url').toString('utf8');
}

/**
 * Reads a token that was given out for lists below `prefix`.
 * @throws {StatusError} 400
 */
export function decodeContinue(text: string, prefix: string): ContinueToken {
  const json = decodeBase64Url(text);
  let token: { v?: unknown; rv?: unknown; start?: unknown };
  try {
    token = parseJson(Buffer.from(json, 'utf8')).value as typeof token;
  } catch (e) {
    if (!(e instanceof JsonSyntaxError)) throw e;
    throw invalidToken(`continue key is not valid: ${e.message}`);
  }
  if (typeof token !== 'object' || token === null) throw invalidToken('continue key is not valid');
  const version = typeof token.v === 'string' ? token.v : '';
  if (version !== tokenVersion) {
    throw invalidToken(
      `continue key is not valid: server does not recognize this encoded version${version === '' ? ' ' : ` ${version}`}`,
    );
  }
  if (typeof token.rv !== 'number' || !Number.isSafeInteger(token.rv) || token.rv === 0) {
    throw invalidToken('continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)');
  }
  if (typeof token.start !== 'string' || token.start === '') {
    throw invalidToken('continue key is not valid: encoded start key empty (version meta.k8s.io/v1)');
  }
  // A token must not lead out of its prefix.
  const start = token.start.startsWith('/') ? token.start : `/${token.start}`;
  const parts = start.slice(1).split('/');
  if (parts.some((p) => p === '' || p === '.' || p === '..')) {
    throw invalidToken(`continue key is not valid: ${token.start}`);
  }
  return { startKey: prefix + toKeyText(start.slice(1)), revision: token.rv };
}

/** The token for the page that starts at `startKey`. */
export function encodeContinue(startKey: string, prefix: string, revision: number): string {
  const start = fromKeyText(startKey.slice(prefix.length));
  return Buffer.from(JSON.stringify({ v: tokenVersion, rv: revision, start }), 'utf8').toString('base64url');
}

/** 410 that carries a token with which the client may go on inconsistently. */
class InconsistentContinueError extends StatusError {
  readonly continue: string;

  constructor(token: string) {
    super(
      410,
      'Expired',
      'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
        'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
        'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or ' +
        'deleted between the time the first chunk was returned and now may show up in the list.',
    );
    this.continue = token;
  }

  override toStatus(): Status {
    const status = super.toStatus();
    status.metadata = { continue: this.continue };
    return status;
  }
}

export function expiredContinue(startKey: string, prefix: string): StatusError {
  return new InconsistentContinueError(encodeContinue(startKey, prefix, -1));
}

export function expiredList(): StatusError {
  return resourceExpired('The resourceVersion for the provided list is too old.');
}

/** `too old resource version: 5 (100)`: the second is the oldest from which a watch can start. */
export function tooOldResourceVersion(asked: number, oldest: number): StatusError {
  return resourceExpired(`too old resource version: ${asked} (${oldest})`);
}

/** 504: the revision has not been seen within the time a reader is made to wait. */
export function tooLargeResourceVersion(asked: number, current: number): StatusError {
  return new StatusError(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

const uint64Max = 18446744073709551615n;

/**
 * A resource version as a number; 0 for the empty one.
 * @param prefix of the message; without one it is told as the server's own fault
 * @throws {StatusError} 400, 500
 */
export function parseResourceVersion(text: string, prefix = 'invalid resource version: '): number {
  if (text === '' || text === '0') return 0;
  const syntax = !/^[0-9]+$/.test(text);
  if (syntax || BigInt(text) > uint64Max) {
    const why = syntax ? 'invalid syntax' : 'value out of range';
    const quoted = JSON.stringify(text);
    const message = `resourceVersion: Invalid value: ${quoted}: strconv.ParseUint: parsing ${quoted}: ${why}`;
    throw prefix === '' ? new StatusError(500, '', message) : badRequest(`${prefix}${message}`);
  }
  return Number(text);
}
