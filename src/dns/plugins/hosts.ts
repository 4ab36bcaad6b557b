/** `hosts`: names and addresses from a hosts file and from the Corefile itself. */
import { readFile, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Timer } from '../../base/clock.ts';
import type { Directive } from '../corefile/parser.ts';
import { argsOf, duration, noArgs, unknownProperty, whole, wrong, zonesFrom } from '../corefile/values.ts';
import type { Request, Reusable, Rr } from '../message.ts';
import { answered, failure, rcodes, types } from '../message.ts';
import { addressOfReverse, canonical, labelsOf, normalize, zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { addressData, addressRecord, nameRecord } from '../rdata.ts';

const defaultTtl = 3600;
const defaultReloadMs = 5000;
const maxFile = 64 << 20;

class Table {
  readonly names = new Map<string, Buffer[]>();
  readonly addresses = new Map<string, string[]>();
  entries = 0;

  constructor(text: string, zones: readonly string[], reverse: boolean) {
    for (const line of text.split('\n')) {
      const [address, ...names] = line.split('#')[0]!.trim().split(/\s+/);
      const data = names.length === 0 ? undefined : addressData(address!.split('%')[0]!);
      if (data === undefined) continue;
      for (const written of names) {
        const name = normalize(written);
        if (zoneOf(zones, name) === undefined) continue;
        append(this.names, name, data);
        this.entries++;
        if (!reverse || name.startsWith('*.')) continue;
        append(this.addresses, canonical(address!), name);
        this.entries++;
      }
    }
  }

  /** The addresses of a name, or of the wildcard one label up. */
  of(name: string): readonly Buffer[] {
    const exact = this.names.get(name);
    if (exact !== undefined) return exact;
    const labels = labelsOf(name);
    return labels.length < 2 ? [] : (this.names.get(`*.${labels.slice(1).join('.')}.`) ?? []);
  }
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

export function hosts(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined) throw wrong(second, 'plugin/hosts: this plugin can only be used once per Server Block');
  const [named, ...args] = first!.args;
  const file = named === undefined ? '/etc/hosts' : isAbsolute(named) ? named : join(context.directory, named);
  const zones = zonesFrom(first!, args, context.zones);
  let ttl = defaultTtl;
  let reloadMs = defaultReloadMs;
  let reverse = true;
  let fall: readonly string[] = [];
  let fallUnsupported = false;
  const inline: string[] = [];
  for (const line of first!.block ?? [])
    switch (line.name) {
      case 'fallthrough':
        fall = zonesFrom(line, line.args, ['.']);
        break;
      case 'fallthrough_unsupported':
        noArgs(line);
        fallUnsupported = true;
        break;
      case 'no_reverse':
        reverse = false;
        break;
      case 'ttl':
        ttl = whole(line, argsOf(line, 1)[0], 1, 65_535, 'ttl');
        break;
      case 'reload':
        reloadMs = duration(line, argsOf(line, 1)[0], 'reload');
        break;
      default:
        if (fall.length > 0) throw unknownProperty(line);
        inline.push([line.name, ...line.args].join(' '));
    }
  if (fallUnsupported && fall.length === 0) throw wrong(first!, 'fallthrough_unsupported requires fallthrough');
  const own = new Table(inline.join('\n'), zones, reverse);
  let read = new Table('', zones, reverse);
  const { stamps, metrics, logger, clock } = context;
  const tag = `h/${context.server}/${context.zones.join(' ')}/${file}`;
  const slots = [stamps.slot(tag)];
  let seen = '';
  let reading = false;
  let timer: Timer | undefined;

  const load = async (): Promise<void> => {
    if (reading) return;
    reading = true;
    try {
      const { mtimeMs, size } = await stat(file);
      const version = `${mtimeMs} ${size}`;
      if (version === seen) return;
      if (size > maxFile) throw new Error(`it is larger than ${maxFile} bytes`);
      read = new Table(await readFile(file, 'utf8'), zones, reverse);
      seen = version;
      stamps.changed(tag);
      metrics.hostsEntries.of({ hostsfile: file }).value = own.entries + read.entries;
      metrics.hostsReloaded.of({}).value = mtimeMs / 1000;
    } catch (error) {
      // Told once; a file that is gone leaves what was read.
      if (seen !== 'unreadable') logger.warn('plugin/hosts: cannot read hosts file', { file, error });
      seen = 'unreadable';
    } finally {
      reading = false;
    }
  };

  const reusable = (): Reusable => ({ slots, stamps: slots.map((s) => stamps.value(s)) });
  const records = (request: Request): readonly Rr[] => {
    const { name, asked, type } = request;
    if (type === types.PTR) {
      const address = addressOfReverse(name);
      const names = address === undefined ? [] : [read, own].flatMap((t) => t.addresses.get(address) ?? []);
      return names.flatMap((n) => nameRecord(asked, types.PTR, n, ttl) ?? []);
    }
    const width = type === types.A ? 4 : 16;
    return [...read.of(name), ...own.of(name)]
      .filter((data) => data.length === width)
      .map((data) => addressRecord(asked, data, ttl));
  };

  return {
    name: 'hosts',
    start: async () => {
      await load();
      if (reloadMs > 0) timer = clock.setTicker(reloadMs, () => void load());
    },
    stop: () => timer?.cancel(),
    wrap: (next) => (request) => {
      const { name, type } = request;
      const inside = zoneOf(zones, name) !== undefined;
      if (!inside && type !== types.PTR) return next(request);
      const through = zoneOf(fall, name) !== undefined;
      if (type !== types.PTR && type !== types.A && type !== types.AAAA && fallUnsupported && through)
        return next(request);
      const answers = type === types.PTR || type === types.A || type === types.AAAA ? records(request) : [];
      if (type === types.PTR && answers.length === 0) return next(request);
      if (answers.length === 0 && read.of(name).length === 0 && own.of(name).length === 0)
        // A hosts file has no SOA record to deny a name with.
        return through ? next(request) : failure('hosts', rcodes.SERVFAIL);
      return answered('hosts', { answers, reusable: reusable() });
    },
  };
}
