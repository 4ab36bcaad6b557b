/**
 * Who is told of an event. Each live watcher stands in one bucket, the narrowest that it allows: its one key, a value of
 * the indexed field (`spec.nodeName` of pods), its namespace, or everything; an event looks into the few that can matter.
 */
import type { StoredObject } from './codec.ts';
import type { LogEvent } from './event-log.ts';
import type { Watcher } from './watcher.ts';

const nobody: ReadonlySet<Watcher> = new Set();

export class Dispatcher {
  /** Field that is indexed; undefined: none. */
  readonly #field: string | undefined;
  readonly #byKey = new Map<string, Set<Watcher>>();
  readonly #byField = new Map<string, Set<Watcher>>();
  readonly #byNamespace = new Map<string, Set<Watcher>>();
  readonly #all = new Set<Watcher>();
  readonly #woken: Watcher[] = [];

  constructor(field: string | undefined) {
    this.#field = field;
  }

  add(watcher: Watcher): void {
    this.#bucket(watcher, (map, value) => {
      if (map === undefined) this.#all.add(watcher);
      else {
        const set = map.get(value);
        if (set === undefined) map.set(value, new Set([watcher]));
        else set.add(watcher);
      }
    });
  }

  remove(watcher: Watcher): void {
    this.#bucket(watcher, (map, value) => {
      if (map === undefined) this.#all.delete(watcher);
      else {
        const set = map.get(value);
        set?.delete(watcher);
        if (set?.size === 0) map.delete(value);
      }
    });
  }

  #bucket(watcher: Watcher, visit: (map: Map<string, Set<Watcher>> | undefined, value: string) => void): void {
    const { selection } = watcher;
    if (selection.single !== undefined) return visit(this.#byKey, selection.single);
    const value = this.#field === undefined ? undefined : selection.exactField(this.#field);
    if (value !== undefined) return visit(this.#byField, value);
    if (selection.namespace !== '') return visit(this.#byNamespace, selection.namespace);
    return visit(undefined, '');
  }

  /** Gives an event to those it may concern; they are woken by `flush`. */
  dispatch(event: LogEvent): void {
    if (this.#all.size > 0) this.#push(this.#all, event);
    if (this.#byKey.size > 0) this.#push(this.#byKey.get(event.key) ?? nobody, event);
    if (this.#byNamespace.size > 0) {
      this.#push(this.#byNamespace.get((event.current ?? event.previous)!.namespace) ?? nobody, event);
    }
    if (this.#byField.size > 0) {
      const now = this.#valueOf(event.current);
      const before = this.#valueOf(event.previous);
      if (now !== undefined) this.#push(this.#byField.get(now) ?? nobody, event);
      if (before !== undefined && before !== now) this.#push(this.#byField.get(before) ?? nobody, event);
    }
  }

  #valueOf(object: StoredObject | undefined): string | undefined {
    return object === undefined ? undefined : (object.field(this.#field!) ?? '');
  }

  #push(watchers: ReadonlySet<Watcher>, event: LogEvent): void {
    for (const watcher of watchers) if (watcher.push(event)) this.#woken.push(watcher);
  }

  flush(): void {
    if (this.#woken.length === 0) return;
    for (const watcher of this.#woken.splice(0)) watcher.flush();
  }

  *watchers(): Generator<Watcher> {
    yield* this.#all;
    for (const map of [this.#byKey, this.#byField, this.#byNamespace]) for (const set of map.values()) yield* set;
  }
}
