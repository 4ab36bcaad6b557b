/** Unary gRPC calls over a Unix socket, by messages told in a table. Loading this file loads gRPC and protobufjs: import it lazily. */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../base/io-time.ts';

/** By message and field: `type number`; a `*` is repeated, `map` is of strings to bytes. */
export type MessageTable = Readonly<Record<string, Readonly<Record<string, string>>>>;

export function messageTypes(namespace: string, messages: MessageTable): protobuf.Namespace {
  const root = new protobuf.Root();
  const ns = root.define(namespace);
  for (const [name, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(name);
    for (const [field, text] of Object.entries(fields)) {
      const [kind, id] = text.split(' ') as [string, string];
      if (kind === 'map') type.add(new protobuf.MapField(field, Number(id), 'string', 'bytes'));
      else if (kind.startsWith('*')) type.add(new protobuf.Field(field, Number(id), kind.slice(1), 'repeated'));
      else type.add(new protobuf.Field(field, Number(id), kind));
    }
    ns.add(type);
  }
  root.resolveAll();
  return ns;
}

/** gRPC's codes as its errors name them: `NotFound`, not `NOT_FOUND`. */
const codes: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(grpc.status)
    .filter(([, code]) => typeof code === 'number')
    .map(([name, code]) => [
      code,
      name
        .split('_')
        .map((part) => part[0]! + part.slice(1).toLowerCase())
        .join(''),
    ]),
);

/** `code` is the name of gRPC's; the message is Go's. */
export class RpcError extends Error {
  readonly code: string;
  constructor(code: string, details: string, cause: unknown) {
    super(`rpc error: code = ${code} desc = ${details}`, { cause });
    this.name = 'RpcError';
    this.code = code;
  }
}

export const messageObjects: protobuf.IConversionOptions = {
  longs: Number,
  bytes: Buffer,
  defaults: true,
  arrays: true,
};

/** `unix:///path`, `unix:///@abstract`, `unix://@abstract`, or the path or the abstract name alone. */
function address(endpoint: string): string {
  const path = endpoint.replace(/^unix:(?:\/\/)?/, '').replace(/^\/@/, '@');
  return path.startsWith('@') ? `unix:\0${path.slice(1)}` : `unix:${path}`;
}

export interface UnixClient {
  /** `method`: its name; its messages are `…Request` and `…Response` unless they are named. @throws {RpcError} */
  call<A>(
    method: string,
    request: object,
    timeoutMs: number,
    messages?: readonly [ask: string, answer: string],
  ): Promise<A>;
  close(): void;
}

export interface UnixClientOptions {
  readonly endpoint: string;
  /** `/v2.KeyManagementService/` */
  readonly service: string;
  readonly types: protobuf.Namespace;
  /** Calls wait for the socket to be there instead of failing at once. */
  readonly waitForReady?: boolean;
}

export function socketClient(endpoint: string): grpc.Client {
  return new grpc.Client(address(endpoint), grpc.credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 3000,
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
}

export function unixClient(options: UnixClientOptions): UnixClient {
  const { endpoint, service, types } = options;
  const client = socketClient(endpoint);
  return {
    call<A>(
      method: string,
      request: object,
      timeoutMs: number,
      messages: readonly [string, string] = [`${method}Request`, `${method}Response`],
    ) {
      const ask = types.lookupType(messages[0]);
      const answer = types.lookupType(messages[1]);
      return new Promise<A>((resolve, reject) => {
        let late = false;
        const metadata = new grpc.Metadata();
        if (options.waitForReady === true) metadata.setOptions({ waitForReady: true });
        const running = client.makeUnaryRequest(
          `${service}${method}`,
          (message: object) => Buffer.from(ask.encode(ask.fromObject(message)).finish()),
          (bytes: Buffer) => answer.toObject(answer.decode(bytes), messageObjects),
          request,
          metadata,
          (error, value) => {
            cancel();
            if (error === null) resolve(value as A);
            else if (late) reject(new RpcError('DeadlineExceeded', 'context deadline exceeded', error));
            else reject(new RpcError(codes[error.code] ?? 'Unknown', error.details, error));
          },
        );
        const cancel = ioTimer(timeoutMs, () => {
          late = true;
          running.cancel();
        });
      });
    },
    close: () => client.close(),
  };
}
