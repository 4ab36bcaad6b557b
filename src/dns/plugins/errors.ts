/** `errors`: why a question could not be answered, in the log; many of a kind in one line where the Corefile wants it so. */
import type { Timer } from '../../base/clock.ts';
import type { Directive, Line } from '../corefile/parser.ts';
import type { Pattern } from '../corefile/values.ts';
import { argsOf, duration, noArgs, pattern, wrong, wrongCount } from '../corefile/values.ts';
import { andThen, typeName } from '../message.ts';
import type { BlockContext, Plugin } from '../plugin.ts';

type Level = 'debug' | 'info' | 'warn' | 'error';
const levels: Readonly<Record<string, Level>> = { debug: 'debug', info: 'info', warning: 'warn', error: 'error' };

class Consolidated {
  readonly #pattern: Pattern;
  readonly #text: string;
  readonly #ms: number;
  readonly #period: string;
  readonly level: Level;
  readonly #showFirst: boolean;
  readonly #context: BlockContext;
  #count = 0;
  #timer: Timer | undefined;

  constructor(line: Line, context: BlockContext) {
    const [period, text, ...rest] = argsOf(line, 2, 4);
    this.#ms = duration(line, period, 'consolidate');
    this.#period = period!;
    this.#text = text!;
    this.#pattern = pattern(line, text!);
    this.#context = context;
    let level: Level | undefined;
    let first = false;
    for (const arg of rest) {
      const known = Object.hasOwn(levels, arg) ? levels[arg] : undefined;
      if (known !== undefined && level !== undefined) throw wrong(line, 'multiple log levels specified in consolidate');
      if (known !== undefined && first) throw wrong(line, 'log level must come before show_first in consolidate');
      if (known === undefined && arg !== 'show_first') throw wrong(line, `unknown option in consolidate: ${arg}`);
      if (known !== undefined) level = known;
      else first = true;
    }
    this.level = level ?? 'error';
    this.#showFirst = first;
  }

  matches(message: string): boolean {
    return this.#pattern.matcher(message).find();
  }

  /** True when the message is to be told now. */
  count(): boolean {
    if (++this.#count > 1) return false;
    this.#timer = this.#context.clock.setTimer(this.#ms, () => this.tell());
    return this.#showFirst;
  }

  tell(): void {
    this.#timer?.cancel();
    const count = this.#count;
    this.#count = 0;
    if (count > 1 || (count === 1 && !this.#showFirst))
      this.#context.logger[this.level](
        `plugin/errors: ${count} errors like '${this.#text}' occurred in last ${this.#period}`,
      );
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function errors(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined) throw wrong(second, 'plugin/errors: this plugin can only be used once per Server Block');
  const [file, extra] = first!.args;
  if (extra !== undefined) throw wrongCount(first!);
  if (file !== undefined && file !== 'stdout') throw wrong(first!, `invalid log file: ${file}`);
  const groups: Consolidated[] = [];
  for (const line of first!.block ?? [])
    if (line.name === 'consolidate') groups.push(new Consolidated(line, context));
    else if (line.name === 'stacktrace') noArgs(line);
    else throw wrong(line, `Wrong argument count or unexpected line ending, Unknown field ${line.name}`);
  let stopped = false;
  return {
    name: 'errors',
    stop: () => {
      stopped = true;
      for (const g of groups) g.tell();
    },
    wrap: (next) => (request) =>
      andThen(next(request), (reply) => {
        // What the end of this Corefile cuts off is nobody's mistake.
        if (reply.error === undefined || stopped) return reply;
        const message = text(reply.error);
        const group = groups.find((g) => g.matches(message));
        if (group === undefined || group.count())
          context.logger[group?.level ?? 'error'](
            `plugin/errors: ${reply.rcode} ${request.name} ${typeName(request.type)}: ${message}`,
          );
        return reply;
      }),
  };
}
