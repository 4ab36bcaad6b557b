import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../base/random.ts';
import { aesCbc, aesGcm, hkdfGcm } from './aes.ts';
import { secretbox } from './secretbox.ts';
import { identityTransformer, prefixTransformers } from './transformer.ts';
import type { Decrypted, Transformer } from './transformer.ts';

const random = new SeededRandom(3);
const secret = Buffer.alloc(32, 7);

test('secretbox gives the bytes of NaCl', () => {
  // The first vector of NaCl's own tests (tests/secretbox.c).
  const hex = (text: string): Buffer => Buffer.from(text, 'hex');
  const key = hex('1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389');
  const nonce = hex('69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37');
  const message = hex(
    'be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705',
  );
  const sealed = hex(
    'f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5',
  );
  const box = secretbox(key, { ...random, bytes: () => nonce } as unknown as SeededRandom);
  assert.deepEqual(box.encrypt(message, ''), Buffer.concat([nonce, sealed]));
  assert.deepEqual((box.decrypt(Buffer.concat([nonce, sealed]), '') as Decrypted).value, message);
});

test('each gives back what it took, and nothing that was changed or moved', () => {
  const all: [string, Transformer, boolean][] = [
    ['aescbc', aesCbc(secret, random), false],
    ['aescbc-128', aesCbc(secret.subarray(0, 16), random), false],
    ['aesgcm', aesGcm(secret, random), true],
    ['hkdf', hkdfGcm(secret, random), true],
    ['secretbox', secretbox(secret, random), false],
  ];
  for (const [name, transformer, bound] of all) {
    for (const size of [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 20_000]) {
      const value = random.bytes(size);
      const data = transformer.encrypt(value, '/registry/secrets/a/b') as Buffer;
      assert.equal(data.includes(value) && size > 4, false, name);
      assert.deepEqual(
        (transformer.decrypt(data, '/registry/secrets/a/b') as Decrypted).value,
        value,
        `${name} ${size}`,
      );
      if (bound) assert.throws(() => transformer.decrypt(data, '/registry/secrets/a/c'), /authentication failed/);
      if (name !== 'aescbc' && name !== 'aescbc-128') {
        data[data.length - 1]! ^= 1;
        assert.throws(() => transformer.decrypt(data, '/registry/secrets/a/b'), name);
      }
    }
  }
});

test('prefixes choose who reads; the first one writes, and what others wrote is stale', () => {
  const list = (names: string[], plain: 'first' | 'last'): Transformer => {
    const keys = names.map((n) => ({
      prefix: Buffer.from(`k8s:enc:aesgcm:v1:${n}:`),
      transformer: aesGcm(Buffer.alloc(32, n.charCodeAt(0)), random),
    }));
    const identity = { prefix: Buffer.alloc(0), transformer: identityTransformer };
    return prefixTransformers(
      plain === 'first' ? [identity, ...keys] : [...keys, identity],
      'no matching prefix found',
    );
  };
  const before = list(['a'], 'last');
  const data = before.encrypt(Buffer.from('x'), 'k') as Buffer;
  assert.match(data.toString('latin1'), /^k8s:enc:aesgcm:v1:a:/);
  const read = (t: Transformer, d: Buffer): [string, boolean] => {
    const { value, stale } = t.decrypt(d, 'k') as Decrypted;
    return [value.toString(), stale];
  };
  assert.deepEqual(read(before, data), ['x', false]);
  assert.deepEqual(read(before, Buffer.from('plain')), ['plain', true]);
  assert.deepEqual(read(list(['b', 'a'], 'last'), data), ['x', true]);
  assert.deepEqual(read(list(['a'], 'first'), data), ['x', true]);
  assert.throws(() => read(list(['b'], 'last'), data), /no matching prefix found/);
});
