/** Structured logging: levels, fields, children; the sink decides between text and JSON. Secrets are never passed in. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  with(fields: LogFields): Logger;
}

const rank: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** One line of the log, ready to be written. */
export interface LogRecord {
  time: number;
  level: LogLevel;
  message: string;
  fields: LogFields;
}

function plain(value: unknown): unknown {
  if (value instanceof Error) {
    const cause = value.cause === undefined ? '' : `: ${String(plain(value.cause))}`;
    return `${value.message}${cause}`;
  }
  return value;
}

/** `2026-01-01T00:00:00.000Z info message key=value …` */
export function formatText(r: LogRecord): string {
  let line = `${new Date(r.time).toISOString()} ${r.level} ${r.message}`;
  for (const [k, v] of Object.entries(r.fields)) {
    const p = plain(v);
    line += ` ${k}=${typeof p === 'string' && /^[\w.:/@-]+$/.test(p) ? p : JSON.stringify(p)}`;
  }
  return line;
}

/** One JSON object a line. */
export function formatJson(r: LogRecord): string {
  const fields: Record<string, unknown> = {};
  for (const [k, v] of Object.entries(r.fields)) fields[k] = plain(v);
  return JSON.stringify({ ts: new Date(r.time).toISOString(), level: r.level, msg: r.message, ...fields });
}

/** A logger that hands records at or above `level` to `sink`. */
export function createLogger(options: { level: LogLevel; now: () => number; sink: (r: LogRecord) => void }): Logger {
  const make = (base: LogFields): Logger => {
    const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
      if (rank[level] < rank[options.level]) return;
      options.sink({ time: options.now(), level, message, fields: fields ? { ...base, ...fields } : base });
    };
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      with: (fields) => make({ ...base, ...fields }),
    };
  };
  return make({});
}

/** A logger that writes nowhere. */
export const silentLogger: Logger = createLogger({ level: 'error', now: () => 0, sink: () => {} });
