/**
 * Plugins that register themselves: each puts a socket into the kubelet's `plugins_registry` directory, is asked there who it is,
 * and is told what became of it. A socket that goes away takes its plugin with it.
 */
import type { Timer } from '../../../base/clock.ts';
import type { KubeletContext } from '../../context.ts';
import { errorText } from '../../object-cache.ts';
import type { PluginChannels } from './channel.ts';
import type { PluginInfo } from './messages.ts';

/** What is done with plugins of one type. */
export interface PluginHandler {
  /** Rejects when the plugin cannot be used. */
  register(name: string, endpoint: string, versions: readonly string[]): Promise<void>;
  deregister(name: string, endpoint: string): Promise<void>;
}

interface Known {
  readonly identity: string;
  /** Undefined while it is not registered. */
  plugin: { readonly name: string; readonly endpoint: string; readonly handler: PluginHandler } | undefined;
  failures: number;
  retryAt: number;
}

/** A look at the directory without being told to: announcements can be lost. */
const rescanMs = 10_000;
const retryMs = 500;
const maxRetryMs = 122_000;
const infoTimeoutMs = 1000;
const notifyTimeoutMs = 5000;
/** Directories below the registry that are looked into. */
const maxDepth = 3;

export class PluginRegistry {
  readonly #ctx: KubeletContext;
  readonly #channels: PluginChannels;
  readonly #handlers: ReadonlyMap<string, PluginHandler>;
  readonly #known = new Map<string, Known>();
  readonly #watches = new Map<string, () => void>();
  #timer: Timer | undefined;
  #scanning: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(ctx: KubeletContext, channels: PluginChannels, handlers: ReadonlyMap<string, PluginHandler>) {
    this.#ctx = ctx;
    this.#channels = channels;
    this.#handlers = handlers;
  }

  get directory(): string {
    return `${this.#ctx.rootDir}/plugins_registry`;
  }

  async start(): Promise<void> {
    await this.#ctx.host.mkdir(this.directory, 0o750);
    this.#rescan();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const end of this.#watches.values()) end();
    this.#watches.clear();
    await this.#scanning;
  }

  #rescan(): void {
    if (this.#stopped) return;
    if (this.#scanning !== undefined) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#scanning = this.#scan()
      .catch((error: unknown) => this.#ctx.logger.warn('Failed to look for plugins', { error }))
      .finally(() => {
        this.#scanning = undefined;
        if (this.#again) {
          this.#again = false;
          this.#rescan();
        } else this.#arm();
      });
  }

  #arm(): void {
    if (this.#stopped) return;
    let at = this.#ctx.clock.now() + rescanMs;
    for (const k of this.#known.values()) if (k.plugin === undefined) at = Math.min(at, k.retryAt);
    this.#timer = this.#ctx.clock.setTimer(Math.max(at - this.#ctx.clock.now(), 10), () => this.#rescan());
  }

  async #scan(): Promise<void> {
    const sockets = new Map<string, string>();
    const directories = new Set<string>();
    await this.#look(this.directory, 1, sockets, directories);
    for (const [path, end] of this.#watches) {
      if (directories.has(path)) continue;
      end();
      this.#watches.delete(path);
    }
    for (const path of directories)
      if (!this.#watches.has(path))
        this.#watches.set(
          path,
          this.#ctx.host.watchDirectory(path, () => this.#rescan()),
        );
    for (const [path, known] of this.#known) {
      if (sockets.get(path) === known.identity) continue;
      this.#known.delete(path);
      await this.#deregister(path, known);
    }
    const now = this.#ctx.clock.now();
    for (const [path, identity] of sockets) {
      let known = this.#known.get(path);
      if (known === undefined) {
        known = { identity, plugin: undefined, failures: 0, retryAt: now };
        this.#known.set(path, known);
      }
      if (known.plugin === undefined && known.retryAt <= now) await this.#register(path, known);
    }
  }

  async #look(directory: string, depth: number, sockets: Map<string, string>, directories: Set<string>): Promise<void> {
    directories.add(directory);
    for (const name of await this.#ctx.host.list(directory)) {
      if (name.startsWith('.')) continue;
      const path = `${directory}/${name}`;
      const stat = await this.#ctx.host.stat(path);
      if (stat?.type === 'socket') sockets.set(path, String(stat.mtime));
      else if (stat?.type === 'directory' && depth < maxDepth) await this.#look(path, depth + 1, sockets, directories);
    }
  }

  async #deregister(path: string, known: Known): Promise<void> {
    if (known.plugin === undefined) return;
    const { name, endpoint, handler } = known.plugin;
    known.plugin = undefined;
    this.#ctx.logger.info('Plugin has gone', { plugin: name, socket: path });
    await handler.deregister(name, endpoint).catch((error: unknown) => {
      this.#ctx.logger.warn('Failed to deregister plugin', { plugin: name, error });
    });
  }

  async #register(path: string, known: Known): Promise<void> {
    const channel = this.#channels.registration(this.#ctx.host.socketAddress!(path));
    const notify = (registered: boolean, error: string): Promise<object> =>
      channel.call('NotifyRegistrationStatus', { pluginRegistered: registered, error }, notifyTimeoutMs);
    try {
      const info = await channel.call<PluginInfo>('GetInfo', {}, infoTimeoutMs);
      const name = info.name ?? '';
      const handler = this.#handlers.get(info.type ?? '');
      if (handler === undefined) {
        const text = `RegisterPlugin error -- no handler registered for plugin type: ${info.type ?? ''} at socket ${path}`;
        await notify(false, text);
        throw new Error(text);
      }
      const endpoint = info.endpoint === undefined || info.endpoint === '' ? path : info.endpoint;
      try {
        await handler.register(name, endpoint, info.supportedVersions ?? []);
      } catch (error) {
        await notify(false, `RegisterPlugin error -- plugin registration failed with err: ${errorText(error)}`);
        throw error;
      }
      known.plugin = { name, endpoint, handler };
      known.failures = 0;
      this.#ctx.logger.info('Plugin registered', { plugin: name, socket: path });
      await notify(true, '').catch(async (error: unknown) => {
        known.plugin = undefined;
        await handler.deregister(name, endpoint);
        throw error;
      });
    } catch (error) {
      const wait = Math.min(retryMs * 2 ** known.failures++, maxRetryMs);
      known.retryAt = this.#ctx.clock.now() + wait;
      this.#ctx.logger.warn('Failed to register plugin', { socket: path, error });
    } finally {
      channel.close();
    }
  }
}
