/** A device plugin for tests: devices that are files, on the NUMA nodes that it is told. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { devicePluginMessages, podResourcesMessages } from '../../../src/kubelet/devices/messages.ts';

function rootOf(name: string, messages: typeof devicePluginMessages): protobuf.Root {
  const root = new protobuf.Root();
  const ns = root.define(name);
  for (const [message, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(message);
    for (const [field, text] of Object.entries(fields)) {
      const [id, kind, rule] = text.split(' ').reverse() as [string, string, string?];
      if (kind === 'map') type.add(new protobuf.MapField(field, Number(id), 'string', 'string'));
      else type.add(new protobuf.Field(field, Number(id), kind, rule));
    }
    ns.add(type);
  }
  root.resolveAll();
  return root;
}

const plugin = rootOf('v1beta1', devicePluginMessages);
const monitor = rootOf('v1', podResourcesMessages);
const encode = (root: protobuf.Root, name: string) => (m: object) =>
  Buffer.from(root.lookupType(name).encode(root.lookupType(name).fromObject(m)).finish());
const decode = (root: protobuf.Root, name: string) => (b: Buffer) =>
  root.lookupType(name).toObject(root.lookupType(name).decode(b), { longs: Number, defaults: true }) as never;

function unary<A>(
  socket: string,
  root: protobuf.Root,
  path: string,
  [from, to]: [string, string],
  m: object,
): Promise<A> {
  const client = new grpc.Client(`unix://${socket}`, grpc.credentials.createInsecure());
  return new Promise<A>((resolve, reject) =>
    client.makeUnaryRequest(path, encode(root, from), decode(root, to), m, (error, answer) =>
      error === null ? resolve(answer as A) : reject(error),
    ),
  ).finally(() => client.close());
}

/** Asks podresources. */
export function podResources<A>(
  rootDir: string,
  method: 'List' | 'GetAllocatableResources' | 'Get',
  m = {},
): Promise<A> {
  const types = {
    List: ['v1.ListPodResourcesRequest', 'v1.ListPodResourcesResponse'],
    GetAllocatableResources: ['v1.AllocatableResourcesRequest', 'v1.AllocatableResourcesResponse'],
    Get: ['v1.GetPodResourcesRequest', 'v1.GetPodResourcesResponse'],
  } as const;
  const socket = join(rootDir, 'pod-resources/kubelet.sock');
  return unary(socket, monitor, `/v1.PodResourcesLister/${method}`, [...types[method]] as [string, string], m);
}

export interface TestDevice {
  readonly ID: string;
  readonly health: string;
}

export class DevicePlugin {
  readonly resource: string;
  readonly started: string[][] = [];
  readonly #folder: string;
  readonly #name: string;
  readonly #server = new grpc.Server();
  #devices: readonly TestDevice[];
  readonly #streams = new Set<grpc.ServerWritableStream<object, object>>();

  constructor(rootDir: string, resource: string, devices: readonly TestDevice[]) {
    this.#folder = join(rootDir, 'device-plugins');
    this.resource = resource;
    this.#devices = devices;
    this.#name = `${resource.replaceAll('/', '-')}.sock`;
  }

  async start(): Promise<void> {
    const method = (name: string, from: string, to: string, stream = false) => ({
      path: `/v1beta1.DevicePlugin/${name}`,
      requestStream: false,
      responseStream: stream,
      requestSerialize: encode(plugin, from),
      requestDeserialize: decode(plugin, from),
      responseSerialize: encode(plugin, to),
      responseDeserialize: decode(plugin, to),
    });
    this.#server.addService(
      {
        GetDevicePluginOptions: method('GetDevicePluginOptions', 'v1beta1.Empty', 'v1beta1.DevicePluginOptions'),
        ListAndWatch: method('ListAndWatch', 'v1beta1.Empty', 'v1beta1.ListAndWatchResponse', true),
        Allocate: method('Allocate', 'v1beta1.AllocateRequest', 'v1beta1.AllocateResponse'),
        PreStartContainer: method(
          'PreStartContainer',
          'v1beta1.PreStartContainerRequest',
          'v1beta1.PreStartContainerResponse',
        ),
      } as never,
      {
        GetDevicePluginOptions: (_: unknown, done: grpc.sendUnaryData<object>) =>
          done(null, { preStartRequired: true }),
        ListAndWatch: (call: grpc.ServerWritableStream<object, object>) => {
          this.#streams.add(call);
          call.once('cancelled', () => call.end());
          call.write({ devices: this.#devices });
        },
        Allocate: (
          call: { request: { containerRequests: { devicesIds: string[] }[] } },
          done: grpc.sendUnaryData<object>,
        ) =>
          done(null, {
            containerResponses: call.request.containerRequests.map((r) => ({
              envs: { DEVICES: r.devicesIds.join(',') },
              devices: [{ containerPath: '/dev/mine', hostPath: '/dev/zero', permissions: 'r' }],
              mounts: [{ containerPath: '/plugin', hostPath: this.#folder, readOnly: true }],
              annotations: { 'vendor.example/devices': r.devicesIds.join(',') },
            })),
          }),
        PreStartContainer: (call: { request: { devicesIds: string[] } }, done: grpc.sendUnaryData<object>) => {
          this.started.push(call.request.devicesIds);
          done(null, {});
        },
      } as never,
    );
    const socket = join(this.#folder, this.#name);
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`unix://${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    await this.register();
  }

  async register(version = 'v1beta1'): Promise<void> {
    await unary(
      join(this.#folder, 'kubelet.sock'),
      plugin,
      '/v1beta1.Registration/Register',
      ['v1beta1.RegisterRequest', 'v1beta1.Empty'],
      { version, endpoint: this.#name, resourceName: this.resource, options: { preStartRequired: true } },
    );
  }

  set(devices: readonly TestDevice[]): void {
    this.#devices = devices;
    for (const s of this.#streams) s.write({ devices });
  }

  stop(): void {
    this.#server.forceShutdown();
    rmSync(join(this.#folder, this.#name), { force: true });
  }
}
