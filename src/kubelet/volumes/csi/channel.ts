/** gRPC over a plugin's socket: calls that answer once. Loading this file loads gRPC and protobufjs: import it lazily. */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../../base/io-time.ts';
import { grpcCodes } from '../../grpc-codes.ts';
import type { MessageFields } from './messages.ts';
import { csiMessages, enums, nodeMethods, registrationMessages, registrationMethods } from './messages.ts';

/** After these nobody knows whether what was asked for has been done, or still goes on. */
const uncertain: ReadonlySet<string> = new Set([
  'Canceled',
  'DeadlineExceeded',
  'Unavailable',
  'ResourceExhausted',
  'Aborted',
]);

/** A failed call to a plugin, in the form in which gRPC's errors are shown. */
export class PluginError extends Error {
  readonly code: string;

  constructor(code: string, description: string, options?: { cause?: unknown }) {
    super(`rpc error: code = ${code} desc = ${description}`, options);
    this.name = 'PluginError';
    this.code = code;
  }

  /** The operation is over: it is neither done nor under way. */
  get final(): boolean {
    return !uncertain.has(this.code);
  }
}

interface Method {
  readonly path: string;
  serialize(message: object): Buffer;
  deserialize(bytes: Buffer): object;
}

const plain: protobuf.IConversionOptions = { longs: Number, enums: String };

function methodsOf(
  packageName: string,
  service: string,
  messages: MessageFields,
  methods: Readonly<Record<string, readonly [string, string]>>,
): ReadonlyMap<string, Method> {
  const root = new protobuf.Root();
  const ns = root.define(packageName);
  for (const [name, values] of Object.entries(enums)) ns.add(new protobuf.Enum(name, { ...values }));
  for (const [name, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(name);
    for (const [field, text] of Object.entries(fields)) {
      const at = text.lastIndexOf(' ');
      const id = Number(text.slice(at + 1));
      const kind = text.slice(0, at);
      if (kind.startsWith('map<')) type.add(new protobuf.MapField(field, id, 'string', 'string'));
      else if (kind.startsWith('repeated '))
        type.add(new protobuf.Field(field, id, kind.slice('repeated '.length), 'repeated'));
      else type.add(new protobuf.Field(field, id, kind));
    }
    ns.add(type);
  }
  root.resolveAll();
  const out = new Map<string, Method>();
  for (const [name, [request, response]] of Object.entries(methods)) {
    const asked = ns.lookupType(request);
    const answered = ns.lookupType(response);
    out.set(name, {
      path: `/${packageName}.${service}/${name}`,
      serialize: (message) => Buffer.from(asked.encode(asked.fromObject(message as Record<string, unknown>)).finish()),
      deserialize: (bytes) => answered.toObject(answered.decode(bytes), plain),
    });
  }
  return out;
}

/** One connection to a plugin. */
export class PluginChannel {
  readonly #client: grpc.Client;
  readonly #methods: ReadonlyMap<string, Method>;

  constructor(address: string, methods: ReadonlyMap<string, Method>) {
    this.#methods = methods;
    this.#client = new grpc.Client(address, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': 4 * 1024 * 1024,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 3000,
      'grpc.default_authority': 'localhost',
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  /** `timeoutMs` is real time. Rejects with `PluginError`. */
  call<A extends object>(name: string, request: object, timeoutMs: number): Promise<A> {
    const method = this.#methods.get(name)!;
    return new Promise((resolve, reject) => {
      let late = false;
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.serialize,
        method.deserialize,
        request,
        (error, answer) => {
          cancel();
          if (error === null) resolve(answer as A);
          else if (late) reject(new PluginError('DeadlineExceeded', 'context deadline exceeded', { cause: error }));
          else reject(new PluginError(grpcCodes[error.code] ?? 'Unknown', error.details, { cause: error }));
        },
      );
      const cancel = ioTimer(timeoutMs, () => {
        late = true;
        call.cancel();
      });
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** Makes connections; the messages are compiled once. */
export class PluginChannels {
  readonly #node = methodsOf('csi.v1', 'Node', csiMessages, nodeMethods);
  readonly #registration = methodsOf('pluginregistration', 'Registration', registrationMessages, registrationMethods);

  node(address: string): PluginChannel {
    return new PluginChannel(address, this.#node);
  }

  registration(address: string): PluginChannel {
    return new PluginChannel(address, this.#registration);
  }
}
