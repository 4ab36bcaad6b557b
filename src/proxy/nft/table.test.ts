import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NftTable } from './table.ts';

function filled(): NftTable {
  const t = new NftTable('ip', 'x');
  t.container('map', 'm', 'type ipv4_addr : verdict ;');
  t.container('set', 's', 'type ipv4_addr ;');
  t.chain('base', ['jump a'], 'type filter hook input priority 0');
  t.chain('a', ['drop']);
  t.put('m', '10.0.0.1', 'goto a');
  t.put('s', '10.0.0.1');
  return t;
}

test('everything is one transaction that begins with an empty table', () => {
  const t = filled();
  assert.equal(
    t.transaction(),
    `add table ip x
delete table ip x
table ip x {
  map m { type ipv4_addr : verdict ; }
  set s { type ipv4_addr ; }
  chain base { type filter hook input priority 0 ; }
  chain a {  }
}
add element ip x m { 10.0.0.1 : goto a }
add element ip x s { 10.0.0.1 }
add rule ip x base jump a
add rule ip x a drop
`,
  );
  t.commit();
  assert.equal(t.transaction(), '');
  t.forget();
  assert.match(t.transaction(), /^add table ip x\ndelete table/);
});

test('after that only what is different', () => {
  const t = filled();
  t.commit();
  t.put('s', '10.0.0.1');
  t.drop('s', '10.0.0.1');
  t.drop('m', '10.0.0.1');
  t.put('m', '10.0.0.1', 'goto a');
  t.chain('a', ['drop']);
  assert.equal(t.transaction(), '', 'there and back again');
  t.drop('m', '10.0.0.1');
  t.put('m', '10.0.0.1', 'goto b');
  t.put('m', '10.0.0.2', 'goto b');
  t.chain('b', ['accept']);
  t.drop('s', '10.0.0.1');
  assert.equal(
    t.transaction(),
    `add chain ip x b
delete element ip x m { 10.0.0.1 }
delete element ip x s { 10.0.0.1 }
add element ip x m { 10.0.0.1 : goto b, 10.0.0.2 : goto b }
add rule ip x b accept
`,
  );
  t.commit();
  t.removeChain('a');
  t.removeContainer('s');
  t.chain('base', ['jump b'], 'type filter hook input priority 0');
  assert.equal(
    t.transaction(),
    `flush chain ip x a
flush chain ip x base
add rule ip x base jump b
delete set ip x s
`,
  );
  assert.equal(t.leftovers(), '', 'not before nothing leads there any more');
  t.commit();
  assert.equal(t.leftovers(), 'delete chain ip x a\n');
  // It is wanted again before it was deleted.
  t.chain('a', ['drop']);
  assert.equal(t.leftovers(), '');
  assert.equal(t.transaction(), 'flush chain ip x a\nadd rule ip x a drop\n');
});

test('an element goes when the last one who wants it does', () => {
  const t = filled();
  t.commit();
  t.put('s', '10.0.0.1');
  t.put('s', '10.0.0.1');
  t.drop('s', '10.0.0.1');
  t.drop('s', '10.0.0.1');
  assert.equal(t.transaction(), '');
  t.drop('s', '10.0.0.1');
  assert.equal(t.transaction(), 'delete element ip x s { 10.0.0.1 }\n');
  t.drop('s', '10.0.0.1');
  assert.equal(t.size('s'), 0);
});
