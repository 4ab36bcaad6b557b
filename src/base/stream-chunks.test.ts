/** Bodies read late, broken and left, over real HTTP/2. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { chunksOf } from './stream-chunks.ts';
import { macrotask } from './yield.ts';

test('an answer that is whole, and whose stream is closed, is still read', async () => {
  const server = http2.createServer((_, response) => response.end('x'.repeat(5000)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    const stream = session.request({ ':path': '/' });
    await once(stream, 'response');
    while (!stream.closed) await macrotask();
    let text = '';
    for await (const chunk of chunksOf(stream)) text += chunk.toString();
    assert.equal(text.length, 5000);
  } finally {
    session.close();
    server.close();
  }
});

test('what breaks a body is told, before its end or at once; who leaves destroys it', async () => {
  const broken = new PassThrough();
  broken.write('a');
  const seen: string[] = [];
  await assert.rejects(async () => {
    for await (const chunk of chunksOf(broken)) {
      seen.push(chunk.toString());
      broken.destroy(new Error('it broke'));
    }
  }, /it broke/);
  assert.deepEqual(seen, ['a']);
  await assert.rejects(chunksOf(broken).next(), /it broke/);
  const cut = new PassThrough();
  cut.destroy();
  await assert.rejects(chunksOf(cut).next(), /ended too early/);
  const left = new PassThrough();
  left.write('a');
  for await (const chunk of chunksOf(left)) if (chunk.length > 0) break;
  assert.equal(left.destroyed, true);
});
