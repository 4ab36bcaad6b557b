/**
 * Where the Corefile comes from, and when it has changed: the ConfigMap `kube-system/coredns`, which is followed, or a file, which is
 * looked at from time to time.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { StatusError } from '../api/status.ts';
import type { ConfigMap } from '../api/types/index.gen.ts';
import type { ResourceClient } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ParseOptions } from './corefile/parser.ts';

export interface Corefile {
  readonly text: string;
  /** For messages. */
  readonly file: string;
  readonly directory: string;
  readonly load: NonNullable<ParseOptions['load']>;
  /** Changes with anything in it. */
  readonly version: string;
}

export interface CorefileSource {
  /** What there is now; undefined: nothing. Rejects when it cannot be read. */
  read(): Promise<Corefile | undefined>;
  /** Tells of what comes later. `reloadMs` is asked for each time a file is to be looked at. */
  follow(changed: (corefile: Corefile) => void, reloadMs: () => number | undefined): void;
  stop(): Promise<void>;
}

/** `*` matches any part of a file's name; `?` one character. */
function matcher(pattern: string): RegExp {
  return new RegExp(
    `^${pattern
      .replace(/[.+^${}()|\\[\]]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  );
}

const digest = (text: string): string => createHash('sha512').update(text).digest('hex');

export interface ConfigMapSourceOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly namespace?: string;
  readonly name?: string;
}

/** Imports are other keys of the same ConfigMap, by the last part of the path that is named. */
class ConfigMapSource implements CorefileSource {
  readonly #o: ConfigMapSourceOptions;
  readonly #namespace: string;
  readonly #name: string;
  #informer: Informer | undefined;
  #allowed = true;

  constructor(options: ConfigMapSourceOptions) {
    this.#o = options;
    this.#namespace = options.namespace ?? 'kube-system';
    this.#name = options.name ?? 'coredns';
  }

  #corefile(map: ConfigMap): Corefile | undefined {
    const data = map.data ?? {};
    const text = data['Corefile'];
    if (text === undefined) return undefined;
    return {
      text,
      file: 'Corefile',
      directory: '/etc/coredns',
      load: (pattern) => {
        const wanted = matcher(basename(pattern));
        const keys = Object.keys(data)
          .filter((k) => k !== 'Corefile' && wanted.test(k))
          .sort();
        if (keys.length === 0 && !/[*?]/.test(pattern)) return undefined;
        return keys.map((file) => ({ file, text: data[file]! }));
      },
      version: digest(JSON.stringify(Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1)))),
    };
  }

  async read(): Promise<Corefile | undefined> {
    try {
      return this.#corefile(await this.#o.client.core.configmaps.get(this.#name, this.#namespace));
    } catch (error) {
      if (!(error instanceof StatusError) || (error.code !== 404 && error.code !== 403)) throw error;
      // In a cluster of others, whose role of CoreDNS does not cover it.
      if (error.code === 403) {
        this.#allowed = false;
        this.#o.logger.warn('DNS may not read its ConfigMap, the Corefile is the default one', { error });
      }
      return undefined;
    }
  }

  follow(changed: (corefile: Corefile) => void): void {
    if (!this.#allowed) return;
    const { client, clock, random, logger } = this.#o;
    const tell = (map: ConfigMap): void => {
      const corefile = this.#corefile(map);
      if (corefile !== undefined) changed(corefile);
    };
    const informer = new Informer({
      client: client.core.configmaps as unknown as ResourceClient,
      clock,
      random,
      logger,
      namespace: this.#namespace,
      fieldSelector: `metadata.name=${this.#name}`,
    });
    informer.addHandler({
      onAdd: (map) => tell(map as ConfigMap),
      onUpdate: (_old, map) => tell(map as ConfigMap),
    });
    this.#informer = informer;
    informer.start();
  }

  async stop(): Promise<void> {
    await this.#informer?.stop();
  }
}

class FileSource implements CorefileSource {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(file: string, clock: Clock, random: Random, logger: Logger) {
    this.#file = resolve(file);
    this.#clock = clock;
    this.#random = random;
    this.#logger = logger;
  }

  async read(): Promise<Corefile> {
    const text = await readFile(this.#file, 'utf8');
    const directory = dirname(this.#file);
    // Imported files count: they are read by their times.
    const around: string[] = [];
    if (/^\s*import\s/m.test(text))
      for (const name of (await readdir(directory)).sort()) {
        const { mtimeMs, size } = await stat(join(directory, name));
        around.push(`${name} ${mtimeMs} ${size}`);
      }
    return {
      text,
      file: this.#file,
      directory,
      load: (pattern, from) => {
        const path = isAbsolute(pattern) ? pattern : join(dirname(from), pattern);
        try {
          if (!/[*?]/.test(path)) return [{ file: path, text: readFileSync(path, 'utf8') }];
          const wanted = matcher(basename(path));
          return readdirSync(dirname(path))
            .filter((name) => wanted.test(name))
            .sort()
            .map((name) => join(dirname(path), name))
            .map((file) => ({ file, text: readFileSync(file, 'utf8') }));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
          throw error;
        }
      },
      version: digest([text, ...around].join('\n')),
    };
  }

  follow(changed: (corefile: Corefile) => void, reloadMs: () => number | undefined): void {
    const again = (): void => {
      if (this.#stopped) return;
      const ms = reloadMs() ?? 30_000;
      // Up to half as long again or less, so that not all servers look at once.
      this.#timer = this.#clock.setTimer(ms * (0.75 + this.#random.float() / 2), () => {
        this.read()
          .then(changed, (error: unknown) => this.#logger.debug('DNS cannot read its Corefile', { error }))
          .finally(again);
      });
    };
    again();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}

export function configMapSource(options: ConfigMapSourceOptions): CorefileSource {
  return new ConfigMapSource(options);
}

export function fileSource(
  file: string,
  o: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
): CorefileSource {
  return new FileSource(file, o.clock, o.random, o.logger);
}
