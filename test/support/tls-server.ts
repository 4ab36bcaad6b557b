/** An HTTPS server of the test's own on a loopback port, with a certificate for the names that it is asked by. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { SystemRandom } from '../../src/base/random.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';

export interface TlsServer extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  /** Base64 of it, as `caBundle` wants it. */
  readonly caBundle: string;
  readonly server: https.Server;
}

export interface TlsServerOptions {
  readonly dnsNames?: readonly string[];
  /** PEM: certificates of these authorities are asked for. */
  readonly clientCA?: string;
  readonly handle: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void | Promise<void>;
}

export async function startTlsServer(options: TlsServerOptions): Promise<TlsServer> {
  const pki = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [
      {
        name: 'server',
        ca: 'ca',
        commonName: 'server',
        usages: ['server'],
        dnsNames: ['localhost', ...(options.dnsNames ?? [])],
        addresses: ['127.0.0.1'],
      },
    ],
  });
  const ca = pki.get('ca.crt')!;
  const server = https.createServer(
    {
      cert: pki.get('server.crt')!,
      key: pki.get('server.key')!,
      ...(options.clientCA === undefined ? {} : { ca: options.clientCA, requestCert: true, rejectUnauthorized: false }),
    },
    (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (c: Buffer) => chunks.push(c));
      request.on('end', () => {
        Promise.resolve(options.handle(request, response, Buffer.concat(chunks))).catch((error: unknown) => {
          response.writeHead(500, { 'content-type': 'text/plain' });
          response.end(String(error));
        });
      });
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `https://127.0.0.1:${port}`,
    ca,
    caBundle: Buffer.from(ca).toString('base64'),
    server,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
