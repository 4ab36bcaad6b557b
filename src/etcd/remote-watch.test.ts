/** A watch on an etcd that does not answer everything it is asked. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import type * as grpc from '@grpc/grpc-js';
import { deferred } from '../base/deferred.ts';
import { silentLogger as log } from '../base/logger.ts';
import { CallMetrics } from './call-metrics.ts';
import { RemoteWatch } from './remote-watch.ts';
import { loadEtcdProto } from './wire.ts';
import type { WatchRequestMessage } from './wire.ts';

/** The server's side of a stream: etcd passes over questions for progress while it has not caught up with a watch. */
class Behind extends EventEmitter {
  asked = 0;
  write(message: WatchRequestMessage): void {
    if ('create_request' in message)
      queueMicrotask(() => this.emit('data', { header: { revision: 3 }, created: true }));
    else if (++this.asked === 3) queueMicrotask(() => this.emit('data', { header: { revision: 7 }, watch_id: -1 }));
  }
  cancel(): void {}
}

test('progress is asked for again until the watch is there', { timeout: 10_000 }, async () => {
  const stream = new Behind();
  const client = { makeBidiStreamRequest: () => stream } as unknown as grpc.Client;
  const reached = deferred<number>();
  const watch = new RemoteWatch(
    {
      proto: loadEtcdProto(),
      log,
      calls: new CallMetrics(),
      client: () => client,
      rotate: () => assert.fail('the stream broke'),
      backoff: () => 0,
      translate: (error) => error as Error,
    },
    { key: '/registry/pods/', end: '/registry/pods0', fromRevision: 4 },
    { events: () => {}, progress: (revision) => reached.resolve(revision), closed: assert.ifError },
    () => {},
  );
  watch.start();
  watch.askProgress(7);
  // Its timers keep no process alive; this one's does.
  const alive = new MessageChannel();

  alive.port1.on('message', () => {});
  assert.equal(await reached.promise, 7);
  assert.equal(stream.asked, 3);
  alive.port1.close();
  watch.close();
});
