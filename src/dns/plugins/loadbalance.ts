/** `loadbalance`: addresses in another order each time, or those of preferred networks first. */
import type { Cidr } from '../../base/ip.ts';
import { cidrContains, parseCidr, parseIp } from '../../base/ip.ts';
import type { Random } from '../../base/random.ts';
import type { Directive } from '../corefile/parser.ts';
import { unknownProperty, wrong } from '../corefile/values.ts';
import type { Reply, Rr } from '../message.ts';
import { rcodes, andThen, types } from '../message.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { addressOf } from '../rdata.ts';

const isAddress = (r: Rr): boolean => r.type === types.A || r.type === types.AAAA;

function shuffle<T>(list: T[], random: Random): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

/** Aliases first, then what is no address, then the addresses and mail exchangers, each in any order. */
function balanced(records: readonly Rr[], random: Random): readonly Rr[] {
  if (records.length < 2) return records;
  const first: Rr[] = [];
  const rest: Rr[] = [];
  const addresses: Rr[] = [];
  const mail: Rr[] = [];
  for (const r of records)
    (r.type === types.CNAME ? first : isAddress(r) ? addresses : r.type === types.MX ? mail : rest).push(r);
  return [...first, ...rest, ...shuffle(addresses, random), ...shuffle(mail, random)];
}

function preferred(records: readonly Rr[], networks: readonly Cidr[]): readonly Rr[] {
  const matches = (r: Rr): boolean => {
    const ip = isAddress(r) ? parseIp(addressOf(r)) : undefined;
    return ip !== undefined && networks.some((n) => cidrContains(n, ip));
  };
  const others = records.filter((r) => !isAddress(r));
  const addresses = records.filter(isAddress);
  return [...others, ...addresses.filter(matches), ...addresses.filter((r) => !matches(r))];
}

export function loadbalance(directives: readonly Directive[], context: BlockContext): Plugin {
  const networks: Cidr[] = [];
  for (const d of directives) {
    const [policy, extra] = d.args;
    if (policy === 'weighted') throw wrong(d, "plugin/loadbalance: policy 'weighted' is not supported by knarr");
    if (policy !== undefined && policy !== 'round_robin')
      throw wrong(d, `plugin/loadbalance: unknown policy: ${policy}`);
    if (extra !== undefined) throw wrong(d, `unknown property for ${policy}`);
    for (const line of d.block ?? []) {
      if (line.name !== 'prefer') throw unknownProperty(line);
      for (const text of line.args) {
        const cidr = parseCidr(text);
        if (cidr === undefined) throw wrong(line, `invalid CIDR "${text}"`);
        networks.push(cidr);
      }
    }
  }
  const { random } = context;
  // What is answered from bytes is shuffled there.
  context.wishes.shuffle = networks.length === 0;
  const order = (reply: Reply): Reply => {
    if (reply.rcode !== rcodes.NOERROR) return reply;
    const { reusable, ...rest } = reply;
    const of = (records: readonly Rr[]): readonly Rr[] => {
      const list = balanced(records, random);
      return networks.length === 0 ? list : preferred(list, networks);
    };
    return {
      ...rest,
      answers: of(reply.answers),
      authority: of(reply.authority),
      additional: of(reply.additional),
      ...(reusable === undefined || networks.length > 0 ? {} : { reusable }),
    };
  };
  return {
    name: 'loadbalance',
    wrap: (next) => (request) =>
      request.type === types.AXFR || request.type === types.IXFR ? next(request) : andThen(next(request), order),
  };
}
