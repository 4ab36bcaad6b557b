/**
 * `Transformer`: what a value goes through on its way to the store and back. Several stand behind their prefixes: the first
 * one writes, whichever fits reads; what another than the first has written is stale and is written anew when it is touched.
 */

/** What was read; `stale`: the next write should happen even if nothing changes. */
export interface Decrypted {
  readonly value: Buffer;
  readonly stale: boolean;
}

/** `key` is where the value lies, which authenticated encryption binds it to. Synchronous where nobody has to be asked. */
export interface Transformer {
  encrypt(value: Buffer, key: string): Buffer | Promise<Buffer>;
  decrypt(data: Buffer, key: string): Decrypted | Promise<Decrypted>;
}

export interface PrefixTransformer {
  readonly prefix: Buffer;
  readonly transformer: Transformer;
}

const encrypted = Buffer.from('k8s:enc:');

/** Values as they are; what some other provider has encrypted is refused. */
export const identityTransformer: Transformer = {
  encrypt: (value) => value,
  decrypt(data) {
    if (data.length >= encrypted.length && data.compare(encrypted, 0, encrypted.length, 0, encrypted.length) === 0)
      throw new Error('identity transformer tried to read encrypted data');
    return { value: data, stale: false };
  },
};

function startsWith(data: Buffer, prefix: Buffer): boolean {
  return data.length >= prefix.length && data.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}

function aggregate(errors: readonly unknown[], otherwise: string): Error {
  const texts = [...new Set(errors.map((e) => (e instanceof Error ? e.message : String(e))))];
  if (texts.length === 0) return new Error(otherwise);
  return new Error(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`, { cause: errors[0] });
}

/** `otherwise`: the error for a value that none of them fits. */
export function prefixTransformers(all: readonly PrefixTransformer[], otherwise: string): Transformer {
  const read = (data: Buffer, key: string, from: number, errors: unknown[]): Decrypted | Promise<Decrypted> => {
    for (let i = from; i < all.length; i++) {
      const { prefix, transformer } = all[i]!;
      if (!startsWith(data, prefix)) continue;
      try {
        const found = transformer.decrypt(data.subarray(prefix.length), key);
        if (found instanceof Promise)
          return found.then(
            (f) => (i === 0 ? f : { value: f.value, stale: true }),
            (error: unknown) => {
              errors.push(error);
              return read(data, key, i + 1, errors);
            },
          );
        return i === 0 ? found : { value: found.value, stale: true };
      } catch (error) {
        // One without a prefix says by its error that the value is somebody else's.
        if (prefix.length > 0) errors.push(error);
      }
    }
    throw aggregate(errors, otherwise);
  };
  const first = all[0]!;
  const behind = (value: Buffer): Buffer => (first.prefix.length === 0 ? value : Buffer.concat([first.prefix, value]));
  return {
    encrypt(value, key) {
      const data = first.transformer.encrypt(value, key);
      return data instanceof Promise ? data.then(behind) : behind(data);
    },
    decrypt: (data, key) => read(data, key, 0, []),
  };
}
