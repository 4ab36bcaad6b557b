/**
 * Files of environment variables that an earlier container left in a volume (KEP-3721): `NAME='value'`, single quotes alone, over
 * several lines where the value has them, and comments.
 */

/** A variable's value; empty when the file has none of that name. Throws one line for what is no such file. */
export function envFileValue(text: string, key: string): string {
  const lines = text.split('\n');
  const wrong = (line: number, why: string): Error =>
    new Error(`invalid environment variable format at line ${line + 1}: ${why}`);
  for (let n = 0; n < lines.length; n++) {
    const line = lines[n]!.replace(/\r$/, '').replace(/^[ \t]+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    if (at < 0) throw wrong(n, "missing '='");
    const name = line.slice(0, at);
    if (name.trim() === '') throw wrong(n, 'empty variable name');
    if (/[ \t]$/.test(name)) throw wrong(n, "whitespace before '=' is not allowed");
    let rest = line.slice(at + 1);
    if (/^[ \t]/.test(rest)) {
      // As a shell has it: nothing is assigned.
      if (name === key) return '';
      continue;
    }
    if (!rest.startsWith("'")) throw wrong(n, 'value must be enclosed in single quotes');
    rest = rest.slice(1);
    const began = n;
    let value = '';
    let end = rest.indexOf("'");
    while (end < 0) {
      value += `${rest}\n`;
      const next = lines[++n];
      if (next === undefined)
        throw new Error(`invalid environment variable format starting at line ${began + 1}: unclosed single quote`);
      rest = next.replace(/\r$/, '');
      end = rest.indexOf("'");
    }
    value += rest.slice(0, end);
    const after = rest.slice(end + 1).replace(/^[ \t]+/, '');
    if (after !== '' && !after.startsWith('#')) throw wrong(n, 'unexpected content after closing quote');
    if (name === key) return value;
  }
  return '';
}
