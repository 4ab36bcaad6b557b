/** What a cluster in one process makes of the API server's flags and files: auditing, encryption at rest, traces. */
import { loadCatalog } from '../../api/catalog/catalog.ts';
import type { OperationsOptions } from '../../apiserver/server.ts';
import type { ApiServerExtras } from '../create-cluster.ts';
import { createAudit, type AuditFlags } from './audit.ts';
import { createEncryption, type EncryptionFlags } from './encryption.ts';
import type { ComponentEnvironment } from './environment.ts';
import { createTracer } from './tracing.ts';

export interface ApiServerExtraFlags {
  readonly audit: AuditFlags;
  readonly encryption: EncryptionFlags;
  readonly tracingConfigFile: string | undefined;
  readonly operations: OperationsOptions;
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
    operations: flags.operations,
  };
}
