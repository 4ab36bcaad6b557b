/** Auditing from flags: reads the policy, opens the log and the webhook. Upstream's messages for what does not fit. */
import {
  auditModes,
  unionBackend,
  wrapBackend,
  type AuditBackend,
  type AuditMode,
} from '../../apiserver/audit/backend.ts';
import { auditFormats, logBackend, RotatedFile, standardOutput } from '../../apiserver/audit/log-backend.ts';
import type { AuditFormat } from '../../apiserver/audit/log-backend.ts';
import { AuditMetrics } from '../../apiserver/audit/metrics.ts';
import { parseAuditPolicy, type AuditPolicy } from '../../apiserver/audit/policy.ts';
import { webhookBackend } from '../../apiserver/audit/webhook-backend.ts';
import type { AuditOptions } from '../../apiserver/filters/audit.ts';
import { HttpTransport } from '../../client/http-transport.ts';
import { webhookConnection } from '../webhook-kubeconfig.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError, type ComponentEnvironment } from './environment.ts';

type Environment = Pick<ComponentEnvironment, 'clock' | 'random' | 'logger'>;

/** Of one backend, as upstream's flags. */
export interface AuditPluginFlags {
  readonly mode: string;
  readonly bufferSize: number;
  readonly maxBatchSize: number;
  readonly maxBatchWaitMs: number;
  readonly throttleEnable: boolean;
  readonly throttleQps: number;
  readonly throttleBurst: number;
  readonly truncateEnabled: boolean;
  readonly truncateMaxBatchSize: number;
  readonly truncateMaxEventSize: number;
  readonly version: string;
}

export interface AuditFlags {
  readonly policyFile: string | undefined;
  readonly logPath: string | undefined;
  readonly logFormat: string;
  readonly logMaxSize: number;
  readonly logMaxAge: number;
  readonly logMaxBackup: number;
  readonly logCompress: boolean;
  readonly log: AuditPluginFlags;
  readonly webhookConfigFile: string | undefined;
  readonly webhookInitialBackoffMs: number;
  readonly webhook: AuditPluginFlags;
}

function checkPlugin(plugin: string, f: AuditPluginFlags): void {
  const batch = `invalid audit batch ${plugin}`;
  if (!(auditModes as readonly string[]).includes(f.mode))
    throw new StartError(`invalid audit ${plugin} mode ${f.mode}, allowed modes are "${auditModes.join(',')}"`);
  if (f.mode === 'batch') {
    if (f.bufferSize <= 0) throw new StartError(`${batch} buffer size ${f.bufferSize}, must be a positive number`);
    if (f.maxBatchSize <= 0)
      throw new StartError(`${batch} max batch size ${f.maxBatchSize}, must be a positive number`);
    if (f.throttleEnable && f.throttleQps <= 0)
      throw new StartError(`${batch} throttle QPS ${f.throttleQps}, must be a positive number`);
    if (f.throttleEnable && f.throttleBurst <= 0)
      throw new StartError(`${batch} throttle burst ${f.throttleBurst}, must be a positive number`);
  }
  const { truncateMaxBatchSize: most, truncateMaxEventSize: one } = f;
  if (one <= 0)
    throw new StartError(`invalid audit truncate ${plugin} max event size ${one}, must be a positive number`);
  if (most < one)
    throw new StartError(
      `invalid audit truncate ${plugin} max batch size ${most}, must be greater than max event size (${one})`,
    );
  if (f.version !== 'audit.k8s.io/v1')
    throw new StartError('invalid group version, allowed versions are ["audit.k8s.io/v1"]');
}

function wrapOptions(f: AuditPluginFlags): Parameters<typeof wrapBackend>[1] {
  return {
    mode: f.mode as AuditMode,
    batch: {
      bufferSize: f.bufferSize,
      maxBatchSize: f.maxBatchSize,
      maxBatchWaitMs: f.maxBatchWaitMs,
      throttle: f.throttleEnable ? { qps: f.throttleQps, burst: f.throttleBurst } : undefined,
    },
    truncate: f.truncateEnabled
      ? { maxEventSize: f.truncateMaxEventSize, maxBatchSize: f.truncateMaxBatchSize }
      : undefined,
  };
}

/** @throws {StartError} */
async function readPolicy(file: string, env: Environment): Promise<AuditPolicy> {
  const text = await readNamed('audit-policy-file', file);
  try {
    return parseAuditPolicy(await loadYaml(text), (message) => env.logger.warn(message));
  } catch (error) {
    throw new StartError(`loading audit policy file: ${(error as Error).message}: from file ${file}`, { cause: error });
  }
}

/** Undefined when nothing is audited. @throws {StartError} */
export async function createAudit(flags: AuditFlags, env: Environment): Promise<AuditOptions | undefined> {
  const { clock, logger, random } = env;
  const log = flags.logPath !== undefined && flags.logPath !== '';
  const webhook = flags.webhookConfigFile !== undefined && flags.webhookConfigFile !== '';
  if (log) {
    checkPlugin('log', flags.log);
    if (!(auditFormats as readonly string[]).includes(flags.logFormat))
      throw new StartError(
        `invalid audit log format ${flags.logFormat}, allowed formats are "${[...auditFormats].join(',')}"`,
      );
    for (const [name, value] of [
      ['maxage', flags.logMaxAge],
      ['maxbackup', flags.logMaxBackup],
      ['maxsize', flags.logMaxSize],
    ] as const)
      if (value < 0) throw new StartError(`--audit-log-${name} ${value} can't be a negative number`);
  }
  if (webhook) checkPlugin('webhook', flags.webhook);
  if (flags.policyFile === undefined || flags.policyFile === '') {
    for (const [on, name] of [
      [log, 'log'],
      [webhook, 'webhook'],
    ] as const)
      if (on) logger.info(`No audit policy file provided, no events will be recorded for ${name} backend`);
    return undefined;
  }
  const policy = await readPolicy(flags.policyFile, env);
  const metrics = new AuditMetrics();
  const parts = { clock, logger, metrics, random };
  const backends: AuditBackend[] = [];
  if (log) {
    let output;
    try {
      output =
        flags.logPath === '-'
          ? standardOutput()
          : new RotatedFile({
              path: flags.logPath!,
              maxSize: flags.logMaxSize,
              maxAge: flags.logMaxAge,
              maxBackups: flags.logMaxBackup,
              compress: flags.logCompress,
              clock,
              logger,
            });
    } catch (error) {
      throw new StartError(`ensureLogFile: ${(error as Error).message}`, { cause: error });
    }
    backends.push(
      wrapBackend(logBackend(output, flags.logFormat as AuditFormat, parts), wrapOptions(flags.log), parts),
    );
  }
  if (webhook) {
    const connection = await webhookConnection(flags.webhookConfigFile!, clock).catch((error: unknown) => {
      throw new StartError(`initializing audit webhook: ${(error as Error).message}`, { cause: error });
    });
    const transport = new HttpTransport(connection, { random, userAgent: 'kube-apiserver-audit' });
    const url = new URL(connection.server);
    const path = url.pathname === '/' ? '/' : '';
    const query = Object.fromEntries(url.searchParams);
    const send = async (body: string): Promise<void> => {
      const answer = await transport.request({ method: 'POST', path, query, body: Buffer.from(body) });
      if (answer.status < 200 || answer.status > 299) throw new Error(`the audit webhook answered ${answer.status}`);
    };
    const backend = webhookBackend(
      { send, close: () => transport.close(), initialBackoffMs: flags.webhookInitialBackoffMs },
      parts,
    );
    backends.push(wrapBackend(backend, wrapOptions(flags.webhook), parts));
  }
  if (backends.length === 0) return undefined;
  return { policy, backend: unionBackend(backends), metrics };
}
