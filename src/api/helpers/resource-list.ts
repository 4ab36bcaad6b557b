/** Arithmetic on lists of quantities (`cpu: 500m, memory: 1Gi`), as quota and limit ranges need it. */
import {
  addQuantity,
  compareQuantity,
  formatQuantity,
  isZeroQuantity,
  maxQuantity,
  newQuantity,
  parseQuantity,
  quantitySign,
  subQuantity,
  type Quantity,
} from '../quantity.ts';

export type ResourceList = Map<string, Quantity>;
type Written = Readonly<Record<string, string | number>> | undefined | null;

export const one: Quantity = newQuantity(1, 'DecimalSI');
export const zero: Quantity = newQuantity(0, 'DecimalSI');

export function readResources(written: Written): ResourceList {
  const out: ResourceList = new Map();
  for (const [name, text] of Object.entries(written ?? {})) out.set(name, parseQuantity(text));
  return out;
}

export function writeResources(list: ResourceList): Record<string, string> {
  const out: Record<string, string> = {};
  for (const name of [...list.keys()].toSorted()) out[name] = formatQuantity(list.get(name)!);
  return out;
}

/** Adds into `to`. */
export function addInto(to: ResourceList, more: ResourceList): void {
  for (const [name, q] of more) {
    const has = to.get(name);
    to.set(name, has === undefined ? q : addQuantity(has, q));
  }
}

/** Takes the larger of each into `to`. */
export function maxInto(to: ResourceList, other: ResourceList): void {
  for (const [name, q] of other) {
    const has = to.get(name);
    to.set(name, has === undefined ? q : maxQuantity(has, q));
  }
}

export function addResources(a: ResourceList, b: ResourceList): ResourceList {
  const out = new Map(a);
  addInto(out, b);
  return out;
}

/** a − b, nothing below zero. */
export function subtractToZero(a: ResourceList, b: ResourceList): ResourceList {
  const out: ResourceList = new Map();
  for (const [name, q] of a) {
    const other = b.get(name);
    const rest = other === undefined ? q : subQuantity(q, other);
    out.set(name, quantitySign(rest) > 0 ? rest : zero);
  }
  for (const name of b.keys()) if (!out.has(name)) out.set(name, zero);
  return out;
}

export function maskResources(list: ResourceList, names: ReadonlySet<string>): ResourceList {
  return new Map([...list].filter(([name]) => names.has(name)));
}

export function withoutZeros(list: ResourceList): ResourceList {
  return new Map([...list].filter(([, q]) => !isZeroQuantity(q)));
}

export function sameResources(a: ResourceList, b: ResourceList): boolean {
  if (a.size !== b.size) return false;
  for (const [name, q] of a) {
    const other = b.get(name);
    if (other === undefined || compareQuantity(q, other) !== 0) return false;
  }
  return true;
}

/** `cpu=1,pods=2`, by name. */
export function resourcesText(list: ResourceList): string {
  return [...list.keys()]
    .toSorted()
    .map((name) => `${name}=${formatQuantity(list.get(name)!)}`)
    .join(',');
}
