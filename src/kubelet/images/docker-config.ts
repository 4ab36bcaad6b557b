/**
 * Credentials of registries in the forms that Docker writes them: `config.json` (`.dockerconfigjson`), whose `auths` has an entry for
 * each registry, and the older `.dockercfg`, which is such a table itself. And which of them are for an image.
 */
import type { AuthConfig } from '../runtime/container-runtime.ts';

/** A registry as the file names it, and what it is asked with. */
export interface DockerEntry {
  readonly registry: string;
  readonly auth: AuthConfig;
}

interface Host {
  readonly labels: readonly string[];
  readonly port: string;
  readonly path: string;
}

function split(text: string): Host {
  const slash = text.indexOf('/');
  const authority = slash < 0 ? text : text.slice(0, slash);
  const colon = authority.lastIndexOf(':');
  const port = colon < 0 || authority.endsWith(']') ? '' : authority.slice(colon + 1);
  const host = port === '' ? authority : authority.slice(0, colon);
  return { labels: host.split('.'), port, path: slash < 0 ? '' : text.slice(slash) };
}

/** One label of a name against one of a pattern with `*`. */
function labelMatches(pattern: string, label: string): boolean {
  const source = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${source.join('.*')}$`).test(label);
}

/** Whether a pattern such as `*.example.com/team` is about a repository: as many labels, the same port, and the path begins with its. */
export function imageMatches(pattern: string, repository: string): boolean {
  const wanted = split(pattern.replace(/^https?:\/\//, ''));
  const image = split(repository);
  if (wanted.labels.length !== image.labels.length || wanted.port !== image.port) return false;
  return image.path.startsWith(wanted.path) && wanted.labels.every((label, i) => labelMatches(label, image.labels[i]!));
}

/** A registry as Docker writes it, which may be a URL with the version of its API: as images name it. */
function keyOf(registry: string): string {
  const bare = registry.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  if (slash < 0) return bare;
  const path = bare.slice(slash).replace(/^\/v[12](?=\/)/, '');
  return bare.slice(0, slash) + (path === '/' ? '' : path);
}

function decodedAuth(auth: string): { username: string; password: string } {
  const bad = /[^A-Za-z0-9+/=\r\n]/.exec(auth);
  if (bad !== null) throw new Error(`illegal base64 data at input byte ${bad.index}`);
  const text = Buffer.from(auth, 'base64').toString();
  const colon = text.indexOf(':');
  if (colon < 0) throw new Error('unable to parse auth field, must be formatted as base64(username:password)');
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function entryOf(value: unknown): AuthConfig {
  if (value === null) return {};
  if (!isTable(value)) throw new Error('json: an entry of a registry is no object');
  const text = (member: string): string | undefined => {
    const found = value[member];
    if (found === undefined || found === null) return undefined;
    if (typeof found !== 'string') throw new Error(`json: ${member} of a registry is no string`);
    return found;
  };
  const auth = text('auth') ?? '';
  const named = auth === '' ? { username: text('username'), password: text('password') } : decodedAuth(auth);
  // The registry's address is not told, as upstream: runtimes take it for a URL, and know whom they ask.
  return { ...named, identityToken: text('identitytoken') };
}

/** `form`: of the file. Never tells what stands in it. @throws {Error} it is no such file, or one of its entries is wrong */
export function parseDockerConfig(text: string, form: 'config.json' | '.dockercfg'): DockerEntry[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // What JSON.parse says quotes the text.
    throw new Error('json: it is no JSON');
  }
  const table = form === 'config.json' && isTable(parsed) ? (parsed['auths'] ?? {}) : parsed;
  if (!isTable(table)) throw new Error('json: it has no table of registries');
  return Object.entries(table).map(([registry, value]) => ({ registry, auth: entryOf(value) }));
}

/**
 * Of `entries`, those for a repository (`docker.io/library/nginx`), the most exact first; entries for Docker's own registry under
 * the name that its client gives it.
 */
export function entriesFor<T extends DockerEntry>(entries: readonly T[], repository: string): T[] {
  const keyed = entries.map((entry) => [keyOf(entry.registry), entry] as const);
  const found = keyed.filter(([key]) => imageMatches(key, repository)).sort(([a], [b]) => (a < b ? 1 : a > b ? -1 : 0));
  const own = found.length === 0 && repository.startsWith('docker.io/');
  return (own ? keyed.filter(([key]) => key === 'index.docker.io') : found).map(([, entry]) => entry);
}
