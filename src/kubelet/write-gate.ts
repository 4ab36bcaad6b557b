/**
 * `WriteGate`: lets what a kubelet tells (events) wait for what it does (status writes). Shared by the kubelets of one process,
 * so that a thousand nodes starting pods are not held up by their own story.
 */
export class WriteGate {
  #writing = 0;
  #waiters: (() => void)[] = [];

  begin(): void {
    this.#writing++;
  }

  end(): void {
    if (--this.#writing > 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const w of waiters) w();
  }

  /** Undefined when no status is being written; else resolves when that may have changed. */
  wait(): Promise<void> | undefined {
    return this.#writing === 0 ? undefined : new Promise((resolve) => this.#waiters.push(resolve));
  }
}
