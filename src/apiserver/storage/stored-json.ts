/**
 * Where things lie in the stored JSON of an object, found without parsing it. Upstream's order helps: behind the type comes the
 * metadata, in it the uid before everything that could imitate it, and the managed fields last.
 */
import { endOfString } from '../../api/codec/json-pick.ts';

type Labels = Readonly<Record<string, string>>;

const uidMark = Buffer.from('"uid":"', 'latin1');
const quote = 0x22;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const brace = 0x7b;
const closingBrace = 0x7d;

/** Behind the closing quote of metadata.uid, which upstream's order puts before everything that could imitate it. */
export function spliceOffset(bytes: Buffer, headerLength: number): number {
  const mark = bytes.indexOf(uidMark, headerLength);
  // Names cannot fill this much; a uid further on belongs to something else (an object that was stored without one).
  if (mark < 0 || mark > headerLength + 2048) return -1;
  const end = bytes.indexOf(quote, mark + uidMark.length);
  return end < 0 ? -1 : end + 1;
}

const labelsMark = Buffer.from('"labels":', 'latin1');

/**
 * The labels without parsing the rest: between the uid and them upstream's order has scalars alone, so they are the first
 * brace, and neither their keys nor their values can hold one.
 */
export function labelsIn(bytes: Buffer, from: number): Labels | undefined | 'unknown' {
  if (from < 0) return 'unknown';
  const open = bytes.indexOf(brace, from);
  const close = bytes.indexOf(closingBrace, from);
  if (open < 0 || close < open) return undefined;
  const mark = open - labelsMark.length;
  if (mark < from || bytes.compare(labelsMark, 0, labelsMark.length, mark, open) !== 0) return undefined;
  return JSON.parse(bytes.toString('utf8', open, close + 1)) as Labels;
}

/** Where the metadata of an object ends, and where its managed fields begin. */
export interface MetadataSpan {
  /** Behind its closing brace; -1: not found. */
  end: number;
  /** The comma before `managedFields`; -1: there are none. */
  fields: number;
}

const fieldsMark = Buffer.from(',"managedFields":[{', 'latin1');
/** The end of the last entry, of the array and of the metadata, and the beginning of the next member. */
const fieldsEnd = Buffer.from('}]},"', 'latin1');

/** Looks for the end of the metadata from an offset that lies in it, behind a whole member. */
export function findMetadataEnd(bytes: Buffer, from: number, span: MetadataSpan): void {
  span.end = span.fields = -1;
  const fields = bytes.indexOf(fieldsMark, from);
  const { length } = bytes;
  let depth = 1;
  for (let i = from; i < length;) {
    if (i === fields && depth === 1) {
      span.fields = i;
      // Neither a text nor a set of fields, which holds no arrays, can look like this.
      const end = bytes.indexOf(fieldsEnd, i);
      const next = end < 0 ? 0 : bytes[end + fieldsEnd.length]!;
      if (next >= 0x61 && next <= 0x7a) {
        span.end = end + 3;
        return;
      }
    }
    const c = bytes[i++]!;
    if (c === quote) i = endOfString(bytes, i);
    else if (c === brace || c === openBracket) depth++;
    else if ((c === closingBrace || c === closeBracket) && --depth === 0) {
      span.end = i;
      return;
    }
  }
}
