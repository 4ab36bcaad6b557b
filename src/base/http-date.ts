/** `HttpDate`: the text of a `Date` header, made once a second. */

export class HttpDate {
  #text = '';
  #until = 0;

  now(): string {
    const now = Date.now();
    // Also when the machine's clock was set back.
    if (now >= this.#until || now < this.#until - 1000) {
      this.#text = new Date(now).toUTCString();
      this.#until = now - (now % 1000) + 1000;
    }
    return this.#text;
  }
}
