/** Flags of upstream's logs that stand for nothing here, of every component. */
import type { IdleFlags } from './idle-flags.ts';

const buffered = 'the log is written line by line';
const oneStream = 'the log goes to standard error';

export const idleLogFlags: IdleFlags = [
  ['log-flush-frequency', 'duration', buffered],
  ['log-json-info-buffer-size', 'string', buffered],
  ['log-json-split-stream', 'bool', oneStream],
  ['log-text-info-buffer-size', 'string', buffered],
  ['log-text-split-stream', 'bool', oneStream],
  ['vmodule', 'string', 'the log has one level: -v'],
];
