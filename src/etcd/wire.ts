/**
 * etcd's gRPC messages: the descriptor made ready for `@grpc/grpc-js`, the shapes of the messages this room reads and writes,
 * and the conversions between them and our own data. Loading this file loads protobufjs: import it lazily.
 */
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import descriptor from './etcd-rpc.json' with { type: 'json' };
import { keysEnd } from './key-index.ts';
import type { KeyValue } from './store.ts';

/** A 64-bit number as protobufjs decodes and takes it. */
export type Int64 = number | { readonly low: number; readonly high: number; readonly unsigned?: boolean };

export interface ResponseHeader {
  cluster_id?: Int64;
  member_id?: Int64;
  revision?: Int64;
  raft_term?: Int64;
}

export interface WireKeyValue {
  key?: Uint8Array;
  create_revision?: Int64;
  mod_revision?: Int64;
  version?: Int64;
  value?: Uint8Array;
  lease?: Int64;
}

export interface RangeRequestMessage {
  key?: Uint8Array;
  range_end?: Uint8Array;
  limit?: Int64;
  revision?: Int64;
  sort_order?: number;
  sort_target?: number;
  serializable?: boolean;
  keys_only?: boolean;
  count_only?: boolean;
  min_mod_revision?: Int64;
  max_mod_revision?: Int64;
  min_create_revision?: Int64;
  max_create_revision?: Int64;
}

export interface RangeResponseMessage {
  header?: ResponseHeader;
  kvs?: WireKeyValue[];
  more?: boolean;
  count?: Int64;
}

export interface PutRequestMessage {
  key?: Uint8Array;
  value?: Uint8Array;
  lease?: Int64;
  prev_kv?: boolean;
  ignore_value?: boolean;
  ignore_lease?: boolean;
}

export interface PutResponseMessage {
  header?: ResponseHeader;
  prev_kv?: WireKeyValue | null;
}

export interface DeleteRangeRequestMessage {
  key?: Uint8Array;
  range_end?: Uint8Array;
  prev_kv?: boolean;
}

export interface DeleteRangeResponseMessage {
  header?: ResponseHeader;
  deleted?: Int64;
  prev_kvs?: WireKeyValue[];
}

export interface RequestOpMessage {
  request_range?: RangeRequestMessage | null;
  request_put?: PutRequestMessage | null;
  request_delete_range?: DeleteRangeRequestMessage | null;
  request_txn?: TxnRequestMessage | null;
}

export interface ResponseOpMessage {
  response_range?: RangeResponseMessage | null;
  response_put?: PutResponseMessage | null;
  response_delete_range?: DeleteRangeResponseMessage | null;
  response_txn?: TxnResponseMessage | null;
}

export interface CompareMessage {
  result?: number;
  target?: number;
  key?: Uint8Array;
  version?: Int64;
  create_revision?: Int64;
  mod_revision?: Int64;
  value?: Uint8Array;
  lease?: Int64;
  range_end?: Uint8Array;
}

export interface TxnRequestMessage {
  compare?: CompareMessage[];
  success?: RequestOpMessage[];
  failure?: RequestOpMessage[];
}

export interface TxnResponseMessage {
  header?: ResponseHeader;
  succeeded?: boolean;
  responses?: ResponseOpMessage[];
}

export interface CompactionRequestMessage {
  revision?: Int64;
  physical?: boolean;
}

export interface HeaderMessage {
  header?: ResponseHeader;
}

export interface WatchCreateMessage {
  key?: Uint8Array;
  range_end?: Uint8Array;
  start_revision?: Int64;
  progress_notify?: boolean;
  filters?: number[];
  prev_kv?: boolean;
  watch_id?: Int64;
  fragment?: boolean;
}

export interface WatchRequestMessage {
  create_request?: WatchCreateMessage | null;
  cancel_request?: { watch_id?: Int64 } | null;
  progress_request?: object | null;
}

export interface WireEvent {
  type?: number;
  kv?: WireKeyValue;
  prev_kv?: WireKeyValue | null;
}

export interface WatchResponseMessage {
  header?: ResponseHeader;
  watch_id?: Int64;
  created?: boolean;
  canceled?: boolean;
  compact_revision?: Int64;
  cancel_reason?: string;
  fragment?: boolean;
  events?: WireEvent[];
}

export interface LeaseMessage {
  header?: ResponseHeader;
  ID?: Int64;
  TTL?: Int64;
  grantedTTL?: Int64;
  keys?: boolean | Uint8Array[];
}

export interface LeasesMessage {
  header?: ResponseHeader;
  leases?: { ID: Int64 }[];
}

export interface StatusMessage {
  header?: ResponseHeader;
  version?: string;
  dbSize?: Int64;
  leader?: Int64;
  raftIndex?: Int64;
  raftTerm?: Int64;
  raftAppliedIndex?: Int64;
  dbSizeInUse?: Int64;
  storageVersion?: string;
}

export interface AlarmMessage {
  action?: number;
}

export interface MemberListMessage {
  header?: ResponseHeader;
  members?: { ID: Int64; name: string; peerURLs: string[]; clientURLs: string[]; isLearner: boolean }[];
}

/** mvccpb.Event's types. */
export const eventPut = 0;
export const eventDelete = 1;

type Method<Q, A> = MethodDefinition<Q, A>;

interface KvService extends ServiceDefinition {
  Range: Method<RangeRequestMessage, RangeResponseMessage>;
  Put: Method<PutRequestMessage, PutResponseMessage>;
  DeleteRange: Method<DeleteRangeRequestMessage, DeleteRangeResponseMessage>;
  Txn: Method<TxnRequestMessage, TxnResponseMessage>;
  Compact: Method<CompactionRequestMessage, HeaderMessage>;
}

interface WatchService extends ServiceDefinition {
  Watch: Method<WatchRequestMessage, WatchResponseMessage>;
}

interface LeaseService extends ServiceDefinition {
  LeaseGrant: Method<LeaseMessage, LeaseMessage>;
  LeaseRevoke: Method<LeaseMessage, HeaderMessage>;
  LeaseKeepAlive: Method<LeaseMessage, LeaseMessage>;
  LeaseTimeToLive: Method<LeaseMessage, LeaseMessage>;
  LeaseLeases: Method<object, LeasesMessage>;
}

interface MaintenanceService extends ServiceDefinition {
  Status: Method<object, StatusMessage>;
  Alarm: Method<AlarmMessage, HeaderMessage>;
}

interface ClusterService extends ServiceDefinition {
  MemberList: Method<object, MemberListMessage>;
}

/** The services, ready to be served or called. */
export interface EtcdProto {
  readonly kv: KvService;
  readonly watch: WatchService;
  readonly lease: LeaseService;
  readonly maintenance: MaintenanceService;
  readonly cluster: ClusterService;
  /** Bytes a watch event takes in a message. */
  eventBytes(event: WireEvent): number;
}

/** Builds codecs and service definitions from the descriptor. */
export function loadEtcdProto(): EtcdProto {
  const root = protobuf.Root.fromJSON(descriptor);
  root.resolveAll();
  const codec = (name: string) => {
    const type = root.lookupType(`etcdserverpb.${name}`);
    return {
      serialize: (message: object): Buffer => {
        const bytes = type.encode(message).finish();
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      },
      deserialize: (bytes: Buffer): object => type.decode(bytes),
    };
  };
  const service = (name: string): ServiceDefinition => {
    const methods: Record<string, MethodDefinition<object, object>> = {};
    for (const method of root.lookupService(`etcdserverpb.${name}`).methodsArray) {
      const request = codec(method.requestType);
      const response = codec(method.responseType);
      methods[method.name] = {
        path: `/etcdserverpb.${name}/${method.name}`,
        requestStream: method.requestStream ?? false,
        responseStream: method.responseStream ?? false,
        requestSerialize: request.serialize,
        requestDeserialize: request.deserialize,
        responseSerialize: response.serialize,
        responseDeserialize: response.deserialize,
      };
    }
    return methods;
  };
  return {
    kv: service('KV') as KvService,
    watch: service('Watch') as WatchService,
    lease: service('Lease') as LeaseService,
    maintenance: service('Maintenance') as MaintenanceService,
    cluster: service('Cluster') as ClusterService,
    eventBytes: (event) =>
      32 +
      (event.kv?.key?.length ?? 0) +
      (event.kv?.value?.length ?? 0) +
      (event.prev_kv?.key?.length ?? 0) +
      (event.prev_kv?.value?.length ?? 0),
  };
}

/** A revision, version, count or TTL. */
export function toNumber(v: Int64 | undefined | null): number {
  if (v === undefined || v === null) return 0;
  return typeof v === 'number' ? v : v.high * 2 ** 32 + (v.low >>> 0);
}

/** A lease id: all 64 bits count, and etcd's are signed. */
export function toId(v: Int64 | undefined | null): string {
  if (v === undefined || v === null) return '0';
  if (typeof v === 'number') return String(v);
  return BigInt.asIntN(64, (BigInt(v.high) << 32n) | BigInt(v.low >>> 0)).toString();
}

export function fromId(id: string | undefined): Int64 | undefined {
  if (id === undefined || id === '0') return undefined;
  const big = BigInt.asUintN(64, BigInt(id));
  return { low: Number(big & 0xffff_ffffn) | 0, high: Number(big >> 32n) | 0, unsigned: false };
}

/** A key's bytes as the latin1 string that this room uses. */
export function toKey(bytes: Uint8Array | undefined | null): string {
  if (bytes === undefined || bytes === null || bytes.length === 0) return '';
  return toBuffer(bytes).toString('latin1');
}

export function fromKey(key: string): Buffer {
  return Buffer.from(key, 'latin1');
}

/** etcd's range_end: empty is the single key, `\0` is open above. */
export function toEnd(bytes: Uint8Array | undefined | null): string | undefined {
  const end = toKey(bytes);
  if (end === '') return undefined;
  return end === '\0' ? keysEnd : end;
}

/** Back to range_end; `\0` and `keysEnd` are both open above. */
export function fromEnd(end: string | undefined): Buffer | undefined {
  if (end === undefined) return undefined;
  return fromKey(end === keysEnd ? '\0' : end);
}

export function toBuffer(bytes: Uint8Array | undefined | null): Buffer {
  if (bytes === undefined || bytes === null || bytes.length === 0) return Buffer.alloc(0);
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function toKeyValue(kv: WireKeyValue): KeyValue {
  const lease = toId(kv.lease);
  return {
    key: toKey(kv.key),
    value: toBuffer(kv.value),
    createRevision: toNumber(kv.create_revision),
    modRevision: toNumber(kv.mod_revision),
    version: toNumber(kv.version),
    lease: lease === '0' ? undefined : lease,
  };
}

export function fromKeyValue(kv: KeyValue): WireKeyValue {
  const wire: WireKeyValue = { key: fromKey(kv.key), mod_revision: kv.modRevision };
  if (kv.createRevision !== 0) wire.create_revision = kv.createRevision;
  if (kv.version !== 0) wire.version = kv.version;
  if (kv.value.length > 0) wire.value = kv.value;
  if (kv.lease !== undefined) wire.lease = fromId(kv.lease);
  return wire;
}
