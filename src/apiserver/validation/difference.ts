/** The unified difference that errors about immutable specs end with: what was and what would be, as indented JSON. */

const context = 3;

interface Line {
  readonly mark: ' ' | '-' | '+';
  readonly text: string;
}

/** Lines of both sides by their longest common subsequence. */
function align(a: readonly string[], b: readonly string[]): Line[] {
  const width = b.length + 1;
  const length = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i * width + j] =
        a[i] === b[j]
          ? length[(i + 1) * width + j + 1]! + 1
          : Math.max(length[(i + 1) * width + j]!, length[i * width + j + 1]!);
  const out: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length)
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ mark: ' ', text: a[i]! });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || length[(i + 1) * width + j]! >= length[i * width + j + 1]!))
      out.push({ mark: '-', text: a[i++]! });
    else out.push({ mark: '+', text: b[j++]! });
  return out;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const source = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(source)
      .toSorted()
      .map((key) => [key, sorted(source[key])]),
  );
}

/** Empty when both are the same. Specs beyond 5,000 lines are not compared line by line. */
export function specDifference(old: unknown, next: unknown): string {
  const a = JSON.stringify(sorted(old), undefined, 1).split('\n');
  const b = JSON.stringify(sorted(next), undefined, 1).split('\n');
  if (a.length > 5000 || b.length > 5000) return '';
  const lines = align(a, b);
  let out = '';
  for (let at = 0; at < lines.length;) {
    const first = lines.findIndex((l, i) => i >= at && l.mark !== ' ');
    if (first < 0) break;
    const start = Math.max(first - context, at);
    let end = first;
    for (let i = first; i < lines.length && i <= end + 2 * context; i++) if (lines[i]!.mark !== ' ') end = i;
    const stop = Math.min(end + context + 1, lines.length);
    const hunk = lines.slice(start, stop);
    const count = (skip: string): number => hunk.filter((l) => l.mark !== skip).length;
    const before = (skip: string): number => lines.slice(0, start).filter((l) => l.mark !== skip).length;
    out += `@@ -${before('+') + 1},${count('+')} +${before('-') + 1},${count('-')} @@\n`;
    for (const l of hunk) out += `${l.mark}${l.text}\n`;
    at = stop;
  }
  return out;
}
