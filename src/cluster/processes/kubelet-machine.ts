/** What a kubelet asks of the machine it is started on: no swap unless it may be there, a version of cgroups, its own OOM score. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { Logger } from '../../base/logger.ts';
import type { KubeletConfiguration } from '../../kubelet/configuration/configuration.ts';
import { StartError } from './environment.ts';
import type { ReadConfiguration } from './kubelet-config.ts';

/** Lines of `/proc/swaps` that are swap on disk. */
function swaps(text: string): string[] {
  return text
    .split('\n')
    .slice(1)
    .filter((line) => line.trim() !== '' && !line.includes('tmpfs'));
}

/** What upstream's kubelet sets the kernel to. Here it is only looked at, when `protectKernelDefaults` asks for it. */
const kernelSettings: Readonly<Record<string, number>> = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
};

/** One line for each setting of the kernel that is not as it should be. */
async function wrongKernelSettings(): Promise<string[]> {
  const out: string[] = [];
  for (const [name, wanted] of Object.entries(kernelSettings)) {
    try {
      const value = (await readFile(`/proc/sys/${name}`, 'utf8')).trim();
      if (value !== String(wanted))
        out.push(`invalid kernel flag: ${name}, expected value: ${wanted}, actual value: ${value}`);
    } catch (error) {
      out.push((error as Error).message);
    }
  }
  return out;
}

/** @throws StartError one line for what this machine has and must not have */
export async function checkMachine({ configuration: c, given }: ReadConfiguration): Promise<void> {
  if (process.platform !== 'linux') return;
  if (c.failSwapOn) {
    const text = await readFile('/proc/swaps', 'utf8').catch(() => '');
    const lines = swaps(text);
    if (lines.length > 0)
      throw new StartError(
        `running with swap on is not supported, please disable swap or set --fail-swap-on flag to false. /proc/swaps contained: [${lines.join(' ')}]`,
      );
  }
  if (c.protectKernelDefaults) {
    const wrong = await wrongKernelSettings();
    if (wrong.length > 0)
      throw new StartError(
        `failed to start ContainerManager: ${wrong.length === 1 ? wrong[0] : `[${wrong.join(', ')}]`}`,
      );
  }
  const v2 = await stat('/sys/fs/cgroup/cgroup.controllers').then(
    () => true,
    () => false,
  );
  if (v2) return;
  // Both versions work here: only who asks for it is kept from the first one.
  if (given['failCgroupV1'] === true)
    throw new StartError(
      'kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release',
    );
  if (c.singleProcessOOMKill === false)
    throw new StartError(
      'failed to validate kubelet configuration, error: invalid configuration: singleProcessOOMKill must not be explicitly set to false when using cgroup v1',
    );
}

/** Sets how likely the kernel is to end this process when memory runs out. */
export async function setOomScore(c: KubeletConfiguration, logger: Logger): Promise<void> {
  try {
    await writeFile('/proc/self/oom_score_adj', String(c.oomScoreAdj));
  } catch (error) {
    logger.warn('oomScoreAdj cannot be set', { value: c.oomScoreAdj, why: (error as Error).message });
  }
}
