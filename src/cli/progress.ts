/** What a person sees while a cluster starts: live lines on a terminal, plain lines in a pipe. Colours only on a terminal. */

export interface Progress {
  /** A step begins; the one before is done. */
  step(text: string): void;
  /** All steps are done. */
  done(): void;
  /** The current step failed. */
  fail(): void;
  /** A line of its own, kept. */
  line(text: string): void;
}

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/** `ticker`: calls back regularly until cancelled (cluster time has no say in what a person sees). */
export function createProgress(
  out: Output,
  env: Readonly<Record<string, string | undefined>>,
  ticker: (fn: () => void) => () => void,
): Progress {
  const live = out.isTTY === true && env['TERM'] !== 'dumb';
  const colour = live && env['NO_COLOR'] === undefined;
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  let current: string | undefined;
  let frame = 0;
  let stop: (() => void) | undefined;
  const draw = (): void => {
    out.write(`\r\u001b[2K${paint(36, frames[frame++ % frames.length]!)} ${current}`);
  };
  const settle = (mark: string): void => {
    stop?.();
    stop = undefined;
    if (current === undefined) return;
    if (live) out.write(`\r\u001b[2K${mark} ${current}\n`);
    current = undefined;
  };
  return {
    step(text) {
      settle(paint(32, '✓'));
      current = text;
      if (!live) {
        out.write(`${text}\n`);
        return;
      }
      draw();
      stop = ticker(draw);
    },
    done: () => settle(paint(32, '✓')),
    fail: () => settle(paint(31, '✗')),
    line(text) {
      settle(paint(32, '✓'));
      out.write(`${text}\n`);
    },
  };
}
