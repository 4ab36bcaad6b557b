/** Header blocks: the examples of RFC 7541, what the encoder writes as the decoder reads it, and bytes that are nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../base/random.ts';
import { type FieldKind, fieldKind } from './header-fields.ts';
import { DecoderScratch, HpackDecoder } from './hpack-decoder.ts';
import { EncoderScratch, HpackEncoder } from './hpack-encoder.ts';

class Fields {
  readonly list: string[] = [];
  readonly kinds: FieldKind[] = [];

  field(kind: FieldKind, name: string, value: string): void {
    this.list.push(`${name}: ${value}`);
    this.kinds.push(kind);
  }
}

/** Decodes blocks one after the other; undefined for one that cannot be read. */
function decoder(): (block: Buffer) => string[] | undefined {
  const hpack = new HpackDecoder(new DecoderScratch());
  return (block) => {
    const fields = new Fields();
    return hpack.decode(block, 0, block.length, fields) ? fields.list : undefined;
  };
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('requests of RFC 7541, appendix C.3 and C.4: as they are, and in Huffman code', () => {
  const first = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];
  const second = [...first, 'cache-control: no-cache'];
  const third = [
    ':method: GET',
    ':scheme: https',
    ':path: /index.html',
    ':authority: www.example.com',
    'custom-key: custom-value',
  ];
  const plain = decoder();
  assert.deepEqual(plain(hex('8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d')), first);
  assert.deepEqual(plain(hex('8286 84be 5808 6e6f 2d63 6163 6865')), second);
  assert.deepEqual(plain(hex('8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65')), third);
  const coded = decoder();
  assert.deepEqual(coded(hex('8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff')), first);
  assert.deepEqual(coded(hex('8286 84be 5886 a8eb 1064 9cbf')), second);
  assert.deepEqual(coded(hex('8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf')), third);
});

test('tables of another size: what falls out is gone, what is too large empties it', () => {
  const decode = decoder();
  // 64 bytes: room for one small field.
  assert.deepEqual(decode(hex('3f21 4003 612d 6201 63')), ['a-b: c']);
  assert.deepEqual(decode(hex('be')), ['a-b: c']);
  assert.deepEqual(decode(hex('4003 642d 6501 66')), ['d-e: f']);
  assert.equal(decode(hex('bf')), undefined);
  const other = decoder();
  assert.deepEqual(other(hex('3f01 4001 6101 62')), ['a: b']);
  assert.equal(other(hex('be')), undefined, 'its 34 bytes did not fit into 32');
  assert.equal(decoder()(hex('82 20')), undefined, 'a size behind a field');
  assert.equal(decoder()(hex('3fe21f')), undefined, 'more than was allowed');
});

test('what is no header block', () => {
  for (const bytes of [
    '80',
    'be',
    '7f',
    '00',
    '0005',
    '000161',
    '00 8101 0161',
    '41 81 ff ff',
    'ffffffffffffff7f',
    '0085ffffffffff0161',
  ])
    assert.equal(decoder()(hex(bytes)), undefined, bytes);
  const fields = new Fields();
  const hpack = new HpackDecoder(new DecoderScratch());
  const block = Buffer.concat([hex('4001 4101 62 4001 6101'), Buffer.from('\n'), hex('bf be')]);
  assert.ok(hpack.decode(block, 0, block.length, fields));
  // Capitals and control characters: also when they come again from the table.
  assert.deepEqual(
    fields.kinds,
    Array.from({ length: 4 }, () => fieldKind.invalid),
  );
});

test('what the encoder writes the decoder reads, whatever the client allows to remember', () => {
  const random = new SeededRandom(7);
  const encoder = new HpackEncoder(new EncoderScratch());
  const decode = decoder();
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random.float() * of.length)]!;
  const names = [
    'content-type',
    'cache-control',
    'audit-id',
    'date',
    'x-kubernetes-pf-flowschema-uid',
    'x-own',
    'vary',
  ];
  for (let i = 0; i < 2000; i++) {
    if (i % 37 === 0) encoder.limit(pick([0, 60, 100, 300, 4096, 65_536]));
    const status = pick([200, 201, 404, 431, 503]);
    const expected = [`:status: ${status}`];
    encoder.begin(status);
    for (let n = Math.floor(random.float() * 6); n >= 0; n--) {
      const name = pick(names);
      const value = pick(['', 'a', 'application/json', 'x'.repeat(200), `v${Math.floor(random.float() * 50)}`, 'é ü']);
      encoder.field(name, value);
      expected.push(`${name}: ${value}`);
    }
    encoder.field('Connection', 'close');
    assert.deepEqual(decode(Buffer.from(encoder.bytes.subarray(0, encoder.length))), expected);
  }
  // A block larger than the buffer it is written to.
  encoder.begin(200);
  for (let i = 0; i < 40; i++) encoder.field('warning', 'w'.repeat(1000));
  assert.equal(decode(Buffer.from(encoder.bytes.subarray(0, encoder.length)))?.length, 41);
});

test('random bytes are read or refused, and remembered within bounds', () => {
  const random = new SeededRandom(11);
  for (let i = 0; i < 3000; i++) {
    const hpack = new HpackDecoder(new DecoderScratch());
    const block = Buffer.from(
      Array.from({ length: Math.floor(random.float() * 80) }, () => Math.floor(random.float() * 256)),
    );
    let fields = 0;
    for (let again = 0; again < 3; again++)
      if (!hpack.decode(block, 0, block.length, { field: () => void fields++ })) break;
    assert.ok(fields <= 3 * block.length);
  }
});
