/** `forward`: questions about names of others, passed on to other name servers. */
import { getServers } from 'node:dns';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { isAbsolute, join } from 'node:path';
import { ioNow } from '../../base/io-time.ts';
import type { Directive, Line } from '../corefile/parser.ts';
import {
  argsOf,
  duration,
  noArgs,
  parseZone,
  unknownProperty,
  whole,
  wrong,
  wrongCount,
  zonesFrom,
} from '../corefile/values.ts';
import { Encoder } from '../encoder.ts';
import type { Handler, Reply, Request } from '../message.ts';
import { failure, rcodeNumber, rcodes } from '../message.ts';
import { within, zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import type { TlsMaterial } from '../upstream.ts';
import { Upstream } from '../upstream.ts';
import type { UpstreamAnswer } from '../wire.ts';
import { passedOn } from '../wire.ts';

const maxUpstreams = 15;
const deadlineMs = 5000;
const attemptsEach = 3;
const name = 'forward';

interface Options {
  from: string;
  except: readonly string[];
  forceTcp: boolean;
  preferUdp: boolean;
  policy: 'random' | 'round_robin' | 'sequential';
  maxFails: number;
  maxConcurrent: number;
  expireMs: number;
  readTimeoutMs: number;
  healthMs: number;
  healthRecursion: boolean;
  healthDomain: string;
  serverName: string | undefined;
  tls: TlsMaterial;
  failover: readonly number[];
  next: readonly number[];
  nextOnNoData: boolean;
  failFast: boolean;
  attempts: number | undefined;
}

interface Target {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  readonly serverName: string | undefined;
}

function rcodesOf(line: Line): number[] {
  return argsOf(line, 1, Infinity).map((a) => {
    const code = rcodeNumber(a);
    if (code === undefined || /^\d/.test(a)) throw wrong(line, `${a} is not a valid rcode`);
    return code;
  });
}

function readNamed(line: Line, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw wrong(line, `plugin/forward: cannot read ${file}: ${(error as Error).message}`, error);
  }
}

function property(line: Line, o: Options, directory: string): void {
  switch (line.name) {
    case 'except':
      o.except = [...o.except, ...zonesFrom(line, argsOf(line, 1, Infinity), [])];
      return;
    case 'force_tcp':
      noArgs(line);
      o.forceTcp = true;
      return;
    case 'prefer_udp':
      noArgs(line);
      o.preferUdp = true;
      return;
    case 'policy': {
      const [policy = ''] = argsOf(line, 1);
      if (policy !== 'random' && policy !== 'round_robin' && policy !== 'sequential')
        throw wrong(line, `unknown policy '${policy}'`);
      o.policy = policy;
      return;
    }
    case 'max_fails':
      o.maxFails = whole(line, argsOf(line, 1)[0], 0, 2 ** 32 - 1, 'max_fails');
      return;
    case 'max_concurrent':
      o.maxConcurrent = whole(line, argsOf(line, 1)[0], 0, 2 ** 31, 'max_concurrent');
      return;
    case 'max_connect_attempts':
      o.attempts = whole(line, argsOf(line, 1)[0], 0, 2 ** 31, 'max_connect_attempts');
      return;
    case 'expire':
      o.expireMs = duration(line, argsOf(line, 1)[0], 'expire');
      return;
    case 'read_timeout':
      o.readTimeoutMs = duration(line, argsOf(line, 1)[0], 'read_timeout');
      if (o.readTimeoutMs === 0) throw wrong(line, 'read_timeout must be positive: 0');
      return;
    case 'max_idle_conns':
    case 'max_age':
      // Connections are few and short-lived as they are.
      argsOf(line, 1);
      return;
    case 'health_check': {
      const [interval, ...rest] = argsOf(line, 1, Infinity);
      o.healthMs = Math.max(duration(line, interval, 'health_check'), 100);
      while (rest.length > 0) {
        const option = rest.shift()!;
        if (option === 'no_rec') o.healthRecursion = false;
        else if (option === 'domain') {
          const zone = parseZone(rest.shift() ?? '');
          if (zone?.zones.length !== 1) throw wrong(line, 'health_check: invalid domain name');
          o.healthDomain = zone.zones[0]!;
        } else throw wrong(line, `health_check: unknown option ${option}`);
      }
      return;
    }
    case 'tls_servername':
      o.serverName = argsOf(line, 1)[0];
      return;
    case 'tls': {
      // Nothing, an authority, a certificate and its key, or all three.
      const files = argsOf(line, 0, 3);
      const [cert, key, ca] = files.length === 1 ? [undefined, undefined, files[0]] : files;
      const read = (file: string): string => readNamed(line, isAbsolute(file) ? file : join(directory, file));
      o.tls = {
        ...(cert === undefined ? {} : { cert: read(cert) }),
        ...(key === undefined ? {} : { key: read(key) }),
        ...(ca === undefined ? {} : { ca: read(ca) }),
      };
      return;
    }
    case 'failover':
      o.failover = rcodesOf(line);
      if (o.failover.includes(rcodes.NOERROR)) throw wrong(line, 'NoError cannot be used in failover');
      return;
    case 'next':
      o.next = rcodesOf(line);
      return;
    case 'next_on_nodata':
      noArgs(line);
      o.nextOnNoData = true;
      return;
    case 'failfast_all_unhealthy_upstreams':
      noArgs(line);
      o.failFast = true;
      return;
    default:
      throw unknownProperty(line);
  }
}

/** `192.0.2.1`, `192.0.2.1:53`, `[2001:db8::1]:53`, `tls://192.0.2.1`, each with `%name` for the TLS server's name. */
function target(line: Line, text: string): Target | undefined {
  const m = /^(?:([a-z0-9]+):\/\/)?(.*?)$/i.exec(text)!;
  const scheme = m[1]?.toLowerCase() ?? 'dns';
  if (scheme !== 'dns' && scheme !== 'tls')
    throw wrong(line, `plugin/forward: '${scheme}' is not supported as a destination protocol in forward: ${text}`);
  const named = /^(.*?)%([^\]:]+)(\]?)(:\d+)?$/.exec(m[2]!);
  const host = named === null ? m[2]! : `${named[1]!}${named[3]!}${named[4] ?? ''}`;
  const parts =
    /^\[(.+)\](?::(\d+))?$/.exec(host) ?? (isIP(host) > 0 ? [host, host] : /^([^:]+)(?::(\d+))?$/.exec(host));
  const address = parts?.[1] ?? '';
  const port = Number(parts?.[2] ?? (scheme === 'tls' ? 853 : 53));
  if (isIP(address) === 0 || port > 65_535) return undefined;
  return { address, port, tls: scheme === 'tls', serverName: scheme === 'tls' ? named?.[2] : undefined };
}

/** The name servers of a `resolv.conf`; of the system where there is no such file. */
function fromFile(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    // No such system has this file.
    return getServers();
  }
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((m) => m[1]!.split('%')[0]!).filter((a) => isIP(a) > 0);
}

function targets(line: Directive, args: readonly string[], context: BlockContext): Target[] {
  const out = new Map<string, Target>();
  for (const arg of args) {
    const direct = target(line, arg);
    const found =
      direct !== undefined
        ? [direct]
        : arg.startsWith('/')
          ? fromFile(arg).map((address) => ({ address, port: 53, tls: false, serverName: undefined }))
          : undefined;
    if (found === undefined) throw wrong(line, `plugin/forward: not an IP address or file: "${arg}"`);
    if (found.length === 0) context.logger.warn('plugin/forward: no name servers in file', { file: arg });
    for (const t of found) out.set(`${t.tls} ${t.address} ${t.port}`, t);
  }
  if (out.size > maxUpstreams)
    throw wrong(line, `plugin/forward: more than ${maxUpstreams} TOs configured: ${out.size}`);
  return [...out.values()];
}

class Forward {
  readonly options: Options;
  readonly #context: BlockContext;
  readonly #upstreams: readonly Upstream[];
  readonly #encoder = new Encoder();
  #running = 0;
  #turn = 0;

  constructor(line: Directive, context: BlockContext) {
    const [from, ...to] = line.args;
    const zone = from === undefined ? undefined : parseZone(from);
    if (from === undefined || to.length === 0) throw wrongCount(line);
    if (zone === undefined) throw wrong(line, `plugin/forward: unable to normalize '${from}'`);
    const o: Options = {
      from: zone.zones[0]!,
      except: [],
      forceTcp: false,
      preferUdp: false,
      policy: 'random',
      maxFails: 2,
      maxConcurrent: 0,
      expireMs: 10_000,
      readTimeoutMs: 2000,
      healthMs: 500,
      healthRecursion: true,
      healthDomain: '.',
      serverName: undefined,
      tls: {},
      failover: [],
      next: [],
      nextOnNoData: false,
      failFast: false,
      attempts: undefined,
    };
    for (const l of line.block ?? []) property(l, o, context.directory);
    this.options = o;
    this.#context = context;
    const { random, metrics } = context;
    this.#upstreams = targets(line, to, context).map(
      (t) =>
        new Upstream(
          {
            ...t,
            serverName: o.serverName ?? t.serverName,
            material: o.tls,
            readTimeoutMs: o.readTimeoutMs,
            expireMs: o.expireMs,
            healthMs: o.healthMs,
            healthDomain: o.healthDomain,
            healthRecursion: o.healthRecursion,
            healthTcp: o.forceTcp,
            random,
            metrics,
          },
          this.#encoder,
        ),
    );
  }

  matches(request: Request): boolean {
    const { from, except } = this.options;
    if (!within(from, request.name)) return false;
    return request.name === from || zoneOf(except, request.name) === undefined;
  }

  #order(): Upstream[] {
    const list = [...this.#upstreams];
    if (this.options.policy === 'sequential' || list.length < 2) return list;
    if (this.options.policy === 'round_robin') {
      const start = this.#turn++ % list.length;
      return [...list.slice(start), ...list.slice(0, start)];
    }
    const { random } = this.#context;
    for (let i = list.length - 1; i > 0; i--) {
      const j = random.int(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    return list;
  }

  /** `next`: another `forward` behind this one. */
  async answer(request: Request, next: Handler | undefined): Promise<Reply> {
    const { metrics, clock } = this.#context;
    const o = this.options;
    if (o.maxConcurrent > 0 && this.#running >= o.maxConcurrent) {
      metrics.forwardRejected.of({}).value++;
      return failure(name, rcodes.REFUSED, new Error(`concurrent queries exceeded maximum ${o.maxConcurrent}`));
    }
    this.#running++;
    const done = clock.activity.begin();
    try {
      const reply = await this.#exchange(request);
      const again =
        o.next.includes(reply.rcode) ||
        (o.nextOnNoData && reply.rcode === rcodes.NOERROR && reply.answers.length === 0);
      return again && next !== undefined && reply.error === undefined ? await next(request) : reply;
    } finally {
      done();
      this.#running--;
    }
  }

  #question(request: Request): Buffer {
    const edns =
      request.bufferSize === undefined && !request.dnssec
        ? undefined
        : { size: Math.max(request.bufferSize ?? 0, 512), dnssec: request.dnssec, options: passedOn(request.options) };
    return this.#encoder.encode(
      {
        id: 0,
        response: false,
        opcode: 0,
        authoritative: false,
        truncated: false,
        rd: request.rd,
        recursion: false,
        authentic: request.ad,
        cd: request.cd,
        rcode: 0,
        question: { name: request.asked, type: request.type, cls: request.cls },
        answers: [],
        authority: [],
        additional: [],
        edns,
      },
      65_535,
    ).bytes;
  }

  async #exchange(request: Request): Promise<Reply> {
    const o = this.options;
    const { metrics, random } = this.#context;
    const list = this.#order();
    if (list.length === 0) return failure(name, rcodes.SERVFAIL, new Error('no name servers to ask are known'));
    const question = { bytes: this.#question(request), name: request.asked, type: request.type };
    const until = ioNow() + deadlineMs;
    const attempts = o.attempts ?? attemptsEach * list.length;
    let last: unknown;
    let down = 0;
    let failovers = 0;
    for (let i = 0, tries = 0; ioNow() < until && (attempts === 0 || tries < attempts); i++) {
      if (i % list.length === 0) down = 0;
      let upstream = list[i % list.length]!;
      if (upstream.down(o.maxFails)) {
        if (++down < list.length) continue;
        metrics.forwardBroken.of({}).value++;
        if (o.failFast) break;
        // All of them are down, or the checks are: any may do.
        upstream = list[random.int(list.length)]!;
      }
      let answer: UpstreamAnswer;
      try {
        const tcp = o.forceTcp || (!o.preferUdp && request.client.transport === 'tcp');
        answer = await upstream.ask(question, tcp);
        if (answer.truncated && o.preferUdp && !o.forceTcp) answer = await upstream.ask(question, true);
      } catch (error) {
        last = error;
        tries++;
        if (o.maxFails > 0) upstream.failed();
        continue;
      }
      if (o.failover.includes(answer.rcode) && ++failovers < list.length) continue;
      const options = passedOn(answer.edns?.options);
      return {
        rcode: answer.rcode,
        authoritative: answer.authoritative,
        recursion: answer.recursion,
        authentic: answer.authentic,
        truncated: answer.truncated,
        answers: answer.answers,
        authority: answer.authority,
        additional: answer.additional,
        ...(options === undefined ? {} : { options }),
        plugin: name,
      };
    }
    return failure(name, rcodes.SERVFAIL, last ?? new Error('no healthy proxies'));
  }

  stop(): void {
    for (const u of this.#upstreams) u.stop();
  }
}

export function forward(directives: readonly Directive[], context: BlockContext): Plugin {
  const all: Forward[] = [];
  try {
    for (const d of directives) all.push(new Forward(d, context));
  } catch (error) {
    for (const f of all) f.stop();
    throw error;
  }
  return {
    name,
    stop: () => {
      for (const f of all) f.stop();
    },
    wrap: (next) => {
      let handler: Handler = next;
      let behind: Handler | undefined;
      for (const f of all.toReversed()) {
        const after = handler;
        const other = behind;
        handler = (request) => {
          if (!f.matches(request)) return after(request);
          // Nobody may be asked: as if nobody were there.
          if (!request.outside) return failure(name, rcodes.REFUSED);
          return f.answer(request, other);
        };
        behind = handler;
      }
      return handler;
    },
  };
}
