/** Resource versions are decimal numbers of any size; of two of one resource the greater one is newer (KEP-5504). */

/** Negative, 0 or positive. What is empty is older than everything. */
export function compareResourceVersions(a: string | undefined, b: string | undefined): number {
  const x = a ?? '';
  const y = b ?? '';
  if (x.length !== y.length) return x.length - y.length;
  return x < y ? -1 : x > y ? 1 : 0;
}
