/** How Kubernetes writes member names as CEL identifiers: `__dash__` for `-`, `__namespace__` for reserved words. */

const reserved = new Set(
  (
    'true false null in as break const continue else for function if import let loop package namespace return var void ' +
    'while'
  ).split(' '),
);

const replacements: Readonly<Record<string, string>> = {
  __: '__underscores__',
  '.': '__dot__',
  '-': '__dash__',
  '/': '__slash__',
};

/** The identifier of a member; undefined when it has none and cannot be used in expressions. */
export function escapeName(name: string): string | undefined {
  if (name === '' || /^[0-9]/.test(name)) return undefined;
  if (reserved.has(name)) return `__${name}__`;
  if (!/^[a-zA-Z0-9\-./_]*$/.test(name)) return undefined;
  return name.replace(/__|[-./]/g, (s) => replacements[s]!);
}

const sequences: Readonly<Record<string, string>> = { underscores: '__', dot: '.', dash: '-', slash: '/' };

/** The member of an identifier; undefined when its escapes are wrong. */
export function unescapeName(escaped: string): string | undefined {
  let wrong = false;
  const name = escaped.replace(/__([^_]+)__/g, (whole, inner: string) => {
    const character = sequences[inner];
    if (character !== undefined) return character;
    if (!reserved.has(inner) || whole.length !== escaped.length) wrong = true;
    return inner;
  });
  return wrong ? undefined : name;
}
