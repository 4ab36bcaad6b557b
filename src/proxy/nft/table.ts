/**
 * `NftTable`: what one table of nftables is to hold, kept in memory, and the text of a transaction that makes it so: of what changed
 * since the last commit, or of everything. It knows nothing of Services or policies, and runs nothing.
 */

export type NftFamily = 'ip' | 'ip6' | 'inet';

interface Chain {
  /** `type … hook … priority …` of a base chain; empty for one that is jumped to. */
  readonly hook: string;
  readonly rules: readonly string[];
}

interface Container {
  readonly kind: 'set' | 'map';
  /** Its type and flags, as nft writes them between the braces. */
  readonly body: string;
  /** Key → value; sets have empty values. */
  readonly elements: Map<string, string>;
  /** How many want a key, where it is more than one. */
  readonly wanted: Map<string, number>;
  /** Values as committed, of keys that were touched since; undefined: was not there. */
  touched: Map<string, string | undefined>;
}

/** Elements in one command: nft's memory is bounded by it, and its speed hardly depends on it. */
const perCommand = 5000;

const sameRules = (a: Chain, b: Chain): boolean =>
  a.hook === b.hook && a.rules.length === b.rules.length && a.rules.every((r, i) => r === b.rules[i]);

export class NftTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly #chains = new Map<string, Chain>();
  readonly #containers = new Map<string, Container>();
  /** Chains that the kernel has, wanted or not. */
  #keptChains = new Set<string>();
  #keptContainers = new Map<string, 'set' | 'map'>();
  #changedChains = new Set<string>();
  #changedContainers = new Set<string>();
  #touched = new Set<string>();
  #pending: 'nothing' | 'changes' | 'everything' = 'everything';

  constructor(family: NftFamily, name: string) {
    this.family = family;
    this.name = name;
  }

  /** Makes sure that there is such a set or map; nothing when there is one already. */
  container(kind: 'set' | 'map', name: string, body: string): void {
    if (this.#containers.has(name)) return;
    this.#containers.set(name, { kind, body, elements: new Map(), wanted: new Map(), touched: new Map() });
    this.#changedContainers.add(name);
    this.#dirty();
  }

  removeContainer(name: string): void {
    if (!this.#containers.delete(name)) return;
    this.#changedContainers.add(name);
    this.#touched.delete(name);
    this.#dirty();
  }

  /** Sets a chain's rules as a whole. */
  chain(name: string, rules: readonly string[], hook = ''): void {
    const next: Chain = { hook, rules };
    const before = this.#chains.get(name);
    if (before !== undefined && sameRules(before, next)) return;
    this.#chains.set(name, next);
    this.#changedChains.add(name);
    this.#dirty();
  }

  hasChain(name: string): boolean {
    return this.#chains.has(name);
  }

  /** Empties the chain now; it is deleted by `leftovers` later, when nothing of the kernel's can still point at it. */
  removeChain(name: string): void {
    if (!this.#chains.delete(name)) return;
    this.#changedChains.add(name);
    this.#dirty();
  }

  /** One more wants this element; the last value counts. */
  put(container: string, key: string, value = ''): void {
    const c = this.#containers.get(container);
    if (c === undefined) throw new Error(`table ${this.name} has no ${container}`);
    const before = c.elements.get(key);
    if (before !== undefined) c.wanted.set(key, (c.wanted.get(key) ?? 1) + 1);
    if (before === value) return;
    this.#touch(container, c, key, before);
    c.elements.set(key, value);
  }

  /** One less wants this element. */
  drop(container: string, key: string): void {
    const c = this.#containers.get(container);
    const before = c?.elements.get(key);
    if (c === undefined || before === undefined) return;
    const wanted = c.wanted.get(key) ?? 1;
    if (wanted > 1) {
      if (wanted === 2) c.wanted.delete(key);
      else c.wanted.set(key, wanted - 1);
      return;
    }
    this.#touch(container, c, key, before);
    c.elements.delete(key);
  }

  /** How many elements a set or map has. */
  size(container: string): number {
    return this.#containers.get(container)?.elements.size ?? 0;
  }

  get chains(): Iterable<string> {
    return this.#chains.keys();
  }

  #dirty(): void {
    if (this.#pending === 'nothing') this.#pending = 'changes';
  }

  #touch(name: string, c: Container, key: string, before: string | undefined): void {
    if (this.#pending === 'everything') return;
    if (!c.touched.has(key)) c.touched.set(key, before);
    this.#touched.add(name);
    this.#dirty();
  }

  get #id(): string {
    return `${this.family} ${this.name}`;
  }

  /** Something was changed since the last commit. */
  get changed(): boolean {
    return this.#pending !== 'nothing';
  }

  /** What makes the kernel's table this one; empty when it is so already. Followed by `commit`, or by `forget` when it failed. */
  transaction(): string {
    if (this.#pending === 'nothing') return '';
    return this.#pending === 'everything' ? this.#everything() : this.#changes();
  }

  /** The transaction is in place. */
  commit(): void {
    if (this.#pending === 'everything') {
      this.#keptChains = new Set(this.#chains.keys());
      this.#keptContainers = new Map([...this.#containers].map(([name, c]) => [name, c.kind]));
    } else {
      for (const name of this.#changedChains) if (this.#chains.has(name)) this.#keptChains.add(name);
      for (const name of this.#changedContainers) {
        const c = this.#containers.get(name);
        if (c === undefined) this.#keptContainers.delete(name);
        else this.#keptContainers.set(name, c.kind);
      }
    }
    for (const c of this.#containers.values()) if (c.touched.size > 0) c.touched = new Map();
    this.#changedChains = new Set();
    this.#changedContainers = new Set();
    this.#touched = new Set();
    this.#pending = 'nothing';
  }

  /** What the kernel has is not known: the next transaction writes everything. */
  forget(): void {
    this.#pending = 'everything';
  }

  /** Deletes chains that nobody wants any more; empty when there are none. Not to be run together with the transaction that freed them. */
  leftovers(): string {
    let text = '';
    for (const name of this.#keptChains)
      if (!this.#chains.has(name) && !this.#changedChains.has(name)) text += `delete chain ${this.#id} ${name}\n`;
    return text;
  }

  /** The leftovers are gone. */
  leftoversGone(): void {
    for (const name of this.#keptChains)
      if (!this.#chains.has(name) && !this.#changedChains.has(name)) this.#keptChains.delete(name);
  }

  /** Removes the table whether it is there or not. */
  removal(): string {
    return `add table ${this.#id}\ndelete table ${this.#id}\n`;
  }

  #everything(): string {
    const out: string[] = [this.removal(), `table ${this.#id} {\n`];
    for (const [name, c] of this.#containers) out.push(`  ${c.kind} ${name} { ${c.body} }\n`);
    // All chains before the rules: a rule may lead to a chain further down.
    for (const [name, { hook }] of this.#chains) out.push(`  chain ${name} { ${hook === '' ? '' : `${hook} ;`} }\n`);
    out.push('}\n');
    for (const [name, c] of this.#containers) this.#elements(out, 'add', name, c.elements);
    for (const [name, { rules }] of this.#chains) this.#rules(out, name, rules);
    return out.join('');
  }

  #changes(): string {
    const out: string[] = [];
    const id = this.#id;
    for (const name of this.#changedContainers) {
      const c = this.#containers.get(name);
      if (c !== undefined && !this.#keptContainers.has(name)) out.push(`add ${c.kind} ${id} ${name} { ${c.body} }\n`);
    }
    for (const name of this.#changedChains) {
      const chain = this.#chains.get(name);
      if (this.#keptChains.has(name)) out.push(`flush chain ${id} ${name}\n`);
      else if (chain !== undefined)
        out.push(`add chain ${id} ${name}${chain.hook === '' ? '' : ` { ${chain.hook} ; }`}\n`);
    }
    const gone = new Map<string, string[]>();
    const come = new Map<string, Map<string, string>>();
    for (const name of this.#touched) {
      const c = this.#containers.get(name);
      if (c === undefined) continue;
      const less: string[] = [];
      const more = new Map<string, string>();
      for (const [key, before] of c.touched) {
        const now = c.elements.get(key);
        if (now === before) continue;
        if (before !== undefined) less.push(key);
        if (now !== undefined) more.set(key, now);
      }
      gone.set(name, less);
      come.set(name, more);
    }
    for (const [name, keys] of gone)
      for (let i = 0; i < keys.length; i += perCommand)
        out.push(`delete element ${id} ${name} { ${keys.slice(i, i + perCommand).join(', ')} }\n`);
    for (const [name, elements] of come) this.#elements(out, 'add', name, elements);
    for (const name of this.#changedChains) this.#rules(out, name, this.#chains.get(name)?.rules ?? []);
    for (const name of this.#changedContainers) {
      const kind = this.#keptContainers.get(name);
      if (kind !== undefined && !this.#containers.has(name)) out.push(`delete ${kind} ${id} ${name}\n`);
    }
    return out.join('');
  }

  #elements(out: string[], verb: string, name: string, elements: ReadonlyMap<string, string>): void {
    let line: string[] = [];
    const end = (): void => {
      if (line.length > 0) out.push(`${verb} element ${this.#id} ${name} { `, line.join(', '), ' }\n');
      line = [];
    };
    for (const [key, value] of elements) {
      line.push(value === '' ? key : `${key} : ${value}`);
      if (line.length === perCommand) end();
    }
    end();
  }

  #rules(out: string[], chain: string, rules: readonly string[]): void {
    for (const rule of rules) out.push(`add rule ${this.#id} ${chain} ${rule}\n`);
  }
}
