/**
 * `--image-credential-provider-config` and `--image-credential-provider-bin-dir`: programs of the node that know the credentials of
 * registries. Each is asked about the images that it is for, by a CredentialProviderRequest on its standard input, and what it
 * answers is kept as long as it says.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDuration } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { imageMatches } from '../../kubelet/images/docker-config.ts';
import type { AuthConfig } from '../../kubelet/runtime/container-runtime.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError } from './environment.ts';

/** The credentials that a node has for an image's repository (`docker.io/library/nginx`), the best first. */
export type CredentialProviders = (repository: string) => Promise<readonly AuthConfig[]>;

interface Provider {
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheMs: number;
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

interface Answer {
  readonly auth: readonly (readonly [registry: string, auth: AuthConfig])[];
  readonly until: number;
}

const versions = ['v1', 'v1beta1', 'v1alpha1'];
/** How long a program may think. */
const timeoutMs = 60_000;
const maxAnswer = 1 << 20;
/** Answers that are kept. */
const limit = 512;

function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '') throw new StartError(`${what}: Required value`);
  return value;
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new StartError(`${what}: it is no list`);
  return value;
}

async function providersIn(file: string): Promise<Provider[]> {
  const flag = 'image-credential-provider-config';
  const given = (await loadYaml(await readNamed(flag, file))) as Record<string, unknown> | null;
  const [group, version] = String(given?.['apiVersion'] ?? '').split('/');
  if (
    given?.['kind'] !== 'CredentialProviderConfig' ||
    group !== 'kubelet.config.k8s.io' ||
    !versions.includes(version!)
  )
    throw new StartError(
      `error decoding config ${file} (--${flag}): it is a CredentialProviderConfig of kubelet.config.k8s.io/v1`,
    );
  const all = listOf(given['providers'], 'providers');
  if (all.length === 0) throw new StartError('providers: Required value: at least 1 item in plugins is required');
  return all.map((entry, i) => {
    const from = entry as Record<string, unknown>;
    const path = `providers[${i}]`;
    const name = textOf(from['name'], `${path}.name`);
    if (name.includes('/') || name === '.' || name === '..')
      throw new StartError(
        `${path}.name: Invalid value: ${JSON.stringify(name)}: provider name must be a file name without path separators`,
      );
    const matchImages = listOf(from['matchImages'], `${path}.matchImages`).map(String);
    if (matchImages.length === 0)
      throw new StartError(`${path}.matchImages: Required value: at least 1 item in matchImages is required`);
    const apiVersion = textOf(from['apiVersion'], `${path}.apiVersion`);
    const [g, v] = apiVersion.split('/');
    if (g !== 'credentialprovider.kubelet.k8s.io' || !versions.includes(v!))
      throw new StartError(
        `${path}.apiVersion: Unsupported value: ${JSON.stringify(apiVersion)}: supported values: ${versions.map((x) => `"credentialprovider.kubelet.k8s.io/${x}"`).join(', ')}`,
      );
    if (from['tokenAttributes'] !== undefined)
      throw new StartError(`${path}.tokenAttributes: Forbidden: providers are given no service account tokens here`);
    let defaultCacheMs: number;
    try {
      defaultCacheMs = parseDuration(textOf(from['defaultCacheDuration'], `${path}.defaultCacheDuration`));
    } catch (error) {
      if (error instanceof StartError) throw error;
      throw new StartError(`${path}.defaultCacheDuration: ${(error as Error).message}`, { cause: error });
    }
    return {
      name,
      matchImages,
      defaultCacheMs,
      apiVersion,
      args: listOf(from['args'], `${path}.args`).map(String),
      env: Object.fromEntries(
        listOf(from['env'], `${path}.env`).map((e) => {
          const { name: variable, value } = e as { name: string; value: string };
          return [variable, value];
        }),
      ),
    };
  });
}

async function configFiles(path: string): Promise<string[]> {
  const found = await stat(path).catch((error: unknown) => {
    throw new StartError(`cannot read ${path} (--image-credential-provider-config): ${(error as Error).message}`, {
      cause: error,
    });
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(json|ya?ml)$/.test(name)).sort();
  return names.map((name) => join(path, name));
}

/** Asks one program. Rejects when it fails or answers something else. */
function ask(program: string, provider: Provider, repository: string): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      [...provider.args],
      { timeout: timeoutMs, maxBuffer: maxAnswer, env: { ...process.env, ...provider.env } },
      (error, stdout, stderr) => {
        // What it has printed may be credentials; what it complains of may be told.
        if (error !== null)
          reject(
            new Error(
              `error execing credential provider plugin ${provider.name}: ${error.code ?? error.signal ?? ''}, stderr: ${stderr.slice(0, 1000)}`,
            ),
          );
        else
          try {
            resolve(JSON.parse(stdout) as Record<string, unknown>);
          } catch {
            reject(new Error(`error decoding credential provider plugin response from stdout of ${provider.name}`));
          }
      },
    );
    // A program that does not read its input is not to be our end.
    child.stdin?.on('error', () => {});
    child.stdin?.end(
      JSON.stringify({ kind: 'CredentialProviderRequest', apiVersion: provider.apiVersion, image: repository }),
    );
  });
}

function authOf(answer: Record<string, unknown>): (readonly [string, AuthConfig])[] {
  const auth = (answer['auth'] ?? {}) as Record<string, { username?: string; password?: string }>;
  return Object.entries(auth).map(([registry, { username, password }]) => [
    registry,
    {
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    },
  ]);
}

const keyed: Readonly<Record<string, (repository: string) => string>> = {
  Image: (repository) => repository,
  Registry: (repository) => repository.split('/')[0]!,
  Global: () => '<global>',
};

/** `config`: a file or a folder of them. Undefined where neither flag is given. @throws {StartError} */
export async function openCredentialProviders(
  flags: { readonly config?: string | undefined; readonly binDir?: string | undefined },
  env: { readonly clock: Clock; readonly logger: Logger },
): Promise<CredentialProviders | undefined> {
  const { config = '', binDir = '' } = flags;
  if (config === '' && binDir === '') return undefined;
  if (config === '' || binDir === '')
    throw new StartError(
      '--image-credential-provider-config and --image-credential-provider-bin-dir are given together or not at all',
    );
  const providers: Provider[] = [];
  for (const file of await configFiles(config))
    for (const provider of await providersIn(file)) {
      if (providers.some((p) => p.name === provider.name))
        throw new StartError(`providers.name: Duplicate value: ${JSON.stringify(provider.name)}`);
      await access(join(binDir, provider.name), constants.X_OK).catch((error: unknown) => {
        throw new StartError(
          `plugin binary executable ${join(binDir, provider.name)} did not exist or cannot be run (--image-credential-provider-bin-dir)`,
          { cause: error },
        );
      });
      providers.push(provider);
    }
  const { clock, logger } = env;
  const kept = new Map<string, Answer>();
  const of = async (provider: Provider, repository: string): Promise<Answer['auth']> => {
    const now = clock.now();
    for (const [type, key] of Object.entries(keyed)) {
      const id = `${provider.name} ${type} ${key(repository)}`;
      const found = kept.get(id);
      if (found === undefined) continue;
      if (found.until > now) return found.auth;
      kept.delete(id);
    }
    try {
      const answer = await ask(join(binDir, provider.name), provider, repository);
      if (answer['kind'] !== 'CredentialProviderResponse' || answer['apiVersion'] !== provider.apiVersion)
        throw new Error(`credential provider plugin ${provider.name} answered no CredentialProviderResponse`);
      const auth = authOf(answer);
      const type = String(answer['cacheKeyType']);
      const key = keyed[type];
      if (key === undefined)
        throw new Error(`credential provider plugin did not return a valid cacheKeyType: ${JSON.stringify(type)}`);
      const said = answer['cacheDuration'];
      const ms = typeof said === 'string' ? parseDuration(said) : provider.defaultCacheMs;
      if (ms > 0) {
        if (kept.size >= limit) kept.delete(kept.keys().next().value!);
        kept.set(`${provider.name} ${type} ${key(repository)}`, { auth, until: clock.now() + ms });
      }
      return auth;
    } catch (error) {
      logger.error('Failed getting credential from external registry credential provider', {
        provider: provider.name,
        error,
      });
      return [];
    }
  };
  return async (repository) => {
    const asked = providers.filter((p) => p.matchImages.some((pattern) => imageMatches(pattern, repository)));
    const found = (await Promise.all(asked.map((p) => of(p, repository)))).flat();
    return found
      .filter(([registry]) => imageMatches(registry, repository))
      .sort(([a], [b]) => (a < b ? 1 : -1))
      .map(([, auth]) => auth);
  };
}
