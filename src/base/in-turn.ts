/** Work that is done one piece after another, in the order in which it was asked for, each whatever became of the one before. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as this piece of work does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => {}); // its failure is told to who asked for it
    return mine;
  }

  /** Resolves when all that has been asked for has ended. */
  async ended(): Promise<void> {
    await this.#last;
  }
}

/** The same for the work of each key by itself. */
export class InTurnByKey {
  readonly #last = new Map<string, Promise<unknown>>();

  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(work);
    const settled = mine.catch(() => {}); // its failure is told to who asked for it
    this.#last.set(key, settled);
    void settled.then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    return mine;
  }
}
