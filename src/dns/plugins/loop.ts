/**
 * `loop`: finds out whether what is passed on comes back to this server. CoreDNS asks itself at start and ends itself when it must;
 * here the question is asked when the first name is passed on, and in a loop such names fail until it is gone.
 */
import { ioTimer } from '../../base/io-time.ts';
import type { Directive } from '../corefile/parser.ts';
import { noArgs, wrong } from '../corefile/values.ts';
import type { Request } from '../message.ts';
import { failure, rcodes, types } from '../message.ts';
import { within } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';

const listenMs = 2000;
const recheckMs = 60_000;

export function loop(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined) throw wrong(second, 'plugin/loop: this plugin can only be used once per Server Block');
  noArgs(first!);
  const { random, clock, logger } = context;
  const zone = context.zones[0] ?? '.';
  let probe: string | undefined;
  let seen = 0;
  let looped = false;
  let checked = -Infinity;
  let stopped = false;
  let cancel = (): void => {};

  const check = (request: Request): void => {
    checked = clock.monotonic();
    const label = (): string => BigInt(`0x${random.bytes(7).toString('hex')}`).toString();
    probe = `${label()}.${label()}.${zone === '.' ? '' : zone}`;
    seen = 0;
    const ask = { ...request, asked: probe, name: probe, rd: true, bufferSize: undefined, dnssec: false };
    void (async () => {
      try {
        await context.lookup(ask, probe, types.HINFO);
      } catch (error) {
        logger.debug('plugin/loop: asking failed', { error });
      }
      if (stopped) return;
      cancel = ioTimer(listenMs, () => {
        if (seen < 3) looped = false;
        probe = undefined;
      });
    })();
  };

  return {
    name: 'loop',
    stop: () => {
      stopped = true;
      cancel();
    },
    wrap: (next) => (request) => {
      if (request.type === types.HINFO && request.name === probe) {
        if (++seen > 2 && !looped) {
          looped = true;
          logger.error(
            `plugin/loop: Loop (${request.client.address} -> ${context.server}) detected for zone "${zone}", see https://coredns.io/plugins/loop#troubleshooting. Query: "HINFO ${request.name}". Names that would be passed on fail until it is gone`,
          );
        }
        if (looped) return failure('loop', rcodes.SERVFAIL);
        return next(request);
      }
      if (!request.outside || !within(zone, request.name)) return next(request);
      if (probe === undefined && (checked === -Infinity || (looped && clock.monotonic() - checked > recheckMs)))
        check(request);
      return looped ? failure('loop', rcodes.SERVFAIL) : next(request);
    },
  };
}
