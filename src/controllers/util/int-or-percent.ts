/** `5` or `25%`, as a count out of a total (apimachinery util/intstr). */

/** A percentage is rounded up or down; what cannot be read throws. */
export function scaledValue(value: number | string | undefined, total: number, roundUp: boolean): number {
  if (value === undefined) return 0;
  if (typeof value === 'number') return value;
  const m = /^([0-9]+)%$/.exec(value);
  if (m === null) throw new Error(`invalid value for IntOrString: invalid type: string is not a percentage`);
  const exact = (Number(m[1]) * total) / 100;
  return roundUp ? Math.ceil(exact) : Math.floor(exact);
}
