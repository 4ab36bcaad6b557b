/** Command lines of the simulated programs. */
import type { Process } from './process.ts';

/** Splits leading short options (`-la`), `--long[=value]` and operands. Options in `withValue` take one. */
export function options(p: Process, withValue = ''): { flags: Map<string, string>; operands: string[] } {
  const flags = new Map<string, string>();
  const operands: string[] = [];
  const args = p.args;
  for (let i = 0; i < args.length; i++) {
    const a = args[i]!;
    if (a === '--') {
      operands.push(...args.slice(i + 1));
      break;
    }
    if (a.startsWith('--')) {
      const [name, value] = a.slice(2).split(/=(.*)/s) as [string, string?];
      flags.set(name, value ?? '');
    } else if (a.startsWith('-') && a.length > 1) {
      if (/^-\d+$/.test(a) && withValue.includes('#')) {
        flags.set('n', a.slice(1));
        continue;
      }
      for (let j = 1; j < a.length; j++) {
        const f = a[j]!;
        if (!withValue.includes(f)) {
          flags.set(f, '');
          continue;
        }
        flags.set(f, j + 1 < a.length ? a.slice(j + 1) : (args[++i] ?? ''));
        break;
      }
    } else operands.push(a);
  }
  return { flags, operands };
}
