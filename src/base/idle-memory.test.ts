/** Memory is given back after work, once there is none. */
import assert from 'node:assert/strict';
import { PerformanceObserver, constants } from 'node:perf_hooks';
import { test } from 'node:test';
import { giveBackMemoryWhenIdle } from './idle-memory.ts';
import { ioNow, ioSleep } from './io-time.ts';

test('an idle process that has worked collects once, one that has not does not', async () => {
  let collections = 0;
  const collected = Promise.withResolvers<void>();
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
      if (kind !== constants.NODE_PERFORMANCE_GC_MAJOR) continue;
      collections++;
      collected.resolve();
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  const stop = giveBackMemoryWhenIdle({ everyMs: 100, workMs: 500, startMs: Number.POSITIVE_INFINITY });
  try {
    await ioSleep(250);
    assert.equal(collections, 0);
    // Far more than a stall on a busy machine, which looks like work.
    for (const end = ioNow() + 600; ioNow() < end;) Math.sqrt(end);
    await collected.promise;
    const before = collections;
    await ioSleep(250);
    assert.equal(collections, before);
  } finally {
    stop();
    observer.disconnect();
  }
});
