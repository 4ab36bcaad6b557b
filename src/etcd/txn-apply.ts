/** Running a transaction against the pending state. Values are read afterwards, when what was found may be shown. */
import type { KeyIndex, Version } from './key-index.ts';
import { LeaseNotFoundError } from './lessor.ts';
import type { Lessor } from './lessor.ts';
import { pickVersions } from './range.ts';
import type { Picked } from './range.ts';
import type { RangeResult } from './store.ts';
import { KeyNotFoundError } from './txn.ts';
import type { Compare, RangeQuery, TxnOp, TxnOpResult, TxnRequest, TxnResult } from './txn.ts';
import type { Values } from './values.ts';

/** What a transaction needs of the store. */
export interface TxnStore {
  readonly index: KeyIndex;
  readonly values: Values;
  readonly lessor: Lessor;
  /** The newest revision, flushed or not. */
  pending(): number;
  /** Throws when `revision` is compacted or has not happened. */
  checkRevision(revision: number | undefined): void;
  /** Writes one change; `value` undefined deletes. */
  write(key: string, value: Buffer | undefined, lease: string | undefined, revision: number, sub: number): void;
  /** Keeps what a read at `revision` needs until the returned function is called. */
  pin(revision: number): () => void;
  finishRange(picked: Picked, query: RangeQuery): Promise<Omit<RangeResult, 'revision'>>;
}

type Late<T> = (revision: number) => Promise<T>;

export class TxnRun {
  readonly #store: TxnStore;
  readonly #unpin: (() => void)[] = [];
  readonly #revision: number;
  #sub = 0;

  constructor(store: TxnStore) {
    this.#store = store;
    this.#revision = store.pending() + 1;
  }

  /**
   * Applies the transaction, or throws before anything is written. What it returns makes the answer once everything up to
   * the revision given to it is durable.
   */
  apply(request: TxnRequest): Late<TxnResult> {
    this.#precheck(request);
    return this.#apply(request);
  }

  /** Lets go of the revisions the answer stood on. */
  end(): void {
    for (const unpin of this.#unpin) unpin();
  }

  /** Everything that can be wrong with the branch that will run. */
  #precheck(request: TxnRequest): void {
    const { index, lessor } = this.#store;
    for (const op of this.#holds(request.compare) ? request.success : request.failure) {
      if (op.type === 'txn') this.#precheck(op.txn);
      else if (op.type === 'range') this.#store.checkRevision(op.query.revision);
      else if (op.type === 'put') {
        const needed = op.ignoreValue === true || op.ignoreLease === true;
        if (needed && index.at(op.key, this.#store.pending()) === undefined) throw new KeyNotFoundError();
        if (op.lease !== undefined && lessor.get(op.lease) === undefined) throw new LeaseNotFoundError();
      }
    }
  }

  #holds(compares: readonly Compare[]): boolean {
    const { index } = this.#store;
    return compares.every((c) => {
      if (c.end === undefined) return this.#compare(c, index.at(c.key, this.#store.pending()));
      let all = true;
      let any = false;
      index.walk(c.key, c.end, (head) => {
        if (head.version === 0) return true;
        any = true;
        all = this.#compare(c, head);
        return all;
      });
      return any ? all : this.#compare(c, undefined);
    });
  }

  #compare(c: Compare, v: Version | undefined): boolean {
    let order: number;
    switch (c.target) {
      case 'value':
        // A key that is not there has no value to compare, not an empty one.
        if (v === undefined) return false;
        order = Buffer.compare(this.#store.values.of(v), c.operand as Buffer);
        break;
      case 'lease': {
        const [a, b] = [BigInt(v?.lease ?? '0'), BigInt(c.operand as string)];
        order = a < b ? -1 : a > b ? 1 : 0;
        break;
      }
      case 'version':
        order = (v?.version ?? 0) - (c.operand as number);
        break;
      case 'create':
        order = (v?.createRevision ?? 0) - (c.operand as number);
        break;
      case 'mod':
        order = (v?.modRevision ?? 0) - (c.operand as number);
        break;
    }
    switch (c.result) {
      case 'equal':
        return order === 0;
      case 'notEqual':
        return order !== 0;
      case 'greater':
        return order > 0;
      case 'less':
        return order < 0;
    }
  }

  #apply(request: TxnRequest): Late<TxnResult> {
    const succeeded = this.#holds(request.compare);
    const late: Late<TxnOpResult>[] = [];
    for (const op of succeeded ? request.success : request.failure) late.push(this.#applyOp(op));
    return async (revision) => {
      const results: TxnOpResult[] = [];
      for (const l of late) results.push(await l(revision));
      return { revision, succeeded, results };
    };
  }

  #applyOp(op: TxnOp): Late<TxnOpResult> {
    const store = this.#store;
    const { index, values } = store;
    switch (op.type) {
      case 'range': {
        const revision = op.query.revision || store.pending();
        this.#unpin.push(store.pin(revision));
        const picked = pickVersions(index, op.query, revision);
        return async () => ({ type: 'range', ...(await store.finishRange(picked, op.query)) });
      }
      case 'put': {
        const current = index.at(op.key, store.pending());
        if (op.previous && current) this.#unpin.push(store.pin(current.modRevision));
        const value = op.ignoreValue ? values.of(current!) : op.value;
        const lease = op.ignoreLease ? current!.lease : op.lease;
        store.write(op.key, value, lease, this.#revision, this.#sub++);
        return async () => ({ type: 'put', previous: op.previous && current ? values.keyValue(current) : undefined });
      }
      case 'delete': {
        const found: Version[] = [];
        index.walk(op.key, op.end ?? `${op.key}\0`, (head) => {
          if (head.version !== 0) found.push(head);
        });
        if (op.previous && found.length > 0) this.#unpin.push(store.pin(this.#revision - 1));
        for (const v of found) store.write(v.key, undefined, undefined, this.#revision, this.#sub++);
        return async () => ({
          type: 'delete',
          deleted: found.length,
          previous: op.previous ? found.map((v) => values.keyValue(v)) : [],
        });
      }
      case 'txn': {
        const inner = this.#apply(op.txn);
        return async (revision) => ({ type: 'txn', result: await inner(revision) });
      }
    }
  }
}
