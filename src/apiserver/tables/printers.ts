/** The printer of each built-in kind, by `group/Kind`. */
import type { Printer } from './table.ts';

export const printers: Readonly<Record<string, Printer>> = {};
