/**
 * Shuffle sharding (KEP-1040): a flow is dealt a hand of queues by a hash of its name, so that two flows seldom share all of
 * theirs, and one that floods the server spoils few others' queues.
 */
import { createHash } from 'node:crypto';

/** Bits that a hash of a flow has to give. */
export const maxHashBits = 60;

/** Bits of the hash that dealing uses up. */
export function requiredEntropyBits(deckSize: number, handSize: number): number {
  return Math.ceil(Math.log2(deckSize) * handSize);
}

/** The first eight bytes of the hash of a flow, little endian. */
export function hashFlow(flowSchema: string, distinguisher: string): bigint {
  return createHash('sha256').update(`${flowSchema}\0${distinguisher}`).digest().readBigUInt64LE(0);
}

/** `handSize` different cards out of `deckSize`. */
export function deal(hash: bigint, deckSize: number, handSize: number): number[] {
  const remainders: number[] = [];
  let rest = hash;
  for (let i = 0; i < handSize; i++) {
    const left = BigInt(deckSize - i);
    remainders.push(Number(rest % left));
    rest /= left;
  }
  return remainders.map((remainder, i) => {
    let card = remainder;
    for (let j = i; j > 0; j--) if (card >= remainders[j - 1]!) card++;
    return card;
  });
}
