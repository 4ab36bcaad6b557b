/** Taking a real node off its machine: its pods, their cgroups and mounts, our rules, routes and network configuration. */
import { readFile, rm } from 'node:fs/promises';
import type { Clock } from '../../base/clock.ts';
import { ioHold } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import { createLinuxHost } from '../../kubelet/host/linux/host.ts';
import { unmountTree } from '../../kubelet/host/linux/mounts.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { openCriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { removeAllRules } from '../../proxy/node-proxy.ts';
import { removePodNetwork } from './pod-network.ts';

export interface RemoveOptions {
  readonly rootDir: string;
  readonly cniConfDir: string;
  readonly cgroupRoot: string;
  readonly endpoint: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What could not be undone, each in a few words; empty when nothing is left. */
export async function removeRealNode(o: RemoveOptions): Promise<string[]> {
  // The shell that mounts and unmounts keeps no process alive.
  const release = ioHold();
  const failed: string[] = [];
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failed.push(`${what}: ${(error as Error).message}`);
    }
  };
  await attempt('pods', async () => {
    // Of another kubelet, which has them.
    if (o.endpoint === '') return;
    const runtime = await openCriRuntime({ endpoint: o.endpoint, clock: o.clock, logger: o.logger });
    try {
      await removePods(runtime);
    } finally {
      runtime.close();
    }
  });
  await attempt('cgroups', async () => {
    const host = await createLinuxHost({
      clock: o.clock,
      hostname: 'localhost',
      rootDir: o.rootDir,
      cgroups: { cgroupRoot: o.cgroupRoot },
    });
    await host.cgroups?.remove('/kubepods');
  });
  await attempt('mounts', () => unmountTree(o.rootDir));
  await attempt('Services', () => removeAllRules());
  failed.push(...(await removePodNetwork(o.cniConfDir)));
  await attempt('files', () => rm(o.rootDir, { recursive: true, force: true }));
  release();
  return failed;
}

async function removePods(runtime: CriRuntime): Promise<void> {
  for (const sandbox of await runtime.listPodSandbox()) {
    await runtime.stopPodSandbox(sandbox.id);
    await runtime.removePodSandbox(sandbox.id);
  }
}

/** What `knarr up` writes down of its real node. */
export interface RealNodeRecord {
  readonly rootDir: string;
  readonly cniConfDir: string;
  readonly cgroupRoot: string;
  readonly endpoint: string;
}

export async function readRecord(file: string): Promise<RealNodeRecord | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as RealNodeRecord;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
