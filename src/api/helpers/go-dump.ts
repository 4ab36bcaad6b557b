/**
 * A value as Go's spew prints it, types and all (`dump.ForHash`): upstream's controllers take the hash of this text of a pod
 * template, so the same text makes the same names.
 */
import { GoTypes } from '../catalog/go-types.ts';
import { suffixMeanings } from '../quantity.ts';

type Members = Readonly<Record<string, unknown>>;

/** What cannot be printed: nothing that a pod template of a running cluster holds. */
export class UnprintableError extends Error {}

const nil = '<nil>';
const zeros: Readonly<Record<string, string>> = { bool: 'false', int32: '0', int64: '0', float64: '0' };

/** A quantity's own members, as its parser sets them for text that the API server wrote. */
function quantity(text: unknown): string {
  const print = (value: bigint, scale: number, given: string, format: string): string =>
    `{i:(resource.int64Amount){value:(int64)${value} scale:(resource.Scale)${scale}} d:(resource.infDecAmount){Dec:(*inf.Dec)<nil>} s:(string)${given} Format:(resource.Format)${format}}`;
  if (text === undefined || text === null) return print(0n, 0, '', '');
  const given = String(text);
  if (given === '0') return print(0n, 0, '0', 'DecimalSI');
  const parts = /^([+-]?)0*(\d*)(?:\.(\d*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?$/.exec(given);
  if (parts === null) throw new UnprintableError(`quantity ${given}`);
  const [, sign, whole = '', fraction = '', suffix = '', exponent] = parts;
  const digits = whole.length + fraction.length;
  const shifted = whole + fraction || '0';
  let scale = 0;
  let factor = 1n;
  let precision = 18 - digits;
  let format = 'DecimalSI';
  if (exponent !== undefined) {
    format = 'DecimalExponent';
    scale = Number(exponent);
  } else if (suffix.endsWith('i')) {
    format = 'BinarySI';
    const power = suffixMeanings.get(suffix)!.exponent;
    factor = 1n << BigInt(power);
    precision = fraction === '' ? 15 - digits - Math.trunc((power * 3) / 10) - 1 : -1;
  } else scale = suffixMeanings.get(suffix)!.exponent;
  scale -= fraction.length;
  // Beyond this it is a decimal of any size.
  if (precision < 0 || scale < -9) throw new UnprintableError(`quantity ${given}`);
  const number = BigInt(shifted);
  const value = number * factor;
  // The text is kept where it is surely the one that would be written.
  const kept =
    format === 'BinarySI' ? (number & 7n) !== 0n : scale % 3 === 0 && !shifted.endsWith('000') && shifted[0] !== '0';
  return print(sign === '-' ? -value : value, scale, kept ? given : '', format);
}

function intOrString(value: unknown): string {
  const text = typeof value === 'string';
  return `{Type:(intstr.Type)${text ? 1 : 0} IntVal:(int32)${text ? 0 : String(value ?? 0)} StrVal:(string)${text ? value : ''}}`;
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

export class GoDump {
  readonly #types = new GoTypes('versioned').readAll();

  /**
   * @param type as Go names it: `v1.PodTemplateSpec`
   * @throws {UnprintableError}
   */
  print(type: string, value: unknown): string {
    return this.#print(type, value, true);
  }

  #print(type: string, value: unknown, typed: boolean): string {
    const shown = typed ? `(${type})` : '';
    if (type.startsWith('*')) {
      if (value === undefined || value === null) return shown + nil;
      return shown + this.#print(type.slice(1), value, false);
    }
    return shown + this.#value(type, value);
  }

  #value(type: string, value: unknown): string {
    if (type.startsWith('[]')) {
      if (!Array.isArray(value) || value.length === 0) return nil;
      if (type === '[]uint8') throw new UnprintableError('bytes');
      return `[${value.map((item: unknown) => this.#print(type.slice(2), item, false)).join(' ')}]`;
    }
    if (type.startsWith('map[')) {
      const entries = (value ?? {}) as Members;
      const keys = Object.keys(entries).sort(byBytes);
      if (keys.length === 0) return nil;
      const item = type.slice(type.indexOf(']') + 1);
      return `map[${keys.map((key) => `${key}:${this.#print(item, entries[key], false)}`).join(' ')}]`;
    }
    switch (type) {
      case 'resource.Quantity':
        return quantity(value);
      case 'intstr.IntOrString':
        return intOrString(value);
      case 'v1.Time':
        if (value !== undefined && value !== null) throw new UnprintableError('time');
        return '{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}';
      default:
    }
    const zero = zeros[type];
    if (zero !== undefined) return value === undefined || value === null ? zero : String(value);
    const fields = this.#types.fields(type);
    if (fields === undefined) {
      const behind = this.#types.underlying(type);
      if (behind !== undefined) return this.#value(behind, value);
      return typeof value === 'string' ? value : '';
    }
    const members = (value ?? {}) as Members;
    let out = '{';
    for (const field of fields) {
      if (out.length > 1) out += ' ';
      out += `${field.name}:${this.#print(field.type, field.embedded ? value : members[field.json!], true)}`;
    }
    return `${out}}`;
  }
}
