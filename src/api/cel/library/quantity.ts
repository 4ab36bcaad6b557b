/** Kubernetes' quantities in expressions: `quantity("1Gi").isGreaterThan(quantity("500M"))`. */
import type { Quantity } from '../../quantity.ts';
import {
  QuantityError,
  addQuantity,
  compareQuantity,
  formatQuantity,
  newQuantity,
  parseQuantity,
  quantitySign,
  quantityToNumber,
  subQuantity,
  tryParseQuantity,
} from '../../quantity.ts';
import type { Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { boolType, doubleType, intType, libraryType, stringType } from '../types.ts';
import { LibraryValue, doubleValue, intValue } from '../values.ts';

export const quantityType = libraryType('kubernetes.Quantity');

export class QuantityValue extends LibraryValue {
  readonly quantity: Quantity;

  constructor(quantity: Quantity) {
    super();
    this.quantity = quantity;
  }

  get celType(): typeof quantityType {
    return quantityType;
  }

  equals(other: LibraryValue): boolean {
    return compareQuantity(this.quantity, (other as QuantityValue).quantity) === 0;
  }

  override toJSON(): string {
    return formatQuantity(this.quantity);
  }
}

function fromText(text: string): QuantityValue {
  try {
    return new QuantityValue(parseQuantity(text));
  } catch (error) {
    if (error instanceof QuantityError) return fail(error.message);
    throw error;
  }
}

/** The value as a 64-bit integer; undefined when it is none. */
function asInteger(q: Quantity): bigint | undefined {
  let value = BigInt(q.mantissa);
  if (q.scale >= 0) value *= 10n ** BigInt(Math.min(q.scale, 40));
  else {
    const divisor = 10n ** BigInt(-q.scale);
    if (value % divisor !== 0n) return undefined;
    value /= divisor;
  }
  return value === BigInt.asIntN(64, value) ? value : undefined;
}

const of = (v: unknown): Quantity => (v as QuantityValue).quantity;
const integer = (v: unknown): Quantity => newQuantity(v as number | bigint, 'DecimalExponent');
const t = quantityType;

export const quantityLibrary: Library = {
  name: 'kubernetes.quantity',
  types: [quantityType],
  functions: {
    quantity: [global('string_to_quantity', [stringType], t, ([s]) => fromText(s as string))],
    isQuantity: [
      global('is_quantity_string', [stringType], boolType, ([s]) => tryParseQuantity(s as string) !== undefined),
    ],
    sign: [global('quantity_sign', [t], intType, ([q]) => quantitySign(of(q)))],
    isGreaterThan: [
      member('quantity_is_greater_than', [t, t], boolType, ([a, b]) => compareQuantity(of(a), of(b)) > 0),
    ],
    isLessThan: [member('quantity_is_less_than', [t, t], boolType, ([a, b]) => compareQuantity(of(a), of(b)) < 0)],
    compareTo: [
      member('quantity_compare_to', [t, t], intType, ([a, b]) => Math.sign(compareQuantity(of(a), of(b))) + 0),
    ],
    asApproximateFloat: [member('quantity_get_float', [t], doubleType, ([q]) => doubleValue(quantityToNumber(of(q))))],
    asInteger: [
      member('quantity_get_int', [t], intType, ([q]) => {
        const value = asInteger(of(q));
        return value === undefined ? fail('cannot convert value to integer') : intValue(value);
      }),
    ],
    isInteger: [member('quantity_is_integer', [t], boolType, ([q]) => asInteger(of(q)) !== undefined)],
    add: [
      member('quantity_add', [t, t], t, ([a, b]) => new QuantityValue(addQuantity(of(a), of(b)))),
      member('quantity_add_int', [t, intType], t, ([a, b]) => new QuantityValue(addQuantity(of(a), integer(b)))),
    ],
    sub: [
      member('quantity_sub', [t, t], t, ([a, b]) => new QuantityValue(subQuantity(of(a), of(b)))),
      member('quantity_sub_int', [t, intType], t, ([a, b]) => new QuantityValue(subQuantity(of(a), integer(b)))),
    ],
  },
};
