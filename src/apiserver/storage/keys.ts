/**
 * Keys of objects in the store, as upstream lays them out: `<root>/<prefix>/<namespace>/<name>`. Keys are bytes in latin1
 * strings, so names outside ASCII (RBAC allows them) go through UTF-8.
 */

// eslint-disable-next-line no-control-regex
const ascii = /^[\x00-\x7f]*$/;

/** Text → the latin1 string of its UTF-8 bytes. */
export function toKeyText(text: string): string {
  return ascii.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}

/** The inverse of `toKeyText`. */
export function fromKeyText(text: string): string {
  return ascii.test(text) ? text : Buffer.from(text, 'latin1').toString('utf8');
}

/** Smallest key after every key that starts with `prefix`. */
export function prefixEnd(prefix: string): string {
  const last = prefix.charCodeAt(prefix.length - 1);
  return prefix.slice(0, -1) + String.fromCharCode(last + 1);
}
