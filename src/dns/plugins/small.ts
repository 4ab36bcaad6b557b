/** Plugins of a few lines: `any`, `bufsize`, `minimal`, `local`, `whoami`, and those that ask something of the server around them. */
import type { Directive } from '../corefile/parser.ts';
import {
  argsOf,
  duration,
  listenAddress,
  noArgs,
  unknownProperty,
  whole,
  wrong,
  wrongCount,
} from '../corefile/values.ts';
import type { Reply, Reusable } from '../message.ts';
import { answered, kindOf, rcodes, andThen, types } from '../message.ts';
import { within, zoneOf } from '../names.ts';
import type { BlockContext, HttpWish, Plugin } from '../plugin.ts';
import { addressData, addressRecord, nameRecord, soaRecord, srvRecord, textRecord } from '../rdata.ts';

const always: Reusable = { slots: [], stamps: [] };

function once(directives: readonly Directive[]): Directive {
  const [first, second] = directives;
  if (second !== undefined)
    throw wrong(second, `plugin/${second.name}: this plugin can only be used once per Server Block`);
  return first!;
}

/** Questions for everything get next to nothing (RFC 8482). */
export function any(directives: readonly Directive[]): Plugin {
  noArgs(once(directives));
  return {
    name: 'any',
    wrap: (next) => (request) => {
      if (request.type !== types.ANY) return next(request);
      const data = textRecord(request.asked, 8482, ['ANY obsoleted', 'See RFC 8482']);
      const reply = answered('any', { answers: [{ ...data, type: types.HINFO }], reusable: always });
      return { ...reply, authoritative: false };
    },
  };
}

/** Bounds what is sent over UDP. */
export function bufsize(directives: readonly Directive[], context: BlockContext): Plugin {
  const d = once(directives);
  const [size] = argsOf(d, 0, 1);
  context.wishes.maxPayload = size === undefined ? 1232 : whole(d, size, 512, 4096, 'bufsize');
  const max = context.wishes.maxPayload;
  return {
    name: 'bufsize',
    wrap: (next) => (request) => next((request.bufferSize ?? 0) > max ? { ...request, bufferSize: max } : request),
  };
}

/** Answers without what was not asked for. */
export function minimal(directives: readonly Directive[]): Plugin {
  noArgs(once(directives));
  return {
    name: 'minimal',
    wrap: (next) => (request) =>
      andThen(next(request), (reply) =>
        kindOf(reply, request.type) === 'success' ? { ...reply, authority: [], additional: [] } : reply,
      ),
  };
}

const localZones = ['localhost.', '0.in-addr.arpa.', '127.in-addr.arpa.', '255.in-addr.arpa.'];
const localTtl = 604_800;

/** `localhost` and its reverse names are never asked elsewhere. */
export function local(directives: readonly Directive[]): Plugin {
  noArgs(once(directives));
  const v4 = addressData('127.0.0.1')!;
  const v6 = addressData('::1')!;
  const soa = (zone: string) =>
    soaRecord(zone, localTtl, {
      mname: 'localhost.',
      rname: 'root.localhost.',
      serial: 1,
      refresh: 0,
      retry: 0,
      expire: 0,
      minimum: localTtl,
    });
  return {
    name: 'local',
    wrap: (next) => (request) => {
      const { name, asked, type } = request;
      const prefixed = name.startsWith('localhost.') && name !== 'localhost.';
      const zone = zoneOf(localZones, name);
      if (zone === undefined && !prefixed) return next(request);
      if (prefixed || within('localhost.', name)) {
        const data = type === types.A ? v4 : type === types.AAAA ? v6 : undefined;
        if (data !== undefined)
          return answered('local', { answers: [addressRecord(asked, data, localTtl)], reusable: always });
        return answered('local', { authority: [soa(zone ?? asked)], reusable: always });
      }
      if (name === '1.0.0.127.in-addr.arpa.' && type === types.PTR)
        return answered('local', {
          answers: [nameRecord(asked, types.PTR, 'localhost.', localTtl)!],
          reusable: always,
        });
      if (name === zone && type === types.SOA) return answered('local', { answers: [soa(zone)], reusable: always });
      const exists = name === zone || name === '1.0.0.127.in-addr.arpa.';
      return answered('local', {
        rcode: exists ? rcodes.NOERROR : rcodes.NXDOMAIN,
        authority: [soa(zone!)],
        reusable: always,
      });
    },
  };
}

/** Tells the client who it is. */
export function whoami(directives: readonly Directive[]): Plugin {
  noArgs(once(directives));
  return {
    name: 'whoami',
    wrap: () => (request) => {
      const { address, port, transport } = request.client;
      const data = addressData(address);
      const srv = srvRecord(`_${transport === 'tcp' ? 'tcp' : 'udp'}.${request.asked}`, 0, 0, port, '.');
      const reply: Reply = answered('whoami', {
        additional: [
          ...(data === undefined ? [] : [addressRecord(request.asked, data, 0)]),
          ...(srv === undefined ? [] : [srv]),
        ],
      });
      return reply;
    },
  };
}

function wish(
  directives: readonly Directive[],
  context: BlockContext,
  role: HttpWish['role'],
  port: number,
): Directive {
  const d = once(directives);
  const [address] = argsOf(d, 0, 1);
  context.wishes.http.push({ role, ...(address === undefined ? { host: '', port } : listenAddress(d, address)) });
  return d;
}

export function health(directives: readonly Directive[], context: BlockContext): Plugin {
  const d = wish(directives, context, 'health', 8080);
  for (const line of d.block ?? [])
    if (line.name === 'lameduck') duration(line, argsOf(line, 1)[0], 'lameduck');
    else throw unknownProperty(line);
  return { name: 'health' };
}

export function ready(directives: readonly Directive[], context: BlockContext): Plugin {
  const d = wish(directives, context, 'ready', 8181);
  for (const line of d.block ?? []) {
    if (line.name !== 'monitor') throw unknownProperty(line);
    const [kind] = argsOf(line, 1);
    if (kind !== 'until-ready' && kind !== 'continuously') throw wrong(line, `monitor type '${kind!}' not supported`);
  }
  return { name: 'ready' };
}

export function prometheus(directives: readonly Directive[], context: BlockContext): Plugin {
  const d = wish(directives, context, 'metrics', 9153);
  for (const line of d.block ?? [])
    if (line.name !== 'runtime_metrics') throw wrong(line, `unknown option: ${line.name}`);
  context.wishes.metered = true;
  return { name: 'prometheus' };
}

export function reload(directives: readonly Directive[], context: BlockContext): Plugin {
  const d = once(directives);
  const [interval, jitter] = argsOf(d, 0, 2);
  const ms = interval === undefined ? 30_000 : duration(d, interval, 'reload');
  if (interval !== undefined && ms < 2000) throw wrong(d, 'interval value must be greater or equal to 2s');
  if (jitter !== undefined) duration(d, jitter, 'jitter');
  context.wishes.reload = ms;
  return { name: 'reload' };
}

/** Directives whose matter is settled where the server is started; they are let stand. */
export function settled(directives: readonly Directive[]): Plugin {
  const [d] = directives;
  if (d === undefined) throw new Error('a directive is missing');
  if (d.name === 'bind' && d.args.length === 0) throw wrongCount(d);
  return { name: d.name };
}
