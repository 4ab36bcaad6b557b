/** What a cluster in one process makes of the API server's flags and files: auditing, encryption at rest, traces. */
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { BrowserHeaders } from '../../apiserver/http/browsers.ts';
import type { OperationsOptions } from '../../apiserver/options.ts';
import type { ApiServerExtras } from '../cluster.ts';
import { createAudit, type AuditFlags } from './audit.ts';
import { createEncryption, type EncryptionFlags } from './encryption.ts';
import { StartError, type ComponentEnvironment } from './environment.ts';
import { createTracer } from './tracing.ts';

export interface OperationFlags extends Omit<OperationsOptions, 'browsers'> {
  readonly corsAllowedOrigins: readonly string[];
  readonly hstsDirectives: readonly string[];
}

/** @throws {StartError} */
export function operationsOf(flags: OperationFlags): OperationsOptions {
  if ((flags.minRequestTimeoutSeconds ?? 0) < 0)
    throw new StartError('--min-request-timeout can not be negative value');
  if ((flags.shutdownDelayMs ?? 0) < 0) throw new StartError('--shutdown-delay-duration can not be negative value');
  if ((flags.shutdownWatchGraceMs ?? 0) < 0)
    throw new StartError('shutdown-watch-termination-grace-period, if provided, can not be a negative value');
  if (flags.corsAllowedOrigins.length === 0 && flags.hstsDirectives.length === 0) return flags;
  try {
    return { ...flags, browsers: new BrowserHeaders(flags) };
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
}

export interface ApiServerExtraFlags {
  readonly audit: AuditFlags;
  readonly encryption: EncryptionFlags;
  readonly tracingConfigFile: string | undefined;
  readonly operations: OperationFlags;
}

/** @throws {StartError} */
export async function apiServerExtras(
  flags: ApiServerExtraFlags,
  env: Pick<ComponentEnvironment, 'clock' | 'random' | 'logger' | 'signal'>,
): Promise<ApiServerExtras> {
  return {
    audit: await createAudit(flags.audit, env),
    encryption:
      flags.encryption.providerConfig === undefined && !flags.encryption.automaticReload
        ? undefined
        : await createEncryption(flags.encryption, loadCatalog(), env),
    tracer: await createTracer(flags.tracingConfigFile, env),
    operations: operationsOf(flags.operations),
  };
}
