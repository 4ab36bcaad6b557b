/** CSI drivers of this node: registered through their sockets, told of in the CSINode, asked again for their limits. */
import type { Timer } from '../../../base/clock.ts';
import type { CSIDriver } from '../../../api/types/index.gen.ts';
import { isNotFound } from '../../../client/errors.ts';
import type { KubeletContext } from '../../context.ts';
import { timedCalls } from '../../metrics/timed-calls.ts';
import { errorText } from '../../object-cache.ts';
import { PluginChannels } from './channel.ts';
import { CsiDriverClient } from './driver.ts';
import { CsiNodeInfo } from './node-info.ts';
import type { PluginHandler } from './plugin-registry.ts';
import { PluginRegistry } from './plugin-registry.ts';

const maxDrivers = 1000;

/** What errors of CSI begin with. */
export const csiPrefix = 'kubernetes.io/csi: ';

export class CsiDrivers {
  readonly #ctx: KubeletContext;
  readonly #channels = new PluginChannels();
  readonly #drivers = new Map<string, CsiDriverClient>();
  readonly #info: CsiNodeInfo;
  readonly #registry: PluginRegistry;
  readonly #updates = new Map<string, Timer>();
  #stopped = false;

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
    this.#info = new CsiNodeInfo(ctx);
    const handler: PluginHandler = {
      register: (name, endpoint, versions) => this.#register(name, endpoint, versions),
      deregister: (name) => this.#deregister(name),
    };
    const handlers = new Map([['CSIPlugin', handler]]);
    if (ctx.resources?.dynamic !== undefined) handlers.set('DRAPlugin', ctx.resources.dynamic.handler);
    this.#registry = new PluginRegistry(ctx, this.#channels, handlers);
  }

  async start(): Promise<void> {
    await this.#info.ensure().catch((error: unknown) => {
      // A driver's registration asks for it again.
      this.#ctx.logger.warn('Failed to create the CSINode object', { error });
    });
    await this.#registry.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const t of this.#updates.values()) t.cancel();
    await this.#registry.stop();
    for (const d of this.#drivers.values()) d.close();
    this.#drivers.clear();
  }

  async #register(name: string, endpoint: string, versions: readonly string[]): Promise<void> {
    if (versions.length === 0)
      throw new Error(
        `${csiPrefix}RegisterPlugin for CSI driver "${name}" failed. Plugin returned an empty list for supported versions`,
      );
    if (!versions.some((v) => /^v?1\./.test(v)))
      throw new Error(
        `${csiPrefix}RegisterPlugin for CSI driver "${name}" failed. None of the versions specified "${versions.join(',')}" are supported. err=no supported version found`,
      );
    if (this.#drivers.size >= maxDrivers) throw new Error('too many CSI drivers on this node');
    const channel = this.#channels.node(this.#ctx.host.socketAddress!(endpoint));
    const driver = new CsiDriverClient(name, channel, timedCalls(this.#ctx, 'csi_operations_seconds', name));
    try {
      await this.#info.install(name, await driver.info());
    } catch (error) {
      driver.close();
      throw error;
    }
    this.#drivers.get(name)?.close();
    this.#drivers.set(name, driver);
    await this.#armUpdates(name);
  }

  async #deregister(name: string): Promise<void> {
    this.#updates.get(name)?.cancel();
    this.#updates.delete(name);
    this.#drivers.get(name)?.close();
    this.#drivers.delete(name);
    await this.#info.uninstall(name);
  }

  /** Drivers whose limits change are asked again (KEP-4876). */
  async #armUpdates(name: string): Promise<void> {
    const seconds = (await this.object(name))?.spec?.nodeAllocatableUpdatePeriodSeconds ?? 0;
    if (seconds <= 0 || this.#stopped) return;
    this.#updates.get(name)?.cancel();
    this.#updates.set(
      name,
      this.#ctx.clock.setTicker(seconds * 1000, () => {
        const driver = this.#drivers.get(name);
        if (driver !== undefined) void this.askLimits(driver);
      }),
    );
  }

  /** Tells the CSINode what a driver says of itself now. */
  async askLimits(driver: CsiDriverClient): Promise<void> {
    try {
      await this.#info.install(driver.name, await driver.info());
    } catch (error) {
      this.#ctx.logger.warn('Failed to update CSI driver', { driver: driver.name, error });
    }
  }

  find(name: string): CsiDriverClient | undefined {
    return this.#drivers.get(name);
  }

  /** @throws {Error} when no such driver is registered */
  get(name: string): CsiDriverClient {
    const driver = this.#drivers.get(name);
    if (driver === undefined) throw new Error(`driver name ${name} not found in the list of registered CSI drivers`);
    return driver;
  }

  /** What the API says of a driver. */
  async object(name: string): Promise<CSIDriver | undefined> {
    try {
      return await this.#ctx.client.storage.csidrivers.get(name);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** As `get`; `what` says in the error what the driver is needed for. */
  need(name: string, what: string): CsiDriverClient {
    try {
      return this.get(name);
    } catch (error) {
      throw new Error(`${csiPrefix}${what}${errorText(error)}`, { cause: error });
    }
  }
}
