/** Flags of auditing: the policy, the log and the webhook, each with its mode, batches and limits. */
import type { AuditFlags, AuditPluginFlags } from '../../cluster/processes/audit.ts';
import type { Flag, FlagValues } from '../flags.ts';
import { UsageError } from '../errors.ts';
import type { Values } from './component.ts';

function pluginFlags(plugin: 'log' | 'webhook'): Flag[] {
  const log = plugin === 'log';
  const name = (rest: string): string => `audit-${plugin}-${rest}`;
  return [
    {
      name: name('mode'),
      kind: 'string',
      value: 'batch|blocking|blocking-strict',
      default: log ? 'blocking' : 'batch',
      help: 'in the background, or while the request waits; strictly: a request whose receipt cannot be told fails',
    },
    { name: name('batch-buffer-size'), kind: 'int', default: 10_000, help: 'events that may wait (mode batch)' },
    { name: name('batch-max-size'), kind: 'int', default: log ? 1 : 400, help: 'events of a batch (mode batch)' },
    {
      name: name('batch-max-wait'),
      kind: 'duration',
      default: log ? 0 : 30_000,
      help: 'when a batch goes out although it is not full (mode batch)',
    },
    { name: name('batch-throttle-enable'), kind: 'bool', default: !log, help: 'limit batches a second (mode batch)' },
    {
      name: name('batch-throttle-qps'),
      kind: 'string',
      value: 'n',
      default: log ? '0' : '10',
      help: 'batches a second (mode batch)',
    },
    {
      name: name('batch-throttle-burst'),
      kind: 'int',
      default: log ? 0 : 15,
      help: 'batches at once when there were few before (mode batch)',
    },
    { name: name('truncate-enabled'), kind: 'bool', default: false, help: 'cut events and batches that are too large' },
    { name: name('truncate-max-batch-size'), kind: 'int', default: 10 * 1024 * 1024, help: 'bytes of a batch' },
    {
      name: name('truncate-max-event-size'),
      kind: 'int',
      default: 100 * 1024,
      help: 'bytes of an event; a larger one goes without its objects, or not at all',
    },
    { name: name('version'), kind: 'string', default: 'audit.k8s.io/v1', help: 'form of the events' },
  ];
}

export const auditFlags: readonly Flag[] = [
  {
    name: 'audit-policy-file',
    kind: 'string',
    value: 'FILE',
    help: 'Policy of audit.k8s.io/v1: what is told, and how',
  },
  { name: 'audit-log-path', kind: 'string', value: 'FILE', help: 'file of the audit log; - for standard output' },
  { name: 'audit-log-format', kind: 'string', default: 'json', value: 'json|legacy', help: 'form of its lines' },
  { name: 'audit-log-maxsize', kind: 'int', default: 100, help: 'MiB after which a new file is begun; 0: never' },
  { name: 'audit-log-maxage', kind: 'int', default: 366, help: 'days that old files are kept; 0: for ever' },
  { name: 'audit-log-maxbackup', kind: 'int', default: 100, help: 'old files that are kept; 0: all' },
  { name: 'audit-log-compress', kind: 'bool', default: false, help: 'compress old files' },
  ...pluginFlags('log'),
  { name: 'audit-webhook-config-file', kind: 'string', value: 'FILE', help: 'kubeconfig of who is sent the events' },
  {
    name: 'audit-webhook-initial-backoff',
    kind: 'duration',
    default: 10_000,
    help: 'pause before a failed batch is sent again',
  },
  ...pluginFlags('webhook'),
];

/** Those that a command with few flags has; the others are as when left out. */
export const commonAuditFlags: readonly Flag[] = auditFlags.filter(
  (f) => !/-(?:batch|truncate|mode|version|initial)/.test(f.name),
);

/** What the flags hold when left out. */
export const auditDefaults: FlagValues = Object.fromEntries(auditFlags.map((f) => [f.name, f.default]));

function pluginValues(v: Values, plugin: 'log' | 'webhook'): AuditPluginFlags {
  const name = (rest: string): string => `audit-${plugin}-${rest}`;
  const qps = Number(v.text(name('batch-throttle-qps')));
  if (Number.isNaN(qps))
    throw new UsageError(
      `invalid argument "${v.text(name('batch-throttle-qps'))}" for "--${name('batch-throttle-qps')}"`,
    );
  return {
    mode: v.text(name('mode')),
    bufferSize: v.int(name('batch-buffer-size')),
    maxBatchSize: v.int(name('batch-max-size')),
    maxBatchWaitMs: v.ms(name('batch-max-wait')),
    throttleEnable: v.bool(name('batch-throttle-enable')),
    throttleQps: qps,
    throttleBurst: v.int(name('batch-throttle-burst')),
    truncateEnabled: v.bool(name('truncate-enabled')),
    truncateMaxBatchSize: v.int(name('truncate-max-batch-size')),
    truncateMaxEventSize: v.int(name('truncate-max-event-size')),
    version: v.text(name('version')),
  };
}

export function auditValues(v: Values): AuditFlags {
  return {
    policyFile: v.string('audit-policy-file'),
    logPath: v.string('audit-log-path'),
    logFormat: v.text('audit-log-format'),
    logMaxSize: v.int('audit-log-maxsize'),
    logMaxAge: v.int('audit-log-maxage'),
    logMaxBackup: v.int('audit-log-maxbackup'),
    logCompress: v.bool('audit-log-compress'),
    log: pluginValues(v, 'log'),
    webhookConfigFile: v.string('audit-webhook-config-file'),
    webhookInitialBackoffMs: v.ms('audit-webhook-initial-backoff'),
    webhook: pluginValues(v, 'webhook'),
  };
}
