/** A device plugin and a driver of dynamic resources for tests: their devices are files. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { devicePluginMessages, draMessages, podResourcesMessages } from '../../../src/kubelet/devices/messages.ts';
import { registrationMessages } from '../../../src/kubelet/volumes/csi/messages.ts';

function rootOf(name: string, messages: typeof devicePluginMessages): protobuf.Root {
  const root = new protobuf.Root();
  const ns = root.define(name);
  for (const [message, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(message);
    for (const [field, text] of Object.entries(fields)) {
      const [id, kind, rule] = text.split(' ').reverse() as [string, string, string?];
      if (kind === 'map' || rule === 'map')
        type.add(new protobuf.MapField(field, Number(id), 'string', rule === 'map' ? kind : 'string'));
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

interface Claim {
  readonly uid: string;
  readonly name: string;
}

/** A driver of dynamic resources: each claim's device is one of the container device interface, named as the claim. */
export class DraDriver {
  readonly name: string;
  readonly prepared: string[] = [];
  readonly unprepared: string[] = [];
  /** What it answers for every claim, as long as it is set. */
  failure = '';
  registered: boolean | undefined;
  readonly #rootDir: string;
  readonly #servers: grpc.Server[] = [];

  constructor(rootDir: string, name: string) {
    this.#rootDir = rootDir;
    this.name = name;
  }

  async start(): Promise<void> {
    const dra = 'k8s.io.kubelet.pkg.apis.dra.v1';
    const types = rootOf(dra, draMessages);
    const registration = rootOf('pluginregistration', { ...registrationMessages, InfoRequest: {}, StatusAnswer: {} });
    const folder = join(this.#rootDir, 'plugins', this.name);
    mkdirSync(folder, { recursive: true });
    mkdirSync(join(this.#rootDir, 'plugins_registry'), { recursive: true });
    const endpoint = join(folder, 'dra.sock');
    const method = (root: protobuf.Root, path: string, from: string, to: string) => ({
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: encode(root, from),
      requestDeserialize: decode(root, from),
      responseSerialize: encode(root, to),
      responseDeserialize: decode(root, to),
    });
    const each =
      (told: string[], answer: (c: Claim) => object) =>
      (call: { request: { claims: Claim[] } }, done: grpc.sendUnaryData<object>): void => {
        const { claims } = call.request;
        if (this.failure === '') told.push(...claims.map((c) => c.name));
        done(null, {
          claims: Object.fromEntries(
            claims.map((c) => [c.uid, this.failure === '' ? answer(c) : { error: this.failure }]),
          ),
        });
      };
    await this.#serve(
      endpoint,
      {
        NodePrepareResources: method(
          types,
          `/${dra}.DRAPlugin/NodePrepareResources`,
          `${dra}.NodePrepareResourcesRequest`,
          `${dra}.NodePrepareResourcesResponse`,
        ),
        NodeUnprepareResources: method(
          types,
          `/${dra}.DRAPlugin/NodeUnprepareResources`,
          `${dra}.NodeUnprepareResourcesRequest`,
          `${dra}.NodeUnprepareResourcesResponse`,
        ),
      },
      {
        NodePrepareResources: each(this.prepared, (c) => ({
          devices: [
            { requestNames: ['r'], poolName: 'p', deviceName: 'd', cdiDeviceIds: [`vendor.example/thing=${c.name}`] },
          ],
        })),
        NodeUnprepareResources: each(this.unprepared, () => ({})),
      },
    );
    await this.#serve(
      join(this.#rootDir, 'plugins_registry', `${this.name}-reg.sock`),
      {
        GetInfo: method(
          registration,
          '/pluginregistration.Registration/GetInfo',
          'pluginregistration.Empty',
          'pluginregistration.PluginInfo',
        ),
        NotifyRegistrationStatus: method(
          registration,
          '/pluginregistration.Registration/NotifyRegistrationStatus',
          'pluginregistration.RegistrationStatus',
          'pluginregistration.Empty',
        ),
      },
      {
        GetInfo: (_: unknown, done: grpc.sendUnaryData<object>) =>
          done(null, { type: 'DRAPlugin', name: this.name, endpoint, supportedVersions: ['v1.DRAPlugin'] }),
        NotifyRegistrationStatus: (
          call: { request: { pluginRegistered: boolean } },
          done: grpc.sendUnaryData<object>,
        ) => {
          this.registered = call.request.pluginRegistered;
          done(null, {});
        },
      },
    );
  }

  async #serve(path: string, definition: object, handlers: object): Promise<void> {
    const server = new grpc.Server();
    server.addService(definition as never, handlers as never);
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix://${path}`, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    this.#servers.push(server);
  }

  stop(): void {
    rmSync(join(this.#rootDir, 'plugins_registry', `${this.name}-reg.sock`), { force: true });
    for (const s of this.#servers.splice(0)) s.forceShutdown();
  }
}
