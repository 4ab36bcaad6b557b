/** What PodSecurity counts, with upstream's names. */
import type { AdmissionAttributes } from '../../context.ts';
import type { Family } from '../../metrics/exposition.ts';
import { Vector } from '../../metrics/exposition.ts';
import type { LevelVersion } from './policy.ts';
import { versionText } from './policy.ts';

/** The release whose API this is; later versions are all the future. */
const ownMinor = 36;

function resourceLabel(a: AdmissionAttributes): string {
  if (a.group === '' && a.resource === 'pods') return 'pod';
  return a.group === '' && a.resource === 'namespaces' ? 'namespace' : 'controller';
}

export class PodSecurityMetrics {
  readonly #evaluations = new Vector(
    'counter',
    'pod_security_evaluations_total',
    'Number of policy evaluations that occurred, not counting ignored or exempt requests.',
  );
  readonly #exemptions = new Vector(
    'counter',
    'pod_security_exemptions_total',
    'Number of exempt requests, not counting ignored or out of scope requests.',
  );
  readonly #errors = new Vector(
    'counter',
    'pod_security_errors_total',
    'Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile being used for evaluation.',
  );
  readonly families: readonly Family[] = [this.#evaluations, this.#exemptions, this.#errors];

  constructor() {
    // Those that upstream tells of from its start.
    for (const operation of ['CREATE', 'UPDATE']) {
      this.#evaluation('allow', 'privileged', 'latest', 'enforce', operation, 'pod', '');
      for (const resource of ['pod', 'controller']) this.#exemption(operation, resource, '');
    }
  }

  #evaluation(
    decision: 'allow' | 'deny',
    level: string,
    version: string,
    mode: 'enforce' | 'audit' | 'warn',
    operation: string,
    resource: string,
    subresource: string,
  ) {
    return this.#evaluations.series(
      `${decision} ${level} ${version} ${mode} ${operation} ${resource} ${subresource}`,
      () => ({
        decision,
        mode,
        policy_level: level,
        policy_version: version,
        request_operation: operation.toLowerCase(),
        resource,
        subresource,
      }),
    );
  }

  #exemption(operation: string, resource: string, subresource: string) {
    return this.#exemptions.series(`${operation} ${resource} ${subresource}`, () => ({
      request_operation: operation.toLowerCase(),
      resource,
      subresource,
    }));
  }

  evaluated(
    a: AdmissionAttributes,
    decision: 'allow' | 'deny',
    { level, version }: LevelVersion,
    mode: 'enforce' | 'audit' | 'warn',
  ): void {
    const policyVersion =
      version === 'latest' || level === 'privileged' ? 'latest' : version > ownMinor ? 'future' : versionText(version);
    this.#evaluation(decision, level, policyVersion, mode, a.operation, resourceLabel(a), a.subresource).inc();
  }

  exempted(a: AdmissionAttributes): void {
    this.#exemption(a.operation, resourceLabel(a), a.subresource).inc();
  }

  failed(a: AdmissionAttributes, fatal: boolean): void {
    const resource = resourceLabel(a);
    this.#errors
      .series(`${fatal} ${a.operation} ${resource} ${a.subresource}`, () => ({
        fatal: String(fatal),
        request_operation: a.operation.toLowerCase(),
        resource,
        subresource: a.subresource,
      }))
      .inc();
  }
}
