/**
 * `cache`: answers from elsewhere, kept as long as their TTL says. What comes from the cluster or a file here is not kept: it is made
 * anew when it changes, and only the TTL that clients are told is bounded.
 */
import type { Directive, Line } from '../corefile/parser.ts';
import { argsOf, duration, noArgs, whole, wrong, wrongCount, zonesFrom } from '../corefile/values.ts';
import type { Handler, Reply, Request, Rr } from '../message.ts';
import { kindOf, rcodes, andThen, types } from '../message.ts';
import { zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { targetOf } from '../rdata.ts';

const defaultCapacity = 9984;
const minCapacity = 1024;
const maxTtl = 3600;
const maxDenialTtl = 1800;
const minTtl = 5;
const maxFailureMs = 300_000;

interface Options {
  zones: readonly string[];
  success: { capacity: number; max: number; min: number };
  denial: { capacity: number; max: number; min: number };
  failureMs: number;
  prefetch: number;
  prefetchGapMs: number;
  prefetchPercent: number;
  staleMs: number;
  verifyStale: boolean;
  verifyMs: number;
  staleTtl: number;
  recheckMs: number;
  keepTtl: boolean;
  noSuccess: readonly string[];
  noDenial: readonly string[];
}

interface Item {
  readonly reply: Reply;
  readonly ttl: number;
  /** Monotonic milliseconds. */
  readonly stored: number;
  hits: number;
  lastHit: number;
  refreshing: boolean;
  retryAfter: number;
}

function ttlOf(line: Line, text: string): number {
  const n = whole(line, text, -(2 ** 31), 2 ** 31, 'cache TTL');
  if (n <= 0) throw wrong(line, `cache TTL can not be zero or negative: ${n}`);
  return n;
}

function part(line: Line, into: { capacity: number; max: number; min: number }): void {
  const [capacity, max, min] = argsOf(line, 1, 3);
  into.capacity = Math.max(whole(line, capacity, 0, 10_000_000, 'cache capacity'), minCapacity);
  if (max !== undefined) into.max = ttlOf(line, max);
  if (min !== undefined) into.min = whole(line, min, 0, 2 ** 31, 'cache min TTL');
}

function staleOptions(line: Line, o: Options): void {
  const [upTo, mode, ...rest] = argsOf(line, 0, 5);
  o.staleMs = upTo === undefined ? 3_600_000 : duration(line, upTo, 'serve_stale');
  if (mode === undefined) return;
  if (mode.toLowerCase() !== 'immediate' && mode.toLowerCase() !== 'verify')
    throw wrong(line, `invalid value for serve_stale refresh mode: ${mode.toLowerCase()}`);
  o.verifyStale = mode.toLowerCase() === 'verify';
  if (o.verifyStale && rest.length > 0) o.verifyMs = duration(line, rest.shift(), 'serve_stale verify timeout');
  if (rest.length > 0) o.staleTtl = duration(line, rest.shift(), 'serve_stale response TTL') / 1000;
  if (rest.length > 0) o.recheckMs = duration(line, rest.shift(), 'serve_stale failure recheck');
  if (!Number.isInteger(o.staleTtl)) throw wrong(line, 'serve_stale response TTL must be a whole number of seconds');
  if (rest.length > 0) throw wrongCount(line);
}

function property(line: Line, o: Options): void {
  switch (line.name) {
    case 'success':
      return part(line, o.success);
    case 'denial':
      return part(line, o.denial);
    case 'prefetch': {
      const [amount, gap, percent] = argsOf(line, 1, 3);
      o.prefetch = whole(line, amount, 0, 2 ** 31, 'prefetch amount');
      if (gap !== undefined) o.prefetchGapMs = duration(line, gap, 'prefetch');
      if (percent !== undefined) {
        if (!percent.endsWith('%'))
          throw wrong(line, `last character of percentage should be \`%\`, but is: "${percent.at(-1)!}"`);
        o.prefetchPercent = whole(line, percent.slice(0, -1), 10, 90, 'percentage');
      }
      return;
    }
    case 'serve_stale':
      return staleOptions(line, o);
    case 'servfail':
      o.failureMs = duration(line, argsOf(line, 1)[0], 'servfail');
      if (o.failureMs > maxFailureMs) throw wrong(line, 'caching SERVFAIL responses over 5 minutes is not permitted');
      return;
    case 'disable': {
      const [what, ...zones] = argsOf(line, 1, Infinity);
      const list = zonesFrom(line, zones, ['.']);
      if (what === 'success') o.noSuccess = list;
      else if (what === 'denial') o.noDenial = list;
      else throw wrong(line, 'cache type for disable must be "success" or "denial"');
      return;
    }
    case 'keepttl':
      noArgs(line);
      o.keepTtl = true;
      return;
    default:
      throw wrongCount(line);
  }
}

function parse(d: Directive, context: BlockContext): Options {
  const args = [...d.args];
  const o: Options = {
    zones: [],
    success: { capacity: defaultCapacity, max: maxTtl, min: minTtl },
    denial: { capacity: defaultCapacity, max: maxDenialTtl, min: minTtl },
    failureMs: minTtl * 1000,
    prefetch: 0,
    prefetchGapMs: 60_000,
    prefetchPercent: 10,
    staleMs: 0,
    verifyStale: false,
    verifyMs: 0,
    staleTtl: 0,
    recheckMs: 0,
    keepTtl: false,
    noSuccess: [],
    noDenial: [],
  };
  if (args[0] !== undefined && /^-?\d+$/.test(args[0])) o.success.max = o.denial.max = ttlOf(d, args.shift()!);
  o.zones = zonesFrom(d, args, context.zones);
  for (const line of d.block ?? []) property(line, o);
  return o;
}

/** Whether the records lead from the question to what was asked for. */
function answersQuestion(reply: Reply, request: Request): boolean {
  let name = request.name;
  for (let hop = 0; hop <= reply.answers.length; hop++) {
    const here = reply.answers.filter((r) => r.name.toLowerCase() === name);
    if (request.type === types.ANY) return here.length > 0;
    if (here.some((r) => r.type === request.type)) return true;
    const alias = here.find((r) => r.type === types.CNAME);
    const target = alias === undefined ? undefined : targetOf(alias);
    if (target === undefined) return false;
    name = target.toLowerCase();
  }
  return false;
}

function smallestTtl(reply: Reply, max: number): number {
  let ttl = max;
  let any = false;
  for (const list of [reply.answers, reply.authority, reply.additional])
    for (const r of list) {
      any = true;
      if (r.ttl < ttl) ttl = r.ttl;
    }
  return any ? ttl : minTtl;
}

const withTtl = (records: readonly Rr[], ttl: number): readonly Rr[] =>
  records.some((r) => r.ttl !== ttl) ? records.map((r) => (r.ttl === ttl ? r : { ...r, ttl })) : records;

function retimed(reply: Reply, ttl: number): Reply {
  return {
    ...reply,
    answers: withTtl(reply.answers, ttl),
    authority: withTtl(reply.authority, ttl),
    additional: withTtl(reply.additional, ttl),
  };
}

/** One of the two halves. Full, it lets go of the one that came first. */
class Shelf {
  readonly #capacity: number;
  readonly #items = new Map<string, Item>();
  readonly #evicted: () => void;

  constructor(capacity: number, evicted: () => void) {
    this.#capacity = capacity;
    this.#evicted = evicted;
  }

  get size(): number {
    return this.#items.size;
  }

  get(key: string): Item | undefined {
    return this.#items.get(key);
  }

  set(key: string, item: Item): void {
    this.#items.delete(key);
    if (this.#items.size >= this.#capacity) {
      const [oldest] = this.#items.keys();
      this.#items.delete(oldest!);
      this.#evicted();
    }
    this.#items.set(key, item);
  }

  delete(key: string): void {
    this.#items.delete(key);
  }
}

class Cache {
  readonly #o: Options;
  readonly #context: BlockContext;
  readonly #next: Handler;
  readonly #success: Shelf;
  readonly #denial: Shelf;
  readonly #counts;

  constructor(options: Options, context: BlockContext, next: Handler) {
    this.#o = options;
    this.#context = context;
    this.#next = next;
    const { metrics, server } = context;
    const labels = { server, zones: options.zones.join(','), view: '' };
    const by = (type: string) => ({ server, type, zones: labels.zones, view: '' });
    this.#counts = {
      requests: metrics.cacheRequests.of(labels),
      misses: metrics.cacheMisses.of(labels),
      prefetches: metrics.cachePrefetches.of(labels),
      stale: metrics.cacheStale.of(labels),
      success: { entries: metrics.cacheEntries.of(by('success')), hits: metrics.cacheHits.of(by('success')) },
      denial: { entries: metrics.cacheEntries.of(by('denial')), hits: metrics.cacheHits.of(by('denial')) },
    };
    const evictions = {
      success: metrics.cacheEvictions.of(by('success')),
      denial: metrics.cacheEvictions.of(by('denial')),
    };
    this.#success = new Shelf(options.success.capacity, () => evictions.success.value++);
    this.#denial = new Shelf(options.denial.capacity, () => evictions.denial.value++);
  }

  answer(request: Request): Reply | Promise<Reply> {
    const o = this.#o;
    const now = this.#context.clock.monotonic();
    const key = `${request.type} ${request.cls} ${request.dnssec ? 1 : 0}${request.cd ? 1 : 0} ${request.name}`;
    this.#counts.requests.value++;
    const found = this.#find(key, now);
    if (found === undefined) {
      this.#counts.misses.value++;
      return this.#fetch(request, key);
    }
    const { item, half } = found;
    half.hits.value++;
    const left = item.ttl - Math.floor((now - item.stored) / 1000);
    if (left <= 0) return this.#stale(request, key, item, now);
    if (o.prefetch > 0 && this.#popular(item, left, now)) this.#refresh(request, key, item);
    return this.#given(request, item, left, now, half.hits);
  }

  #find(key: string, now: number): { item: Item; half: { hits: { value: number } } } | undefined {
    const usable = (item: Item | undefined): item is Item =>
      item !== undefined && now < item.stored + item.ttl * 1000 + this.#o.staleMs;
    const denial = this.#denial.get(key);
    const success = this.#success.get(key);
    const { counts } = { counts: this.#counts };
    if (usable(denial) && !(denial.reply.rcode === rcodes.SERVFAIL && usable(success)))
      return { item: denial, half: counts.denial };
    if (usable(success)) return { item: success, half: counts.success };
    if (denial !== undefined) this.#denial.delete(key);
    if (success !== undefined) this.#success.delete(key);
    return undefined;
  }

  #popular(item: Item, left: number, now: number): boolean {
    const o = this.#o;
    item.hits = now - item.lastHit > o.prefetchGapMs ? 1 : item.hits + 1;
    item.lastHit = now;
    return item.hits >= o.prefetch && left <= Math.ceil((o.prefetchPercent / 100) * item.ttl);
  }

  /** Asks again in the background, once at a time. */
  #refresh(request: Request, key: string, item: Item): void {
    const { clock, logger } = this.#context;
    if (item.refreshing || clock.monotonic() < item.retryAfter) return;
    item.refreshing = true;
    this.#counts.prefetches.value++;
    const failed = (error: unknown): void => {
      item.retryAfter = clock.monotonic() + this.#o.recheckMs;
      logger.debug('plugin/cache: refreshing failed', { name: request.name, error });
    };
    void clock.activity
      .track(Promise.resolve(this.#fetch(request, key, item)))
      .then((reply) => {
        if (reply.rcode === rcodes.SERVFAIL) failed(reply.error);
      }, failed)
      .finally(() => {
        item.refreshing = false;
      });
  }

  #stale(request: Request, key: string, item: Item, now: number): Reply | Promise<Reply> {
    const o = this.#o;
    const old = (): Reply => {
      this.#counts.stale.value++;
      return this.#given(request, item, o.staleTtl, now, undefined);
    };
    if (!o.verifyStale) {
      this.#refresh(request, key, item);
      return old();
    }
    if (now < item.retryAfter || item.refreshing) return old();
    item.refreshing = true;
    const fresh = Promise.resolve(this.#fetch(request, key, item)).then(
      (reply) => {
        item.refreshing = false;
        if (reply.rcode !== rcodes.SERVFAIL) return reply;
        item.retryAfter = this.#context.clock.monotonic() + o.recheckMs;
        return old();
      },
      () => {
        item.refreshing = false;
        return old();
      },
    );
    if (o.verifyMs === 0) return fresh;
    const waiting = new AbortController();
    return Promise.race([
      fresh.finally(() => waiting.abort()),
      this.#context.clock.sleep(o.verifyMs, waiting.signal).then(old, () => fresh),
    ]);
  }

  /** A kept answer for this client. */
  #given(request: Request, item: Item, left: number, now: number, hits: { value: number } | undefined): Reply {
    const o = this.#o;
    const reply = retimed(item.reply, o.keepTtl ? item.ttl : left);
    const { requests } = this.#counts;
    return {
      ...reply,
      // Some stub resolvers throw away what is not authoritative.
      authoritative: true,
      authentic: reply.authentic && (request.dnssec || request.ad),
      plugin: 'cache',
      ...(hits === undefined || o.prefetch > 0
        ? {}
        : {
            reusable: {
              slots: [],
              stamps: [],
              until: item.stored + item.ttl * 1000,
              ...(o.keepTtl ? {} : { since: now - ((now - item.stored) % 1000) }),
              used: () => {
                requests.value++;
                hits.value++;
                return true;
              },
            },
          }),
    };
  }

  #fetch(request: Request, key: string, before?: Item): Reply | Promise<Reply> {
    // Upstream says whether it has verified what it gives; the client is told when it wants to know.
    return andThen(this.#next({ ...request, ad: true }), (reply) => this.#keep(request, key, reply, before));
  }

  #keep(request: Request, key: string, reply: Reply, before: Item | undefined): Reply {
    const o = this.#o;
    const authentic = reply.authentic && (request.dnssec || request.ad);
    // From here: it is known when that changes.
    if (reply.reusable !== undefined) return { ...this.#bounded(reply, request), authentic };
    const told: Reply = { ...reply, authentic };
    if (reply.truncated || reply.error !== undefined) return told;
    let kind = kindOf(reply, request.type);
    const soa = reply.authority.some((r) => r.type === types.SOA);
    if (kind === 'success' && reply.answers.length > 0 && !answersQuestion(reply, request)) {
      if (!soa) return told;
      kind = 'nodata';
    }
    if (kind === 'other' || (kind === 'nxdomain' && !soa)) return told;
    const denied = kind === 'nxdomain' || kind === 'nodata' || kind === 'failure';
    if (zoneOf(denied ? o.noDenial : o.noSuccess, request.name) !== undefined) return told;
    const bounds = denied ? o.denial : o.success;
    const ttl =
      kind === 'failure'
        ? o.failureMs / 1000
        : Math.min(Math.max(smallestTtl(reply, bounds.max), bounds.min), bounds.max);
    if (ttl <= 0) return told;
    const kept = retimed(told, Math.floor(ttl));
    // A failure does not take the place of an answer that may still be given.
    if (!(kind === 'failure' && before !== undefined && o.staleMs > 0)) {
      const { options: _options, after: _after, ...rest } = kept;
      const item: Item = {
        reply: { ...rest, authentic: reply.authentic },
        ttl,
        stored: this.#context.clock.monotonic(),
        hits: before?.hits ?? 0,
        lastHit: before?.lastHit ?? 0,
        refreshing: false,
        retryAfter: 0,
      };
      (denied ? this.#denial : this.#success).set(key, item);
      if (!denied) this.#denial.delete(key);
      this.#counts.success.entries.value = this.#success.size;
      this.#counts.denial.entries.value = this.#denial.size;
    }
    return kept;
  }

  #bounded(reply: Reply, request: Request): Reply {
    const o = this.#o;
    const denied = reply.answers.length === 0;
    if (zoneOf(denied ? o.noDenial : o.noSuccess, request.name) !== undefined) return reply;
    const max = (denied ? o.denial : o.success).max;
    const cut = (records: readonly Rr[]): readonly Rr[] =>
      records.some((r) => r.ttl > max) ? records.map((r) => (r.ttl > max ? { ...r, ttl: max } : r)) : records;
    return {
      ...reply,
      answers: cut(reply.answers),
      authority: cut(reply.authority),
      additional: cut(reply.additional),
    };
  }
}

export function cache(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined) throw wrong(second, 'plugin/cache: this plugin can only be used once per Server Block');
  const options = parse(first!, context);
  return {
    name: 'cache',
    wrap: (next) => {
      const it = new Cache(options, context, next);
      return (request) => (zoneOf(options.zones, request.name) === undefined ? next(request) : it.answer(request));
    },
  };
}
