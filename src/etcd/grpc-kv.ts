/** The KV service: etcd's requests translated to the store's transactions and back. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { unary } from './grpc-context.ts';
import type { ServerContext } from './grpc-context.ts';
import { maxRequestBytes } from './mvcc.ts';
import { RequestTooLargeError } from './store.ts';
import type { RangeResult } from './store.ts';
import { InvalidTxnError } from './txn.ts';
import type { Compare, RangeOrder, RangeQuery, RangeTarget, TxnOp, TxnOpResult, TxnRequest } from './txn.ts';
import { fromKeyValue, toBuffer, toEnd, toId, toKey, toNumber } from './wire.ts';
import type {
  CompactionRequestMessage,
  CompareMessage,
  DeleteRangeRequestMessage,
  DeleteRangeResponseMessage,
  HeaderMessage,
  PutRequestMessage,
  PutResponseMessage,
  RangeRequestMessage,
  RangeResponseMessage,
  RequestOpMessage,
  ResponseOpMessage,
  TxnRequestMessage,
  TxnResponseMessage,
} from './wire.ts';

const orders: readonly RangeOrder[] = ['none', 'ascend', 'descend'];
const targets: readonly RangeTarget[] = ['key', 'version', 'create', 'mod', 'value'];
const results = ['equal', 'greater', 'less', 'notEqual'] as const;
const compareTargets = ['version', 'create', 'mod', 'value', 'lease'] as const;

function rangeQuery(r: RangeRequestMessage): RangeQuery {
  const key = toKey(r.key);
  if (key === '') throw new InvalidTxnError('etcdserver: key is not provided');
  let order = orders[r.sort_order ?? 0];
  const target = targets[r.sort_target ?? 0];
  if (order === undefined || target === undefined) throw new InvalidTxnError('etcdserver: invalid sort option');
  if (order === 'none' && target !== 'key') order = 'ascend';
  return {
    key,
    end: toEnd(r.range_end),
    revision: toNumber(r.revision),
    limit: toNumber(r.limit),
    keysOnly: r.keys_only === true,
    countOnly: r.count_only === true,
    order,
    target,
    minModRevision: toNumber(r.min_mod_revision),
    maxModRevision: toNumber(r.max_mod_revision),
    minCreateRevision: toNumber(r.min_create_revision),
    maxCreateRevision: toNumber(r.max_create_revision),
  };
}

function rangeResponse(result: Omit<RangeResult, 'revision'>): RangeResponseMessage {
  const response: RangeResponseMessage = { kvs: result.kvs.map(fromKeyValue), count: result.count };
  if (result.more) response.more = true;
  return response;
}

function putOp(r: PutRequestMessage): TxnOp {
  const lease = toId(r.lease);
  return {
    type: 'put',
    key: toKey(r.key),
    // The decoder's bytes are a view of the whole received message, which the store must not keep alive.
    value: Buffer.from(toBuffer(r.value)),
    lease: lease === '0' ? undefined : lease,
    previous: r.prev_kv === true,
    ignoreValue: r.ignore_value === true,
    ignoreLease: r.ignore_lease === true,
  };
}

function deleteOp(r: DeleteRangeRequestMessage): TxnOp {
  return { type: 'delete', key: toKey(r.key), end: toEnd(r.range_end), previous: r.prev_kv === true };
}

function requestOp(op: RequestOpMessage): TxnOp {
  if (op.request_range) return { type: 'range', query: rangeQuery(op.request_range) };
  if (op.request_put) return putOp(op.request_put);
  if (op.request_delete_range) return deleteOp(op.request_delete_range);
  if (op.request_txn) return { type: 'txn', txn: txnRequest(op.request_txn) };
  throw new InvalidTxnError('etcdserver: key not found');
}

function compare(c: CompareMessage): Compare {
  const target = compareTargets[c.target ?? 0];
  const result = results[c.result ?? 0];
  if (target === undefined || result === undefined) throw new InvalidTxnError('etcdserver: invalid compare');
  const operand =
    target === 'value'
      ? toBuffer(c.value)
      : target === 'lease'
        ? toId(c.lease)
        : toNumber(target === 'version' ? c.version : target === 'create' ? c.create_revision : c.mod_revision);
  return { key: toKey(c.key), end: toEnd(c.range_end), target, result, operand };
}

function txnRequest(t: TxnRequestMessage): TxnRequest {
  return {
    compare: (t.compare ?? []).map(compare),
    success: (t.success ?? []).map(requestOp),
    failure: (t.failure ?? []).map(requestOp),
  };
}

function bytesOf(ops: readonly TxnOp[]): number {
  let n = 0;
  for (const op of ops) {
    if (op.type === 'put') n += op.key.length + op.value.length;
    else if (op.type === 'txn') n += bytesOf(op.txn.success) + bytesOf(op.txn.failure);
  }
  return n;
}

/** The handlers of etcdserverpb.KV. */
export function kvHandlers(ctx: ServerContext): UntypedServiceImplementation {
  const { mvcc } = ctx;

  const single = async (op: TxnOp): Promise<{ revision: number; result: TxnOpResult }> => {
    if (bytesOf([op]) > maxRequestBytes) throw new RequestTooLargeError();
    const { revision, results: done } = await mvcc.txn({ compare: [], success: [op], failure: [] });
    return { revision, result: done[0]! };
  };

  const putResponse = (result: TxnOpResult & { type: 'put' }): PutResponseMessage =>
    result.previous ? { prev_kv: fromKeyValue(result.previous) } : {};

  const deleteResponse = (result: TxnOpResult & { type: 'delete' }): DeleteRangeResponseMessage => ({
    deleted: result.deleted,
    prev_kvs: result.previous.map(fromKeyValue),
  });

  const responseOp = (result: TxnOpResult, revision: number): ResponseOpMessage => {
    const header = { revision };
    switch (result.type) {
      case 'range':
        return { response_range: { header, ...rangeResponse(result) } };
      case 'put':
        return { response_put: { header, ...putResponse(result) } };
      case 'delete':
        return { response_delete_range: { header, ...deleteResponse(result) } };
      case 'txn':
        return {
          response_txn: {
            header: {},
            succeeded: result.result.succeeded,
            responses: result.result.results.map((r) => responseOp(r, revision)),
          },
        };
    }
  };

  return {
    Range: unary(ctx, async (request: RangeRequestMessage): Promise<RangeResponseMessage> => {
      const result = await mvcc.range(rangeQuery(request));
      return { header: ctx.header(result.revision), ...rangeResponse(result) };
    }),
    Put: unary(ctx, async (request: PutRequestMessage): Promise<PutResponseMessage> => {
      const { revision, result } = await single(putOp(request));
      return { header: ctx.header(revision), ...putResponse(result as TxnOpResult & { type: 'put' }) };
    }),
    DeleteRange: unary(ctx, async (request: DeleteRangeRequestMessage): Promise<DeleteRangeResponseMessage> => {
      const { revision, result } = await single(deleteOp(request));
      return { header: ctx.header(revision), ...deleteResponse(result as TxnOpResult & { type: 'delete' }) };
    }),
    Txn: unary(ctx, async (request: TxnRequestMessage): Promise<TxnResponseMessage> => {
      const txn = txnRequest(request);
      if (bytesOf(txn.success) + bytesOf(txn.failure) > maxRequestBytes) throw new RequestTooLargeError();
      const { revision, succeeded, results: done } = await mvcc.txn(txn);
      return { header: ctx.header(revision), succeeded, responses: done.map((r) => responseOp(r, revision)) };
    }),
    Compact: unary(ctx, async (request: CompactionRequestMessage): Promise<HeaderMessage> => {
      await mvcc.compact(toNumber(request.revision), request.physical === true);
      return { header: ctx.header() };
    }),
  };
}
