/** `--max-connection-bytes-per-sec`: all of it arrives, both ways, and not before its time. */
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { ioNow } from '../../base/io-time.ts';
import type { Dialer } from '../dialer.ts';
import { pacedDialer } from './paced-dialer.ts';

test('a connection carries so many bytes a second, each way, and ends when both ends have ended', async () => {
  const [here, there] = duplexPair();
  const plain: Dialer = { dialNode: () => Promise.resolve(here), dialTcp: () => Promise.resolve(here) };
  assert.equal(pacedDialer(plain, 0), plain);
  const stream = await pacedDialer(plain, 1_000_000).dialTcp('10.0.0.1', 80);
  const sent = Buffer.alloc(100_000, 'abcdefghij');
  const began = ioNow();
  const echoed = (async () => {
    const chunks: Buffer[] = [];
    for await (const chunk of there) chunks.push(chunk as Buffer);
    there.end(Buffer.concat(chunks));
  })();
  stream.end(sent);
  const back: Buffer[] = [];
  for await (const chunk of stream) back.push(chunk as Buffer);
  await echoed;
  assert.ok(Buffer.concat(back).equals(sent));
  // A tenth of a second there; what comes back is only paced against itself.
  assert.ok(ioNow() - began >= 95, `${ioNow() - began}`);
});

test('what fails there fails here', async () => {
  const [here] = duplexPair();
  const stream = await pacedDialer(
    { dialNode: () => Promise.resolve(here), dialTcp: () => Promise.resolve(here) },
    1000,
  ).dialNode('n', '10.0.0.1', 10_250);
  const failed = new Promise<Error>((resolve) => stream.once('error', resolve));
  here.destroy(new Error('reset'));
  assert.equal((await failed).message, 'reset');
});
