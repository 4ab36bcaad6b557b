/**
 * etcd's transactions as plain data, with the rules a request must keep before it is applied. `Mvcc` applies them; the gRPC
 * server translates to and from them.
 */
import type { KeyValue } from './store.ts';

export type RangeOrder = 'none' | 'ascend' | 'descend';
export type RangeTarget = 'key' | 'version' | 'create' | 'mod' | 'value';

/** A range with everything etcd's request can ask for. `end` undefined: the single key; `keysEnd`: open above. */
export interface RangeQuery {
  readonly key: string;
  readonly end?: string;
  readonly revision?: number;
  readonly limit?: number;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  /** See `RangeRequest`. */
  readonly uncounted?: boolean;
  readonly order?: RangeOrder;
  readonly target?: RangeTarget;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface Compare {
  readonly key: string;
  readonly end?: string;
  readonly result: 'equal' | 'greater' | 'less' | 'notEqual';
  readonly target: 'version' | 'create' | 'mod' | 'value' | 'lease';
  /** A revision or version, a value, or a lease id as a decimal string (`0`: none). */
  readonly operand: number | Buffer | string;
}

export type TxnOp =
  | { readonly type: 'range'; readonly query: RangeQuery }
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: Buffer;
      readonly lease?: string;
      readonly previous?: boolean;
      readonly ignoreValue?: boolean;
      readonly ignoreLease?: boolean;
    }
  | { readonly type: 'delete'; readonly key: string; readonly end?: string; readonly previous?: boolean }
  | { readonly type: 'txn'; readonly txn: TxnRequest };

export interface TxnRequest {
  readonly compare: readonly Compare[];
  readonly success: readonly TxnOp[];
  readonly failure: readonly TxnOp[];
}

export type TxnOpResult =
  | { readonly type: 'range'; readonly kvs: readonly KeyValue[]; readonly count: number; readonly more: boolean }
  | { readonly type: 'put'; readonly previous: KeyValue | undefined }
  | { readonly type: 'delete'; readonly deleted: number; readonly previous: readonly KeyValue[] }
  | { readonly type: 'txn'; readonly result: TxnResult };

export interface TxnResult {
  readonly revision: number;
  readonly succeeded: boolean;
  readonly results: readonly TxnOpResult[];
}

/** etcd refuses the request itself; `message` is etcd's. */
export class InvalidTxnError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvalidTxnError';
  }
}

/** A put with ignore_value or ignore_lease on a key that is not there. */
export class KeyNotFoundError extends Error {
  constructor() {
    super('etcdserver: key not found');
    this.name = 'KeyNotFoundError';
  }
}

/** etcd's `--max-txn-ops`. */
const maxOps = 128;

interface Touched {
  readonly puts: Set<string>;
  readonly deletes: { key: string; end: string }[];
}

function covers(range: { key: string; end: string }, key: string): boolean {
  return range.key <= key && key < range.end;
}

/** The keys one list of ops can put, checking that nothing is put twice or put and deleted in the same transaction. */
function checkIntervals(ops: readonly TxnOp[]): Touched {
  const duplicate = (): never => {
    throw new InvalidTxnError('etcdserver: duplicate key given in txn request');
  };
  const touched: Touched = { puts: new Set(), deletes: [] };
  for (const op of ops) {
    if (op.type === 'delete') touched.deletes.push({ key: op.key, end: op.end ?? `${op.key}\0` });
  }
  for (const op of ops) {
    if (op.type !== 'txn') continue;
    const success = checkIntervals(op.txn.success);
    const failure = checkIntervals(op.txn.failure);
    for (const key of new Set([...success.puts, ...failure.puts])) {
      if (touched.puts.has(key) || touched.deletes.some((d) => covers(d, key))) duplicate();
      touched.puts.add(key);
    }
    for (const d of [...success.deletes, ...failure.deletes]) {
      for (const key of touched.puts) {
        const own = success.puts.has(key) || failure.puts.has(key);
        if (!own && covers(d, key)) duplicate();
      }
      touched.deletes.push(d);
    }
  }
  for (const op of ops) {
    if (op.type !== 'put') continue;
    if (touched.puts.has(op.key) || touched.deletes.some((d) => covers(d, op.key))) duplicate();
    touched.puts.add(op.key);
  }
  return touched;
}

function checkOps(ops: readonly TxnOp[]): void {
  if (ops.length > maxOps) throw new InvalidTxnError('etcdserver: too many operations in txn request');
  for (const op of ops) {
    if (op.type === 'txn') {
      checkOps(op.txn.success);
      checkOps(op.txn.failure);
    } else if ((op.type === 'range' ? op.query.key : op.key) === '') {
      throw new InvalidTxnError('etcdserver: key is not provided');
    } else if (op.type === 'put') {
      if (op.ignoreValue && op.value.length > 0) throw new InvalidTxnError('etcdserver: value is provided');
      if (op.ignoreLease && op.lease !== undefined) throw new InvalidTxnError('etcdserver: lease is provided');
    }
  }
}

/** Throws `InvalidTxnError` for what etcd refuses before it looks at any key. */
export function checkTxn(txn: TxnRequest): void {
  if (txn.compare.length > maxOps) throw new InvalidTxnError('etcdserver: too many operations in txn request');
  for (const c of txn.compare) {
    if (c.key === '') throw new InvalidTxnError('etcdserver: key is not provided');
  }
  checkOps(txn.success);
  checkOps(txn.failure);
  checkIntervals(txn.success);
  checkIntervals(txn.failure);
}
