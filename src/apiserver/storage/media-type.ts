/**
 * `--storage-media-type`: the form in which built-in objects are stored. JSON is what is kept in memory and sent, so protobuf is
 * made beside it for the store alone. Both are read, whatever is written; custom resources have no other form than JSON.
 */
import { goQuote } from '../../api/codec/json.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ProtobufObjects } from '../../api/protobuf.ts';

const types = ['application/json', 'application/vnd.kubernetes.protobuf'] as const;

export type StorageMediaType = (typeof types)[number];

/** Empty is the default, JSON. @throws {Error} with upstream's text */
export function storageMediaType(text: string): StorageMediaType {
  if (text === '') return 'application/json';
  const found = types.find((t) => t === text);
  if (found === undefined)
    throw new Error(`--storage-media-type ${goQuote(text)} invalid, allowed values: ${types.join(', ')}`);
  return found;
}

/** Groups of the servers within the server, which upstream keeps as JSON whatever the flag says. */
const alwaysJson: ReadonlySet<string> = new Set(['apiextensions.k8s.io', 'apiregistration.k8s.io']);

/** Makes what is stored of an object of the storage version; undefined: its JSON is. */
export function storedForm(
  type: StorageMediaType,
  group: string,
  protobuf: () => ProtobufObjects,
): ((object: KubeObject) => Buffer) | undefined {
  if (type === 'application/json' || alwaysJson.has(group)) return undefined;
  return (object) => protobuf().encode(object);
}
