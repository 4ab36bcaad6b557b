/** What the etcd server measures of its store, its disk and its calls, with etcd's names. */
import { computed, HistogramVector } from '../base/metric-families.ts';
import type { Family } from '../base/metric-families.ts';
import { CallMetrics } from './call-metrics.ts';
import type { Mvcc } from './mvcc.ts';

const callBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class EtcdMetrics {
  readonly calls = new CallMetrics('server');
  readonly #seconds = new HistogramVector(
    'grpc_server_handling_seconds',
    'How long it took to answer calls that have one answer, in seconds.',
    callBounds,
  );
  readonly #flushes = new HistogramVector(
    'etcd_disk_wal_fsync_duration_seconds',
    'How long it took until what was written together was on stable storage, in seconds.',
    // 1 ms, doubled thirteen times.
    Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i),
  );
  readonly #flushed = this.#flushes.series('', () => ({}));
  readonly families: readonly Family[];

  /** `version`: that of etcd. */
  constructor(mvcc: Mvcc, version: string) {
    mvcc.onFlush = (seconds) => this.#flushed.observe(seconds);
    const gauge = (name: string, help: string, read: () => number): Family =>
      computed('gauge', name, help, () => [[{}, read()]]);
    this.families = [
      gauge('etcd_server_has_leader', 'Whether or not a leader exists.', () => 1),
      gauge('etcd_server_is_leader', 'Whether this member is it: there is no other.', () => 1),
      computed('gauge', 'etcd_server_version', 'The etcd that this one speaks as.', () => [
        [{ server_version: version }, 1],
      ]),
      gauge('etcd_server_proposals_committed_total', 'Revisions that are on stable storage.', () => mvcc.revision),
      gauge('etcd_server_proposals_applied_total', 'Revisions that readers see.', () => mvcc.revision),
      gauge(
        'etcd_server_proposals_pending',
        'Revisions that are on their way to stable storage.',
        () => mvcc.unflushed,
      ),
      gauge('etcd_mvcc_db_total_size_in_bytes', 'Size of the database in bytes.', () => mvcc.size()),
      gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'What of it is in use, in bytes.', () => mvcc.size()),
      gauge('etcd_debugging_mvcc_keys_total', 'Keys that there are.', () => mvcc.keys),
      gauge('etcd_debugging_mvcc_watcher_total', 'Watches that are open.', () => mvcc.watchers),
      gauge('etcd_debugging_mvcc_current_revision', 'The newest revision.', () => mvcc.revision),
      gauge(
        'etcd_debugging_mvcc_compact_revision',
        'Up to where history has been dropped.',
        () => mvcc.compactRevision,
      ),
      this.#flushes,
      ...this.calls.families,
      this.#seconds,
    ];
  }

  /** A call with one answer begins; what is returned is told of its code. */
  begin(path: string): (code: string, seconds: number) => void {
    const counted = this.calls.of(path, 'unary');
    counted.started.inc();
    counted.received.inc();
    return (code, seconds) => {
      if (code === 'OK') counted.sent.inc();
      counted.handled(code).inc();
      const [, service = '', method = ''] = path.split('/');
      this.#seconds
        .series(path, () => ({ grpc_method: method, grpc_service: service, grpc_type: 'unary' }))
        .observe(seconds);
    };
  }
}
