/** The `knarr` command: its sub-commands, and how an error becomes one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { knarrVersion } from '../cluster/version.ts';
import { componentCommands, installerCommands } from './components.ts';
import { envtestCommand } from './envtest.ts';
import { UserError } from './errors.ts';
import { addCommand, asUsageError, normalizeArgs } from './flags.ts';
import type { CommandSpec } from './flags.ts';
import { joinCommand, leaveCommand } from './join.ts';
import { downCommand, kubeconfigCommand, resetCommand, statusCommand, versionCommand } from './manage.ts';
import { installRuntimeCommand, loadCommand } from './runtime.ts';
import { tokenCommand } from './token.ts';
import { upCommand } from './up.ts';

// Whoever reads the output may have had enough of it (`knarr --help | head`).
process.stdout.on('error', (e: NodeJS.ErrnoException) => {
  if (e.code !== 'EPIPE') throw e;
  process.exit(process.exitCode ?? 0);
});

const program = new Command('knarr')
  .description('A complete Kubernetes cluster in one command.')
  .version(knarrVersion, '--version', 'print the version')
  .helpCommand(true)
  .configureOutput({ outputError: () => {} })
  .exitOverride();

const groups: readonly (readonly [string, readonly CommandSpec[]])[] = [
  ['Cluster:', [upCommand, downCommand, statusCommand, kubeconfigCommand, resetCommand, versionCommand]],
  ['More machines:', [tokenCommand, joinCommand, leaveCommand]],
  ['Real nodes:', [loadCommand, installRuntimeCommand]],
  ['In tests:', [envtestCommand]],
  ['Components, each alone:', componentCommands],
  ['Around separate components:', installerCommands],
];
// Hundreds of flags take their time: who names a command gets that one, everybody else (help, a slip of the pen) all of them.
const named = groups.flatMap(([, specs]) => specs).find((spec) => spec.name === process.argv[2]);
// --version behind a component's name is the component's.
if (named?.flags.some((flag) => flag.name === 'version') === true) program.enablePositionalOptions();
for (const [group, specs] of groups) {
  program.commandsGroup(group);
  for (const spec of specs) if (named === undefined || spec === named) addCommand(program, spec);
}

try {
  await program.parseAsync(normalizeArgs(process.argv.slice(2)), { from: 'user' });
} catch (raw) {
  const e = asUsageError(raw);
  if (isHelp(raw)) process.exitCode = 0;
  else if (e instanceof UserError) {
    process.stderr.write(`knarr: ${e.message}${e.exitCode === 2 ? `; see "${helpOf(process.argv[2])}"` : ''}\n`);
    process.exitCode = e.exitCode;
  } else {
    process.stderr.write(`knarr: ${raw instanceof Error ? describe(raw) : String(raw)}\n`);
    process.exitCode = 1;
  }
}

/** Where the flags are told that somebody got wrong. */
function helpOf(command: string | undefined): string {
  return program.commands.some((c) => c.name() === command) ? `knarr ${command} --help` : 'knarr --help';
}

function isHelp(e: unknown): boolean {
  return e instanceof CommanderError && (e.exitCode === 0 || e.code === 'commander.help');
}

/** The message with its causes; the stack only where somebody asked for it. */
function describe(e: Error): string {
  if (process.env['KNARR_DEBUG'] !== undefined) return e.stack ?? e.message;
  // What is said there is the whole of it.
  if (e.name === 'StartError') return e.message;
  let text = e.message;
  for (let cause = e.cause; cause instanceof Error; cause = cause.cause)
    if (!text.includes(cause.message)) text += `: ${cause.message}`;
  return text;
}
