/** KMS v2 over its socket: calls of `v2.KeyManagementService`. Loading this file loads gRPC and protobufjs: import it lazily. */
import { messageObjects, messageTypes, unixClient, type MessageTable } from '../../connect/unix-grpc.ts';
import type { EncryptedObject, KmsService } from './kms.ts';

const messages: MessageTable = {
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

export interface KmsWire {
  /** `endpoint`: `unix:///path` or `unix://@abstract`. */
  connect(endpoint: string, timeoutMs: number): KmsService;
  encode(object: EncryptedObject): Buffer;
  decode(bytes: Buffer): EncryptedObject;
}

export function createKmsWire(): KmsWire {
  const types = messageTypes('v2', messages);
  const stored = types.lookupType('EncryptedObject');
  return {
    encode: (object) => Buffer.from(stored.encode(stored.fromObject(object)).finish()),
    decode: (bytes) => stored.toObject(stored.decode(bytes), messageObjects) as EncryptedObject,
    connect(endpoint, timeoutMs) {
      const client = unixClient({ endpoint, service: '/v2.KeyManagementService/', types });
      return {
        status: () => client.call('Status', {}, timeoutMs),
        encrypt: (uid, plaintext) => client.call('Encrypt', { uid, plaintext }, timeoutMs),
        decrypt: async (uid, request) =>
          (await client.call<{ plaintext: Buffer }>('Decrypt', { uid, ...request }, timeoutMs)).plaintext,
        close: () => client.close(),
      };
    },
  };
}
