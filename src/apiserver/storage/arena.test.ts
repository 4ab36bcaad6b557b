import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../base/random.ts';
import { Arena } from './arena.ts';
import type { Slab, Tenant } from './arena.ts';

class Item implements Tenant {
  bytes: Buffer;
  slab: Slab | undefined = undefined;
  readonly text: string;

  constructor(text: string) {
    this.text = text;
    this.bytes = Buffer.from(text);
  }

  move(bytes: Buffer, slab: Slab): void {
    this.bytes = bytes;
    this.slab = slab;
  }
}

test('few survivors among many do not keep their slabs alive', () => {
  const arena = new Arena();
  const random = new SeededRandom(3);
  const kept: Item[] = [];
  let live = 0;
  const passing: Item[] = [];
  for (let i = 0; i < 20_000; i++) {
    const item = new Item(`${i}:${'x'.repeat(random.int(1500))}`);
    arena.add(item);
    if (i % 200 === 0) {
      kept.push(item);
      live += item.text.length;
    } else passing.push(item);
    if (passing.length > 50) arena.remove(passing.shift()!);
  }
  for (const item of kept) assert.equal(item.bytes.toString(), item.text);
  assert.ok(arena.size < live * 3 + 1_000_000, `${arena.size} bytes for ${live}`);
  const big = new Item('b'.repeat(1 << 20));
  arena.add(big);
  arena.remove(big);
  assert.equal(big.bytes.length, 1 << 20);
  for (const item of [...kept, ...passing]) arena.remove(item);
  assert.ok(arena.size <= 256 * 1024);
});
