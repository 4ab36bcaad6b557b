/** Regular expressions in RE2's syntax, in linear time; compiled once for each evaluation, or once for a program where constant. */
import { RE2JS, RE2JSException } from 're2js';
import type { CallContext } from './declarations.ts';
import { fail } from './errors.ts';

export interface Pattern {
  test(text: string): boolean;
  find(text: string): string | undefined;
  /** At most `limit` matches; all of them when it is below zero. */
  findAll(text: string, limit: number): string[];
}

function pattern(re: RE2JS): Pattern {
  return {
    test: (text) => re.matcher(text).find(),
    find: (text) => {
      const matcher = re.matcher(text);
      return matcher.find() ? (matcher.group() ?? undefined) : undefined;
    },
    findAll: (text, limit) => {
      const out: string[] = [];
      const matcher = re.matcher(text);
      while ((limit < 0 || out.length < limit) && matcher.find()) out.push(matcher.group() ?? '');
      return out;
    },
  };
}

/** Compiles a constant pattern, once for a program. Fails with the error as Go words it. */
export function constantPattern(text: unknown): Pattern {
  if (typeof text !== 'string') return fail('no such overload');
  try {
    return pattern(RE2JS.compile(text));
  } catch (error) {
    if (error instanceof RE2JSException) return fail(error.message);
    throw error;
  }
}

/** Patterns that one evaluation may keep compiled. */
const maxPatterns = 256;

/** The error of Go's regexp package, where the pattern is bad. */
export function patternError(text: string): string | undefined {
  try {
    RE2JS.compile(text);
    return undefined;
  } catch (error) {
    if (error instanceof RE2JSException) return error.message;
    throw error;
  }
}

/** Compiles, or fails with the error as Go words it, after `prefix`. */
export function compilePattern(text: string, context: CallContext, prefix = ''): Pattern {
  const known = context.memo.get(text);
  if (known !== undefined) return known as Pattern;
  let made: Pattern;
  try {
    made = pattern(RE2JS.compile(text));
  } catch (error) {
    if (error instanceof RE2JSException) return fail(prefix + error.message);
    throw error;
  }
  if (context.memo.size < maxPatterns) context.memo.set(text, made);
  return made;
}
