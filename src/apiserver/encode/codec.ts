/** `ObjectCodec`: how the encoder gets at a committed object as JSON bytes or parsed, in the version that was asked for. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { Committed, KubeObjectLike } from '../request.ts';

export interface ObjectCodec {
  /**
   * JSON text in the version of `resource`, its resourceVersion in place. Without `typeHeader`, apiVersion and kind are
   * left out (items of built-in lists). `end` is appended (a line feed, a comma). Usually a splice of the stored bytes.
   */
  json(committed: Committed, resource: ResourceInfo, typeHeader: boolean, end: string): Buffer;
  /** Parsed, in the version of `resource`. Shared: never mutated. */
  object(committed: Committed, resource: ResourceInfo): KubeObjectLike;
}

/** Protobuf, where it is built in: the one seam for `application/vnd.kubernetes.protobuf` answers. */
export interface ProtobufCodec {
  /** True when this kind has a protobuf form. */
  supports(apiVersion: string, kind: string): boolean;
  /** The whole body: magic, envelope and object. `object` carries apiVersion and kind. */
  encode(object: KubeObjectLike): Buffer;
  /** One length-prefixed watch frame around an encoded object. */
  frame(type: string, object: Buffer): Buffer;
}
