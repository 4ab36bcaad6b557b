/** How Kubernetes writes member names as CEL identifiers: `__dash__` for `-`, `__namespace__` for reserved words. */

const reserved = new Set(
  (
    'true false null in as break const continue else for function if import let loop package namespace return var void ' +
    'while'
  ).split(' '),
);

/** Words that are no variables in CEL, and members only by their escaped name or, since 1.33, plainly. */
export const isReserved = (name: string): boolean => reserved.has(name);

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
