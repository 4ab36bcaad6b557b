/**
 * What plugins of one request tell each other about being called again: a webhook or policy that changed the object makes
 * the mutating chain run once more, in which every built-in plugin and what asks for it (`reinvocationPolicy: IfNeeded`) has
 * another look.
 */
import { jsonEqual } from '../../api/patch/values.ts';

/** The memory of one sort of reinvocable things (webhooks, policies) over both runs. */
export class Reinvocable {
  readonly #called = new Set<string>();
  readonly #again = new Set<string>();
  #output: unknown;

  /** The object is not what this plugin left behind. */
  changedSince(object: unknown): boolean {
    return !jsonEqual(this.#output, object);
  }

  leave(object: unknown): void {
    this.#output = object;
  }

  /** It was called and wants to be called again when something changes. */
  called(id: string): void {
    this.#called.add(id);
  }

  /** Something changed: whoever was called before and wants it is called again. */
  requireAgain(): void {
    for (const id of this.#called) this.#again.add(id);
    this.#called.clear();
  }

  shouldCall(id: string): boolean {
    return this.#again.has(id);
  }
}

export class Reinvocation {
  /** This is the second run. */
  again = false;
  /** A second run is wanted. */
  wanted = false;
  readonly #kinds = new Map<string, Reinvocable>();

  of(plugin: string): Reinvocable {
    let found = this.#kinds.get(plugin);
    if (found === undefined) this.#kinds.set(plugin, (found = new Reinvocable()));
    return found;
  }
}
