/** Sets of processors in the kernel's notation: `0-3,7`. */

export type CpuSet = ReadonlySet<number>;

/** @throws one line, with upstream's text, for what is none */
export function parseCpuSet(text: string): CpuSet {
  const out = new Set<number>();
  if (text === '') return out;
  for (const part of text.split(',')) {
    const m = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (m === null) throw new Error(`strconv.Atoi: parsing ${JSON.stringify(part)}: invalid syntax`);
    const first = Number(m[1]);
    const last = Number(m[2] ?? m[1]);
    if (first > last) throw new Error(`invalid range ${JSON.stringify(part)} (${first} >= ${last})`);
    if (last > 65_535) throw new Error(`value out of range: ${last}`);
    for (let i = first; i <= last; i++) out.add(i);
  }
  return out;
}

/** Ascending. */
export function sortedCpus(set: Iterable<number>): number[] {
  return [...set].sort((a, b) => a - b);
}

export function formatCpuSet(set: Iterable<number>): string {
  const parts: string[] = [];
  const cpus = sortedCpus(set);
  for (let i = 0; i < cpus.length;) {
    const first = cpus[i]!;
    let last = first;
    for (i++; i < cpus.length && cpus[i] === last + 1; i++) last++;
    parts.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return parts.join(',');
}
