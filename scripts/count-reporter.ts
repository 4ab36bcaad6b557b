/** A reporter for Node's test runner that writes one JSON object: how many tests passed, failed and were skipped, and why. */
import type { TestEvent } from 'node:test/reporters';

export default async function* count(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const out = { passed: 0, failed: 0, skipped: 0, skips: [] as string[] };
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    if (event.data.details.type === 'suite') continue;
    if (event.data.skip !== undefined) {
      out.skipped++;
      out.skips.push(`${event.data.name}: ${String(event.data.skip)}`);
    } else if (event.type === 'test:pass') out.passed++;
    else out.failed++;
  }
  yield JSON.stringify(out);
}
