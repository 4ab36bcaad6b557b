/** `log`: a line for each question, in the format that the Corefile says. */
import { ioNow } from '../../base/io-time.ts';
import type { Directive } from '../corefile/parser.ts';
import { argsOf, unknownProperty, wrong } from '../corefile/values.ts';
import type { Reply, ReplyKind, Request } from '../message.ts';
import { className, kindOf, rcodeName, andThen, typeName } from '../message.ts';
import { normalize, within } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';

const common =
  '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}';
const combined = `${common} "{>opcode}"`;

type Kind = 'success' | 'denial' | 'error';

interface Rule {
  readonly zone: string;
  readonly format: string;
  readonly kinds: ReadonlySet<string>;
}

function classOf(kind: ReplyKind): Kind {
  if (kind === 'success' || kind === 'delegation') return 'success';
  return kind === 'nodata' || kind === 'nxdomain' ? 'denial' : 'error';
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function flags(request: Request, reply: Reply): string {
  const set = ['qr'];
  if (reply.authoritative) set.push('aa');
  if (reply.truncated) set.push('tc');
  if (request.rd) set.push('rd');
  if (reply.recursion) set.push('ra');
  if (reply.authentic) set.push('ad');
  if (request.cd) set.push('cd');
  return set.join(',');
}

function line(format: string, request: Request, reply: Reply, length: number, seconds: number): string {
  const { client } = request;
  const size = client.transport === 'tcp' ? 65_535 : Math.max(request.bufferSize ?? 0, 512);
  const values: Record<string, string | number> = {
    type: typeName(request.type),
    name: request.name,
    class: className(request.cls),
    proto: client.transport === 'tcp' ? 'tcp' : 'udp',
    size: request.length,
    remote: bracketed(client.address),
    port: client.port,
    local: bracketed(client.local),
    rcode: rcodeName(reply.rcode),
    rsize: length,
    duration: `${seconds.toFixed(9)}s`,
    '>id': request.id,
    '>opcode': request.opcode,
    '>do': String(request.dnssec),
    '>bufsize': size,
    '>rflags': flags(request, reply),
  };
  return format.replace(/\{([^{}]+)\}/g, (whole, key: string) => {
    if (key.startsWith('/')) return '-';
    return Object.hasOwn(values, key) ? String(values[key]) : whole;
  });
}

export function log(directives: readonly Directive[], context: BlockContext): Plugin {
  const rules: Rule[] = [];
  for (const d of directives) {
    const args = [...d.args];
    const last = args.at(-1) ?? '';
    let format = common;
    if (args.length > 1 && last.includes('{')) {
      format = last.replaceAll('{common}', common).replaceAll('{combined}', combined);
      args.pop();
    }
    const kinds = new Set<string>();
    for (const l of d.block ?? []) {
      if (l.name !== 'class') throw unknownProperty(l);
      for (const kind of argsOf(l, 1, Infinity)) {
        if (!['all', 'success', 'denial', 'error'].includes(kind)) throw wrong(l, `invalid Class: ${kind}`);
        kinds.add(kind);
      }
    }
    if (kinds.size === 0) kinds.add('all');
    for (const zone of args.length === 0 ? ['.'] : args) rules.push({ zone: normalize(zone), format, kinds });
  }
  const { logger } = context;
  return {
    name: 'log',
    wrap: (next) => (request) => {
      const rule = rules.find((r) => within(r.zone, request.name));
      if (rule === undefined) return next(request);
      const began = ioNow();
      return andThen(next(request), (reply) => {
        if (!rule.kinds.has('all') && !rule.kinds.has(classOf(kindOf(reply, request.type)))) {
          return reply;
        }
        // Each question has a line: none is answered out of sight.
        const { reusable: _reusable, ...rest } = reply;
        const tell = (length: number): void =>
          logger.info(line(rule.format, request, reply, length, (ioNow() - began) / 1000));
        return { ...rest, after: [...(reply.after ?? []), tell] };
      });
    },
  };
}
