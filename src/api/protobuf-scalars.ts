/**
 * The schema's scalars as upstream's protobuf has them: numbers and texts as fields of their own, quantities, times, durations and
 * IntOrString as small messages.
 */
import { delimited, emptyText, expect, fixed64, ProtobufError, varint } from './protobuf-wire.ts';
import type { Reader, Writer } from './protobuf-wire.ts';
import type { ScalarType } from './schema/schema.ts';
import {
  formatDurationNanos,
  formatInstantMicros,
  formatInstantSeconds,
  parseDurationNanos,
  parseInstant,
} from './time.ts';

export function isTime(type: ScalarType): boolean {
  return type === 'time' || type === 'microTime';
}

/** What upstream writes for a scalar that is no pointer and unset. */
export function zeroOf(type: ScalarType): unknown {
  switch (type) {
    case 'string':
      return '';
    case 'boolean':
      return false;
    case 'int32':
    case 'int64':
    case 'double':
      return 0;
    case 'quantity':
      return '0';
    case 'duration':
      return '0s';
    case 'intOrString':
      return 0;
    default:
      return null;
  }
}

/** Writes the field; null is the zero value of times and bytes. */
export function writeScalar(w: Writer, type: ScalarType, number: number, value: unknown): void {
  switch (type) {
    case 'string':
      w.textField(number, value as string);
      return;
    case 'boolean':
      w.number(value === true ? 1 : 0);
      w.tag(number, varint);
      return;
    case 'int32':
    case 'int64':
      w.integer(value as number | bigint);
      w.tag(number, varint);
      return;
    case 'double':
      w.double(Number(value));
      w.tag(number, fixed64);
      return;
    case 'bytes':
      w.bytesField(number, value === null ? emptyText : Buffer.from(value as string, 'base64'));
      return;
    case 'quantity': {
      const end = w.written;
      w.textField(1, String(value as string | number));
      w.close(number, end);
      return;
    }
    case 'time':
    case 'microTime': {
      const end = w.written;
      if (value !== null) {
        const t = w.instant;
        if (t.text !== value) Object.assign(t, parseInstant(value as string), { text: value });
        w.integer(type === 'time' ? 0 : Math.trunc(t.nanos / 1000) * 1000);
        w.tag(2, varint);
        w.integer(t.seconds);
        w.tag(1, varint);
      }
      w.close(number, end);
      return;
    }
    case 'duration': {
      const end = w.written;
      w.integer(parseDurationNanos(value as string));
      w.tag(1, varint);
      w.close(number, end);
      return;
    }
    case 'intOrString': {
      const end = w.written;
      const isText = typeof value === 'string';
      w.textField(3, isText ? value : '');
      w.integer(isText ? 0 : (value as number));
      w.tag(2, varint);
      w.number(isText ? 1 : 0);
      w.tag(1, varint);
      w.close(number, end);
    }
  }
}

/** Reads the field's value as JSON has it. @throws {ProtobufError} for another wire type than its own */
export function readScalar(type: ScalarType, wire: number, r: Reader, name: string): unknown {
  switch (type) {
    case 'boolean':
      expect(wire, varint, name);
      return r.number() !== 0;
    case 'int32': {
      expect(wire, varint, name);
      return Number(BigInt.asIntN(32, BigInt(r.int64())));
    }
    case 'int64':
      expect(wire, varint, name);
      return r.int64();
    case 'double':
      expect(wire, fixed64, name);
      return r.double();
  }
  expect(wire, delimited, name);
  const inner = r.block();
  switch (type) {
    case 'string':
      return inner.text();
    case 'bytes':
      return inner.bytes().toString('base64');
    case 'quantity': {
      let text = '0';
      while (inner.more) {
        const tag = inner.number();
        if (Math.floor(tag / 8) === 1) text = inner.block().text();
        else inner.skip(tag % 8);
      }
      return text === '' ? '0' : text;
    }
    case 'duration': {
      let nanos = 0n;
      while (inner.more) {
        const tag = inner.number();
        if (Math.floor(tag / 8) === 1) nanos = BigInt(inner.int64());
        else inner.skip(tag % 8);
      }
      return formatDurationNanos(nanos);
    }
    case 'time':
    case 'microTime': {
      // An empty message is the zero time, which is null in JSON.
      if (!inner.more) return null;
      let seconds = 0;
      let nanos = 0;
      while (inner.more) {
        const tag = inner.number();
        const number = Math.floor(tag / 8);
        if (number === 1) seconds = Number(inner.int64());
        else if (number === 2) nanos = Number(inner.int64());
        else inner.skip(tag % 8);
      }
      if (Math.abs(seconds) > 253402300799) throw new ProtobufError(`field ${name} holds no time`);
      const instant = { seconds, nanos };
      return type === 'time' ? formatInstantSeconds(instant) : formatInstantMicros(instant);
    }
    default: {
      let isText = false;
      let number = 0;
      let text = '';
      while (inner.more) {
        const tag = inner.number();
        switch (Math.floor(tag / 8)) {
          case 1:
            isText = inner.number() === 1;
            break;
          case 2:
            number = Number(BigInt.asIntN(32, BigInt(inner.int64())));
            break;
          case 3:
            text = inner.block().text();
            break;
          default:
            inner.skip(tag % 8);
        }
      }
      return isText ? text : number;
    }
  }
}
