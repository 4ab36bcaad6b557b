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
  subQuantity,
  tryParseQuantity,
} from '../../quantity.ts';
import type { Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { boolType, doubleType, intType, libraryType, stringType } from '../types.ts';
import { LibraryValue, doubleValue, intValue } from '../values.ts';
import { addAmounts, amountInteger, amountNumber, amountOf, integerAmount, type Amount } from './quantity-amount.ts';

export const quantityType = libraryType('kubernetes.Quantity');

export class QuantityValue extends LibraryValue {
  readonly quantity: Quantity;
  readonly amount: Amount;

  constructor(quantity: Quantity, amount: Amount) {
    super();
    this.quantity = quantity;
    this.amount = amount;
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
    return new QuantityValue(parseQuantity(text), amountOf(text));
  } catch (error) {
    if (error instanceof QuantityError) return fail(error.message);
    throw error;
  }
}

const of = (v: unknown): Quantity => (v as QuantityValue).quantity;
const amount = (v: unknown): Amount => (v as QuantityValue).amount;
const integer = (v: unknown): QuantityValue =>
  new QuantityValue(newQuantity(v as number | bigint, 'DecimalExponent'), integerAmount(BigInt(v as number | bigint)));
const add = (a: unknown, b: unknown): QuantityValue =>
  new QuantityValue(addQuantity(of(a), of(b)), addAmounts(amount(a), amount(b), 1n));
const sub = (a: unknown, b: unknown): QuantityValue =>
  new QuantityValue(subQuantity(of(a), of(b)), addAmounts(amount(a), amount(b), -1n));
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
    asApproximateFloat: [member('quantity_get_float', [t], doubleType, ([q]) => doubleValue(amountNumber(amount(q))))],
    asInteger: [
      member('quantity_get_int', [t], intType, ([q]) => {
        const value = amountInteger(amount(q));
        return value === undefined ? fail('cannot convert value to integer') : intValue(value);
      }),
    ],
    isInteger: [member('quantity_is_integer', [t], boolType, ([q]) => amountInteger(amount(q)) !== undefined)],
    add: [
      member('quantity_add', [t, t], t, ([a, b]) => add(a, b)),
      member('quantity_add_int', [t, intType], t, ([a, b]) => add(a, integer(b))),
    ],
    sub: [
      member('quantity_sub', [t, t], t, ([a, b]) => sub(a, b)),
      member('quantity_sub_int', [t, intType], t, ([a, b]) => sub(a, integer(b))),
    ],
  },
};
