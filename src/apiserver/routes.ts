/** Paths that are not resources: discovery, health, metrics, OpenAPI, …; exact ones first, then the longest prefix. */
import type { Handler } from './filters/scope.ts';

export class Routes {
  readonly #exact = new Map<string, Handler>();
  readonly #prefixes: { prefix: string; handler: Handler }[] = [];
  readonly #listed = new Set<string>();

  /** `listed: false` leaves the path out of the index at `/`. */
  add(path: string, handler: Handler, listed = true): void {
    this.#exact.set(path, handler);
    if (listed) this.#listed.add(path);
  }

  addPrefix(prefix: string, handler: Handler): void {
    this.#prefixes.push({ prefix, handler });
    this.#prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
  }

  find(path: string): Handler | undefined {
    const exact = this.#exact.get(path);
    if (exact !== undefined) return exact;
    for (const { prefix, handler } of this.#prefixes) if (path.startsWith(prefix)) return handler;
    return undefined;
  }

  get listed(): readonly string[] {
    return [...this.#listed].sort();
  }
}
