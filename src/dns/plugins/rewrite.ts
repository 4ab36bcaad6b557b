/**
 * `rewrite`: the question is changed on its way in, the answer on its way out. Rules apply in order until one that stops; what they
 * undo in the answer is undone in reverse order.
 */
import type { Directive, Line } from '../corefile/parser.ts';
import type { Pattern } from '../corefile/values.ts';
import { groupsOf, pattern, wrong } from '../corefile/values.ts';
import type { Handler, Reply, Request, Rr } from '../message.ts';
import { classes, failure, rcodeNumber, rcodes, andThen, typeNumber, types } from '../message.ts';
import { fqdn, nameToWire, normalize } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { targetOf, withTarget } from '../rdata.ts';

/** Changes a record of the answer. */
type RecordRule = (record: Rr) => Rr;

/** What a rule that applies does. */
interface Applied {
  readonly request: Request;
  readonly records?: readonly RecordRule[];
  /** Changes the answer as a whole. */
  readonly reply?: (reply: Reply) => Reply | Promise<Reply>;
}

interface Rule {
  readonly stop: boolean;
  apply(request: Request): Applied | undefined;
}

type Match = 'exact' | 'prefix' | 'suffix' | 'substring' | 'regex';
const matches: readonly string[] = ['exact', 'prefix', 'suffix', 'substring', 'regex'];

function isMatch(text: string | undefined): text is Match {
  return text !== undefined && matches.includes(text);
}

/** `{0}`, `{1}`, … replaced by groups. */
function filled(template: string, groups: readonly string[]): string {
  return template.replace(/\{(\d+)\}/g, (whole, n: string) => groups[Number(n)] ?? whole);
}

function checkGroups(line: Line, template: string, from: Pattern, text: string): void {
  const used = new Set(template.match(/\{\d{1,2}\}/g) ?? []);
  if (used.size > from.groupCount())
    throw wrong(
      line,
      `the rewrite regex pattern (${template}) uses more subexpressions than its corresponding matching regex pattern (${text})`,
    );
}

type Rename = (name: string) => string | undefined;

/** Renames by a pattern; what does not match stays. */
function byPattern(line: Line, from: string, to: string): Rename {
  const p = pattern(line, from);
  checkGroups(line, to, p, from);
  const template = normalize(to);
  return (name) => {
    const groups = groupsOf(p, name);
    return groups === undefined ? undefined : filled(template, groups);
  };
}

const renamed =
  (rename: Rename): RecordRule =>
  (record) => {
    const name = rename(record.name);
    return name === undefined || name === record.name || nameToWire(name) === undefined ? record : { ...record, name };
  };

const revalued =
  (rename: Rename): RecordRule =>
  (record) => {
    const target = targetOf(record);
    const to = target === undefined ? undefined : rename(target);
    return to === undefined || to === target ? record : (withTarget(record, to) ?? record);
  };

interface Answers {
  readonly auto: boolean;
  readonly rules: readonly RecordRule[];
}

/** `answer auto`, `answer name FROM TO`, `answer value FROM TO`, any number of them. */
function answerRules(line: Line, match: string, args: readonly string[]): Answers {
  const rest = [...args];
  const rules: RecordRule[] = [];
  let auto = false;
  let named = false;
  let first = true;
  while (rest.length > 0) {
    if (rest[0] === 'answer') rest.shift();
    else if (first)
      throw wrong(line, `exceeded the number of arguments for a non-answer rule argument for ${match} rule`);
    first = false;
    const what = rest.shift();
    if (what === undefined) throw wrong(line, `type missing for answer rule for ${match} rule`);
    if (what === 'auto') {
      auto = true;
      continue;
    }
    if (what !== 'name' && what !== 'value')
      throw wrong(line, `invalid type "${what}" for answer rule for ${match} rule`);
    const from = rest.shift();
    const to = rest.shift();
    if (what === 'name' && from === 'auto' && to === undefined) {
      auto = true;
      continue;
    }
    if (from === undefined || to === undefined)
      throw wrong(line, `${what} answer rule for ${match} rule: 2 arguments required`);
    const rename = byPattern(line, from, to);
    rules.push(what === 'name' ? renamed(rename) : revalued(rename));
    named ||= what === 'name';
  }
  if (auto && named) throw wrong(line, 'auto name answer rule cannot be combined with explicit name answer rules');
  return { auto, rules };
}

/** Both the owner's name and the target of each record. */
const both = (rename: Rename): readonly RecordRule[] => [renamed(rename), revalued(rename)];

/** From the name that was asked for instead, and names below it, back to the one that was meant. */
function back(from: string, to: string): Rename {
  return (name) => {
    const lower = name.toLowerCase();
    if (lower === from) return to;
    return lower.endsWith(`.${from}`) ? name.slice(0, name.length - from.length) + to : undefined;
  };
}

function nameRule(line: Line, stop: boolean, args: readonly string[]): Rule {
  const typed = args.length > 2 || (args.length === 3 && isMatch(args[0]));
  const match = typed ? args[0]!.toLowerCase() : 'exact';
  if (!isMatch(match))
    throw wrong(
      line,
      `name rule supports only exact, prefix, suffix, substring, and regex name matching, received: ${match}`,
    );
  const [from, to, ...rest] = typed ? args.slice(1) : args;
  if (from === undefined || to === undefined) throw wrong(line, 'too few arguments for a name rule');
  const { auto, rules } = rest.length === 0 ? { auto: false, rules: [] } : answerRules(line, match, rest);
  const whole = (text: string): string => normalize(text);
  // Parts of a name end with their dot as whole names do: they match whole labels at their end.
  let rename: Rename;
  let fixed: readonly RecordRule[] = rules;
  let undo = auto;
  switch (match) {
    case 'exact': {
      const [f, t] = [whole(from), whole(to)];
      rename = (name) => (name === f ? t : undefined);
      undo = true;
      break;
    }
    case 'prefix': {
      const [f, t] = [whole(from), whole(to)];
      rename = (name) => (name.startsWith(f) ? t + name.slice(f.length) : undefined);
      break;
    }
    case 'suffix': {
      const [f, t] = [whole(from), whole(to)];
      rename = (name) => (name.endsWith(f) ? name.slice(0, name.length - f.length) + t : undefined);
      if (auto)
        fixed = [
          ...both((name) => {
            const lower = name.toLowerCase();
            return lower.endsWith(t) ? name.slice(0, name.length - t.length) + f : undefined;
          }),
          ...rules,
        ];
      undo = false;
      break;
    }
    case 'substring': {
      const [f, t] = [whole(from), whole(to)];
      rename = (name) => (name.includes(f) ? name.replaceAll(f, t) : undefined);
      break;
    }
    case 'regex':
      rename = byPattern(line, from, to);
  }
  return {
    stop,
    apply: (request) => {
      const name = rename(request.name);
      if (name === undefined) return undefined;
      const asked = fqdn(name);
      return {
        request: { ...request, asked, name: asked.toLowerCase() },
        records: undo ? [...both(back(asked.toLowerCase(), request.asked)), ...fixed] : fixed,
      };
    },
  };
}

/** Whether a rule about the name asked for applies. */
function condition(line: Line, match: string, text: string, what: string): (name: string) => boolean {
  if (!isMatch(match))
    throw wrong(line, `${what} rule supports only exact, prefix, suffix, substring, and regex name matching`);
  const wanted = normalize(text);
  switch (match) {
    case 'exact':
      return (name) => name === wanted;
    case 'prefix':
      return (name) => name.startsWith(wanted);
    case 'suffix':
      return (name) => name.endsWith(wanted);
    case 'substring':
      return (name) => name.includes(wanted);
    case 'regex': {
      const p = pattern(line, text);
      return (name) => groupsOf(p, name) !== undefined;
    }
  }
}

function ttlRule(line: Line, stop: boolean, args: readonly string[]): Rule {
  if (args.length < 2) throw wrong(line, `too few (${args.length}) arguments for a ttl rule`);
  if (args.length > 3) throw wrong(line, 'too many arguments for a ttl rule');
  const [match, name, range] = args.length === 3 ? args : ['exact', ...args];
  const applies = condition(line, match!.toLowerCase(), name!, 'ttl');
  const m = /^(?:(\d+)|(\d*)-(\d*))$/.exec(range!);
  const min = Number(m?.[1] ?? (m?.[2] === '' ? 0 : m?.[2]));
  const max = Number(m?.[1] ?? (m?.[3] === '' ? 2 ** 31 - 1 : m?.[3]));
  if (m === null || range === '-' || min > max || max >= 2 ** 32)
    throw wrong(line, `invalid TTL '${range!}' for a ttl rule`);
  const records: RecordRule[] = [(r) => (r.ttl < min ? { ...r, ttl: min } : r.ttl > max ? { ...r, ttl: max } : r)];
  return { stop, apply: (request) => (applies(request.name) ? { request, records } : undefined) };
}

function rcodeRule(line: Line, stop: boolean, args: readonly string[]): Rule {
  if (args.length < 3) throw wrong(line, `too few (${args.length}) arguments for a rcode rule`);
  if (args.length > 4) throw wrong(line, 'too many arguments for a rcode rule');
  const [match, name, old, fresh] = args.length === 4 ? args : ['exact', ...args];
  const applies = condition(line, match!.toLowerCase(), name!, 'rcode');
  const from = rcodeNumber(old!);
  const to = rcodeNumber(fresh!);
  if (from === undefined) throw wrong(line, `invalid matching RCODE '${old!}' for a rcode rule`);
  if (to === undefined) throw wrong(line, `invalid replacement RCODE '${fresh!}' for a rcode rule`);
  return {
    stop,
    apply: (request) =>
      applies(request.name)
        ? { request, reply: (reply) => (reply.rcode === from ? { ...reply, rcode: to } : reply) }
        : undefined,
  };
}

/** The target of an alias in the answer is another one, which is looked up. */
function cnameRule(line: Line, stop: boolean, args: readonly string[], context: BlockContext): Rule {
  if (args.length < 2 || args.length > 3) throw wrong(line, `too few (${args.length}) arguments for a cname rule`);
  const [match, from, to] = args.length === 3 ? args : ['exact', ...args];
  const how = match!.toLowerCase();
  if (!isMatch(how)) throw wrong(line, `unknown cname rewrite type: ${how}`);
  const [f, t] = [from!.toLowerCase(), to!.toLowerCase()];
  const regex = how === 'regex' ? pattern(line, f) : undefined;
  const rename = (target: string): string | undefined => {
    switch (how) {
      case 'exact':
        return target === normalize(f) ? normalize(t) : undefined;
      case 'prefix':
        return target.startsWith(f) ? t + target.slice(f.length) : undefined;
      case 'suffix':
        return target.endsWith(f) ? target.slice(0, target.length - f.length) + t : undefined;
      case 'substring':
        return target.includes(f) ? target.replaceAll(f, t) : undefined;
      case 'regex': {
        const groups = groupsOf(regex!, target);
        return groups === undefined ? undefined : filled(t, groups);
      }
    }
  };
  return {
    stop,
    apply: (request) => ({
      request,
      reply: async (reply) => {
        for (let i = 0; i < reply.answers.length; i++) {
          const record = reply.answers[i]!;
          const target = record.type === types.CNAME ? targetOf(record) : undefined;
          const other = target === undefined ? undefined : rename(target.toLowerCase());
          const alias = other === undefined ? undefined : withTarget(record, other);
          if (other === undefined || alias === undefined) continue;
          const found = await context.lookup(request, fqdn(other), request.type);
          const { reusable: _reusable, ...rest } = reply;
          return {
            ...rest,
            answers: [...reply.answers.slice(0, i), alias, ...found.answers],
            truncated: found.truncated,
          };
        }
        return reply;
      },
    }),
  };
}

function rule(line: Line, context: BlockContext): Rule {
  const args = line.args.length < 2 ? [...line.args, ...flat(line.block ?? [])] : [...line.args];
  let stop = true;
  const mode = args[0]?.toLowerCase();
  if (mode === 'stop' || mode === 'continue') {
    args.shift();
    stop = mode === 'stop';
    if (args.length === 0) throw wrong(line, `${mode} rule must begin with a rule type`);
  }
  const field = args.shift()?.toLowerCase();
  switch (field) {
    case undefined:
      throw wrong(line, 'no rule type specified for rewrite');
    case 'answer':
      throw wrong(line, 'response rewrites must begin with a name rule');
    case 'name':
      return nameRule(line, stop, args);
    case 'ttl':
      return ttlRule(line, stop, args);
    case 'rcode':
      return rcodeRule(line, stop, args);
    case 'cname':
      return cnameRule(line, stop, args, context);
    case 'type': {
      if (args.length !== 2) throw wrong(line, 'type rules must have exactly two arguments');
      const [from, to] = args.map((a) => typeNumber(a));
      if (from === undefined || to === undefined)
        throw wrong(line, `invalid type "${(from === undefined ? args[0]! : args[1]!).toUpperCase()}"`);
      return { stop, apply: (r) => (r.type === from ? { request: { ...r, type: to } } : undefined) };
    }
    case 'class': {
      if (args.length !== 2) throw wrong(line, 'class rules must have exactly two arguments');
      const [from, to] = args.map((a) => classes[a.toUpperCase()]);
      if (from === undefined || to === undefined)
        throw wrong(line, `invalid class "${(from === undefined ? args[0]! : args[1]!).toUpperCase()}"`);
      return { stop, apply: (r) => (r.cls === from ? { request: { ...r, cls: to } } : undefined) };
    }
    case 'edns0':
      throw wrong(line, "'rewrite edns0' is not supported by knarr");
    default:
      throw wrong(line, `invalid rule type "${field}"`);
  }
}

/** The words of a block, one after the other. */
function flat(lines: readonly Line[]): string[] {
  return lines.flatMap((l) => [l.name, ...l.args, ...flat(l.block ?? [])]);
}

function undone(reply: Reply, rules: readonly RecordRule[]): Reply {
  const all = (records: readonly Rr[]): readonly Rr[] =>
    records.length === 0 ? records : records.map((r) => rules.reduceRight((record, change) => change(record), r));
  return { ...reply, answers: all(reply.answers), authority: all(reply.authority), additional: all(reply.additional) };
}

export function rewrite(directives: readonly Directive[], context: BlockContext): Plugin {
  const rules = directives.map((d) => rule(d, context));
  const wrap =
    (next: Handler): Handler =>
    (asked) => {
      let request = asked;
      const records: RecordRule[] = [];
      const replies: ((reply: Reply) => Reply | Promise<Reply>)[] = [];
      for (const r of rules) {
        const applied = r.apply(request);
        if (applied === undefined) continue;
        request = applied.request;
        if (nameToWire(request.asked) === undefined)
          return failure('rewrite', rcodes.SERVFAIL, new Error(`invalid name after rewrite: ${request.asked}`));
        // Each rule's own order stays; the rules' is turned round below.
        records.push(...(applied.records ?? []).toReversed());
        if (applied.reply !== undefined) replies.push(applied.reply);
        if (r.stop) break;
      }
      if (records.length === 0 && replies.length === 0) return next(request);
      let reply = next(request);
      for (const change of replies.toReversed()) reply = andThen(reply, change);
      return records.length === 0 ? reply : andThen(reply, (given) => undone(given, records));
    };
  return { name: 'rewrite', wrap };
}
