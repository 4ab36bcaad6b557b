/** Calls to an etcd cluster, or of its clients, counted with the names that gRPC's own middleware for Prometheus has. */
import { Vector } from '../base/metric-families.ts';
import type { Family, Value } from '../base/metric-families.ts';

interface Method {
  readonly started: Value;
  readonly sent: Value;
  readonly received: Value;
  readonly handled: (code: string) => Value;
}

/** gRPC's codes by number, as Go names them. */
const codes = [
  ...['OK', 'Canceled', 'Unknown', 'InvalidArgument', 'DeadlineExceeded', 'NotFound', 'AlreadyExists'],
  ...['PermissionDenied', 'ResourceExhausted', 'FailedPrecondition', 'Aborted', 'OutOfRange', 'Unimplemented'],
  ...['Internal', 'Unavailable', 'DataLoss', 'Unauthenticated'],
];

export class CallMetrics {
  readonly #started: Vector;
  readonly #handled: Vector;
  readonly #sent: Vector;
  readonly #received: Vector;
  readonly families: readonly Family[];
  readonly #methods = new Map<string, Method>();

  /** Whose calls: those that are made, or those that are answered. */
  constructor(side: 'client' | 'server' = 'client') {
    const made = side === 'client';
    const family = (name: string, help: string): Vector => new Vector('counter', `grpc_${side}_${name}`, help);
    this.#started = family('started_total', `Total number of RPCs started on the ${side}.`);
    this.#handled = family(
      'handled_total',
      `Total number of RPCs completed ${made ? 'by the client' : 'on the server'}, regardless of success or failure.`,
    );
    this.#sent = family('msg_sent_total', `Total number of gRPC stream messages sent by the ${side}.`);
    this.#received = family(
      'msg_received_total',
      `Total number of RPC stream messages received ${made ? 'by the client' : 'on the server'}.`,
    );
    this.families = [this.#started, this.#handled, this.#sent, this.#received];
  }

  /** `path`: `/etcdserverpb.KV/Range` */
  of(path: string, type: 'unary' | 'bidi_stream'): Method {
    let found = this.#methods.get(path);
    if (found === undefined) {
      const [, service = '', method = ''] = path.split('/');
      const labels = () => ({ grpc_method: method, grpc_service: service, grpc_type: type });
      found = {
        started: this.#started.series(path, labels),
        sent: this.#sent.series(path, labels),
        received: this.#received.series(path, labels),
        handled: (code) => this.#handled.series(`${path} ${code}`, () => ({ ...labels(), grpc_code: code })),
      };
      this.#methods.set(path, found);
    }
    return found;
  }

  /** The name of a code of an error; `OK` for none. */
  static code(error: { readonly code?: number } | null | undefined): string {
    return error === null || error === undefined ? 'OK' : (codes[error.code ?? 2] ?? 'Unknown');
  }
}
