/** The built-in admission plugins: upstream's defaults and NodeRestriction, without those given to `disable`. */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { AdmissionPlugin, Authorizer } from '../context.ts';
import type { Registries } from '../registry.ts';
import { certificateApproval, certificateSigning, certificateSubjectRestriction } from './certificates.ts';
import { defaultIngressClass } from './default-ingress-class.ts';
import { defaultStorageClass } from './default-storage-class.ts';
import { defaultTolerationSeconds } from './default-toleration-seconds.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodeRestriction } from './node-restriction.ts';
import { persistentVolumeClaimResize } from './persistent-volume-claim-resize.ts';
import { podResizeValidator } from './pod-resize-validator.ts';
import { podTopologyLabels } from './pod-topology-labels.ts';
import { priority } from './priority.ts';
import { resourceQuota } from './resource-quota.ts';
import { runtimeClass } from './runtime-class.ts';
import { serviceAccount } from './service-account.ts';
import { storageObjectInUseProtection } from './storage-object-in-use-protection.ts';
import { taintNodesByCondition } from './taint-nodes-by-condition.ts';

export interface AdmissionPluginDeps {
  readonly registries: Registries;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  readonly random: Random;
}

export function builtInPlugins(deps: AdmissionPluginDeps, disable: ReadonlySet<string> = new Set()): AdmissionPlugin[] {
  return [
    namespaceLifecycle(deps),
    limitRanger(deps),
    serviceAccount(deps),
    nodeRestriction(deps),
    taintNodesByCondition,
    priority(deps),
    defaultTolerationSeconds(),
    defaultStorageClass(deps),
    storageObjectInUseProtection,
    persistentVolumeClaimResize(deps),
    runtimeClass(deps),
    certificateApproval(deps),
    certificateSigning(deps),
    certificateSubjectRestriction,
    defaultIngressClass(deps),
    podTopologyLabels(deps),
    podResizeValidator(deps),
    resourceQuota(deps),
  ].filter((p) => !disable.has(p.name));
}
