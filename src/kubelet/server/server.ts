/** The kubelet's HTTP API. */
import type { Duplex } from 'node:stream';
import type { Pod } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import type { PodWorker } from '../pod-worker.ts';

export type KubeletAuthorizer = (request: {
  headers: Record<string, string | string[] | undefined>;
  method: string;
  path: string;
}) => Promise<true | 401 | 403>;

export interface KubeletServerOptions {
  readonly ctx: KubeletContext;
  readonly authorizer?: KubeletAuthorizer;
  pods(): readonly Pod[];
  worker(namespace: string, name: string, uid?: string): PodWorker | undefined;
}

export class KubeletServer {
  constructor(_options: KubeletServerOptions) {}
  serve(_stream: Duplex): void {}
  close(): void {}
}
