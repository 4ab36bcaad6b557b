/**
 * The walls between the rooms (docs/architecture.md, section 2): which folder of `src/` may import which, no import cycles,
 * and no clock, timer or randomness outside `src/base`. Reads the sources as text; prints each violation as a line.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';

const component = ['base', 'api', 'client'];
const rooms: Record<string, readonly string[]> = {
  base: [],
  api: ['base'],
  etcd: ['base'],
  client: ['base', 'api'],
  apiserver: ['base', 'api', 'etcd'],
  scheduler: component,
  controllers: component,
  cloud: component,
  kubelet: component,
  proxy: component,
  dns: component,
  cluster: [...component, 'etcd', 'apiserver', 'scheduler', 'controllers', 'cloud', 'kubelet', 'proxy', 'dns'],
  cli: ['base', 'api', 'client', 'cluster'],
};
/** Rooms of which only types may be imported. */
const typesOnly: Record<string, readonly string[]> = { apiserver: ['client'] };

const forbidden: readonly [RegExp, string][] = [
  [/\bDate\.now\(/, 'Date.now'],
  [/\bnew Date\(\)/, 'new Date()'],
  [/(?<![.\w])(setTimeout|setInterval|setImmediate)\(/, 'a timer'],
  [/\bperformance\.now\(/, 'performance.now'],
  [/\bprocess\.hrtime\b/, 'process.hrtime'],
  [/from 'node:timers/, 'node:timers'],
  [/\bAbortSignal\.timeout\(/, 'AbortSignal.timeout'],
  [/\bMath\.random\(/, 'Math.random'],
  [/\b(randomUUID|randomBytes|randomInt|getRandomValues|randomFillSync)\b/, 'crypto randomness'],
];

/** Node's modules that stand behind a seam in some room: room → module → files that may use it. */
const seams: readonly { room: string; modules: RegExp; allowed: RegExp }[] = [
  {
    room: 'kubelet',
    modules: /from 'node:(fs|fs\/promises|net|child_process)'/,
    allowed: /^src\/kubelet\/(host|runtime)\//,
  },
  {
    room: 'proxy',
    modules: /from 'node:(fs|fs\/promises|net|dgram|http|os|child_process)'/,
    allowed: /^src\/proxy\/host\//,
  },
];

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly what: string;
}

function* sources(dir: string): Generator<string> {
  for (const e of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, e.name);
    if (e.isDirectory()) yield* sources(path);
    else if (e.name.endsWith('.ts')) yield path;
  }
}

/** The text without comments (newlines kept), so that prose may name what code may not use. */
function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (c) => c.replace(/[^\n]/g, ' '))
    .replace(/(^|[^:'"`\\])\/\/[^\n]*/g, (c, before: string) => before + ' '.repeat(c.length - before.length));
}

const importPattern =
  /(?:^|\n)\s*(import|export)\s+(type\s+)?([^'"`;]*?\bfrom\s*)?['"](\.{1,2}\/[^'"]+)['"]|\bimport\(\s*['"](\.{1,2}\/[^'"]+)['"]\s*\)/g;

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
  readonly dynamic: boolean;
  readonly line: number;
}

function importsOf(file: string, text: string): Import[] {
  const out: Import[] = [];
  for (const m of text.matchAll(importPattern)) {
    const spec = m[4] ?? m[5]!;
    const names = m[3] ?? '';
    const allTyped = /\{([^}]*)\}/.exec(names)?.[1];
    const typeOnly =
      m[2] !== undefined ||
      (allTyped !== undefined &&
        !/^\s*[\w$]/.test(names) &&
        allTyped
          .split(',')
          .filter((n) => n.trim() !== '')
          .every((n) => n.trim().startsWith('type ')));
    const line = text.slice(0, m.index).split('\n').length + (m[0].startsWith('\n') ? 1 : 0);
    out.push({ target: resolve(dirname(file), spec), typeOnly, dynamic: m[5] !== undefined, line });
  }
  return out;
}

function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const state = new Map<string, 'open' | 'done'>();
  const path: string[] = [];
  const visit = (file: string): void => {
    state.set(file, 'open');
    path.push(file);
    for (const next of graph.get(file) ?? []) {
      if (state.get(next) === 'open') found.push([...path.slice(path.indexOf(next)), next]);
      else if (!state.has(next) && graph.has(next)) visit(next);
    }
    path.pop();
    state.set(file, 'done');
  };
  for (const file of graph.keys()) if (!state.has(file)) visit(file);
  return found;
}

/** All violations below `root`/src. */
export function checkWalls(root: string): Violation[] {
  const out: Violation[] = [];
  const graph = new Map<string, string[]>();
  for (const file of sources(join(root, 'src'))) {
    const rel = relative(root, file).split(sep).join('/');
    const parts = rel.split('/');
    const room = parts.length > 2 ? parts[1]! : '';
    const text = withoutComments(readFileSync(file, 'utf8'));
    const isTest = rel.endsWith('.test.ts');
    const edges: string[] = [];
    for (const i of importsOf(file, text)) {
      if (!existsSync(i.target)) {
        out.push({ file: rel, line: i.line, what: `imports ${i.target}, which does not exist` });
        continue;
      }
      if (!i.typeOnly && !i.dynamic) edges.push(i.target);
      const to = relative(root, i.target).split(sep).join('/').split('/');
      if (isTest || room === '' || to[0] !== 'src' || to.length < 3 || to[1] === room) continue;
      const may = rooms[room];
      const target = to[1]!;
      if (may === undefined) out.push({ file: rel, line: i.line, what: `room ${room} is not on the plan` });
      else if (i.typeOnly && typesOnly[room]?.includes(target)) continue;
      else if (!may.includes(target)) out.push({ file: rel, line: i.line, what: `${room} may not import ${target}` });
    }
    graph.set(file, edges);
    if (room === 'base') continue;
    const lines = text.split('\n');
    lines.forEach((line, n) => {
      if (!isTest) {
        for (const [pattern, name] of forbidden)
          if (pattern.test(line)) out.push({ file: rel, line: n + 1, what: `uses ${name}; src/base has it` });
        for (const s of seams)
          if (s.room === room && s.modules.test(line) && !s.allowed.test(rel))
            out.push({ file: rel, line: n + 1, what: `a module that belongs behind the seam: ${line.trim()}` });
      }
    });
  }
  for (const c of cycles(graph))
    out.push({
      file: relative(root, c[0]!),
      line: 1,
      what: `import cycle: ${c.map((f) => relative(root, f)).join(' → ')}`,
    });
  return out;
}
