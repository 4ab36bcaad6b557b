/** A small image registry on 127.0.0.1: what a pull asks for, with no, basic or bearer authentication. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { OciImage } from '../../../src/kubelet/runtime/cri/oci-archive.ts';

export interface RegistryOptions {
  readonly auth?: 'basic' | 'bearer';
  readonly username?: string;
  readonly password?: string;
}

export interface Registry {
  /** `127.0.0.1:port`: the first part of its images' names. */
  readonly host: string;
  /** Paths that were asked for, in order. */
  readonly requests: readonly string[];
  push(repository: string, tag: string, image: OciImage): void;
  close(): Promise<void>;
}

const token = 'a-token-of-the-test';

export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const tags = new Map<string, { image: OciImage; digest: string }>();
  const blobs = new Map<string, Buffer>();
  const requests: string[] = [];
  const basic = `Basic ${Buffer.from(`${options.username}:${options.password}`).toString('base64')}`;
  let host = '';

  const answer = (response: ServerResponse, status: number, body: Buffer | object, headers = {}): void => {
    const data = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    response.writeHead(status, { 'content-length': data.length, ...headers });
    response.end(response.req.method === 'HEAD' ? undefined : data);
  };
  const refuse = (response: ServerResponse): void => {
    const challenge =
      options.auth === 'bearer' ? `Bearer realm="http://${host}/token",service="test"` : 'Basic realm="test"';
    answer(response, 401, { errors: [{ code: 'UNAUTHORIZED' }] }, { 'www-authenticate': challenge });
  };
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const path = new URL(request.url!, 'http://registry').pathname;
    requests.push(path);
    const given = request.headers.authorization;
    if (path === '/token') {
      if (given === basic) answer(response, 200, { token, access_token: token, expires_in: 300 });
      else refuse(response);
      return;
    }
    if (options.auth === 'basic' && given !== basic) return refuse(response);
    if (options.auth === 'bearer' && given !== `Bearer ${token}`) return refuse(response);
    if (path === '/v2/') return answer(response, 200, {});
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path);
    if (match?.[2] === 'manifests') {
      const reference = match[3]!;
      const digest = reference.includes(':') ? reference : tags.get(`${match[1]}:${reference}`)?.digest;
      const data = digest === undefined ? undefined : blobs.get(digest);
      if (data !== undefined)
        return answer(response, 200, data, {
          'content-type': (JSON.parse(data.toString()) as { mediaType: string }).mediaType,
          'docker-content-digest': digest,
        });
      return answer(response, 404, { errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] });
    }
    const blob = match === null ? undefined : blobs.get(match[3]!);
    if (blob !== undefined) return answer(response, 200, blob, { 'content-type': 'application/octet-stream' });
    answer(response, 404, { errors: [{ code: 'BLOB_UNKNOWN' }] });
  };

  const server = createServer(serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    requests,
    push(repository, tag, image) {
      for (const [digest, data] of image.blobs) blobs.set(digest, data);
      tags.set(`${repository}:${tag}`, { image, digest: image.manifest.digest });
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
