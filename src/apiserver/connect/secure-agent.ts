/**
 * HTTPS connections (and plain ones, where a configuration file asks for them) that the API server opens to servers of users (webhooks, aggregated servers): kept alive and used again,
 * over any stream a dialer gives, verified as Go verifies (subject alternative names alone, any certificate of the bundle is
 * a root).
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { connect as connectTcp, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { ioTimer } from '../../base/io-time.ts';
import type { Dialer } from '../dialer.ts';
import { joinHostPort } from '../../base/host-port.ts';
import { goNetworkError } from './go-errors.ts';

const handshakeTimeout = 10_000;
const dialTimeout = 30_000;
/** Connections of one agent that wait for the next request. */
const maxIdle = 16;

export interface ClientCertificate {
  readonly certificate: string;
  readonly key: string;
}

export interface SecureTarget {
  /** Whom the certificate must name: a DNS name or an address. */
  readonly serverName: string;
  /** PEM; the system's authorities when left out. */
  readonly ca?: string | undefined;
  readonly insecure?: boolean;
  /** PEM; shown to the server. */
  readonly clientCertificate?: ClientCertificate | (() => Promise<ClientCertificate | undefined>) | undefined;
  /** Opens the stream on which TLS is spoken. */
  dial(): Promise<Duplex>;
}

function identityError(message: string): Error {
  return Object.assign(new Error(message), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
}

/** Names as Go checks them: a certificate without alternative names names nobody. */
export function verifyIdentity(host: string, certificate: tls.PeerCertificate): Error | undefined {
  const names = certificate.subjectaltname ?? '';
  if (names === '') return identityError('certificate relies on legacy Common Name field, use SANs instead');
  if (tls.checkServerIdentity(host, certificate) === undefined) return undefined;
  const listed = (prefix: string): string[] =>
    names
      .split(', ')
      .filter((n) => n.startsWith(prefix))
      .map((n) => n.slice(prefix.length));
  if (isIP(host) !== 0) {
    const addresses = listed('IP Address:');
    if (addresses.length === 0)
      return identityError(`cannot validate certificate for ${host} because it doesn't contain any IP SANs`);
    return identityError(`certificate is valid for ${addresses.join(', ')}, not ${host}`);
  }
  const domains = listed('DNS:');
  if (domains.length === 0) return identityError(`certificate is not valid for any names, but wanted to match ${host}`);
  return identityError(`certificate is valid for ${domains.join(', ')}, not ${host}`);
}

/** TLS over a new stream; resolves when the server has been verified. */
export async function connectSecurely(target: SecureTarget): Promise<tls.TLSSocket> {
  const { clientCertificate: given } = target;
  const clientCertificate = typeof given === 'function' ? await given() : given;
  const stream = await target.dial();
  return new Promise((resolve, reject) => {
    const { serverName, ca, insecure } = target;
    const socket = tls.connect({
      socket: stream,
      host: serverName,
      ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
      ...(ca === undefined || ca === '' ? {} : { ca, allowPartialTrustChain: true }),
      ...(insecure === true ? { rejectUnauthorized: false } : { checkServerIdentity: verifyIdentity }),
      ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
    });
    const cancel = ioTimer(handshakeTimeout, () => socket.destroy(new Error('net/http: TLS handshake timeout')));
    const fail = (error: Error): void => {
      cancel();
      stream.destroy();
      reject(error);
    };
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      cancel();
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

/** An agent for requests to one server. */
export class SecureAgent extends https.Agent {
  readonly #target: SecureTarget;

  constructor(target: SecureTarget) {
    super({ keepAlive: true, maxFreeSockets: maxIdle });
    this.#target = target;
  }

  override createConnection(
    _options: https.RequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    connectSecurely(this.#target).then(
      (socket) => callback?.(null, socket),
      (error: unknown) => callback?.(error as Error, undefined as never),
    );
  }
}

/** As `SecureAgent`, for a server that is spoken to without TLS. */
export class PlainAgent extends http.Agent {
  readonly #dial: SecureTarget['dial'];

  constructor(dial: SecureTarget['dial']) {
    super({ keepAlive: true, maxFreeSockets: maxIdle });
    this.#dial = dial;
  }

  override createConnection(
    _options: http.ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#dial().then(
      (stream) => callback?.(null, stream),
      (error: unknown) => callback?.(error as Error, undefined as never),
    );
  }
}

/**
 * A plain stream to a host. Addresses go by the dialer first, which knows those of pods and Services also where they exist
 * in this process alone; names, this machine and what the dialer has no way to are reached over the machine's network.
 */
export async function dialHost(dialer: Dialer, host: string, port: number): Promise<Duplex> {
  const local = host === 'localhost' || host.startsWith('127.') || host === '::1';
  if (!local && isIP(host) !== 0) {
    try {
      return await dialer.dialTcp(host, port);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'EHOSTUNREACH') throw error;
    }
  }
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port, noDelay: true });
    const cancel = ioTimer(dialTimeout, () =>
      socket.destroy(new Error(`dial tcp ${joinHostPort(host, port)}: i/o timeout`)),
    );
    const fail = (error: Error): void => {
      cancel();
      reject(new Error(goNetworkError(error, host, port), { cause: error }));
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      cancel();
      socket.off('error', fail);
      resolve(socket);
    });
  });
}
