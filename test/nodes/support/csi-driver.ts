/**
 * A CSI driver for tests: directories on the disk, bind-mounted; block devices from files by loop devices. It registers itself as
 * node-driver-registrar does, and notes every call.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type { MessageFields } from '../../../src/kubelet/volumes/csi/messages.ts';
import {
  csiMessages,
  enums,
  nodeMethods,
  registrationMessages,
  registrationMethods,
} from '../../../src/kubelet/volumes/csi/messages.ts';

type Message = Record<string, unknown>;
type Handler = (request: Message) => Message;

export interface CsiCall {
  readonly method: string;
  readonly request: Message;
}

function service(
  packageName: string,
  name: string,
  messages: MessageFields,
  methods: Readonly<Record<string, readonly [string, string]>>,
): grpc.ServiceDefinition {
  const root = new protobuf.Root();
  const ns = root.define(packageName);
  for (const [n, values] of Object.entries(enums)) ns.add(new protobuf.Enum(n, { ...values }));
  for (const [n, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(n);
    for (const [field, text] of Object.entries(fields)) {
      const [kind, id] = [text.slice(0, text.lastIndexOf(' ')), Number(text.slice(text.lastIndexOf(' ')))];
      if (kind.startsWith('map<')) type.add(new protobuf.MapField(field, id, 'string', 'string'));
      else if (kind.startsWith('repeated ')) type.add(new protobuf.Field(field, id, kind.slice(9), 'repeated'));
      else type.add(new protobuf.Field(field, id, kind));
    }
    ns.add(type);
  }
  root.resolveAll();
  return Object.fromEntries(
    Object.entries(methods).map(([method, [request, response]]) => {
      const asked = ns.lookupType(request);
      const answered = ns.lookupType(response);
      return [
        method,
        {
          path: `/${packageName}.${name}/${method}`,
          requestStream: false,
          responseStream: false,
          requestSerialize: (m: Message) => Buffer.from(asked.encode(asked.fromObject(m)).finish()),
          requestDeserialize: (b: Buffer) => asked.toObject(asked.decode(b), { longs: Number, enums: String }),
          responseSerialize: (m: Message) => Buffer.from(answered.encode(answered.fromObject(m)).finish()),
          responseDeserialize: (b: Buffer) => answered.toObject(answered.decode(b)),
        },
      ];
    }),
  );
}

export class TestCsiDriver {
  readonly name: string;
  readonly calls: CsiCall[] = [];
  /** What registration has been told: an error's text, or empty. */
  registered: string | undefined;
  /** Answers of methods that are to fail, by name. */
  readonly failures = new Map<string, { code: number; details: string }>();
  readonly #dir: string;
  readonly #registry: string;
  readonly #servers: grpc.Server[] = [];
  readonly #loops = new Map<string, string>();
  capabilities = ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME', 'GET_VOLUME_STATS'];
  maxVolumes = 7;

  /** `rootDir` of the kubelet; the volumes' data is below `dir`. */
  constructor(name: string, rootDir: string, dir: string) {
    this.name = name;
    this.#dir = dir;
    this.#registry = join(rootDir, 'plugins_registry', `${name}-reg.sock`);
  }

  /** Where a volume's data is. */
  data(volume: string): string {
    return join(this.#dir, volume);
  }

  called(method: string): readonly Message[] {
    return this.calls.filter((c) => c.method === method).map((c) => c.request);
  }

  async start(): Promise<void> {
    const endpoint = join(dirname(dirname(this.#registry)), 'plugins', this.name, 'csi.sock');
    fs.mkdirSync(dirname(endpoint), { recursive: true });
    fs.mkdirSync(this.#dir, { recursive: true });
    await this.#serve(endpoint, service('csi.v1', 'Node', csiMessages, nodeMethods), this.#nodeHandlers());
    await this.#serve(
      this.#registry,
      service('pluginregistration', 'Registration', registrationMessages, registrationMethods),
      {
        GetInfo: () => ({ type: 'CSIPlugin', name: this.name, endpoint, supportedVersions: ['1.0.0'] }),
        NotifyRegistrationStatus: (r) => {
          this.registered = (r['error'] as string | undefined) ?? '';
          return {};
        },
      },
    );
  }

  async stop(): Promise<void> {
    fs.rmSync(this.#registry, { force: true });
    for (const s of this.#servers.splice(0)) s.forceShutdown();
    this.#servers.length = 0;
    for (const device of this.#loops.values()) execFileSync('losetup', ['-d', device]);
    this.#loops.clear();
  }

  async #serve(path: string, definition: grpc.ServiceDefinition, handlers: Record<string, Handler>): Promise<void> {
    const server = new grpc.Server();
    server.addService(
      definition,
      Object.fromEntries(
        Object.entries(handlers).map(([method, handler]) => [
          method,
          (call: grpc.ServerUnaryCall<Message, Message>, done: grpc.sendUnaryData<Message>) => {
            this.calls.push({ method, request: call.request });
            const failure = this.failures.get(method);
            try {
              if (failure !== undefined) done(failure);
              else done(null, handler(call.request));
            } catch (error) {
              done({ code: grpc.status.INTERNAL, details: String(error) });
            }
          },
        ]),
      ),
    );
    fs.rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    this.#servers.push(server);
  }

  #nodeHandlers(): Record<string, Handler> {
    const mount = (...args: string[]): void => void execFileSync('mount', args, { stdio: 'pipe' });
    const umount = (path: string): void => {
      if (fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `))
        execFileSync('umount', [path], { stdio: 'pipe' });
    };
    const isBlock = (r: Message): boolean =>
      (r['volumeCapability'] as { block?: object } | undefined)?.block !== undefined;
    return {
      NodeGetInfo: () => ({
        nodeId: `${this.name}-node`,
        maxVolumesPerNode: this.maxVolumes,
        accessibleTopology: { segments: { [`topology.${this.name}/zone`]: 'z1' } },
      }),
      NodeGetCapabilities: () => ({ capabilities: this.capabilities.map((type) => ({ rpc: { type } })) }),
      NodeStageVolume: (r) => {
        const data = this.data(String(r['volumeId']));
        if (isBlock(r)) {
          if (this.#loops.has(String(r['volumeId']))) return {};
          fs.writeFileSync(`${data}.img`, Buffer.alloc(1024 * 1024));
          const device = execFileSync('losetup', ['-f', '--show', `${data}.img`], { encoding: 'utf8' }).trim();
          this.#loops.set(String(r['volumeId']), device);
          return {};
        }
        fs.mkdirSync(data, { recursive: true });
        mount('--bind', data, String(r['stagingTargetPath']));
        return {};
      },
      NodeUnstageVolume: (r) => {
        const device = this.#loops.get(String(r['volumeId']));
        if (device !== undefined) execFileSync('losetup', ['-d', device]);
        this.#loops.delete(String(r['volumeId']));
        umount(String(r['stagingTargetPath']));
        return {};
      },
      NodePublishVolume: (r) => {
        const target = String(r['targetPath']);
        if (isBlock(r)) {
          fs.writeFileSync(target, '');
          mount('--bind', this.#loops.get(String(r['volumeId']))!, target);
          return {};
        }
        fs.mkdirSync(target, { recursive: true });
        const staged = r['stagingTargetPath'] as string | undefined;
        const data = this.data(String(r['volumeId']));
        if (staged === undefined || staged === '') fs.mkdirSync(data, { recursive: true });
        if (!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${target} `))
          mount('--bind', staged === undefined || staged === '' ? data : staged, target);
        return {};
      },
      NodeUnpublishVolume: (r) => {
        umount(String(r['targetPath']));
        fs.rmSync(String(r['targetPath']), { recursive: true, force: true });
        return {};
      },
      NodeGetVolumeStats: () => ({
        usage: [
          { available: 900, total: 1000, used: 100, unit: 'BYTES' },
          { available: 9, total: 10, used: 1, unit: 'INODES' },
        ],
      }),
      NodeExpandVolume: (r) => ({
        capacityBytes: (r['capacityRange'] as { requiredBytes?: number } | undefined)?.requiredBytes ?? 0,
      }),
    };
  }
}
