/** Expressions of the simulated shell: `test`, `$(( ))` and patterns. */
import type { Process } from './process.ts';

/** A pattern (`*`, `?`, `[…]`, `\` before a literal) as an anchored expression. Built from escaped text: linear to match. */
export function globToRegExp(pattern: string): RegExp {
  let out = '';
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i]!;
    if (c === '\\') out += escape(pattern[++i] ?? '\\');
    else if (c === '*') {
      if (!out.endsWith('[^]*')) out += '[^]*';
    } else if (c === '?') out += '[^]';
    else if (c === '[') {
      const end = pattern.indexOf(']', i + 2);
      if (end === -1) out += '\\[';
      else {
        const body = pattern.slice(i + 1, end).replace(/\\/g, '\\\\');
        out += /^[!^]/.test(body) ? `[^${body.slice(1)}]` : `[${body}]`;
        i = end;
      }
    } else out += escape(c);
  }
  return new RegExp(`^${out}$`);
}

function escape(c: string): string {
  return c.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}

/** `test EXPR`. Throws on a malformed expression. */
export async function testExpression(args: readonly string[], p: Process): Promise<boolean> {
  let i = 0;
  const or = async (): Promise<boolean> => {
    let v = await and();
    while (args[i] === '-o') {
      i++;
      const r = await and();
      v = v || r;
    }
    return v;
  };
  const and = async (): Promise<boolean> => {
    let v = await not();
    while (args[i] === '-a') {
      i++;
      const r = await not();
      v = v && r;
    }
    return v;
  };
  const not = async (): Promise<boolean> => {
    if (args[i] === '!' && i + 1 < args.length) {
      i++;
      return !(await not());
    }
    if (args[i] === '(') {
      i++;
      const v = await or();
      if (args[i++] !== ')') throw new Error('closing paren expected');
      return v;
    }
    return primary();
  };
  const primary = async (): Promise<boolean> => {
    const a = args[i];
    if (a === undefined) return false;
    const op = args[i + 1];
    const b = args[i + 2];
    if (op !== undefined && b !== undefined && binary.has(op)) {
      i += 3;
      return binaryTest(a, op, b, p);
    }
    if (/^-[a-zA-Z]$/.test(a) && op !== undefined) {
      i += 2;
      return unary(a, op, p);
    }
    i++;
    return a !== '';
  };
  const value = await or();
  if (i < args.length) throw new Error(`${args[i]}: unknown operand`);
  return value;
}

const binary = new Set(['=', '==', '!=', '<', '>', '-eq', '-ne', '-lt', '-le', '-gt', '-ge', '-nt', '-ot', '-ef']);

async function binaryTest(a: string, op: string, b: string, p: Process): Promise<boolean> {
  switch (op) {
    case '=':
    case '==':
      return a === b;
    case '!=':
      return a !== b;
    case '<':
      return a < b;
    case '>':
      return a > b;
    case '-nt':
    case '-ot': {
      const [x, y] = [await p.fs.stat(p.path(a)), await p.fs.stat(p.path(b))];
      return op === '-nt' ? (x?.mtime ?? 0) > (y?.mtime ?? 0) : (x?.mtime ?? 0) < (y?.mtime ?? 0);
    }
    case '-ef':
      return p.path(a) === p.path(b);
  }
  const [x, y] = [a, b].map((s) => {
    if (!/^\s*[-+]?\d+\s*$/.test(s)) throw new Error(`${s}: bad number`);
    return Number(s);
  }) as [number, number];
  return op === '-eq'
    ? x === y
    : op === '-ne'
      ? x !== y
      : op === '-lt'
        ? x < y
        : op === '-le'
          ? x <= y
          : op === '-gt'
            ? x > y
            : x >= y;
}

async function unary(op: string, a: string, p: Process): Promise<boolean> {
  if (op === '-n') return a !== '';
  if (op === '-z') return a === '';
  if (op === '-t') return p.tty;
  const stat = await p.fs.stat(p.path(a), op !== '-L' && op !== '-h');
  switch (op) {
    case '-e':
    case '-r':
    case '-w':
      return stat !== undefined;
    case '-x':
      return stat !== undefined && (stat.mode & 0o111) !== 0;
    case '-f':
      return stat?.type === 'file';
    case '-d':
      return stat?.type === 'directory';
    case '-L':
    case '-h':
      return stat?.type === 'symlink';
    case '-s':
      return stat !== undefined && stat.size > 0;
    case '-S':
    case '-p':
    case '-b':
    case '-c':
      return false;
    default:
      throw new Error(`${op}: unknown operand`);
  }
}

/** `$(( … ))`: integers, variables, the C operators, assignment. */
export function evaluateArithmetic(
  text: string,
  get: (name: string) => string | undefined,
  set: (name: string, value: string) => void,
): number {
  const tokens = text.match(/\d+|[A-Za-z_]\w*|<<=?|>>=?|\+\+|--|&&|\|\||[-+*/%<>=!&|^]=|[-+*/%<>=!~&|^?:()]/g) ?? [];
  let i = 0;
  const fail = (): never => {
    throw new Error(`arithmetic syntax error`);
  };
  const num = (name: string): number => {
    const v = Number(get(name) ?? 0);
    return Number.isFinite(v) ? Math.trunc(v) : fail();
  };
  const levels: readonly (readonly string[])[] = [
    ['||'],
    ['&&'],
    ['|'],
    ['^'],
    ['&'],
    ['==', '!='],
    ['<', '>', '<=', '>='],
    ['<<', '>>'],
    ['+', '-'],
    ['*', '/', '%'],
  ];
  const apply = (op: string, a: number, b: number): number => {
    switch (op) {
      case '||':
        return a !== 0 || b !== 0 ? 1 : 0;
      case '&&':
        return a !== 0 && b !== 0 ? 1 : 0;
      case '|':
        return a | b;
      case '^':
        return a ^ b;
      case '&':
        return a & b;
      case '==':
        return a === b ? 1 : 0;
      case '!=':
        return a !== b ? 1 : 0;
      case '<':
        return a < b ? 1 : 0;
      case '>':
        return a > b ? 1 : 0;
      case '<=':
        return a <= b ? 1 : 0;
      case '>=':
        return a >= b ? 1 : 0;
      case '<<':
        return a << b;
      case '>>':
        return a >> b;
      case '+':
        return a + b;
      case '-':
        return a - b;
      case '*':
        return a * b;
      default:
        if (b === 0) throw new Error('divide by zero');
        return op === '/' ? Math.trunc(a / b) : a % b;
    }
  };
  const unaryOp = (): number => {
    const t = tokens[i++];
    if (t === undefined) return fail();
    if (t === '-') return -unaryOp();
    if (t === '+') return unaryOp();
    if (t === '!') return unaryOp() === 0 ? 1 : 0;
    if (t === '~') return ~unaryOp();
    if (t === '++' || t === '--') {
      const name = tokens[i++] ?? fail();
      const v = num(name) + (t === '++' ? 1 : -1);
      set(name, String(v));
      return v;
    }
    if (t === '(') {
      const v = assignment();
      if (tokens[i++] !== ')') fail();
      return v;
    }
    if (/^\d/.test(t)) return t.startsWith('0') ? Number.parseInt(t, 8) : Number(t);
    if (!/^[A-Za-z_]/.test(t)) return fail();
    const v = num(t);
    if (tokens[i] === '++' || tokens[i] === '--') set(t, String(v + (tokens[i++] === '++' ? 1 : -1)));
    return v;
  };
  const level = (n: number): number => {
    if (n === levels.length) return unaryOp();
    let v = level(n + 1);
    while (tokens[i] !== undefined && levels[n]!.includes(tokens[i]!)) v = apply(tokens[i++]!, v, level(n + 1));
    return v;
  };
  const ternary = (): number => {
    const v = level(0);
    if (tokens[i] !== '?') return v;
    i++;
    const a = assignment();
    if (tokens[i++] !== ':') fail();
    const b = assignment();
    return v !== 0 ? a : b;
  };
  const assignment = (): number => {
    const name = tokens[i];
    const op = tokens[i + 1];
    if (name !== undefined && /^[A-Za-z_]/.test(name) && op !== undefined && /^(?:[-+*/%&|^]|<<|>>)?=$/.test(op)) {
      i += 2;
      const right = assignment();
      const v = op === '=' ? right : apply(op.slice(0, -1), num(name), right);
      set(name, String(v));
      return v;
    }
    return ternary();
  };
  if (tokens.length === 0) return 0;
  const v = assignment();
  if (i < tokens.length) fail();
  return v;
}
