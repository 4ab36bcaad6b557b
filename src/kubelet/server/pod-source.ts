/** What the kubelet's HTTP server must know of the node's pods: the kubelet's pod workers answer it. */
import type { Pod } from '../../api/types/index.gen.ts';

/** A pod of the node together with what the runtime holds of it. */
export interface SourcedPod {
  readonly pod: Pod;
  /** The pod's current sandbox; undefined before it exists. */
  readonly sandboxId?: string | undefined;
  /**
   * The runtime's id of a container of the pod (init and ephemeral ones included): the newest one, or with `previous` the one
   * before it that has ended. Undefined when there is none.
   */
  containerId(name: string, previous?: boolean): string | undefined;
}

export interface PodSource {
  /** The pod as the kubelet manages it now; undefined when this node has none of that name. */
  get(namespace: string, name: string): SourcedPod | undefined;
  /** All pods bound to this node. */
  list(): readonly Pod[];
}
