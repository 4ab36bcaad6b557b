/** The index at `/`: every path that this server serves, sorted. */
import type { Handler } from '../filters/scope.ts';

export function indexHandler(paths: () => readonly string[]): Handler {
  return () => {
    const text = JSON.stringify({ paths: [...new Set(paths())].sort() }, null, 2);
    return { status: 200, body: { kind: 'bytes', contentType: 'application/json', bytes: Buffer.from(text) } };
  };
}
