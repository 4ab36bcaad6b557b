/**
 * Upstream-style flags over commander: `-v=2`, `--secure_port`, `--flag=false`, repeated `--feature-gates=A=true,B=false`.
 * A command is a table of flags; the parsed values come back typed by the table.
 */
import type { Command } from 'commander';
import { CommanderError, Option } from 'commander';
import { parseBool } from '../base/parse-bool.ts';
import { UsageError } from './errors.ts';

/** `pairs`: one key=value a time, whatever the value holds; `map`: several, separated by commas. */
export type FlagKind = 'string' | 'int' | 'bool' | 'list' | 'array' | 'map' | 'pairs' | 'duration';

export interface Flag {
  readonly name: string;
  readonly kind: FlagKind;
  /** Of a `map`: what a key without a value has. Without this, that is an error. */
  readonly bareKey?: string;
  readonly help: string;
  readonly default?: unknown;
  readonly short?: string;
  readonly choices?: readonly string[];
  /** Shown as the value's name in the help. */
  readonly value?: string;
  /** What the flag stands for without a value; with it, a value comes behind `=` alone. */
  readonly bare?: string;
}

/** Values by flag name (kebab-case): string, number, boolean, string[], Record<string, string> or milliseconds. */
export type FlagValues = Readonly<Record<string, unknown>>;

const units: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Go duration as milliseconds; undefined when it is none. */
export function goDuration(text: string): number | undefined {
  if (text === '0') return 0;
  let total = 0;
  let rest = text;
  while (rest !== '') {
    const m = /^(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/.exec(rest);
    if (m === null) return undefined;
    total += Number(m[1]) * units[m[2]!]!;
    rest = rest.slice(m[0].length);
  }
  return text === '' ? undefined : total;
}

function parseValue(flag: Flag, text: string, previous: unknown): unknown {
  const wrong = (why: string): UsageError =>
    new UsageError(`invalid argument ${JSON.stringify(text)} for "--${flag.name}": ${why}`);
  switch (flag.kind) {
    case 'string':
      if (flag.choices !== undefined && !flag.choices.includes(text))
        throw wrong(`it is one of ${flag.choices.join(', ')}`);
      return text;
    case 'int': {
      if (!/^-?\d+$/.test(text)) throw wrong('it is a whole number');
      return Number(text);
    }
    case 'bool': {
      const on = parseBool(text);
      if (on === undefined) throw wrong('it is true or false');
      return on;
    }
    case 'duration': {
      const ms = goDuration(text);
      if (ms === undefined) throw wrong('it is a duration such as 40s or 5m');
      return ms;
    }
    case 'list': {
      const items = text.split(',').filter((s) => s !== '');
      for (const i of items)
        if (flag.choices !== undefined && !flag.choices.includes(i))
          throw wrong(`${i} is none of ${flag.choices.join(', ')}`);
      return [...(Array.isArray(previous) && previous !== flag.default ? (previous as string[]) : []), ...items];
    }
    case 'pairs': {
      const at = text.indexOf('=');
      if (at < 1) throw wrong('it is not of the form key=value');
      return { ...(previous as Record<string, string> | undefined), [text.slice(0, at)]: text.slice(at + 1) };
    }
    // Given several times; commas are its own.
    case 'array':
      return [...(Array.isArray(previous) && previous !== flag.default ? (previous as string[]) : []), text];
    case 'map': {
      const out: Record<string, string> = { ...(previous as Record<string, string> | undefined) };
      for (const pair of text.split(',').filter((s) => s !== '')) {
        const at = pair.indexOf('=');
        if (at < 0 && flag.bareKey !== undefined) {
          out[pair] = flag.bareKey;
          continue;
        }
        if (at < 1) throw wrong(`${pair} is not of the form key=value`);
        out[pair.slice(0, at)] = pair.slice(at + 1);
      }
      return out;
    }
  }
}

/** Upstream accepts `_` for `-` in flag names, and `-v=2`. */
export function normalizeArgs(args: readonly string[]): string[] {
  return args.map((a) => {
    if (/^-[a-zA-Z]=/.test(a)) return `-${a[1]}${a.slice(3)}`;
    if (!a.startsWith('--') || a === '--') return a;
    const at = a.indexOf('=');
    return at < 0 ? a.replaceAll('_', '-') : a.slice(0, at).replaceAll('_', '-') + a.slice(at);
  });
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** A paragraph for `--help`. */
  readonly description?: string;
  readonly flags: readonly Flag[];
  readonly argument?: { readonly name: string; readonly help: string; readonly optional?: boolean };
  /** What is said against arguments of a command that takes none; undefined: they are passed over. Without it all are refused. */
  readonly refuseArguments?: (args: readonly string[]) => string | undefined;
  /** Examples for `--help`, command and what it does. */
  readonly examples?: readonly (readonly [string, string])[];
  /** Commands below this one, which then does nothing of its own. */
  readonly subcommands?: readonly CommandSpec[];
  run(values: FlagValues, argument: string | undefined): Promise<void>;
}

function valueName(flag: Flag): string {
  if (flag.value !== undefined) return flag.value;
  if (flag.choices !== undefined)
    return flag.kind === 'list' ? flag.choices.slice(0, 2).join(',') + ',…' : flag.choices.join('|');
  return {
    string: 'string',
    int: 'n',
    bool: 'bool',
    list: 'a,b,…',
    array: 'a',
    map: 'key=value,…',
    pairs: 'key=value',
    duration: 'duration',
  }[flag.kind];
}

/** Undefined: the default goes without saying. */
function defaultText(flag: Flag): string | undefined {
  const value = flag.default;
  switch (flag.kind) {
    case 'bool':
      return value === true ? 'true' : undefined;
    case 'duration':
      return goDurationText(value as number);
    case 'list':
      return (value as string[]).join(',');
    default:
      return String(value);
  }
}

/** Milliseconds as a Go duration without parts that are zero: `1h`, `1m30s`, `500ms`. */
function goDurationText(ms: number): string {
  if (ms === 0) return '0';
  if (ms % 1000 !== 0) return `${ms}ms`;
  const parts: [number, string][] = [
    [Math.floor(ms / 3_600_000), 'h'],
    [Math.floor(ms / 60_000) % 60, 'm'],
    [Math.floor(ms / 1000) % 60, 's'],
  ];
  return parts.map(([n, unit]) => (n === 0 ? '' : `${n}${unit}`)).join('');
}

/** A value as Go's flags print it: `[a,b]`, `1m30s`, `true`. */
export function flagText(flag: Flag, value: unknown): string {
  if (value === undefined) return flag.kind === 'list' || flag.kind === 'array' ? '[]' : '';
  if (Array.isArray(value)) return `[${value.join(',')}]`;
  if (flag.kind === 'duration') return value === 0 ? '0s' : goDurationText(value as number);
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([k, v]) => `${k}=${String(v)}`)
    .join(',');
}

/** Adds one command to commander. */
export function addCommand(program: Command, spec: CommandSpec): void {
  const command = program
    .command(spec.name)
    .summary(spec.summary)
    .description(spec.description ?? spec.summary);
  command.configureOutput({ outputError: () => {} }).exitOverride();
  if (spec.subcommands !== undefined) {
    for (const sub of spec.subcommands) addCommand(command, sub);
    return;
  }
  for (const flag of spec.flags) {
    const flags = `${flag.short === undefined ? '' : `-${flag.short}, `}--${flag.name} ${flag.kind === 'bool' ? '[bool]' : flag.bare === undefined ? `<${valueName(flag)}>` : `[${valueName(flag)}]`}`;
    const option = new Option(flags, flag.help);
    option.argParser((text: string, previous: unknown) => parseValue(flag, text, previous));
    if (flag.kind === 'bool') option.preset('true');
    else if (flag.bare !== undefined) option.preset(flag.bare);
    if (flag.default !== undefined) option.default(flag.default, defaultText(flag));
    command.addOption(option);
  }
  if (spec.argument !== undefined)
    command.argument(
      spec.argument.optional === true ? `[${spec.argument.name}]` : `<${spec.argument.name}>`,
      spec.argument.help,
    );
  command.configureHelp({
    optionDescription: (o) =>
      o.defaultValueDescription === undefined
        ? o.description
        : `${o.description} (default ${o.defaultValueDescription})`,
  });
  if (spec.examples !== undefined && spec.examples.length > 0) {
    const width = Math.max(...spec.examples.map(([c]) => c.length));
    const lines = spec.examples.map(([c, what]) =>
      width > 70 ? `  # ${what}\n  ${c}` : `  ${c.padEnd(width)}   # ${what}`,
    );
    command.addHelpText('after', `\nExamples:\n${lines.join(width > 70 ? '\n\n' : '\n')}`);
  }
  const { refuseArguments } = spec;
  if (refuseArguments !== undefined) command.allowExcessArguments(true);
  command.action(async (...actionArgs: unknown[]) => {
    const refused = command.args.length === 0 ? undefined : refuseArguments?.(command.args);
    if (refused !== undefined) throw new UsageError(refused);
    const options = command.opts<Record<string, unknown>>();
    const values: Record<string, unknown> = {};
    for (const flag of spec.flags) values[flag.name] = options[camel(flag.name)];
    await spec.run(values, spec.argument === undefined ? undefined : (actionArgs[0] as string | undefined));
  });
}

function camel(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, c: string) => c.toUpperCase());
}

/** Commander's own complaints as one line with a way on. */
export function asUsageError(e: unknown): unknown {
  if (!(e instanceof CommanderError) || e.exitCode === 0) return e;
  return new UsageError(e.message.replace(/^error: /, '').replaceAll('\n', ' '));
}
