/**
 * Where an API server is and who we are: read from a kubeconfig file (clientcmd v1) or from the files of a pod. Gives a
 * `ConnectionConfig` for `HttpTransport`. Writing and merging kubeconfigs is not done here.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { timeMs } from '../api/time.ts';

/** What authenticates a request. */
export interface Credentials {
  readonly token?: string;
  /** PEM. */
  readonly certificate?: string;
  readonly key?: string;
}

export interface ConnectionConfig {
  /** `https://127.0.0.1:6443`, perhaps with a path prefix. */
  readonly server: string;
  /** PEM of the authorities that the server's certificate is checked against; the system's when left out. */
  readonly ca?: string;
  readonly insecureSkipTlsVerify?: boolean;
  readonly tlsServerName?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly token?: string;
  /** Read again from time to time; wins over `token`. */
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  /** Asks for fresh credentials; `force` after a 401. */
  readonly credentials?: (force: boolean) => Promise<Credentials>;
  readonly impersonate?: {
    readonly user: string;
    readonly uid?: string;
    readonly groups?: readonly string[];
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
  /** Namespace of the context. */
  readonly namespace?: string;
}

interface KubeconfigCluster {
  server?: string;
  'certificate-authority'?: string;
  'certificate-authority-data'?: string;
  'insecure-skip-tls-verify'?: boolean;
  'tls-server-name'?: string;
}

interface KubeconfigExec {
  apiVersion?: string;
  command?: string;
  args?: string[] | null;
  env?: { name: string; value: string }[] | null;
  installHint?: string;
  interactiveMode?: string;
  provideClusterInfo?: boolean;
}

interface KubeconfigUser {
  'client-certificate'?: string;
  'client-certificate-data'?: string;
  'client-key'?: string;
  'client-key-data'?: string;
  token?: string;
  tokenFile?: string;
  username?: string;
  password?: string;
  as?: string;
  'as-uid'?: string;
  'as-groups'?: string[];
  'as-user-extra'?: Record<string, string[]>;
  exec?: KubeconfigExec;
}

interface KubeconfigContext {
  cluster?: string;
  user?: string;
  namespace?: string;
}

/** clientcmd's v1 Config as it stands in the file. */
interface Kubeconfig {
  apiVersion?: string;
  kind?: string;
  'current-context'?: string;
  clusters?: { name: string; cluster?: KubeconfigCluster }[] | null;
  users?: { name: string; user?: KubeconfigUser }[] | null;
  contexts?: { name: string; context?: KubeconfigContext }[] | null;
}

/** Parses kubeconfig text. Throws one clear line for what is none. */
async function parseKubeconfig(text: string, source = 'kubeconfig'): Promise<Kubeconfig> {
  const { load } = await import('js-yaml');
  let value: unknown;
  try {
    value = load(text);
  } catch (cause) {
    throw new Error(`${source}: not valid YAML`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${source}: not a kubeconfig`);
  }
  const kind = (value as Kubeconfig).kind;
  if (kind !== undefined && kind !== 'Config') throw new Error(`${source}: kind is ${String(kind)}, not Config`);
  return value as Kubeconfig;
}

function find<T extends { readonly name: string }>(
  list: readonly T[] | null | undefined,
  name: string | undefined,
): T | undefined {
  return list?.find((e) => e.name === name);
}

async function pem(
  data: string | undefined,
  file: string | undefined,
  folder: string | undefined,
): Promise<string | undefined> {
  if (data !== undefined && data !== '') return Buffer.from(data, 'base64').toString('utf8');
  if (file === undefined || file === '') return undefined;
  return readFile(resolvePath(file, folder), 'utf8');
}

function resolvePath(file: string, folder: string | undefined): string {
  return isAbsolute(file) || folder === undefined ? file : join(folder, file);
}

/** What a user of a kubeconfig shows. */
export type UserConnection = Pick<
  ConnectionConfig,
  'certificate' | 'key' | 'token' | 'tokenFile' | 'username' | 'password' | 'credentials' | 'impersonate'
>;

/** Reads the files that the user names. */
async function userConnection(
  user: KubeconfigUser | undefined,
  folder: string | undefined,
  clock: Clock,
): Promise<UserConnection> {
  const [certificate, key] = await Promise.all([
    pem(user?.['client-certificate-data'], user?.['client-certificate'], folder),
    pem(user?.['client-key-data'], user?.['client-key'], folder),
  ]);
  return {
    ...(certificate === undefined ? {} : { certificate }),
    ...(key === undefined ? {} : { key }),
    ...(user?.token === undefined ? {} : { token: user.token }),
    ...(user?.tokenFile === undefined ? {} : { tokenFile: resolvePath(user.tokenFile, folder) }),
    ...(user?.username === undefined ? {} : { username: user.username, password: user.password ?? '' }),
    ...(user?.exec === undefined ? {} : { credentials: execCredentials(user.exec, folder, clock) }),
    ...(user?.as === undefined
      ? {}
      : {
          impersonate: {
            user: user.as,
            ...(user['as-uid'] === undefined ? {} : { uid: user['as-uid'] }),
            groups: user['as-groups'] ?? [],
            extra: user['as-user-extra'] ?? {},
          },
        }),
  };
}

export interface KubeconfigOptions {
  /** Default: `current-context`. */
  readonly context?: string;
  /** Relative file names are relative to this folder (the kubeconfig's). */
  readonly folder?: string;
  /** For the expiry of what exec plugins give. */
  readonly clock: Clock;
}

/** The connection that a context of a kubeconfig describes. */
async function connectionFromKubeconfig(config: Kubeconfig, options: KubeconfigOptions): Promise<ConnectionConfig> {
  const contextName = options.context ?? config['current-context'];
  const context = find(config.contexts, contextName)?.context;
  if (context === undefined) {
    throw new Error(
      contextName === undefined || contextName === ''
        ? 'the kubeconfig has no current context'
        : `context "${contextName}" does not exist in the kubeconfig`,
    );
  }
  const cluster = find(config.clusters, context.cluster)?.cluster;
  if (cluster?.server === undefined || cluster.server === '') {
    throw new Error(`cluster "${context.cluster ?? ''}" of context "${contextName}" has no server`);
  }
  const entry = context.user === undefined ? undefined : find(config.users, context.user);
  // A user of whom nothing is said but the name is one.
  const user = entry?.user ?? undefined;
  if (entry === undefined && context.user !== undefined && context.user !== '') {
    throw new Error(`user "${context.user}" of context "${contextName}" does not exist in the kubeconfig`);
  }
  const { folder, clock } = options;
  const [ca, shown] = await Promise.all([
    pem(cluster['certificate-authority-data'], cluster['certificate-authority'], folder),
    userConnection(user, folder, clock),
  ]);
  return {
    server: cluster.server,
    ...(ca === undefined ? {} : { ca }),
    ...(cluster['insecure-skip-tls-verify'] === true ? { insecureSkipTlsVerify: true } : {}),
    ...(cluster['tls-server-name'] === undefined ? {} : { tlsServerName: cluster['tls-server-name'] }),
    ...shown,
    ...(context.namespace === undefined ? {} : { namespace: context.namespace }),
  };
}

/** Reads a kubeconfig file. */
export async function loadKubeconfig(
  file: string,
  options: Omit<KubeconfigOptions, 'folder'>,
): Promise<ConnectionConfig> {
  const text = await readFile(file, 'utf8');
  return connectionFromKubeconfig(await parseKubeconfig(text, file), { ...options, folder: dirname(file) });
}

export interface KubeconfigUsers {
  /** By name; a user's files are read when it is asked for. */
  readonly users: ReadonlyMap<string, () => Promise<UserConnection>>;
  /** The user of the current context. */
  readonly current: string | undefined;
}

/** Reads the users of a kubeconfig file, which needs neither clusters nor contexts. */
export async function loadKubeconfigUsers(
  file: string,
  options: Pick<KubeconfigOptions, 'clock'>,
): Promise<KubeconfigUsers> {
  const config = await parseKubeconfig(await readFile(file, 'utf8'), file);
  const load = (user: KubeconfigUser | undefined) => () => userConnection(user, dirname(file), options.clock);
  return {
    users: new Map((config.users ?? []).map(({ name, user }) => [name, load(user ?? undefined)])),
    current: find(config.contexts, config['current-context'])?.context?.user,
  };
}

const serviceAccountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The connection of a program that runs in a pod, from its environment and mounted service account. */
export async function inClusterConnection(
  env: Readonly<Record<string, string | undefined>>,
  folder: string = serviceAccountFolder,
): Promise<ConnectionConfig> {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (host === undefined || host === '' || port === undefined || port === '') {
    throw new Error('not running in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined');
  }
  const [ca, namespace] = await Promise.all([
    readFile(join(folder, 'ca.crt'), 'utf8'),
    readFile(join(folder, 'namespace'), 'utf8').catch(() => undefined),
  ]);
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca,
    tokenFile: join(folder, 'token'),
    ...(namespace === undefined ? {} : { namespace: namespace.trim() }),
  };
}

interface ExecCredential {
  status?: {
    token?: string;
    clientCertificateData?: string;
    clientKeyData?: string;
    expirationTimestamp?: string;
  };
}

/** Runs a credential plugin (client.authentication.k8s.io) and keeps its answer until it expires. */
function execCredentials(
  exec: KubeconfigExec,
  folder: string | undefined,
  clock: Clock,
): (force: boolean) => Promise<Credentials> {
  let cached: { credentials: Credentials; expires: number } | undefined;
  let running: Promise<Credentials> | undefined;
  const run = async (): Promise<Credentials> => {
    const command = exec.command ?? '';
    const path = command.includes('/') ? resolvePath(command, folder) : command;
    const apiVersion = exec.apiVersion ?? 'client.authentication.k8s.io/v1';
    const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: { interactive: false } });
    const env: NodeJS.ProcessEnv = { ...process.env, KUBERNETES_EXEC_INFO: info };
    for (const e of exec.env ?? []) env[e.name] = e.value;
    const output = await new Promise<string>((resolve, reject) => {
      execFile(path, exec.args ?? [], { env, maxBuffer: 1 << 20 }, (error, stdout) => {
        if (error === null) resolve(stdout);
        else {
          const hint = exec.installHint === undefined ? '' : `\n${exec.installHint}`;
          reject(new Error(`credential plugin ${command} failed${hint}`, { cause: error }));
        }
      });
    });
    let answer: ExecCredential;
    try {
      answer = JSON.parse(output) as ExecCredential;
    } catch (cause) {
      throw new Error(`credential plugin ${command} did not print an ExecCredential`, { cause });
    }
    const s = answer.status;
    if (s?.token === undefined && s?.clientCertificateData === undefined) {
      throw new Error(`credential plugin ${command} gave neither token nor client certificate`);
    }
    const credentials: Credentials = {
      ...(s.token === undefined ? {} : { token: s.token }),
      ...(s.clientCertificateData === undefined ? {} : { certificate: s.clientCertificateData }),
      ...(s.clientKeyData === undefined ? {} : { key: s.clientKeyData }),
    };
    const expires = timeMs(s.expirationTimestamp);
    cached = { credentials, expires: Number.isNaN(expires) ? Infinity : expires };
    return credentials;
  };
  return (force) => {
    if (!force && cached !== undefined && clock.now() < cached.expires) return Promise.resolve(cached.credentials);
    running ??= run().finally(() => {
      running = undefined;
    });
    return running;
  };
}
