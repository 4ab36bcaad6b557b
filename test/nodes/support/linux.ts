/** What tests of a real Linux machine need: root, directories and cgroups of their own, and their removal. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../src/base/clock.ts';
import type { LinuxHost } from '../../../src/kubelet/host/linux/host.ts';
import { createLinuxHost } from '../../../src/kubelet/host/linux/host.ts';
import { unmountTree } from '../../../src/kubelet/host/linux/mounts.ts';

interface TestContext {
  after(fn: () => unknown): void;
}

/** Why these tests cannot run here; false when they can. With CI=true root is given, and nothing is skipped. */
export const skipWithoutRoot: string | false =
  process.platform !== 'linux'
    ? 'needs Linux'
    : process.getuid?.() === 0
      ? false
      : 'needs root (mounts, cgroups, file owners): run the tests with sudo';

/** A directory that is unmounted and removed after the test. */
export function ownDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'knarr-host-'));
  t.after(async () => {
    await unmountTree(directory);
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

let serial = 0;

/** A host whose kubelet directory and cgroups are the test's own. */
export async function ownHost(
  t: TestContext,
  options: { addresses?: readonly string[] } = {},
): Promise<{ host: LinuxHost; rootDir: string; cgroupRoot: string }> {
  const directory = ownDirectory(t);
  const cgroupRoot = `/knarr-test-${process.pid}-${++serial}`;
  const rootDir = join(directory, 'kubelet');
  const host = await createLinuxHost({
    clock: new SystemClock(),
    hostname: 'n1',
    rootDir,
    cgroups: { cgroupRoot },
    ...(options.addresses === undefined ? {} : { addresses: options.addresses }),
  });
  t.after(() => host.cgroups?.remove('/'));
  return { host, rootDir, cgroupRoot };
}

/** Where a controller's directory of a cgroup is, on either version; undefined when it is not mounted. */
export function cgroupFile(controller: string, name: string, file: string): string | undefined {
  for (const root of [`/sys/fs/cgroup/${controller}`, '/sys/fs/cgroup'])
    if (existsSync(join(root, name, file))) return join(root, name, file);
  return undefined;
}
