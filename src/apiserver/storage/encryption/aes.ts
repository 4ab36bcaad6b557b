/** AES for values at rest: CBC with PKCS#7, GCM bound to the value's key, and GCM with a key derived for each value from a seed. */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { CipherGCMTypes } from 'node:crypto';
import type { Random } from '../../../base/random.ts';
import type { Transformer } from './transformer.ts';

const block = 16;
const nonceSize = 12;
const tagSize = 16;
const infoSize = 32;

const tooShort = (): Error => new Error('the stored data was shorter than the required size');

export function aesCbc(secret: Buffer, random: Random): Transformer {
  const cipher = `aes-${secret.length * 8}-cbc`;
  return {
    encrypt(value) {
      const iv = random.bytes(block);
      const c = createCipheriv(cipher, secret, iv);
      return Buffer.concat([iv, c.update(value), c.final()]);
    },
    decrypt(data) {
      if (data.length < block) throw tooShort();
      if (data.length % block !== 0) throw new Error('the stored data is not a multiple of the block size');
      const d = createDecipheriv(cipher, secret, data.subarray(0, block)).setAutoPadding(false);
      const padded = Buffer.concat([d.update(data.subarray(block)), d.final()]);
      const padding = padded[padded.length - 1] ?? 0;
      if (padding === 0 || padding > padded.length) throw new Error('invalid PKCS7 data (empty or not padded)');
      const size = padded.length - padding;
      for (let i = size; i < padded.length; i++) if (padded[i] !== padding) throw new Error('invalid padding on input');
      return { value: padded.subarray(0, size), stale: false };
    },
  };
}

function seal(secret: Buffer, nonce: Buffer, value: Buffer, key: string, before: readonly Buffer[]): Buffer {
  const c = createCipheriv(`aes-${secret.length * 8}-gcm` as CipherGCMTypes, secret, nonce);
  c.setAAD(Buffer.from(key, 'latin1'));
  return Buffer.concat([...before, nonce, c.update(value), c.final(), c.getAuthTag()]);
}

function open(secret: Buffer, data: Buffer, key: string): Buffer {
  if (data.length < nonceSize) throw tooShort();
  const end = data.length - tagSize;
  if (end < nonceSize) throw new Error('cipher: message authentication failed');
  const d = createDecipheriv(`aes-${secret.length * 8}-gcm` as CipherGCMTypes, secret, data.subarray(0, nonceSize), {
    authTagLength: tagSize,
  });
  d.setAAD(Buffer.from(key, 'latin1'));
  d.setAuthTag(data.subarray(end));
  try {
    return Buffer.concat([d.update(data.subarray(nonceSize, end)), d.final()]);
  } catch (error) {
    throw new Error('cipher: message authentication failed', { cause: error });
  }
}

export function aesGcm(secret: Buffer, random: Random): Transformer {
  return {
    encrypt: (value, key) => seal(secret, random.bytes(nonceSize), value, key, []),
    decrypt: (data, key) => ({ value: open(secret, data, key), stale: false }),
  };
}

/** A fresh key for each value: HKDF-Expand (SHA-256) of the seed with 32 random bytes, which stand before the value. */
export function hkdfGcm(seed: Buffer, random: Random): Transformer {
  if (seed.length < 32) throw new Error(`invalid seed length ${seed.length} used for key generation`);
  const one = Buffer.from([1]);
  const derive = (info: Buffer): Buffer => createHmac('sha256', seed).update(info).update(one).digest();
  return {
    encrypt(value, key) {
      const info = random.bytes(infoSize);
      return seal(derive(info), random.bytes(nonceSize), value, key, [info]);
    },
    decrypt(data, key) {
      if (data.length < infoSize) throw tooShort();
      return { value: open(derive(data.subarray(0, infoSize)), data.subarray(infoSize), key), stale: false };
    },
  };
}
