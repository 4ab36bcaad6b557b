/**
 * CRI's gRPC messages: the descriptor made ready for `@grpc/grpc-js`, with field names in lower camel case, so that messages have
 * the shapes of `container-runtime.ts` but for what `messages.ts` converts. Loading this file loads protobufjs: import it lazily.
 */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../../base/io-time.ts';
import { grpcCodes } from '../../grpc-codes.ts';
import type { RuntimeErrorCode } from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';
import descriptor from './cri-rpc.json' with { type: 'json' };

/** containerd's own event service: what tells of ended containers where CRI's event stream is not served. */
const eventsPackage: Nested = {
  nested: {
    SubscribeRequest: { fields: { filters: { rule: 'repeated', type: 'string', id: 1 } } },
    Any: { fields: { type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } },
    Envelope: {
      fields: {
        namespace: { type: 'string', id: 2 },
        topic: { type: 'string', id: 3 },
        event: { type: 'Any', id: 4 },
      },
    },
    TaskEvent: { fields: { container_id: { type: 'string', id: 1 }, id: { type: 'string', id: 2 } } },
    Events: {
      methods: { Subscribe: { requestType: 'SubscribeRequest', responseType: 'Envelope', responseStream: true } },
    },
  },
};
const eventsName = 'containerd.services.events.v1';

interface Nested {
  fields?: Record<string, unknown>;
  methods?: Record<string, unknown>;
  nested?: Record<string, Nested>;
}

const maxMessage = 16 * 1024 * 1024;

function camel(name: string): string {
  return name.replace(/(?<=.)_([a-z])/g, (_, c: string) => c.toUpperCase());
}

/** A copy with the fields' names in lower camel case. */
function camelFields(node: Nested): Nested {
  const out: Nested = { ...node };
  if (node.fields !== undefined)
    out.fields = Object.fromEntries(Object.entries(node.fields).map(([name, field]) => [camel(name), field]));
  if (node.nested !== undefined)
    out.nested = Object.fromEntries(Object.entries(node.nested).map(([name, child]) => [name, camelFields(child)]));
  return out;
}

/** A failed call as the error the kubelet knows. */
export function runtimeError(error: unknown): RuntimeError {
  if (error instanceof RuntimeError) return error;
  const e = error as Partial<grpc.ServiceError>;
  const name = grpcCodes[e.code ?? 2] ?? 'Unknown';
  // A call that failed was not OK, whatever its answer says.
  const code: RuntimeErrorCode = name === 'OK' ? 'Unknown' : name;
  return new RuntimeError(code, e.details ?? e.message ?? String(error), { cause: error });
}

interface Method {
  readonly path: string;
  serialize(message: object): Buffer;
  deserialize(bytes: Buffer): object;
}

export interface CallOptions {
  /** Real milliseconds; 0 for as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface StreamHandlers<A> {
  onMessage(message: A): void;
  /** Once: with the error that ended the stream, or undefined. */
  onEnd(error: RuntimeError | undefined): void;
}

/** The target of a gRPC client: `unix:///run/x.sock` for a path; anything with a scheme stays what it is. */
export function grpcTarget(endpoint: string): string {
  if (endpoint.startsWith('unix://')) return endpoint;
  if (endpoint.startsWith('/')) return `unix://${endpoint}`;
  return endpoint.replace(/^tcp:\/\//, '');
}

/** One connection to a runtime's socket. */
export class CriChannel {
  readonly #client: grpc.Client;
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #timeoutMs: number;
  #taskEvent: protobuf.Type;

  constructor(endpoint: string, timeoutMs: number) {
    // What goes wrong is told by the errors of the calls.
    grpc.setLogVerbosity(grpc.logVerbosity.NONE);
    this.#timeoutMs = timeoutMs;
    this.#client = new grpc.Client(grpcTarget(endpoint), grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessage,
      'grpc.max_send_message_length': maxMessage,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 3000,
      'grpc.default_authority': 'localhost',
      // Several clusters in one process may talk to one socket each with a connection of its own.
      'grpc.use_local_subchannel_pool': 1,
    });
    const root = protobuf.Root.fromJSON(camelFields({ nested: descriptor.nested as Record<string, Nested> }));
    root.define(eventsName, camelFields(eventsPackage).nested);
    root.resolveAll();
    const methods = new Map<string, Method>();
    for (const service of ['runtime.v1.RuntimeService', 'runtime.v1.ImageService', `${eventsName}.Events`])
      for (const m of root.lookupService(service).methodsArray)
        methods.set(m.name, {
          path: `/${service}/${m.name}`,
          ...codec(m.resolvedRequestType!, m.resolvedResponseType!),
        });
    this.#methods = methods;
    this.#taskEvent = root.lookupType(`${eventsName}.TaskEvent`);
  }

  /** Calls a method that answers once. Rejects with `RuntimeError`. */
  call<A extends object>(name: string, request: object, options: CallOptions = {}): Promise<A> {
    const method = this.#methods.get(name)!;
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    return new Promise((resolve, reject) => {
      let late = false;
      let cancel: (() => void) | undefined;
      const onAbort = (): void => call.cancel();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.serialize,
        method.deserialize,
        request,
        (error, answer) => {
          cancel?.();
          options.signal?.removeEventListener('abort', onAbort);
          if (error === null) resolve(answer as A);
          else if (late) reject(new RuntimeError('DeadlineExceeded', 'context deadline exceeded', { cause: error }));
          else reject(runtimeError(error));
        },
      );
      options.signal?.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs > 0)
        cancel = ioTimer(timeoutMs, () => {
          late = true;
          call.cancel();
        });
    });
  }

  /** Calls a method that answers with a stream; returns what ends it. */
  stream<A extends object>(name: string, request: object, handlers: StreamHandlers<A>): () => void {
    const method = this.#methods.get(name)!;
    const call = this.#client.makeServerStreamRequest(method.path, method.serialize, method.deserialize, request);
    let over = false;
    const end = (error: unknown): void => {
      if (over) return;
      over = true;
      handlers.onEnd(error === undefined ? undefined : runtimeError(error));
    };
    call.on('data', (message: object) => {
      if (!over) handlers.onMessage(message as A);
    });
    call.on('error', end);
    call.on('end', () => end(undefined));
    return () => {
      over = true;
      call.cancel();
    };
  }

  /** The container and the process that a task event of containerd is about. */
  taskEvent(bytes: Buffer): { containerId?: string; id?: string } {
    return this.#taskEvent.toObject(this.#taskEvent.decode(bytes)) as { containerId?: string; id?: string };
  }

  close(): void {
    this.#client.close();
  }
}

const plain: protobuf.IConversionOptions = { longs: Number, enums: String };

function codec(request: protobuf.Type, response: protobuf.Type): Omit<Method, 'path'> {
  return {
    serialize: (message) => {
      const bytes = request.encode(request.fromObject(message as Record<string, unknown>)).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes) => response.toObject(response.decode(bytes), plain),
  };
}
