/** etcd's gRPC codes for the errors of the store; the messages are the errors' own. */
import { status } from '@grpc/grpc-js';
import { LeaseExistsError, LeaseNotFoundError, LeaseTtlTooLargeError } from './lessor.ts';
import { CorruptRecordError } from './record.ts';
import {
  CompactedError,
  FutureRevisionError,
  RequestTooLargeError,
  StoreClosedError,
  StoreFailedError,
} from './store.ts';
import { InvalidTxnError, KeyNotFoundError } from './txn.ts';

export interface GrpcError {
  readonly code: status;
  readonly details: string;
  readonly name: string;
  readonly message: string;
}

/** The store's error as gRPC carries it. */
export function grpcError(error: Error): GrpcError {
  const as = (code: status, details = error.message): GrpcError => ({
    code,
    details,
    name: error.name,
    message: details,
  });
  if (error instanceof CompactedError || error instanceof FutureRevisionError) return as(status.OUT_OF_RANGE);
  if (error instanceof LeaseTtlTooLargeError) return as(status.OUT_OF_RANGE);
  if (error instanceof LeaseNotFoundError) return as(status.NOT_FOUND);
  if (error instanceof LeaseExistsError) return as(status.FAILED_PRECONDITION);
  if (error instanceof RequestTooLargeError || error instanceof InvalidTxnError || error instanceof KeyNotFoundError) {
    return as(status.INVALID_ARGUMENT);
  }
  if (error instanceof CorruptRecordError) return as(status.DATA_LOSS);
  if (error instanceof StoreFailedError || error instanceof StoreClosedError) {
    return as(status.UNAVAILABLE, 'etcdserver: server stopped');
  }
  const { code } = error as { code?: unknown };
  if (typeof code === 'number') return as(code);
  return as(status.INTERNAL);
}
