/**
 * The credentials of registries that the machine itself has, as `docker login` leaves them: `config.json` in the kubelet's folder, else
 * in `~/.docker` or `/.docker`; where there is none, `.dockercfg` in the kubelet's folder, the home folder or `/`. Every pod of
 * the node may use them. Upstream looks into the working folder as well, where a `config.json` is rarely Docker's.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { entriesFor, parseDockerConfig, type DockerEntry } from '../../kubelet/images/docker-config.ts';
import type { AuthConfig } from '../../kubelet/runtime/container-runtime.ts';

export interface NodeDockerConfigOptions {
  /** The kubelet's folder. */
  readonly rootDir: string;
  readonly home: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How long what was read is believed. */
const lifetimeMs = 300_000;

/** The machine's credentials for an image's repository (`docker.io/library/nginx`), the best first. */
export function nodeDockerConfig(o: NodeDockerConfigOptions): (repository: string) => Promise<AuthConfig[]> {
  const files = [
    [join(o.rootDir, 'config.json'), 'config.json'],
    [join(o.home, '.docker/config.json'), 'config.json'],
    ['/.docker/config.json', 'config.json'],
    [join(o.rootDir, '.dockercfg'), '.dockercfg'],
    [join(o.home, '.dockercfg'), '.dockercfg'],
    ['/.dockercfg', '.dockercfg'],
  ] as const;
  const read = async (): Promise<DockerEntry[]> => {
    for (const [file, form] of files) {
      let text: string;
      try {
        text = await readFile(file, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
          o.logger.warn('cannot read the credentials of registries', { file, error });
        continue;
      }
      try {
        return parseDockerConfig(text, form);
      } catch (error) {
        o.logger.warn('the credentials of registries are wrong', { file, error });
      }
    }
    return [];
  };
  let entries: Promise<DockerEntry[]> = Promise.resolve([]);
  let until = -Infinity;
  return async (repository) => {
    const now = o.clock.now();
    if (now >= until) {
      until = now + lifetimeMs;
      entries = read();
    }
    return entriesFor(await entries, repository).map((e) => e.auth);
  };
}
