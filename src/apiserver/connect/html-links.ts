/** Links of proxied HTML pages: absolute paths get the proxy's path in front, as upstream's proxy transport does. */

/** Attributes that hold URLs, by element. */
const urlAttributes: Readonly<Record<string, readonly string[]>> = {
  a: ['href'],
  applet: ['codebase'],
  area: ['href'],
  audio: ['src'],
  base: ['href'],
  blockquote: ['cite'],
  body: ['background'],
  button: ['formaction'],
  command: ['icon'],
  del: ['cite'],
  embed: ['src'],
  form: ['action'],
  frame: ['longdesc', 'src'],
  head: ['profile'],
  html: ['manifest'],
  iframe: ['longdesc', 'src'],
  img: ['longdesc', 'src', 'usemap'],
  input: ['src', 'usemap', 'formaction'],
  ins: ['cite'],
  link: ['href'],
  object: ['classid', 'codebase', 'data', 'usemap'],
  q: ['cite'],
  script: ['src'],
  source: ['src'],
  video: ['poster', 'src'],
};

/**
 * A URL that the backend named, as the client must ask for it: paths of the same host get `prefix`; other hosts and
 * relative paths stay. `hosts`: names under which the backend goes.
 */
export function rewriteUrl(url: string, prefix: string, hosts: readonly string[]): string {
  const m = /^(?:([a-z][a-z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(.*)$/i.exec(url);
  if (m === null) return url;
  const host = m[2] ?? '';
  const path = m[3]!;
  if ((host !== '' && !hosts.includes(host)) || !path.startsWith('/')) return url;
  if (path.startsWith(prefix)) return `${path}${m[4]!}`;
  return `${prefix}${path}${m[4]!}`;
}

/** Rewrites the links in a page. */
export function rewriteHtml(html: string, rewrite: (url: string) => string): string {
  return html.replace(
    /<([a-z]+)((?:\s+[^<>]*?)?)(\/?)>/gi,
    (tag: string, element: string, attributes: string, close: string) => {
      const names = urlAttributes[element.toLowerCase()];
      if (names === undefined || attributes === '') return tag;
      const changed = attributes.replace(
        /([a-z-]+)(\s*=\s*)("([^"]*)"|'([^']*)'|[^\s"'>]+)/gi,
        (whole: string, name: string, eq: string, quoted: string, double?: string, single?: string) => {
          if (!names.includes(name.toLowerCase())) return whole;
          return `${name}${eq}"${rewrite(double ?? single ?? quoted)}"`;
        },
      );
      return `<${element}${changed}${close}>`;
    },
  );
}
