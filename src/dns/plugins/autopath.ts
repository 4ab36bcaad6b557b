/**
 * `autopath`: when a client tries the first name of its search path, the whole path is walked here, and the first name that there is
 * is given as an alias: one round trip in place of many.
 */
import { readFileSync } from 'node:fs';
import type { Directive } from '../corefile/parser.ts';
import { wrong, zonesFrom } from '../corefile/values.ts';
import type { Reply, Request } from '../message.ts';
import { rcodes, types } from '../message.ts';
import { normalize, within, zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { nameRecord } from '../rdata.ts';

function searchOf(file: string): string[] {
  const lines = [...readFileSync(file, 'utf8').matchAll(/^\s*search\s+(.+)$/gm)];
  return (lines.at(-1)?.[1] ?? '')
    .trim()
    .split(/\s+/)
    .filter((s) => s !== '')
    .map(normalize);
}

export function autopath(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined) throw wrong(second, 'plugin/autopath: this plugin can only be used once per Server Block');
  const args = [...first!.args];
  const source = args.pop();
  if (source === undefined) throw wrong(first!, 'plugin/autopath: no resolv-conf specified');
  const zones = zonesFrom(first!, args, context.zones);
  let fixed: readonly string[] = [];
  let node: readonly string[] = [];
  try {
    if (source.startsWith('@')) node = searchOf('/etc/resolv.conf');
    else fixed = [...searchOf(source), ''];
  } catch (error) {
    if (!source.startsWith('@'))
      throw wrong(first!, `plugin/autopath: failed to parse "${source}": ${(error as Error).message}`, error);
  }
  const pathOf = (request: Request): readonly string[] => {
    if (!source.startsWith('@')) return fixed;
    const own = context.find(source.slice(1))?.searchPath?.(request);
    return own === undefined ? [] : [...own, ...node, ''];
  };
  const done = context.metrics.autopathSuccess.of({ server: context.server });

  const alias = (reply: Reply, request: Request): Reply => {
    const other = reply.answers.find((r) => r.name.toLowerCase() !== request.name);
    const record = other === undefined ? undefined : nameRecord(request.asked, types.CNAME, other.name, other.ttl);
    return record === undefined ? reply : { ...reply, answers: [record, ...reply.answers] };
  };

  return {
    name: 'autopath',
    start: () => {
      if (source.startsWith('@') && context.find(source.slice(1))?.searchPath === undefined)
        throw wrong(first!, `plugin/autopath: ${source.slice(1)} does not implement the AutoPather interface`);
    },
    wrap: (next) => (request) => {
      if (zoneOf(zones, request.name) === undefined) return next(request);
      const path = pathOf(request);
      const [head] = path;
      if (head === undefined || !within(head, request.name) || request.name === head) return next(request);
      const base = request.asked.slice(0, request.asked.length - head.length);
      const walk = async (): Promise<Reply> => {
        let firstReply: Reply | undefined;
        for (const suffix of path) {
          const asked = `${base}${suffix === '.' ? '' : suffix}`;
          const { reusable: _reusable, ...reply } = await next({ ...request, asked, name: asked.toLowerCase() });
          firstReply ??= reply;
          if (reply.error !== undefined) return reply;
          if (reply.rcode === rcodes.NXDOMAIN || reply.rcode === rcodes.SERVFAIL || reply.rcode === rcodes.REFUSED)
            continue;
          done.value++;
          return alias(reply, request);
        }
        return firstReply!;
      };
      return walk();
    },
  };
}
