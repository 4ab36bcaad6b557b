/** How long a metric's name and labels are going to stand, as upstream promises: it stands before the help text. */
import { computed, type Family } from './exposition.ts';

const stable = new Set([
  'apiserver_admission_controller_admission_duration_seconds',
  'apiserver_admission_step_admission_duration_seconds',
  'apiserver_admission_webhook_admission_duration_seconds',
  'apiserver_current_inflight_requests',
  'apiserver_longrunning_requests',
  'apiserver_request_duration_seconds',
  'apiserver_request_total',
  'apiserver_requested_deprecated_apis',
  'apiserver_response_sizes',
  'apiserver_storage_objects',
  'apiserver_storage_size_bytes',
  'kubernetes_healthcheck',
  'kubernetes_healthchecks_total',
]);

const beta = new Set([
  'apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds',
  'apiserver_authentication_config_controller_automatic_reloads_total',
  'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
  'apiserver_authorization_config_controller_automatic_reloads_total',
  'apiserver_cel_compilation_duration_seconds',
  'apiserver_cel_evaluation_duration_seconds',
  'apiserver_flowcontrol_current_executing_requests',
  'apiserver_flowcontrol_current_executing_seats',
  'apiserver_flowcontrol_current_inqueue_requests',
  'apiserver_flowcontrol_dispatched_requests_total',
  'apiserver_flowcontrol_nominal_limit_seats',
  'apiserver_flowcontrol_rejected_requests_total',
  'apiserver_flowcontrol_request_wait_duration_seconds',
  'apiserver_storage_events_received_total',
  'apiserver_validating_admission_policy_check_duration_seconds',
  'apiserver_validating_admission_policy_check_total',
  'apiserver_validation_declarative_validation_mismatch_total',
  'apiserver_validation_declarative_validation_panic_total',
  'apiserver_watch_list_duration_seconds',
  'disabled_metrics_total',
  'hidden_metrics_total',
  'kubernetes_build_info',
  'kubernetes_feature_enabled',
  'registered_metrics_total',
  'running_managed_controllers',
]);

/** Those that are nobody's promise: of the process. */
const bare = /^(?:process|nodejs|grpc_client|grpc_server|etcd_server|etcd_disk|etcd_mvcc|etcd_debugging_mvcc|knarr)_/;
/** Upstream says nothing of these. */
const unsaid = new Set([
  'apiserver_flowcontrol_demand_seats',
  'apiserver_flowcontrol_priority_level_request_utilization',
  'apiserver_flowcontrol_priority_level_seat_utilization',
  'apiserver_flowcontrol_read_vs_write_current_requests',
]);

export function stabilityOf(name: string): '' | 'ALPHA' | 'BETA' | 'STABLE' {
  if (stable.has(name)) return 'STABLE';
  if (beta.has(name)) return 'BETA';
  return bare.test(name) || unsaid.has(name) ? '' : 'ALPHA';
}

/** The help text with the level before it. */
export function helpOf(family: Family): string {
  const level = stabilityOf(family.name);
  if (unsaid.has(family.name)) return `EXPERIMENTAL: [ALPHA] ${family.help}`;
  return level === '' || /^\[(?:ALPHA|BETA|STABLE)\]/.test(family.help) ? family.help : `[${level}] ${family.help}`;
}

/** How many metrics there are. */
export function metaFamilies(families: () => readonly Family[]): Family[] {
  return [
    computed(
      'counter',
      'registered_metrics_total',
      'The count of registered metrics broken by stability level and deprecation version.',
      () => {
        const counts = new Map<string, number>();
        for (const { name } of families()) {
          const level = stabilityOf(name);
          counts.set(level, (counts.get(level) ?? 0) + 1);
        }
        return [...counts].map(([level, n]) => [{ deprecated_version: '', stability_level: level }, n] as const);
      },
    ),
    computed(
      'counter',
      'apiserver_validation_declarative_validation_mismatch_total',
      'Number of times declarative validation results differed from handwritten validation results for core types.',
      () => [[{}, 0]],
    ),
    computed(
      'counter',
      'apiserver_validation_declarative_validation_panic_total',
      'Number of times declarative validation has panicked during validation.',
      () => [[{}, 0]],
    ),
    computed('counter', 'disabled_metrics_total', 'The count of disabled metrics.', () => [[{}, 0]]),
    computed('counter', 'hidden_metrics_total', 'The count of hidden metrics.', () => [[{}, 0]]),
  ];
}
