/**
 * Who is at the other end of a connection: its address and, over TLS, the client certificate it proved. Looked up once a
 * connection, so that the same buffer stands in every request of it.
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { UserInfo } from '../request.ts';

export interface Peer {
  readonly address: string;
  /** DER of the leaf, verified. */
  readonly certificate: Buffer | undefined;
  readonly authority: 'client' | 'front-proxy' | 'both' | undefined;
  readonly error: string | undefined;
  /** Connections of the same process: who they act for. */
  readonly identity: UserInfo | undefined;
}

/** The authorities that sign client certificates; they may change. */
export interface ClientAuthorities {
  client: readonly X509Certificate[];
  frontProxy: readonly X509Certificate[];
}

/** All certificates of a PEM bundle. */
export function parseBundle(pem: string | undefined): X509Certificate[] {
  if (pem === undefined) return [];
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((b) => new X509Certificate(b));
}

function signedBy(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((a) => certificate.checkIssued(a) && certificate.verify(a.publicKey));
}

export function localPeer(identity: UserInfo): Peer {
  return { address: '127.0.0.1', certificate: undefined, authority: undefined, error: undefined, identity };
}

export function peerOf(socket: TLSSocket, authorities: ClientAuthorities): Peer {
  // A socket of both families writes IPv4 callers as mapped addresses.
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
  const none = { address, certificate: undefined, authority: undefined, error: undefined, identity: undefined };
  // A resumed session still knows the certificate that its first handshake proved.
  const shown = socket.getPeerX509Certificate();
  if (shown === undefined) return none;
  if (!socket.authorized) {
    const why = socket.authorizationError as unknown;
    return { ...none, error: `x509: ${why instanceof Error ? why.message : String(why)}` };
  }
  // The chain's top tells which authority it hangs on; intermediates may stand between.
  let top: X509Certificate = shown;
  for (let i = 0; i < 8; i++) {
    const client = signedBy(top, authorities.client);
    const frontProxy = signedBy(top, authorities.frontProxy);
    if (client || frontProxy) {
      const authority = !frontProxy ? 'client' : client ? 'both' : 'front-proxy';
      return { ...none, certificate: shown.raw, authority };
    }
    const issuer = top.issuerCertificate;
    if (issuer === undefined || issuer === top) break;
    top = issuer;
  }
  return { ...none, error: 'x509: certificate signed by unknown authority' };
}
