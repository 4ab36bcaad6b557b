/** What the API is told of this node's CSI drivers: the CSINode object, and the Node's labels and annotation for them. */
import { migratedPlugins, migratedPluginsAnnotation } from '../../../api/helpers/csi-translation/csi-translation.ts';
import type { CSINode, CSINodeDriver } from '../../../api/types/index.gen.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../../client/errors.ts';
import type { KubeletContext } from '../../context.ts';
import type { NodeInfo } from './messages.ts';

const nodeIdAnnotation = 'csi.volume.kubernetes.io/nodeid';
const attempts = 10;

export class CsiNodeInfo {
  readonly #ctx: KubeletContext;

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
  }

  /** Makes the CSINode object unless it is there, and sees that it tells whose volumes are left to drivers. */
  async ensure(): Promise<CSINode> {
    const { client, nodeName } = this.#ctx;
    try {
      const found = await client.storage.csinodes.get(nodeName);
      if (found.metadata.annotations?.[migratedPluginsAnnotation] === migratedPlugins) return found;
      return await client.storage.csinodes.patch(nodeName, undefined, 'merge', {
        metadata: { annotations: { [migratedPluginsAnnotation]: migratedPlugins } },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    const uid = this.#ctx.node()?.metadata.uid ?? (await client.core.nodes.get(nodeName)).metadata.uid!;
    try {
      return await client.storage.csinodes.create({
        apiVersion: 'storage.k8s.io/v1',
        kind: 'CSINode',
        metadata: {
          name: nodeName,
          annotations: { [migratedPluginsAnnotation]: migratedPlugins },
          ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid }],
        },
        spec: { drivers: [] },
      });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      return client.storage.csinodes.get(nodeName);
    }
  }

  async install(name: string, info: NodeInfo): Promise<void> {
    const nodeId = info.nodeId ?? '';
    if (nodeId === '') throw new Error(`error adding CSI driver node info: driverNodeID must not be empty`);
    const topology = info.accessibleTopology?.segments ?? {};
    await this.#updateNode(name, nodeId, topology);
    const max = info.maxVolumesPerNode ?? 0;
    const driver: CSINodeDriver = {
      name,
      nodeID: nodeId,
      topologyKeys: Object.keys(topology).sort(),
      ...(max > 0 ? { allocatable: { count: Math.min(max, 2 ** 31 - 1) } } : {}),
    };
    await this.#updateDrivers((drivers) => [...drivers.filter((d) => d.name !== name), driver]);
  }

  async uninstall(name: string): Promise<void> {
    await this.#updateDrivers((drivers) => drivers.filter((d) => d.name !== name));
    await this.#updateNode(name, undefined, {});
  }

  async #updateDrivers(change: (drivers: readonly CSINodeDriver[]) => CSINodeDriver[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const object = await this.ensure();
      const before = object.spec?.drivers ?? [];
      const drivers = change(before);
      if (JSON.stringify(drivers) === JSON.stringify(before)) return;
      try {
        await this.#ctx.client.storage.csinodes.update({ ...object, spec: { ...object.spec, drivers } });
        return;
      } catch (error) {
        if (!isConflict(error) || attempt === attempts) throw error;
      }
    }
  }

  /** `nodeId` undefined takes the driver away. */
  async #updateNode(
    name: string,
    nodeId: string | undefined,
    topology: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { client, nodeName } = this.#ctx;
    const node = await client.core.nodes.get(nodeName);
    const labels: Record<string, string> = {};
    for (const [key, value] of Object.entries(topology)) {
      const current = node.metadata.labels?.[key];
      if (current === value) continue;
      if (current !== undefined)
        throw new Error(
          `detected topology value collision: driver reported "${key}":"${value}" but existing label is "${key}":"${current}"`,
        );
      labels[key] = value;
    }
    const text = node.metadata.annotations?.[nodeIdAnnotation];
    const ids = text === undefined ? {} : (JSON.parse(text) as Record<string, string>);
    const same = ids[name] === nodeId;
    if (nodeId === undefined) delete ids[name];
    else ids[name] = nodeId;
    if (same && Object.keys(labels).length === 0) return;
    await client.core.nodes.patch(nodeName, undefined, 'merge', {
      metadata: {
        ...(Object.keys(labels).length === 0 ? {} : { labels }),
        annotations: { [nodeIdAnnotation]: Object.keys(ids).length === 0 ? null : JSON.stringify(ids) },
      },
    });
  }
}
