/** KMS v2 over its socket: calls of `v2.KeyManagementService`. Loading this file loads gRPC and protobufjs: import it lazily. */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../../base/io-time.ts';
import type { EncryptedObject, KmsService } from './kms.ts';

const messages: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  StatusRequest: {},
  StatusResponse: { version: 'string 1', healthz: 'string 2', keyId: 'string 3' },
  DecryptRequest: { ciphertext: 'bytes 1', uid: 'string 2', keyId: 'string 3', annotations: 'map 4' },
  DecryptResponse: { plaintext: 'bytes 1' },
  EncryptRequest: { plaintext: 'bytes 1', uid: 'string 2' },
  EncryptResponse: { ciphertext: 'bytes 1', keyId: 'string 2', annotations: 'map 3' },
  // What is stored.
  EncryptedObject: {
    encryptedData: 'bytes 1',
    keyID: 'string 2',
    encryptedDEKSource: 'bytes 3',
    annotations: 'map 4',
    encryptedDEKSourceType: 'int32 5',
  },
};

function typesOf(): protobuf.Namespace {
  const root = new protobuf.Root();
  const ns = root.define('v2');
  for (const [name, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(name);
    for (const [field, text] of Object.entries(fields)) {
      const [kind, id] = text.split(' ') as [string, string];
      if (kind === 'map') type.add(new protobuf.MapField(field, Number(id), 'string', 'bytes'));
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

const objects: protobuf.IConversionOptions = { longs: Number, bytes: Buffer, defaults: true };

export interface KmsWire {
  /** `endpoint`: `unix:///path` or `unix://@abstract`. */
  connect(endpoint: string, timeoutMs: number): KmsService;
  encode(object: EncryptedObject): Buffer;
  decode(bytes: Buffer): EncryptedObject;
}

function address(endpoint: string): string {
  const path = endpoint.replace(/^unix:(?:\/\/)?/, '');
  return path.startsWith('@') ? `unix-abstract:${path.slice(1)}` : `unix:${path}`;
}

export function createKmsWire(): KmsWire {
  const ns = typesOf();
  const stored = ns.lookupType('EncryptedObject');
  const method = (name: string): { path: string; ask: protobuf.Type; answer: protobuf.Type } => ({
    path: `/v2.KeyManagementService/${name}`,
    ask: ns.lookupType(`${name}Request`),
    answer: ns.lookupType(`${name}Response`),
  });
  const methods = { Status: method('Status'), Encrypt: method('Encrypt'), Decrypt: method('Decrypt') };
  return {
    encode: (object) => Buffer.from(stored.encode(stored.fromObject(object)).finish()),
    decode: (bytes) => stored.toObject(stored.decode(bytes), objects) as EncryptedObject,
    connect(endpoint, timeoutMs) {
      const client = new grpc.Client(address(endpoint), grpc.credentials.createInsecure(), {
        'grpc.initial_reconnect_backoff_ms': 100,
        'grpc.max_reconnect_backoff_ms': 3000,
        'grpc.default_authority': 'localhost',
        'grpc.use_local_subchannel_pool': 1,
      });
      const call = <A>(name: keyof typeof methods, request: object): Promise<A> => {
        const { path, ask, answer } = methods[name];
        return new Promise((resolve, reject) => {
          let late = false;
          const running = client.makeUnaryRequest(
            path,
            (message: object) => Buffer.from(ask.encode(ask.fromObject(message)).finish()),
            (bytes: Buffer) => answer.toObject(answer.decode(bytes), objects),
            request,
            (error, value) => {
              cancel();
              if (error === null) resolve(value as A);
              else if (late)
                reject(
                  new Error('rpc error: code = DeadlineExceeded desc = context deadline exceeded', { cause: error }),
                );
              else
                reject(
                  new Error(`rpc error: code = ${codes[error.code] ?? 'Unknown'} desc = ${error.details}`, {
                    cause: error,
                  }),
                );
            },
          );
          const cancel = ioTimer(timeoutMs, () => {
            late = true;
            running.cancel();
          });
        });
      };
      return {
        status: () => call('Status', {}),
        encrypt: (uid, plaintext) => call('Encrypt', { uid, plaintext }),
        decrypt: async (uid, request) => (await call<{ plaintext: Buffer }>('Decrypt', { uid, ...request })).plaintext,
        close: () => client.close(),
      };
    },
  };
}
