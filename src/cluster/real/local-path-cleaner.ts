/** Removes the directories of local-path volumes that are gone, on the node where they lie. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { PersistentVolume } from '../../api/types/index.gen.ts';
import { isNotFound } from '../../client/errors.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedClient } from '../../client/typed-client.ts';

/** As the provisioner names them. */
const directoryName = /^(pvc-[0-9a-f-]{36})_/;
const soonMs = 1000;

export class LocalPathCleaner {
  readonly #volumes: Informer<PersistentVolume>;
  readonly #client: TypedClient;
  readonly #root: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #due: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  /** @param options.client may get, list and watch persistentvolumes */
  constructor(options: {
    readonly client: TypedClient;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly root: string;
  }) {
    const { client, clock, random, logger } = options;
    this.#client = client;
    this.#root = options.root;
    this.#clock = clock;
    this.#logger = logger;
    this.#volumes = new Informer({
      client: client.core.persistentvolumes,
      clock,
      random,
      logger,
      transform: (v: PersistentVolume) =>
        ({ metadata: { name: v.metadata.name, resourceVersion: v.metadata.resourceVersion } }) as PersistentVolume,
    });
    this.#volumes.addHandler({ onDelete: () => this.#soon() });
  }

  async start(): Promise<void> {
    this.#volumes.start();
    await this.#volumes.synced;
    this.#soon();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#due?.cancel();
    await this.#volumes.stop();
    await this.#running;
  }

  #soon(): void {
    if (this.#stopped) return;
    this.#due ??= this.#clock.setTimer(soonMs, () => {
      this.#due = undefined;
      this.#running = this.#clean().catch((error: unknown) =>
        this.#logger.warn('directories of deleted volumes could not be removed', { error }),
      );
    });
  }

  async #exists(volume: string): Promise<boolean> {
    try {
      await this.#client.core.persistentvolumes.get(volume);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async #clean(): Promise<void> {
    const names = await readdir(this.#root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    for (const name of names) {
      const volume = directoryName.exec(name)?.[1];
      if (volume === undefined || this.#volumes.lister.get(volume) !== undefined) continue;
      // Its volume may be younger than what has reached us.
      if (await this.#exists(volume)) continue;
      // A symbolic link is removed, not what it leads to.
      await rm(join(this.#root, name), { recursive: true, force: true });
    }
  }
}
