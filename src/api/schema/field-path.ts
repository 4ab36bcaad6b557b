/** The `fieldPath` of a rule: `.spec.names['a.b']`, which must lead to something the schema has. */
import type { Constraints } from './schema.ts';

class PathError extends Error {}

/** `.`, `[`, `]`, quoted names, and what stands between them. */
function tokens(path: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < path.length;) {
    const rest = path.slice(i);
    const quoted = /^'(?:[^']|(?<=\\)')*?(?<!\\)'/.exec(rest.length > 1 ? rest : '');
    const token = quoted?.[0] ?? /^(?:[.[\]]|[^.[\]]+)/.exec(rest)![0];
    // An open quote takes everything: there is no token that ends.
    if (quoted === null && token.startsWith("'")) return [...out, rest];
    out.push(token);
    i += token.length;
  }
  return out;
}

const escapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  "'": "'",
  '\\': '\\',
};

const unescape = (text: string): string =>
  text.replace(/\\(.)/gs, (whole, c: string) => {
    const known = escapes[c];
    if (known === undefined) throw new PathError(`invalid string literal: invalid escape char ${whole}`);
    return known;
  });

/** The path as errors print it, below the value of the rule; undefined when it leads nowhere. */
export function fieldPathOf(path: string, constraints: Constraints): string | undefined {
  try {
    return walk(path, constraints);
  } catch (error) {
    if (error instanceof PathError) return undefined;
    throw error;
  }
}

function walk(path: string, constraints: Constraints): string {
  const list = tokens(path);
  let node = constraints;
  let out = '';
  let i = 0;
  const next = (): string => {
    const token = list[i++];
    if (token === undefined) throw new PathError('unexpected end of JSON path');
    return token;
  };
  const step = (name: string): void => {
    if (node.properties !== undefined) {
      const found = node.properties.get(name);
      if (found === undefined) throw new PathError('does not refer to a valid field');
      out += out === '' ? name : `.${name}`;
      node = found;
    } else if (typeof node.additionalProperties === 'object') {
      out += `[${name}]`;
      node = node.additionalProperties;
    } else throw new PathError('does not refer to a valid field');
  };
  while (i < list.length) {
    const token = next();
    if (token === '.') step(next());
    else if (token === '[') {
      const name = next();
      if (!/^'.*'$/s.test(name) || name.length < 2)
        throw new PathError(`expected single quoted string but got ${name}`);
      step(unescape(name.slice(1, -1)));
      const close = next();
      if (close !== ']') throw new PathError(`expected ] but got ${close}`);
    } else throw new PathError(`expected [ or . but got: ${token}`);
  }
  return out;
}
