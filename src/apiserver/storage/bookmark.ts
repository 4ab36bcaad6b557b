/** `Bookmark`: how far a watch has come, in place of an object. */
import type { KubeObject } from '../../api/object.ts';
import type { Committed } from '../request.ts';
import type { StorageLayout } from './codec.ts';

/** What a BOOKMARK event carries: kind and resource version, nothing else. */
export class Bookmark implements Committed {
  readonly key: string;
  readonly revision: number;
  readonly name = '';
  readonly namespace = '';
  readonly #layout: StorageLayout;
  readonly #initialEventsEnd: boolean;

  constructor(layout: StorageLayout, revision: number, initialEventsEnd: boolean) {
    this.key = layout.prefix;
    this.revision = revision;
    this.#layout = layout;
    this.#initialEventsEnd = initialEventsEnd;
  }

  get bytes(): Buffer {
    return Buffer.from(JSON.stringify(this.object()), 'utf8');
  }

  object(): KubeObject & { metadata: Record<string, unknown> } {
    return {
      kind: this.#layout.kind,
      apiVersion: this.#layout.apiVersion,
      metadata: {
        resourceVersion: String(this.revision),
        ...(this.#initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
      },
    };
  }
}
