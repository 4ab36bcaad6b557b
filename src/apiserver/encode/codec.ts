/** How the encoder gets at a committed object, as JSON bytes or parsed, in the version that a request asks for. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { ListParts } from '../../api/protobuf.ts';
import type { Committed, KubeObjectLike } from '../request.ts';
import type { StoredJson } from '../../api/protobuf-stored.ts';
import type { WriteOptions } from '../storage/codec.ts';
import {
  committedSize,
  objectIn,
  objectInPassing,
  passingPair,
  StoredObject,
  writeCommitted,
  writeCommittedInto,
} from '../storage/codec.ts';

interface Forms {
  readonly apiVersion: string;
  readonly whole: WriteOptions;
  readonly bare: WriteOptions;
}

const pooled = 2048;

export class ObjectCodec {
  readonly #forms = new WeakMap<ResourceInfo, Forms>();

  #formsOf(resource: ResourceInfo): Forms {
    let forms = this.#forms.get(resource);
    if (forms === undefined) {
      const apiVersion = apiVersionOf(resource);
      forms = { apiVersion, whole: { typeHeader: true, apiVersion }, bare: { typeHeader: false, apiVersion } };
      this.#forms.set(resource, forms);
    }
    return forms;
  }

  /**
   * JSON in the version of `resource`, resourceVersion in place, with `before` and `after` around it: a splice of the
   * stored bytes into one buffer, unless the version has another shape.
   */
  json(committed: Committed, resource: ResourceInfo, before: Buffer, after: Buffer): Buffer {
    const options = this.#formsOf(resource).whole;
    const size = committedSize(committed, options);
    if (size === undefined) return Buffer.concat([before, writeCommitted(committed, options), after]);
    // Short ones come from the shared pool; a long one must not keep a pool alive, nor the other way round.
    const n = before.length + size + after.length;
    const target = n < pooled ? Buffer.allocUnsafe(n) : Buffer.allocUnsafeSlow(n);
    let at = before.copy(target, 0);
    at = writeCommittedInto(committed, target, at, options);
    at += after.copy(target, at);
    return target.subarray(0, at);
  }

  /** Bytes that `writeInto` may need; undefined when only `bytes` serves this object. */
  size(committed: Committed, resource: ResourceInfo, typeHeader: boolean): number | undefined {
    const forms = this.#formsOf(resource);
    return committedSize(committed, typeHeader ? forms.whole : forms.bare);
  }

  /** Writes the JSON at `at` and returns the offset behind it. */
  writeInto(committed: Committed, resource: ResourceInfo, typeHeader: boolean, target: Buffer, at: number): number {
    const forms = this.#formsOf(resource);
    return writeCommittedInto(committed, target, at, typeHeader ? forms.whole : forms.bare);
  }

  bytes(committed: Committed, resource: ResourceInfo, typeHeader: boolean): Buffer {
    const forms = this.#formsOf(resource);
    return writeCommitted(committed, typeHeader ? forms.whole : forms.bare);
  }

  /** The stored JSON, where it has the shape of this version and a place for its own. */
  stored(committed: Committed, resource: ResourceInfo): StoredObject | undefined {
    if (!(committed instanceof StoredObject) || this.size(committed, resource, true) === undefined) return undefined;
    return committed.versionAt < 0 && committed.revision > 0 ? undefined : committed;
  }

  /** Parsed, for one look: what has to be parsed for it is not kept. */
  passing(committed: Committed, resource: ResourceInfo): KubeObjectLike {
    return objectInPassing(committed, this.#formsOf(resource).apiVersion) as KubeObjectLike;
  }

  /** For one look as well: in the version of `resource`, and as it is stored. */
  passingPair(committed: Committed, resource: ResourceInfo): readonly [object: KubeObjectLike, hub: KubeObjectLike] {
    return passingPair(committed, this.#formsOf(resource).apiVersion) as readonly [KubeObjectLike, KubeObjectLike];
  }

  /** Parsed, in the version of `resource`. Shared: never mutated. */
  object(committed: Committed, resource: ResourceInfo): KubeObjectLike {
    return objectIn(committed, this.#formsOf(resource).apiVersion) as KubeObjectLike;
  }
}

/** CBOR, where its feature is on. */
export interface CborCodec {
  /** One item with its tag; the schema of built-in kinds tells the binary members. */
  encode(object: KubeObjectLike): Buffer;
  /** One item of a list; `typed`: it carries apiVersion and kind. */
  item(object: KubeObjectLike, typed: boolean): Buffer;
  /** One item of a watch's sequence. */
  event(type: string, object: Buffer): Buffer;
}

/** Protobuf, where it is built in: the one seam for `application/vnd.kubernetes.protobuf` answers. */
export interface ProtobufCodec {
  /** True when this kind has a protobuf form. */
  supports(apiVersion: string, kind: string): boolean;
  /** The whole body: magic, envelope and object. `object` carries apiVersion and kind. */
  encode(object: KubeObjectLike): Buffer;
  /** A list in pieces; undefined for kinds without a protobuf form. */
  listParts(apiVersion: string, listKind: string): ListParts | undefined;
  /** One length-prefixed watch frame around an object as it is stored, in memory that the next takes; undefined where that has to be parsed. */
  storedFrame(apiVersion: string, kind: string, type: string, json: StoredJson): Buffer | undefined;
  /** One length-prefixed watch frame around an encoded object. */
  frame(type: string, object: Buffer): Buffer;
}
