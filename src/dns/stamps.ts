/**
 * What answers depend on (a Service, a namespace, an address, a file) as numbers in a fixed table: a change raises the number in the
 * slot of its name, and an answer that was made under another number is not given again. Two names in one slot cost an answer made
 * anew, never a wrong one.
 */

const size = 1 << 16;

export class Stamps {
  readonly #values = new Uint32Array(size);

  /** The slot of a name such as `s/default/web`. */
  slot(name: string): number {
    let h = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
    return (h ^ (h >>> 16)) & (size - 1);
  }

  value(slot: number): number {
    return this.#values[slot]!;
  }

  changed(name: string): void {
    const slot = this.slot(name);
    this.#values[slot] = this.#values[slot]! + 1;
  }
}
