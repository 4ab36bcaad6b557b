/**
 * gRPC of the device plugin API (v1beta1) and of the API that tells monitors who has what (podresources v1): both serve sockets of
 * the kubelet's. Loading this file loads gRPC and protobufjs: import it lazily.
 */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../base/io-time.ts';
import { grpcCodes } from '../grpc-codes.ts';
import type {
  AllocateAnswer,
  ClaimReference,
  DeviceInfo,
  DraStub,
  PluginOptions,
  PluginStub,
  PodResourcesSource,
  PreparedClaim,
  RegisterRequest,
} from './messages.ts';
import { devicePluginMessages, draMessages, podResourcesMessages } from './messages.ts';

const plain: protobuf.IConversionOptions = { longs: Number, enums: String, defaults: true, arrays: true };
const maxMessage = 16 * 1024 * 1024;
const callTimeoutMs = 30_000;
const draTimeoutMs = 45_000;

/** Types of one package, from `name: kind id` texts. */
function typesOf(packageName: string, messages: Readonly<Record<string, Readonly<Record<string, string>>>>) {
  const root = new protobuf.Root();
  const ns = root.define(packageName);
  for (const [name, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(name);
    for (const [field, text] of Object.entries(fields)) {
      const at = text.lastIndexOf(' ');
      const id = Number(text.slice(at + 1));
      const kind = text.slice(0, at);
      if (kind.startsWith('map')) type.add(new protobuf.MapField(field, id, 'string', kind.slice(4) || 'string'));
      else if (kind.startsWith('repeated ')) type.add(new protobuf.Field(field, id, kind.slice(9), 'repeated'));
      else type.add(new protobuf.Field(field, id, kind));
    }
    ns.add(type);
  }
  root.resolveAll();
  const type = (name: string): protobuf.Type => root.lookupType(`${packageName}.${name}`);
  return {
    serialize: (name: string) => (message: object) =>
      Buffer.from(
        type(name)
          .encode(type(name).fromObject(message as Record<string, unknown>))
          .finish(),
      ),
    deserialize: (name: string) => (bytes: Buffer) => type(name).toObject(type(name).decode(bytes), plain),
  };
}

type Types = ReturnType<typeof typesOf>;

function method(types: Types, path: string, request: string, answer: string): grpc.MethodDefinition<object, object> {
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: types.serialize(request),
    requestDeserialize: types.deserialize(request),
    responseSerialize: types.serialize(answer),
    responseDeserialize: types.deserialize(answer),
  };
}

/** An error that a caller is told with a code. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly code: number;
  constructor(code: 'InvalidArgument' | 'NotFound' | 'Unknown', message: string) {
    super(message);
    this.code =
      grpc.status[code === 'InvalidArgument' ? 'INVALID_ARGUMENT' : code === 'NotFound' ? 'NOT_FOUND' : 'UNKNOWN'];
  }
}

type Handler = (request: never) => object | Promise<object>;

async function serve(
  address: string,
  types: Types,
  service: string,
  methods: Readonly<Record<string, readonly [request: string, answer: string, Handler]>>,
): Promise<() => Promise<void>> {
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  const server = new grpc.Server({ 'grpc.max_receive_message_length': maxMessage });
  const definition: Record<string, grpc.MethodDefinition<object, object>> = {};
  const implementation: Record<string, grpc.handleUnaryCall<object, object>> = {};
  for (const [name, [request, answer, handler]] of Object.entries(methods)) {
    definition[name] = method(types, `/${service}/${name}`, request, answer);
    implementation[name] = (call, done) => {
      Promise.resolve()
        .then(() => handler(call.request as never))
        .then(
          (message) => done(null, message),
          (error: unknown) =>
            done({
              code: error instanceof CallError ? error.code : grpc.status.UNKNOWN,
              details: error instanceof Error ? error.message : String(error),
            }),
        );
    };
  }
  server.addService(definition, implementation);
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  );
  return () =>
    new Promise((resolve) => {
      const cancel = ioTimer(1000, () => server.forceShutdown());
      server.tryShutdown(() => {
        cancel();
        resolve();
      });
    });
}

/** Serves registration; returns what ends it. */
export function serveRegistration(
  address: string,
  register: (request: RegisterRequest) => Promise<void>,
): Promise<() => Promise<void>> {
  return serve(address, typesOf('v1beta1', devicePluginMessages), 'v1beta1.Registration', {
    Register: [
      'RegisterRequest',
      'Empty',
      async (r: RegisterRequest) => {
        await register(r);
        return {};
      },
    ],
  });
}

/** Serves who has what; returns what ends it. */
export function servePodResources(address: string, source: PodResourcesSource): Promise<() => Promise<void>> {
  return serve(address, typesOf('v1', podResourcesMessages), 'v1.PodResourcesLister', {
    List: ['ListPodResourcesRequest', 'ListPodResourcesResponse', () => ({ podResources: source.list() })],
    GetAllocatableResources: [
      'AllocatableResourcesRequest',
      'AllocatableResourcesResponse',
      () => source.allocatable(),
    ],
    Get: [
      'GetPodResourcesRequest',
      'GetPodResourcesResponse',
      (r: { podName: string; podNamespace: string }) => {
        const found = source.get(r.podNamespace, r.podName);
        if (found === undefined)
          throw new CallError('NotFound', `pod ${r.podName} in namespace ${r.podNamespace} not found`);
        return { podResources: found };
      },
    ],
  });
}

/** One call of a plugin, ended after `timeoutMs`; rejects with Go's words for the error. `shapes`: of the request, of the answer. */
function unary<A>(
  client: grpc.Client,
  method: string,
  types: ReturnType<typeof typesOf>,
  [request, answer]: readonly [string, string],
  message: object,
  timeoutMs: number,
): Promise<A> {
  return new Promise((resolve, reject) => {
    const running = client.makeUnaryRequest(
      method,
      types.serialize(request),
      types.deserialize(answer),
      message,
      (error, given) => {
        cancel();
        if (error === null) resolve(given as A);
        else
          reject(
            new Error(`rpc error: code = ${grpcCodes[error.code] ?? 'Unknown'} desc = ${error.details}`, {
              cause: error,
            }),
          );
      },
    );
    const cancel = ioTimer(timeoutMs, () => running.cancel());
  });
}

/** A plugin at its socket. */
export function openPlugin(address: string): PluginStub {
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  const types = typesOf('v1beta1', devicePluginMessages);
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessage,
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
  const call = <A>(name: string, request: string, answer: string, message: object): Promise<A> =>
    unary<A>(client, `/v1beta1.DevicePlugin/${name}`, types, [request, answer], message, callTimeoutMs);
  return {
    options: () => call<PluginOptions>('GetDevicePluginOptions', 'Empty', 'DevicePluginOptions', {}),
    watch: (onDevices, onEnd) => {
      const stream = client.makeServerStreamRequest(
        '/v1beta1.DevicePlugin/ListAndWatch',
        types.serialize('Empty'),
        types.deserialize('ListAndWatchResponse'),
        {},
      );
      let over = false;
      const end = (error: unknown): void => {
        if (over) return;
        over = true;
        onEnd(error);
      };
      stream.on('data', (m: { devices: readonly DeviceInfo[] }) => {
        if (!over) onDevices(m.devices);
      });
      stream.on('error', end);
      stream.on('end', () => end(undefined));
      return () => {
        over = true;
        stream.cancel();
      };
    },
    preferred: async (available, mustInclude, size) => {
      const answer = await call<{ containerResponses: readonly { deviceIDs: readonly string[] }[] }>(
        'GetPreferredAllocation',
        'PreferredAllocationRequest',
        'PreferredAllocationResponse',
        {
          containerRequests: [
            { availableDeviceIDs: available, mustIncludeDeviceIDs: mustInclude, allocationSize: size },
          ],
        },
      );
      return answer.containerResponses[0]?.deviceIDs ?? [];
    },
    allocate: async (ids) => {
      const answer = await call<{ containerResponses: readonly AllocateAnswer[] }>(
        'Allocate',
        'AllocateRequest',
        'AllocateResponse',
        { containerRequests: [{ devicesIds: ids }] },
      );
      const first = answer.containerResponses[0];
      if (first === undefined) throw new Error('no containers in allocation response');
      return first;
    },
    preStart: async (ids) => {
      await call('PreStartContainer', 'PreStartContainerRequest', 'PreStartContainerResponse', { devicesIds: ids });
    },
    close: () => client.close(),
  };
}

/** A driver of dynamic resources at its socket, in the newest version that it speaks. */
export function openDraDriver(address: string, version: 'v1' | 'v1beta1'): DraStub {
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  const packageName = `k8s.io.kubelet.pkg.apis.dra.${version}`;
  const types = typesOf(packageName, draMessages);
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
  const call = <A>(name: string, claims: readonly ClaimReference[]): Promise<A> =>
    unary<A>(
      client,
      `/${packageName}.DRAPlugin/${name}`,
      types,
      [`${name}Request`, `${name}Response`],
      { claims },
      draTimeoutMs,
    );
  return {
    prepare: async (claims) =>
      (await call<{ claims: Readonly<Record<string, PreparedClaim>> }>('NodePrepareResources', claims)).claims,
    unprepare: async (claims) =>
      (await call<{ claims: Readonly<Record<string, { error: string }>> }>('NodeUnprepareResources', claims)).claims,
    close: () => client.close(),
  };
}
