/** What a process tells of itself, with the names of Prometheus' process collector, and what program it is. */
import { readdirSync, readFileSync } from 'node:fs';
import { earlier, type EffectiveVersion } from '../../api/features/emulation.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Clock } from '../../base/clock.ts';
import { computed, type Family, type Labels } from './exposition.ts';

/** A file of /proc, where there is one. */
function proc(file: string): string {
  try {
    return readFileSync(`/proc/self/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** None where the system does not tell. */
function told(value: number): readonly (readonly [Labels, number])[] {
  return Number.isFinite(value) ? [[{}, value]] : [];
}

function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return NaN;
  }
}

/** All interfaces of the process's network: bytes received (0) or sent (1). */
function networkBytes(way: number): number {
  const line = /^IpExt: (\d.*)$/m.exec(proc('net/netstat'))?.[1];
  const names = /^IpExt: (In.*)$/m.exec(proc('net/netstat'))?.[1]?.split(' ') ?? [];
  return Number(line?.split(' ')[names.indexOf(way === 0 ? 'InOctets' : 'OutOctets')]);
}

export function processFamilies(clock: Clock): Family[] {
  const started = clock.now() / 1000;
  return [
    computed('counter', 'process_cpu_seconds_total', 'Total user and system CPU time spent in seconds.', () => {
      const { user, system } = process.cpuUsage();
      return told((user + system) / 1e6);
    }),
    computed('gauge', 'process_resident_memory_bytes', 'Resident memory size in bytes.', () =>
      told(process.memoryUsage.rss()),
    ),
    computed('gauge', 'process_virtual_memory_bytes', 'Virtual memory size in bytes.', () =>
      told(Number(/VmSize:\s+(\d+)/.exec(proc('status'))?.[1]) * 1024),
    ),
    computed(
      'gauge',
      'process_virtual_memory_max_bytes',
      'Maximum amount of virtual memory available in bytes.',
      () => {
        const limit = /Max address space\s+(\S+)/.exec(proc('limits'))?.[1];
        // As Go's collector writes no limit.
        return told(limit === 'unlimited' ? 2 ** 64 : Number(limit));
      },
    ),
    ...(['receive', 'transmit'] as const).map((way, i) =>
      computed(
        'counter',
        `process_network_${way}_bytes_total`,
        `Number of bytes ${way === 'receive' ? 'received' : 'sent'} by the process over the network.`,
        () => told(networkBytes(i)),
      ),
    ),
    computed('gauge', 'process_open_fds', 'Number of open file descriptors.', () => told(openFiles())),
    computed('gauge', 'process_max_fds', 'Maximum number of open file descriptors.', () =>
      told(Number(/Max open files\s+(\d+)/.exec(proc('limits'))?.[1])),
    ),
    computed('gauge', 'process_start_time_seconds', 'Start time of the process since unix epoch in seconds.', () =>
      told(started),
    ),
    computed('gauge', 'nodejs_heap_size_used_bytes', 'Heap of the JavaScript engine in use, in bytes.', () =>
      told(process.memoryUsage().heapUsed),
    ),
  ];
}

/** `gitVersion`: `v1.36.2+knarr.0.1.0` */
export function buildInfo(gitVersion: string): Family {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(gitVersion) ?? [];
  return computed(
    'gauge',
    'kubernetes_build_info',
    "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
    () => [
      [
        {
          build_date: '1970-01-01T00:00:00Z',
          compiler: 'v8',
          git_commit: '',
          git_tree_state: 'clean',
          git_version: gitVersion,
          go_version: `node${process.version}`,
          major,
          minor,
          platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
        },
        1,
      ],
    ],
  );
}

/** The versions that it is, and which features it has. */
export function buildFamilies(
  gitVersion: string,
  features: FeatureGates,
  effective?: Pick<EffectiveVersion, 'emulation' | 'minCompatibility'>,
): Family[] {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(gitVersion) ?? [];
  const { emulation, minCompatibility } = effective ?? {
    emulation: `${major}.${minor}`,
    minCompatibility: earlier(`${major}.${minor}`, 1),
  };
  return [
    computed(
      'gauge',
      'version_info',
      'Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.',
      () => [[{ binary: `${major}.${minor}`, component: 'kube', emulation, min_compat: minCompatibility }, 1]],
    ),
    buildInfo(gitVersion),
    computed(
      'gauge',
      'kubernetes_feature_enabled',
      'This metric records the data about the stage and enablement of a k8s feature.',
      function* () {
        for (const { name, stage, enabled } of features.entries())
          yield [{ name, stage: stage === 'GA' ? '' : stage.toUpperCase() }, enabled ? 1 : 0] as const;
      },
    ),
  ];
}
