/** The series of cAdvisor that the kernel alone can tell: throttling, caches, devices, packets, threads, pressure. */
import { labelText } from '../../base/prometheus-text.ts';
import type { CgroupDetails } from '../host/node-host.ts';

/** One pod or container with its labels. */
export interface DetailedSubject {
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly details: CgroupDetails;
  /** It has a network of its own, and is shown as its owner. */
  readonly network: boolean;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly string[];
}

type Read = (d: CgroupDetails) => number | undefined;

const seconds =
  (read: Read): Read =>
  (d) => {
    const n = read(d);
    return n === undefined ? undefined : n / 1e9;
  };
/** Only where there is a quota does the kernel count its periods. */
const limited =
  (read: Read): Read =>
  (d) =>
    (d.cpu.periods ?? 0) > 0 ? read(d) : undefined;

const own: readonly (readonly [name: string, help: string, type: 'counter' | 'gauge', read: Read])[] = [
  [
    'cpu_cfs_periods_total',
    'Number of elapsed enforcement period intervals.',
    'counter',
    limited((d) => d.cpu.periods),
  ],
  [
    'cpu_cfs_throttled_periods_total',
    'Number of throttled period intervals.',
    'counter',
    limited((d) => d.cpu.throttledPeriods),
  ],
  [
    'cpu_cfs_throttled_seconds_total',
    'Total time duration the container has been throttled.',
    'counter',
    limited(seconds((d) => d.cpu.throttled)),
  ],
  [
    'cpu_system_seconds_total',
    'Cumulative system cpu time consumed in seconds.',
    'counter',
    seconds((d) => d.cpu.system),
  ],
  ['cpu_user_seconds_total', 'Cumulative user cpu time consumed in seconds.', 'counter', seconds((d) => d.cpu.user)],
  ['memory_cache', 'Number of bytes of page cache memory.', 'gauge', (d) => d.memory.cache],
  ['memory_failcnt', 'Number of memory usage hits limits', 'counter', (d) => d.memory.failures],
  ['memory_mapped_file', 'Size of memory mapped files in bytes.', 'gauge', (d) => d.memory.mapped],
  ['memory_max_usage_bytes', 'Maximum memory usage recorded in bytes', 'gauge', (d) => d.memory.most],
  ['memory_swap', 'Container swap usage in bytes.', 'gauge', (d) => d.memory.swap],
  ['oom_events_total', 'Count of out of memory events observed for the container', 'counter', (d) => d.oomKills],
  ['threads', 'Number of threads running inside the container', 'gauge', (d) => d.threads],
  ...(['cpu', 'io', 'memory'] as const).flatMap(
    (r) =>
      [
        [
          `pressure_${r}_stalled_seconds_total`,
          `Total time in which no task could go on for lack of ${r}.`,
          'counter',
          seconds((d) => d.pressure?.[r].full),
        ],
        [
          `pressure_${r}_waiting_seconds_total`,
          `Total time in which some task waited for ${r}.`,
          'counter',
          seconds((d) => d.pressure?.[r].some),
        ],
      ] as const,
  ),
];

const perDevice = [
  ['fs_reads_bytes_total', 'Cumulative count of bytes read', 'readBytes'],
  ['fs_reads_total', 'Cumulative count of reads completed', 'reads'],
  ['fs_writes_bytes_total', 'Cumulative count of bytes written', 'writeBytes'],
  ['fs_writes_total', 'Cumulative count of writes completed', 'writes'],
] as const;

const perInterface = [
  ['network_receive_packets_dropped_total', 'Cumulative count of packets dropped while receiving', 'rxDropped'],
  ['network_receive_packets_total', 'Cumulative count of packets received', 'rxPackets'],
  ['network_transmit_packets_dropped_total', 'Cumulative count of packets dropped while transmitting', 'txDropped'],
  ['network_transmit_packets_total', 'Cumulative count of packets transmitted', 'txPackets'],
] as const;

/** Their families, each with the samples of all. */
export function detailFamilies(subjects: readonly DetailedSubject[]): Family[] {
  const out: Family[] = [];
  const time = (s: DetailedSubject): number => Math.round(s.at);
  const add = (name: string, help: string, type: Family['type'], samples: (s: DetailedSubject) => string[]): void => {
    out.push({ name, help, type, samples: subjects.flatMap(samples) });
  };
  for (const [suffix, help, type, read] of own) {
    const name = `container_${suffix}`;
    add(name, help, type, (s) => {
      const value = read(s.details);
      return value === undefined ? [] : [`${name}${labelText(s.labels)} ${value} ${time(s)}`];
    });
  }
  for (const [suffix, help, what] of perDevice) {
    const name = `container_${suffix}`;
    add(name, help, 'counter', (s) =>
      s.details.io.map((d) => `${name}${labelText({ ...s.labels, device: d.device })} ${d[what]} ${time(s)}`),
    );
  }
  for (const [suffix, help, what] of perInterface) {
    const name = `container_${suffix}`;
    add(name, help, 'counter', (s) =>
      (s.network ? (s.details.interfaces ?? []) : []).map(
        (i) => `${name}${labelText({ ...s.labels, interface: i.name })} ${i[what]} ${time(s)}`,
      ),
    );
  }
  add('container_last_seen', 'Last time a container was seen by the exporter', 'gauge', (s) => [
    `container_last_seen${labelText(s.labels)} ${Math.floor(s.at / 1000)} ${time(s)}`,
  ]);
  return out;
}
