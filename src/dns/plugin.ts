/** What a plugin of a server block is: made from its directives, wrapped around the plugins that come after it. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ClusterRecords, ClusterRecordsOptions } from './cluster-records.ts';
import type { Directive } from './corefile/parser.ts';
import type { Handler, Reply, Request } from './message.ts';
import type { Metrics } from './metrics.ts';
import type { Stamps } from './stamps.ts';

export interface Plugin {
  readonly name: string;
  /** Undefined: it takes no part in answering. */
  readonly wrap?: (next: Handler) => Handler;
  /** Rejects when the server cannot work with it. */
  readonly start?: () => Promise<void> | void;
  readonly stop?: () => Promise<void> | void;
  /** False until it can answer. */
  readonly ready?: () => boolean;
  /** Search path of the client with an address, for `autopath`. */
  readonly searchPath?: (request: Request) => readonly string[] | undefined;
}

/** Where health, readiness or metrics are wanted. */
export interface HttpWish {
  readonly role: 'health' | 'ready' | 'metrics';
  /** Empty: where names are answered. */
  readonly host: string;
  readonly port: number;
}

/** What plugins are given of their server block and the server around it. */
export interface BlockContext {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stamps: Stamps;
  readonly metrics: Metrics;
  /** Zones of the block, normalized. */
  readonly zones: readonly string[];
  /** `dns://:53`, for metrics. */
  readonly server: string;
  /** Where relative files are looked for. */
  readonly directory: string;
  /** Follows the cluster; stanzas that want the same share it. */
  records(wanted: Pick<ClusterRecordsOptions, 'labels' | 'namespaceLabels' | 'pods' | 'endpoints'>): ClusterRecords;
  /** Asks this server itself, all blocks of it. */
  lookup(request: Request, name: string, type: number): Promise<Reply>;
  /** A plugin of the block by its name, once all are made. */
  find(name: string): Plugin | undefined;
  /** What the block tells the server. */
  readonly wishes: BlockWishes;
}

/** What directives ask of the server around the block. */
export interface BlockWishes {
  http: HttpWish[];
  /** Answers are counted. */
  metered: boolean;
  shuffle: boolean;
  maxPayload: number;
  /** Milliseconds between looks at a Corefile that is a file; undefined: it is not looked at again. */
  reload: number | undefined;
}

/** Makes the plugin of a block from all its directives of that name; throws `CorefileError`. */
export type Setup = (directives: readonly Directive[], context: BlockContext) => Plugin;
