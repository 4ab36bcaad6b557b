/**
 * `template`: answers made from the question by patterns. Of Go's templates it takes what such answers need: the fields of the
 * question (`.Name`, `.Zone`, `.Class`, `.Type`, `.Remote`), `index .Match N`, `.Match`'s groups by `.Group.name`.
 */
import type { Directive, Line } from '../corefile/parser.ts';
import type { Pattern } from '../corefile/values.ts';
import { argsOf, pattern, unknownProperty, wrong, wrongCount, zonesFrom } from '../corefile/values.ts';
import type { Reply, Request, Rr } from '../message.ts';
import { answered, className, classes, failure, rcodeNumber, rcodes, typeName, typeNumber, types } from '../message.ts';
import { zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import { parseRecord } from '../rdata.ts';

interface Data {
  readonly name: string;
  readonly zone: string;
  readonly cls: string;
  readonly type: string;
  readonly remote: string;
  readonly match: readonly string[];
  readonly group: ReadonlyMap<string, string>;
}

type Part = string | ((data: Data) => string);

interface Template {
  readonly cls: number;
  readonly type: number;
  readonly zones: readonly string[];
  readonly patterns: readonly { readonly pattern: Pattern; readonly names: Readonly<Record<string, number>> }[];
  readonly sections: Readonly<Record<'answer' | 'additional' | 'authority', readonly (readonly Part[])[]>>;
  readonly rcode: number;
  readonly fall: readonly string[];
  /** The answer depends on who asks. */
  readonly personal: boolean;
}

function action(line: Line, text: string): (data: Data) => string {
  const code = text.trim();
  switch (code) {
    case '.Name':
      return (d) => d.name;
    case '.Zone':
      return (d) => d.zone;
    case '.Class':
      return (d) => d.cls;
    case '.Type':
      return (d) => d.type;
    case '.Remote':
      return (d) => d.remote;
    case '.Question.Name':
      return (d) => d.name;
  }
  const group = /^\.Group\.(\w+)$/.exec(code) ?? /^index \.Group "(\w+)"$/.exec(code);
  if (group !== null) return (d) => d.group.get(group[1]!) ?? '';
  const match = /^index \.Match (\d+)$/.exec(code);
  if (match !== null) return (d) => d.match[Number(match[1])] ?? '';
  throw wrong(line, `plugin/template: '{{${text}}}' is not supported by knarr`);
}

function parts(line: Line, text: string): Part[] {
  const out: Part[] = [];
  let at = 0;
  for (const m of text.matchAll(/\{\{-?([\s\S]*?)-?\}\}/g)) {
    out.push(text.slice(at, m.index), action(line, m[1]!));
    at = m.index + m[0].length;
  }
  out.push(text.slice(at));
  return out;
}

function parse(d: Directive, context: BlockContext): Template {
  const [clsText, typeText, ...zones] = d.args;
  if (clsText === undefined || typeText === undefined) throw wrongCount(d);
  const cls = classes[clsText.toUpperCase()];
  if (cls === undefined) throw wrong(d, `invalid query class ${clsText}`);
  const type = typeNumber(typeText);
  if (type === undefined) throw wrong(d, `invalid RR class ${typeText}`);
  const patterns: Template['patterns'][number][] = [];
  const sections = { answer: [] as Part[][], additional: [] as Part[][], authority: [] as Part[][] };
  let rcode: number = rcodes.NOERROR;
  let fall: readonly string[] = [];
  let personal = false;
  for (const line of d.block ?? [])
    switch (line.name) {
      case 'match':
        for (const text of argsOf(line, 1, Infinity)) {
          const p = pattern(line, text);
          patterns.push({ pattern: p, names: p.namedGroups() });
        }
        break;
      case 'answer':
      case 'additional':
      case 'authority':
        for (const text of argsOf(line, 1, Infinity)) {
          personal ||= /\.Remote\b/.test(text);
          sections[line.name].push(parts(line, text));
        }
        break;
      case 'rcode': {
        const code = rcodeNumber(argsOf(line, 1)[0]!);
        if (code === undefined) throw wrong(line, `unknown rcode ${line.args[0]!}`);
        rcode = code;
        break;
      }
      case 'fallthrough':
        fall = zonesFrom(line, line.args, ['.']);
        break;
      case 'upstream':
        break;
      case 'ederror':
      case 'expr':
      case 'var':
        throw wrong(line, `plugin/template: '${line.name}' is not supported by knarr`);
      default:
        throw unknownProperty(line);
    }
  return { cls, type, zones: zonesFrom(d, zones, context.zones), patterns, sections, rcode, fall, personal };
}

/** What a template makes of the question; false: it is not for it. */
function matched(t: Template, request: Request, zone: string): Data | false {
  const base = {
    name: request.name,
    zone,
    cls: className(request.cls === 255 ? t.cls : request.cls),
    type: typeName(request.type === types.ANY ? t.type : request.type),
    remote: request.client.address,
  };
  if (t.patterns.length === 0) return { ...base, match: [request.name], group: new Map([['0', request.name]]) };
  for (const { pattern: p, names } of t.patterns) {
    const m = p.matcher(request.name);
    if (!m.find()) continue;
    const match: string[] = [];
    const group = new Map<string, string>();
    for (let i = 0; i <= m.groupCount(); i++) {
      match.push(m.group(i) ?? '');
      group.set(String(i), match[i]!);
    }
    for (const [name, index] of Object.entries(names)) group.set(name, match[index] ?? '');
    return { ...base, match, group };
  }
  return false;
}

export function template(directives: readonly Directive[], context: BlockContext): Plugin {
  const templates = directives.map((d) => parse(d, context));
  const { metrics, server } = context;
  const answer = (t: Template, data: Data): Reply => {
    if (t.rcode === rcodes.SERVFAIL) return failure('template', rcodes.SERVFAIL);
    try {
      const section = (list: readonly (readonly Part[])[]): Rr[] =>
        list.map((text) => parseRecord(text.map((p) => (typeof p === 'string' ? p : p(data))).join('')));
      return answered('template', {
        rcode: t.rcode,
        answers: section(t.sections.answer),
        authority: section(t.sections.authority),
        additional: section(t.sections.additional),
        ...(t.personal ? {} : { reusable: { slots: [], stamps: [] } }),
      });
    } catch (error) {
      return failure('template', rcodes.SERVFAIL, error);
    }
  };
  return {
    name: 'template',
    wrap: (next) => (request) => {
      for (const t of templates) {
        const zone = zoneOf(t.zones, request.name);
        if (zone === undefined) continue;
        if (t.cls !== 255 && request.cls !== 255 && request.cls !== t.cls) continue;
        if (t.type !== types.ANY && request.type !== types.ANY && request.type !== t.type) continue;
        const data = matched(t, request, zone);
        if (data === false) {
          if (zoneOf(t.fall, request.name) !== undefined) continue;
          return failure('template', rcodes.SERVFAIL);
        }
        metrics.templateMatches.of({ server, zone, view: '', class: data.cls, type: data.type }).value++;
        return answer(t, data);
      }
      return next(request);
    },
  };
}
