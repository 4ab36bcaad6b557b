/** The streams of a connection that ended last: what still comes for them is late, or wrong, by the way they ended. */

const remembered = 128;

export class ClosedStreams {
  /** Stream numbers, negative for those that were reset from here. Made when the first one ends. */
  #ring: Int32Array | undefined = undefined;
  #next = 0;

  add(id: number, reset: boolean): void {
    this.#ring ??= new Int32Array(remembered);
    this.#ring[this.#next] = reset ? -id : id;
    this.#next = (this.#next + 1) % remembered;
  }

  find(id: number): 'reset' | 'ended' | undefined {
    if (this.#ring === undefined) return undefined;
    if (this.#ring.includes(-id)) return 'reset';
    return this.#ring.includes(id) ? 'ended' : undefined;
  }
}
