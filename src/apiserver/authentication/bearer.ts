/** Where a request carries its bearer token: the Authorization header, or a WebSocket sub-protocol (browsers). */
import type { IncomingRequest } from '../request.ts';

const protocolPrefix = 'base64url.bearer.authorization.k8s.io.';

/** The token of `Authorization: Bearer …`; undefined for none and for other schemes. */
export function bearerToken(request: IncomingRequest): string | undefined {
  const given = request.headers['authorization'];
  // As nearly everybody writes it.
  if (given?.startsWith('Bearer ') === true && given.length > 7 && !given.includes(' ', 7)) return given.slice(7);
  const header = given?.trim() ?? '';
  if (header !== '') {
    const parts = header.split(' ');
    if (parts.length >= 2 && parts[0]!.toLowerCase() === 'bearer' && parts[1] !== '') return parts[1];
  }
  return protocolToken(request);
}

/** So many headers are remembered. */
const rememberedHeaders = 256;

/** `bearerToken` for requests that say the same again and again: the token is the same string then, which is hashed only once. */
export class BearerTokens {
  readonly #tokens = new Map<string, string>();

  of(request: IncomingRequest): string | undefined {
    const header = request.headers['authorization'];
    const known = header === undefined ? undefined : this.#tokens.get(header);
    if (known !== undefined) return known;
    const token = bearerToken(request);
    if (header === undefined || token === undefined || !header.endsWith(token)) return token;
    if (this.#tokens.size >= rememberedHeaders) this.#tokens.delete(this.#tokens.keys().next().value!);
    this.#tokens.set(header, token);
    return token;
  }
}

function protocolToken(request: IncomingRequest): string | undefined {
  const protocols = request.headers['sec-websocket-protocol'];
  if (protocols === undefined || request.headers['upgrade']?.toLowerCase() !== 'websocket') return undefined;
  for (const p of protocols.split(',')) {
    const name = p.trim();
    if (!name.startsWith(protocolPrefix)) continue;
    const token = Buffer.from(name.slice(protocolPrefix.length), 'base64url').toString('utf8');
    if (token !== '') return token;
  }
  return undefined;
}
