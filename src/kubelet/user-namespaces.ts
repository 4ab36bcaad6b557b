/**
 * User ids of pods' own (`hostUsers: false`): each such pod has a range of the node's ids that nobody else has. Ranges are kept in
 * the pods' directories (file `userns`, as upstream), so that a restarted kubelet gives none away twice.
 */
import type { Pod } from '../api/types/index.gen.ts';
import type { NodeHost } from './host/node-host.ts';
import type { ContainerRuntime, IdMapping, NamespaceOption } from './runtime/container-runtime.ts';

const file = 'userns';

interface Mappings {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
}

export interface UserNamespacesOptions {
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  /** The kubelet's own directory. */
  readonly rootDir: string;
  readonly maxPods: number;
  /** How many ids each pod has; a multiple of 65536. */
  readonly idsPerPod: number;
}

export class UserNamespaces {
  readonly #o: UserNamespacesOptions;
  /** First id of each pod's range, by the pod's uid. */
  readonly #used = new Map<string, number>();
  #loaded: Promise<void> | undefined;

  constructor(options: UserNamespacesOptions) {
    this.#o = options;
  }

  /** Undefined for a pod that uses the node's ids. Rejects with upstream's text when the runtime cannot do it. */
  of(pod: Pod, runtimeHandler: string): Promise<NamespaceOption['usernsOptions']> {
    return pod.spec?.hostUsers === false ? this.#own(pod, runtimeHandler) : noOptions;
  }

  async #own(pod: Pod, runtimeHandler: string): Promise<NamespaceOption['usernsOptions']> {
    const { runtimeHandlers } = await this.#o.runtime.status();
    const handler = runtimeHandlers.find((h) => h.name === runtimeHandler);
    if (handler?.features?.userNamespaces !== true)
      throw new Error(
        runtimeHandler === ''
          ? "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
          : `can't set \`spec.hostUsers: false\`, RuntimeClass handler "${runtimeHandler}" does not support user namespaces`,
      );
    await (this.#loaded ??= this.#load());
    const uid = pod.metadata.uid!;
    let first = this.#used.get(uid);
    if (first === undefined) {
      first = this.#free();
      this.#used.set(uid, first);
      const mapping: IdMapping = { hostId: first, containerId: 0, length: this.#o.idsPerPod };
      const mappings: Mappings = { uidMappings: [mapping], gidMappings: [mapping] };
      try {
        await this.#o.host.writeFile(this.#path(uid), JSON.stringify(mappings), 0o600);
      } catch (error) {
        this.#used.delete(uid);
        throw error;
      }
    }
    const mapping: IdMapping = { hostId: first, containerId: 0, length: this.#o.idsPerPod };
    return { mode: 'POD', uids: [mapping], gids: [mapping] };
  }

  #path(uid: string): string {
    return `${this.#o.rootDir}/pods/${uid}/${file}`;
  }

  /** The ranges begin above the node's own ids. */
  #free(): number {
    const used = new Set(this.#used.values());
    const { idsPerPod: length, maxPods } = this.#o;
    for (let i = 1; i <= maxPods; i++) if (!used.has(i * length)) return i * length;
    throw new Error('create user namespace: could not find an empty slot to allocate a user namespace');
  }

  /** What an earlier kubelet has given away. */
  async #load(): Promise<void> {
    const { host, rootDir } = this.#o;
    for (const uid of await host.list(`${rootDir}/pods`)) {
      const data = await host.readFile(this.#path(uid));
      if (data === undefined || data.length === 0) continue;
      const { uidMappings } = JSON.parse(data.toString()) as Mappings;
      const first = uidMappings[0]?.hostId;
      if (uidMappings.length !== 1 || first === undefined || first % this.#o.idsPerPod !== 0)
        throw new Error(`user namespace: invalid user namespace mappings file of pod ${uid}`);
      this.#used.set(uid, first);
    }
  }

  /** The pod's directory is gone, and its range free. */
  release(uid: string): void {
    if (this.#used.size > 0) this.#used.delete(uid);
  }
}

const noOptions: Promise<undefined> = Promise.resolve(undefined);
