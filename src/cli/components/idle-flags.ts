/** Flags of upstream's that stand for nothing here: taken, so that its command lines work, and told when given. */
import type { Flag } from '../flags.ts';

/** What each flag is called, what it takes, and why it has no effect. */
export type IdleFlags = readonly (readonly [name: string, kind: Flag['kind'], why: string])[];

export function idleFlags(table: IdleFlags): Flag[] {
  return table.map(([name, kind, why]) => ({
    name,
    kind,
    ...(kind === 'bool' || kind === 'list' ? {} : { value: kind === 'duration' ? 'TIME' : 'VALUE' }),
    help: `no effect: ${why}`,
  }));
}

/** One line for each of them that was given. `given`: whether a flag was. */
export function idleFlagLines(table: IdleFlags, given: (name: string) => boolean): string[] {
  return table.filter(([name]) => given(name)).map(([name, , why]) => `--${name} has no effect: ${why}`);
}
