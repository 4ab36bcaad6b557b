import assert from 'node:assert/strict';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { KubeletContext } from '../context.ts';
import { grpcProbe } from './probe-grpc.ts';

/** A host that dials for real is all that a probe needs. */
const ctx = {
  host: {
    dialTcp: (host: string, port: number) =>
      new Promise((resolve, reject) => {
        const socket = connect({ host, port }, () => resolve(socket));
        socket.once('error', reject);
      }),
  },
} as unknown as KubeletContext;

test('the health service’s answers, in upstream’s words', async (t) => {
  const server = createServer();
  server.on('stream', (stream) => {
    const chunks: Buffer[] = [];
    stream.on('data', (c: Buffer) => chunks.push(c));
    stream.on('end', () => {
      const name = Buffer.concat(chunks).subarray(7).toString();
      if (name === 'never') return;
      if (name === 'none') {
        stream.respond({ ':status': 200, 'grpc-status': '12', 'grpc-message': 'unknown service' }, { endStream: true });
        return;
      }
      if (name === 'broken') {
        stream.respond({ ':status': 200, 'grpc-status': '13', 'grpc-message': 'it%20broke' }, { endStream: true });
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, name === 'down' ? 2 : 1]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  t.after(() => server.close());
  const probe = async (service: string, to = port): Promise<string> =>
    (await grpcProbe(ctx, '127.0.0.1', to, service, 1000)).output;
  assert.equal(await probe(''), 'service healthy');
  assert.equal(await probe('down'), 'service unhealthy (responded with "NOT_SERVING")');
  assert.equal(
    await probe('none'),
    'error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service',
  );
  assert.equal(await probe('broken'), 'error: health rpc probe failed: rpc error: code = Internal desc = it broke');
  assert.equal(await probe('never'), 'timeout: health rpc did not complete within 1s');
  assert.equal(
    await probe('', 1),
    'timeout: failed to connect service "127.0.0.1:1" within 1s: context deadline exceeded',
  );
});
