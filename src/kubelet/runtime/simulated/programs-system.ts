/** Simulated programs about processes, time and the environment: `echo`, `sleep`, `env`, `date`, `kill`, …. */
import { Slice } from '../../../base/yield.ts';
import type { Program } from './process.ts';
import { signalNumbers } from './process.ts';
import { days, months, runChild, two, unescape, unitMs } from './program-io.ts';
import { options } from './program-options.ts';
import { testExpression } from './shell-expressions.ts';

export const echo: Program = async (p) => {
  let args = p.args;
  let newline = true;
  let escapes = false;
  while (/^-[neE]+$/.test(args[0] ?? '')) {
    if (args[0]!.includes('n')) newline = false;
    if (args[0]!.includes('e')) escapes = true;
    args = args.slice(1);
  }
  const stop = { c: false };
  let text = args.join(' ');
  if (escapes) text = unescape(text, stop);
  await p.out(text + (newline && !stop.c ? '\n' : ''));
  return 0;
};

export const printf: Program = async (p) => {
  const [format, ...rest] = p.args;
  if (format === undefined) return 1;
  const stop = { c: false };
  let i = 0;
  let out = '';
  do {
    const before = i;
    out += unescape(format, stop).replace(
      /%(%|[-+ 0#]*)(\d*)(?:\.(\d+))?([sdiuxXocbqfge]?)/g,
      (whole, flags: string, width: string, precision: string | undefined, kind: string) => {
        if (flags === '%' && kind === '' && width === '') return '%';
        if (kind === '') return whole;
        const arg = rest[i++];
        let s: string;
        if (kind === 's' || kind === 'q')
          s = (arg ?? '').slice(0, precision === undefined ? undefined : Number(precision));
        else if (kind === 'b') s = unescape(arg ?? '', stop);
        else if (kind === 'c') s = (arg ?? '')[0] ?? '';
        else if ('fge'.includes(kind)) s = Number(arg ?? 0).toFixed(precision === undefined ? 6 : Number(precision));
        else {
          const n = Math.trunc(Number(arg ?? 0)) || 0;
          s =
            kind === 'x'
              ? n.toString(16)
              : kind === 'X'
                ? n.toString(16).toUpperCase()
                : kind === 'o'
                  ? n.toString(8)
                  : String(n);
        }
        const w = Number(width || 0);
        if (flags.includes('-')) return s.padEnd(w);
        return s.padStart(w, flags.includes('0') && !'sbq'.includes(kind) ? '0' : ' ');
      },
    );
    if (i === before) break;
  } while (i < rest.length && !stop.c);
  await p.out(out);
  return 0;
};

export const sleep: Program = async (p) => {
  let ms = 0;
  for (const a of p.args) {
    if (a === 'infinity' || a === 'inf') {
      await p.wait(new Promise<never>(() => {}));
    }
    const m = /^(\d*\.?\d+)([smhd]?)$/.exec(a);
    if (m === null) {
      await p.complain(`invalid number '${a}'`);
      return 1;
    }
    ms += Number(m[1]) * unitMs[m[2] || 's']!;
  }
  if (p.args.length === 0) {
    await p.complain('missing operand');
    return 1;
  }
  await p.sleep(ms);
  return 0;
};

export const env: Program = async (p) => {
  const extra: Record<string, string> = {};
  let i = 0;
  for (; i < p.args.length && p.args[i]!.includes('='); i++) {
    const [k, v] = p.args[i]!.split(/=(.*)/s) as [string, string];
    extra[k] = v;
  }
  const all = { ...p.env, ...extra };
  if (i < p.args.length) return runChild(p, p.args.slice(i), all);
  await p.out(
    Object.entries(all)
      .map(([k, v]) => `${k}=${v}\n`)
      .join(''),
  );
  return 0;
};

export const printenv: Program = async (p) => {
  if (p.args.length === 0) return env(p);
  let code = 0;
  for (const a of p.args) {
    if (p.env[a] === undefined) code = 1;
    else await p.out(`${p.env[a]}\n`);
  }
  return code;
};

export const seq: Program = async (p) => {
  const n = options(p).operands.map(Number);
  const [first, step, last] =
    n.length === 1 ? [1, 1, n[0]!] : n.length === 2 ? [n[0]!, 1, n[1]!] : [n[0]!, n[1]!, n[2]!];
  for (let i = first; step > 0 ? i <= last : i >= last; i += step) await p.out(`${i}\n`);
  return 0;
};

export const xargs: Program = async (p) => {
  const words = (await p.readAll()).toString().split(/\s+/).filter(Boolean);
  const command = p.args[0] === undefined ? ['echo'] : p.args;
  return runChild(p, [...command, ...words]);
};

export const date: Program = async (p) => {
  const { flags, operands } = options(p, 'd');
  const given = flags.get('d');
  const t = new Date(
    given === undefined ? p.at.clock.now() : given.startsWith('@') ? Number(given.slice(1)) * 1000 : Date.parse(given),
  );
  const fields: Record<string, () => string> = {
    Y: () => String(t.getUTCFullYear()),
    m: () => two(t.getUTCMonth() + 1),
    d: () => two(t.getUTCDate()),
    H: () => two(t.getUTCHours()),
    M: () => two(t.getUTCMinutes()),
    S: () => two(t.getUTCSeconds()),
    s: () => String(Math.floor(t.getTime() / 1000)),
    N: () => String(t.getUTCMilliseconds() * 1_000_000).padStart(9, '0'),
    F: () => t.toISOString().slice(0, 10),
    T: () => t.toISOString().slice(11, 19),
    Z: () => 'UTC',
    z: () => '+0000',
    a: () => days[t.getUTCDay()]!,
    b: () => months[t.getUTCMonth()]!,
    e: () => String(t.getUTCDate()).padStart(2),
    n: () => '\n',
    '%': () => '%',
  };
  let format = operands.find((o) => o.startsWith('+'))?.slice(1) ?? '%a %b %e %T %Z %Y';
  if (flags.has('I')) format = '%FT%T%z';
  await p.out(`${format.replace(/%([YmdHMSsNFTZzaben%])/g, (_, c: string) => fields[c]!())}\n`);
  return 0;
};

export const id: Program = async (p) => {
  const { flags } = options(p);
  const { uid, gid } = p.at;
  const name = (n: number) => (n === 0 ? `${n}(root)` : String(n));
  if (flags.has('u')) await p.out(`${flags.has('n') && uid === 0 ? 'root' : uid}\n`);
  else if (flags.has('g')) await p.out(`${gid}\n`);
  else await p.out(`uid=${name(uid)} gid=${name(gid)} groups=${name(gid)}\n`);
  return 0;
};

export const ps: Program = async (p) => {
  await p.out('PID   USER     TIME  COMMAND\n');
  for (const [pid, q] of p.at.processes)
    await p.out(`${String(pid).padStart(5)} ${'root'.padEnd(8)}  0:00 ${q.argv.join(' ')}\n`);
  return 0;
};

export const kill: Program = async (p) => {
  let signal = 'SIGTERM';
  let code = 0;
  const args = [...p.args];
  if (args[0] === '-l') {
    await p.out(
      `${Object.keys(signalNumbers)
        .map((s) => s.slice(3))
        .join(' ')}\n`,
    );
    return 0;
  }
  if (args[0] === '-s') {
    signal = `SIG${args[1]!.replace(/^SIG/, '')}`;
    args.splice(0, 2);
  } else if (args[0]?.startsWith('-')) {
    const s = args.shift()!.slice(1);
    signal = Object.entries(signalNumbers).find(([, n]) => String(n) === s)?.[0] ?? `SIG${s.replace(/^SIG/, '')}`;
  }
  for (const a of args) {
    const target = p.at.processes.get(Number(a));
    if (target !== undefined) {
      if (signal !== 'SIG0') target.kill(signal);
    } else {
      await p.complain(`can't kill pid ${a}: No such process`);
      code = 1;
    }
  }
  return code;
};

export const test: Program = async (p) => {
  try {
    return (await testExpression(p.argv[0]!.endsWith('[') ? p.args.slice(0, -1) : p.args, p)) ? 0 : 1;
  } catch (error) {
    await p.complain((error as Error).message);
    return 2;
  }
};

export const timeout: Program = async (p) => {
  const { flags, operands } = options(p, 'ks');
  const m = /^(\d*\.?\d+)([smhd]?)$/.exec(operands[0] ?? '');
  if (m === null) return 1;
  let late = false;
  const child = runChild(p, operands.slice(1));
  const timer = p.at.clock.setTimer(Number(m[1]) * unitMs[m[2] || 's']!, () => {
    late = true;
    for (const q of p.at.processes.values())
      if (q.parent === p) q.kill(`SIG${(flags.get('s') ?? 'TERM').replace(/^SIG/, '')}`);
  });
  const code = await child;
  timer.cancel();
  return late ? 143 : code;
};

export const yes: Program = async (p) => {
  const slice = new Slice();
  for (;;) {
    await slice.turn();
    await p.out(`${p.args[0] ?? 'y'}\n`.repeat(100));
  }
};

/** Runs until it is told to stop, exits 0 as the pause container does. */
export const pause: Program = async (p) => {
  const { promise, resolve } = Promise.withResolvers<number>();
  p.onSignal('SIGTERM', () => resolve(0));
  p.onSignal('SIGINT', () => resolve(0));
  return p.wait(promise);
};
