/**
 * What every component's command shares: the log flags, the environment made of them, signals that end it with exit code 0, and
 * typed reading of flag values.
 */
import { goQuote } from '../../api/codec/json.ts';
import { SystemClock } from '../../base/clock.ts';
import { giveBackMemoryWhenIdle } from '../../base/idle-memory.ts';
import { ioHold } from '../../base/io-time.ts';
import { createLogger, formatJson, formatText } from '../../base/logger.ts';
import type { LogLevel } from '../../base/logger.ts';
import { SystemRandom } from '../../base/random.ts';
import type { ComponentEnvironment } from '../../cluster/processes/environment.ts';
import { reportedVersion } from '../../cluster/processes/reported-version.ts';
import { flagText } from '../flags.ts';
import type { CommandSpec, Flag, FlagValues } from '../flags.ts';
import { UsageError } from '../errors.ts';
import { idleFlagLines, idleFlags, type IdleFlags } from './idle-flags.ts';
import { idleLogFlags } from './log-idle-flags.ts';

export const logFlags: readonly Flag[] = [
  {
    name: 'log-level',
    kind: 'string',
    choices: ['debug', 'info', 'warn', 'error'],
    default: 'info',
    help: 'what is logged to standard error',
  },
  { name: 'log-format', kind: 'string', choices: ['text', 'json'], default: 'text', help: 'form of the log' },
  { name: 'logging-format', kind: 'string', choices: ['text', 'json'], help: "as --log-format, by upstream's name" },
  { name: 'v', short: 'v', kind: 'int', help: 'verbosity as upstream has it: 4 and more is --log-level=debug' },
];

/** What upstream's components have besides. */
const commonFlags: readonly Flag[] = [
  ...idleFlags(idleLogFlags),
  {
    name: 'version',
    kind: 'string',
    bare: 'true',
    value: 'true|raw|VERSION',
    help: 'print the version and end; raw: all of it; vX.Y.Z…: what is told as the version',
  },
];

/** Typed access to the values of a command's flags. */
export interface Values {
  string(name: string): string | undefined;
  /** Of a flag with a default. */
  text(name: string): string;
  int(name: string): number;
  bool(name: string): boolean;
  list(name: string): readonly string[];
  map(name: string): Readonly<Record<string, string>>;
  ms(name: string): number;
  port(name: string): number;
  /** Every flag with its value, as Go's flags print theirs. */
  texts(): Readonly<Record<string, string>>;
  /** Of a flag without a default. */
  maybe<T>(name: string): T | undefined;
}

export function valuesOf(values: FlagValues, flags: readonly Flag[] = []): Values {
  return {
    texts: () => Object.fromEntries(flags.map((f) => [f.name, flagText(f, values[f.name])])),
    string: (name) => values[name] as string | undefined,
    text: (name) => values[name] as string,
    int: (name) => values[name] as number,
    bool: (name) => values[name] === true,
    list: (name) => (values[name] as readonly string[] | undefined) ?? [],
    map: (name) => (values[name] as Readonly<Record<string, string>> | undefined) ?? {},
    ms: (name) => values[name] as number,
    maybe: <T>(name: string) => values[name] as T | undefined,
    port: (name) => {
      const n = values[name] as number;
      if (n < 0 || n > 65_535)
        throw new UsageError(`invalid argument "${n}" for "--${name}": it is between 0 and 65535`);
      return n;
    },
  };
}

/** Runs a component until it ends or a signal ends it; a second signal ends the process at once. */
export async function runWithSignals(
  values: FlagValues,
  run: (env: ComponentEnvironment) => Promise<void>,
): Promise<void> {
  const clock = new SystemClock();
  const verbosity = values['v'] as number | undefined;
  const level = verbosity !== undefined && verbosity >= 4 ? 'debug' : (values['log-level'] as LogLevel);
  const form = (values['logging-format'] ?? values['log-format']) as string | undefined;
  const format = form === 'json' ? formatJson : formatText;
  const logger = createLogger({
    level,
    now: () => clock.now(),
    sink: (r) => void process.stderr.write(`${format(r)}\n`),
  });
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(1);
    stop.abort(new Error('stopped by a signal'));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const release = ioHold();
  const leaveMemory = giveBackMemoryWhenIdle();
  try {
    await run({
      clock,
      random: new SystemRandom(),
      logger,
      signal: stop.signal,
      say: (line) => void process.stdout.write(`${line}\n`),
    });
  } catch (error) {
    // What was cut short by the signal is no failure; what goes wrong while stopping is told.
    if (!stop.signal.aborted) throw error;
    if (error !== stop.signal.reason) logger.warn('stopping did not go smoothly', { error });
  } finally {
    release();
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    leaveMemory();
  }
}

/** A command that can also be run by who has an environment already, without signals. */
export interface ComponentCommand extends CommandSpec {
  start(values: FlagValues, env: ComponentEnvironment): Promise<void>;
}

/** Scripts leave empty arguments where something is not set: as upstream's components, ours pass over those alone. */
const refuseNamed = (name: string) => (args: readonly string[]) =>
  args.some((a) => a !== '')
    ? `${goQuote(name)} does not take any arguments, got [${args.map(goQuote).join(' ')}]`
    : undefined;

/** A command that runs one component. `idle`: flags of upstream's that stand for nothing here. */
export function componentCommand(
  spec: Omit<CommandSpec, 'run' | 'argument'> & {
    readonly idle?: IdleFlags;
    run(values: Values, env: ComponentEnvironment): Promise<void>;
  },
): ComponentCommand {
  const idle = [...(spec.idle ?? []), ...idleLogFlags];
  const flags = [...spec.flags, ...idleFlags(spec.idle ?? []), ...logFlags, ...commonFlags];
  const start = (values: FlagValues, env: ComponentEnvironment): Promise<void> => {
    for (const line of idleFlagLines(idle, (name) => values[name] !== undefined)) env.logger.warn(line);
    return spec.run(valuesOf(values, flags), env);
  };
  return {
    refuseArguments: refuseNamed(spec.name),
    ...spec,
    flags,
    start,
    async run(values) {
      const version = reportedVersion(values['version'] as string | undefined);
      if (version.print !== undefined) {
        process.stdout.write(`${version.print}\n`);
        return;
      }
      await runWithSignals(values, (env) =>
        start(values, version.told === undefined ? env : { ...env, version: version.told }),
      );
    },
  };
}
