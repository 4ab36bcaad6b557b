/**
 * `Dialer`: the way from the API server to nodes, pods and services (logs, exec, attach, port-forward, proxy, webhooks).
 * The network one speaks TCP and TLS; the in-process one reaches simulated nodes and the pods on them by streams.
 */
import type { Duplex } from 'node:stream';

export interface Dialer {
  /**
   * A plain byte stream to a node's kubelet on which HTTP/1.1 is spoken. TLS, where there is any, is already done. `insecure`:
   * whatever certificate the kubelet has will do.
   */
  dialNode(nodeName: string, address: string, port: number, insecure?: boolean): Promise<Duplex>;
  /** A plain TCP stream to a pod address (or any cluster IP). */
  dialTcp(address: string, port: number): Promise<Duplex>;
}
