/** `ShapeCache`: one object for equal values, since the pods of one template ask the runtime for the same things. */

const maxShapes = 5000;

export class ShapeCache {
  readonly #shapes = new Map<string, unknown>();

  /** An object equal to `value` that is never changed; the same one for equal values while it is remembered. */
  share<T extends object>(value: T): T {
    const key = JSON.stringify(value);
    const known = this.#shapes.get(key);
    if (known !== undefined) return known as T;
    if (this.#shapes.size >= maxShapes) this.#shapes.clear();
    this.#shapes.set(key, value);
    return value;
  }
}
