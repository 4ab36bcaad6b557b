/**
 * How many seats a request takes, and for how long after its answer: lists by the bytes they hold in memory at once, writes
 * by the watchers that will be told of them, everything else one seat (KEP-1040, work estimates).
 */
import type { RequestInfo } from '../context.ts';
import type { Scope } from '../filters/scope.ts';

export interface WorkEstimate {
  readonly initialSeats: number;
  readonly finalSeats: number;
  /** Milliseconds for which `finalSeats` stay taken behind the answer. */
  readonly additionalLatency: number;
}

export interface ObjectStats {
  readonly count: number;
  readonly averageBytes: number;
}

/** undefined: this resource is not known, or not read yet. */
export type StatsOf = (group: string, resource: string) => ObjectStats | undefined;

const bytesPerSeat = 100_000;
/** Lists from the cache are streamed: they hold no more than this at once. */
const streamedBytes = 1_000_000;
const maxListSeats = 100;
const maxMutatingSeats = 10;
const watchesPerSeat = 10;
/** What one event takes to be sent, in milliseconds. */
const eventLatency = 5;

const oneSeat: WorkEstimate = { initialSeats: 1, finalSeats: 0, additionalLatency: 0 };

/** Whether upstream would go to the store for this list instead of its cache. */
function isFromStore(query: URLSearchParams, limit: number): boolean {
  const match = query.get('resourceVersionMatch') ?? '';
  if (match === 'NotOlderThan') return false;
  if (match !== '') return true;
  if ((query.get('continue') ?? '') !== '') return true;
  const version = query.get('resourceVersion') ?? '';
  return limit > 0 && version !== '' && version !== '0';
}

function seats(n: number): WorkEstimate {
  return n <= 1 ? oneSeat : { initialSeats: n, finalSeats: 0, additionalLatency: 0 };
}

function listSeats(scope: Scope, stats: StatsOf, most: number): WorkEstimate {
  const { info, request } = scope;
  const watches = info.verb === 'watch';
  const plain = request.rawQuery === '';
  if (watches) {
    if (plain) return oneSeat;
    const version = request.query.get('resourceVersion') ?? '';
    if (request.query.get('sendInitialEvents') !== 'true' && version !== '' && version !== '0') return oneSeat;
  }
  const known = stats(info.group, info.resource);
  if (known === undefined || known.count === 0) return oneSeat;
  const limit = plain ? 0 : Number(request.query.get('limit') ?? 0) || 0;
  const limited = limit > 0 && limit < known.count ? limit : known.count;
  const cached = watches || plain || !isFromStore(request.query, limit);
  let objects = limited;
  if (info.name !== '') objects = 1;
  else if (!cached && (info.labelSelector !== '' || info.fieldSelector !== ''))
    objects = Math.max(limited, Math.floor(known.count / 2));
  let bytes = objects * known.averageBytes;
  if (cached) bytes = Math.min(bytes, streamedBytes);
  return seats(Math.max(1, Math.min(Math.ceil(bytes / bytesPerSeat), most)));
}

export interface Estimated {
  readonly estimate: WorkEstimate;
  /** Watchers of what is written; undefined where they were not asked for. */
  readonly watches: number | undefined;
}

const estimatedOne: Estimated = { estimate: oneSeat, watches: undefined };
const unwatched: Estimated = { estimate: oneSeat, watches: 0 };

/** `maxSeats`: what one request may take on its level; 0: the level says nothing. */
export function estimateWork(scope: Scope, stats: StatsOf, watches: WatchCounts, maxSeats: number): Estimated {
  const { info } = scope;
  const most = (limit: number): number => (maxSeats === 0 || maxSeats > limit ? limit : maxSeats);
  switch (info.verb) {
    case 'list':
    case 'watch': {
      if (!info.isResourceRequest) return estimatedOne;
      const estimate = listSeats(scope, stats, most(maxListSeats));
      return estimate === oneSeat ? estimatedOne : { estimate, watches: undefined };
    }
    case 'create':
    case 'update':
    case 'patch':
    case 'delete': {
      if (info.subresource === 'token' && info.resource === 'serviceaccounts') return estimatedOne;
      const count = watches.interested(info);
      if (count < watchesPerSeat) return count === 0 ? unwatched : { estimate: oneSeat, watches: count };
      const wanted = Math.ceil(count / watchesPerSeat);
      const finalSeats = Math.min(wanted, most(maxMutatingSeats));
      return {
        estimate: { initialSeats: 1, finalSeats, additionalLatency: (wanted * eventLatency) / finalSeats },
        watches: count,
      };
    }
    default:
      return estimatedOne;
  }
}

/** The one field by which watches of a resource are indexed: those that pin it see few of the events. */
const indexed: ReadonlyMap<string, string> = new Map([['pods', 'spec.nodeName']]);

/** How many watches there are of what: everything of a resource, a namespace, one object. */
export class WatchCounts {
  readonly #counts = new Map<string, Map<string, number>>();

  /** Counts a watch that began; the same for one that ended, with -1. */
  add(info: RequestInfo, by: 1 | -1): void {
    const field = indexed.get(info.resource);
    if (field !== undefined && pins(info.fieldSelector, field)) return;
    const resource = `${info.group}/${info.resource}`;
    let counts = this.#counts.get(resource);
    if (counts === undefined) this.#counts.set(resource, (counts = new Map()));
    const key = info.name === '' ? info.namespace : `${info.namespace}/${info.name}`;
    const count = (counts.get(key) ?? 0) + by;
    if (count > 0) counts.set(key, count);
    else counts.delete(key);
    if (counts.size === 0) this.#counts.delete(resource);
  }

  /** Watches that will hear of a write. */
  interested(info: RequestInfo): number {
    if (this.#counts.size === 0) return 0;
    const counts = this.#counts.get(`${info.group}/${info.resource}`);
    if (counts === undefined) return 0;
    let n = counts.get('') ?? 0;
    if (info.namespace !== '') n += counts.get(info.namespace) ?? 0;
    if (info.name !== '') n += counts.get(`${info.namespace}/${info.name}`) ?? 0;
    return n;
  }
}

function pins(selector: string, field: string): boolean {
  if (selector === '') return false;
  for (const term of selector.split(',')) {
    if (!term.startsWith(field)) continue;
    const value = /^={1,2}(.+)$/.exec(term.slice(field.length));
    if (value !== null) return true;
  }
  return false;
}
