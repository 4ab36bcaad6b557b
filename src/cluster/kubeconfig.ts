/**
 * Kubeconfig texts: one for a component or a person, and merging ours into the person's own file as kind does: context,
 * cluster and user are called `knarr`; what else stands there is kept, and the current context is set only where none was.
 */
import { loadYaml, dumpYaml } from './yaml.ts';

export interface KubeconfigEntry {
  /** Name of context, cluster and user. */
  readonly name: string;
  readonly server: string;
  /** PEM texts. */
  readonly certificateAuthority: string;
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly token?: string;
}

interface Named {
  name?: unknown;
  [member: string]: unknown;
}

interface KubeconfigFile {
  apiVersion?: unknown;
  kind?: unknown;
  clusters?: Named[] | null;
  contexts?: Named[] | null;
  users?: Named[] | null;
  'current-context'?: unknown;
  [member: string]: unknown;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function parts(e: KubeconfigEntry): { cluster: Named; context: Named; user: Named } {
  const user: Record<string, string> = {};
  if (e.clientCertificate !== undefined) user['client-certificate-data'] = base64(e.clientCertificate);
  if (e.clientKey !== undefined) user['client-key-data'] = base64(e.clientKey);
  if (e.token !== undefined) user['token'] = e.token;
  return {
    cluster: {
      name: e.name,
      cluster: { server: e.server, 'certificate-authority-data': base64(e.certificateAuthority) },
    },
    context: { name: e.name, context: { cluster: e.name, user: e.name } },
    user: { name: e.name, user },
  };
}

/** A whole kubeconfig with one context. Plain string building: needed at every start, before any YAML library is. */
export function renderKubeconfig(e: KubeconfigEntry): string {
  const lines = [
    'apiVersion: v1',
    'kind: Config',
    'clusters:',
    `- name: ${e.name}`,
    '  cluster:',
    `    certificate-authority-data: ${base64(e.certificateAuthority)}`,
    `    server: ${e.server}`,
    'contexts:',
    `- name: ${e.name}`,
    '  context:',
    `    cluster: ${e.name}`,
    `    user: ${e.name}`,
    `current-context: ${e.name}`,
    'preferences: {}',
    'users:',
    `- name: ${e.name}`,
    '  user:',
  ];
  if (e.clientCertificate !== undefined) lines.push(`    client-certificate-data: ${base64(e.clientCertificate)}`);
  if (e.clientKey !== undefined) lines.push(`    client-key-data: ${base64(e.clientKey)}`);
  if (e.token !== undefined) lines.push(`    token: ${JSON.stringify(e.token)}`);
  return `${lines.join('\n')}\n`;
}

/** The file cannot be merged into; the message says why. */
export class BrokenKubeconfigError extends Error {}

function asList(value: unknown, member: string): Named[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new BrokenKubeconfigError(`"${member}" is not a list`);
  return value as Named[];
}

async function parse(text: string): Promise<KubeconfigFile> {
  if (text.trim() === '') return {};
  let value: unknown;
  try {
    value = await loadYaml(text);
  } catch (e) {
    throw new BrokenKubeconfigError(e instanceof Error ? e.message.split('\n')[0]! : String(e), { cause: e });
  }
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new BrokenKubeconfigError('it is not a mapping');
  const file = value as KubeconfigFile;
  if (file.kind !== undefined && file.kind !== 'Config')
    throw new BrokenKubeconfigError(`its kind is ${JSON.stringify(file.kind)}, not Config`);
  for (const member of ['clusters', 'contexts', 'users'] as const) asList(file[member], member);
  return file;
}

function upsert(list: Named[] | null | undefined, entry: Named): Named[] {
  const rest = (list ?? []).filter((n) => n.name !== entry.name);
  return [...rest, entry];
}

/** The text of `existing` (undefined: no file yet) with `entry` in it. Throws `BrokenKubeconfigError`. */
export async function mergeKubeconfig(existing: string | undefined, entry: KubeconfigEntry): Promise<string> {
  if (existing === undefined || existing.trim() === '') return renderKubeconfig(entry);
  const file = await parse(existing);
  const p = parts(entry);
  const current = file['current-context'];
  return dumpYaml({
    apiVersion: 'v1',
    kind: 'Config',
    ...file,
    clusters: upsert(file.clusters, p.cluster),
    contexts: upsert(file.contexts, p.context),
    users: upsert(file.users, p.user),
    'current-context': typeof current === 'string' && current !== '' ? current : entry.name,
  });
}

/** The text without what `mergeKubeconfig` put there; undefined when nothing of ours was in it. */
export async function removeFromKubeconfig(existing: string, name: string): Promise<string | undefined> {
  const file = await parse(existing);
  const lists = [file.clusters, file.contexts, file.users];
  if (!lists.some((l) => (l ?? []).some((n) => n.name === name))) return undefined;
  const without = (l: Named[] | null | undefined): Named[] => (l ?? []).filter((n) => n.name !== name);
  return dumpYaml({
    ...file,
    clusters: without(file.clusters),
    contexts: without(file.contexts),
    users: without(file.users),
    'current-context': file['current-context'] === name ? '' : file['current-context'],
  });
}

/** Throws `BrokenKubeconfigError` when `text` could not be merged into. */
export async function checkKubeconfig(text: string): Promise<void> {
  await parse(text);
}
