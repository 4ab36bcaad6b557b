import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { createDeflate, constants } from 'node:zlib';
import type { SpdyStream } from './spdy.ts';
import { SpdyConnection, SpdyReset } from './spdy.ts';
import { HeaderDecoder, HeaderEncoder } from './spdy-headers.ts';

function pair(onStream: (stream: SpdyStream) => void): { client: SpdyConnection; server: SpdyConnection } {
  const [a, b] = duplexPair();
  return {
    client: new SpdyConnection(a, { role: 'client' }),
    server: new SpdyConnection(b, { role: 'server', onStream }),
  };
}

test('header blocks follow each other in one compression state', async () => {
  const encoder = new HeaderEncoder();
  const decoder = new HeaderDecoder();
  assert.deepEqual(await decoder.decode(encoder.encode({ streamType: 'data', port: '80' })), {
    __proto__: null,
    streamtype: 'data',
    port: '80',
  });
  assert.deepEqual(await decoder.decode(encoder.encode({})), { __proto__: null });
  assert.deepEqual(await decoder.decode(encoder.encode({ x: 'y'.repeat(70_000) })), {
    __proto__: null,
    x: 'y'.repeat(70_000),
  });
  await assert.rejects(new HeaderDecoder().decode(Buffer.from('nonsense')), /incorrect header check/);
  // A bomb: 4 MB of zeros in a few KB.
  const deflate = createDeflate({ flush: constants.Z_SYNC_FLUSH });
  const chunks: Buffer[] = [];
  deflate.on('data', (c: Buffer) => chunks.push(c));
  await new Promise((resolve) => deflate.write(Buffer.alloc(4 * 1024 * 1024), resolve));
  await assert.rejects(new HeaderDecoder().decode(Buffer.concat(chunks)), /too long/);
  decoder.close();
});

test('streams carry bytes both ways, with half-close and back-pressure', async () => {
  const { client, server } = pair((stream) => {
    stream.reply();
    if (stream.headers['kind'] === 'echo') stream.pipe(stream);
    else void buffer(stream).then((all) => stream.end(String(all.length)));
  });
  const [echo, count] = await Promise.all([
    client.createStream({ kind: 'echo' }),
    client.createStream({ kind: 'count' }),
  ]);
  const big = Buffer.alloc(3 * 1024 * 1024, 'x');
  echo.end('hello');
  count.end(big);
  assert.equal(await text(echo), 'hello');
  assert.equal(await text(count), String(big.length));
  await client.ping();
  assert.equal(client.streams, 0);
  assert.equal(server.streams, 0);
  client.close();
  await Promise.all([client.closed, server.closed]);
});

test('a slow reader holds its writer back, not the other streams', async () => {
  const slow: SpdyStream[] = [];
  const { client } = pair((stream) => {
    stream.reply();
    if (stream.headers['kind'] === 'slow') slow.push(stream);
    else stream.pipe(stream);
  });
  const held = await client.createStream({ kind: 'slow' });
  let written = 0;
  const write = (): void => {
    held.write(Buffer.alloc(64 * 1024), () => {
      written += 64 * 1024;
      if (written < 4 * 1024 * 1024) write();
    });
  };
  write();
  const echo = await client.createStream({ kind: 'echo' });
  echo.end('still here');
  assert.equal(await text(echo), 'still here');
  assert.ok(written <= 512 * 1024, `wrote ${written}`);
  let read = 0;
  slow[0]!.on('data', (c: Buffer) => (read += c.length));
  while (read < 4 * 1024 * 1024) await new Promise((resolve) => setImmediate(resolve));
  client.destroy();
});

test('refusals, resets and lost connections are told', async () => {
  const [a, b] = duplexPair();
  const client = new SpdyConnection(a, { role: 'client' });
  const accepted: SpdyStream[] = [];
  const server = new SpdyConnection(b, {
    role: 'server',
    onStream: (stream) => {
      if (stream.headers['no'] !== undefined) stream.refuse();
      else {
        stream.reply();
        accepted.push(stream);
      }
    },
  });
  await assert.rejects(client.createStream({ no: '1' }), SpdyReset);
  const one = await client.createStream({});
  accepted[0]!.on('error', () => {});
  one.reset();
  await new Promise((resolve) => accepted[0]!.once('close', resolve));
  const two = await client.createStream({});
  const end = text(accepted[1]!);
  two.write('partial');
  await client.ping();
  client.destroy();
  assert.equal(await end, 'partial');
  await server.closed;
  await assert.rejects(client.createStream({}), /closed/);
});

test('nonsense ends the connection, not the process', async () => {
  const [a, b] = duplexPair();
  const server = new SpdyConnection(b, { role: 'server' });
  a.on('error', () => {});
  a.resume();
  a.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  a.write(Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0]));
  await new Promise((resolve) => setImmediate(resolve));
  a.end(Buffer.from([0x80, 9, 0, 1, 0, 0, 0, 4, 1, 2, 3, 4]));
  await server.closed;
});
