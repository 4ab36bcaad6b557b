/** `--encryption-provider-config`: how values are encrypted in the store, followed as the file changes. */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import { apiServerId } from '../../apiserver/bootstrap/identity-lease.ts';
import type { ApiServer } from '../../apiserver/server.ts';
import { EncryptedStore } from '../../apiserver/storage/encryption/encrypted-store.ts';
import { Encryption } from '../../apiserver/storage/encryption/encryption.ts';
import { watchFile } from '../../base/file-watch.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import { loadYaml } from '../yaml.ts';
import { StartError, type ComponentEnvironment } from './environment.ts';

type Environment = Pick<ComponentEnvironment, 'clock' | 'random' | 'logger' | 'signal'>;

export interface EncryptionFlags {
  readonly providerConfig: string | undefined;
  readonly automaticReload: boolean;
}

export interface EncryptionAtRest {
  wrap(store: KeyValueStore): KeyValueStore;
  /** Its health check and metrics. */
  install(server: ApiServer): void;
  close(): void;
}

/** How long the start waits for a key management plugin that starts with it. */
const patienceMs = 60_000;

async function read(file: string): Promise<{ readonly value: unknown; readonly source: Buffer }> {
  let source: Buffer;
  try {
    source = await readFile(file);
  } catch (error) {
    throw new Error(
      `error while loading file: error reading encryption provider configuration file ${JSON.stringify(file)}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  if (source.length === 0)
    throw new Error(
      `error while loading file: encryption provider configuration file ${JSON.stringify(file)} is empty`,
    );
  return { value: await loadYaml(source.toString('utf8')), source };
}

/** `root`: what keys begin with in the store. Undefined when nothing is encrypted. @throws {StartError} */
export async function createEncryption(
  flags: EncryptionFlags,
  catalog: Catalog,
  env: Environment,
  features?: FeatureGates,
  root?: string,
): Promise<EncryptionAtRest | undefined> {
  const { clock, random, logger, signal } = env;
  const file = flags.providerConfig;
  if (file === undefined || file === '') {
    if (flags.automaticReload)
      throw new StartError(
        '--encryption-provider-config-automatic-reload must be set with --encryption-provider-config',
      );
    return undefined;
  }
  const reload = flags.automaticReload;
  const serverId = apiServerId(hostname());
  const encryption = new Encryption({
    ...{ clock, random, logger, catalog, reload, serverId },
    kmsV1: features?.enabled('KMSv1') ?? false,
    ...(root === undefined ? {} : { root }),
  });
  try {
    const { value, source } = await read(file);
    await encryption.load(value, source);
  } catch (error) {
    encryption.close();
    throw new StartError(`error while parsing file: ${(error as Error).message}`, { cause: error });
  }
  const began = clock.monotonic();
  for (;;) {
    try {
      await encryption.check();
      break;
    } catch (error) {
      if (signal.aborted || clock.monotonic() - began > patienceMs) {
        encryption.close();
        throw new StartError((error as Error).message, { cause: error });
      }
      await clock.sleep(1000, signal).catch((e: unknown) => {
        if (!signal.aborted) throw e;
      });
    }
  }
  const follow = async (): Promise<void> => {
    let given;
    try {
      given = await read(file);
    } catch (error) {
      encryption.failedReload();
      logger.error('Failed to read the encryption configuration', { name: file, error });
      return;
    }
    try {
      const { value, source } = given;
      if (await encryption.load(value, source)) logger.info('Loaded new kms encryption config content', { name: file });
    } catch (error) {
      logger.error('Failed to process new encryption configuration', { name: file, error });
    }
  };
  const stop = flags.automaticReload
    ? watchFile(file, () => void follow(), {
        onError: (error) => logger.warn('cannot follow the encryption configuration', { file, error }),
      })
    : () => {};
  return {
    wrap: (store) => new EncryptedStore(store, encryption),
    install(server) {
      server.metrics.register(...encryption.families);
      if (flags.automaticReload || encryption.usesKms)
        server.health.add('kms-providers', () => encryption.check(), ['healthz', 'readyz']);
    },
    close() {
      stop();
      encryption.close();
    },
  };
}
