/** Strategies of the kinds that only `--runtime-config` serves, but for those of resource.k8s.io. */
import type { FeatureGateName, FeatureGates } from '../../api/features/feature-gates.ts';
import { forbiddenField } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isConfigMapKey } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { mayForSigner } from '../authorization/signers.ts';
import type { Authorizer } from '../context.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import {
  storageVersionName,
  validateLeaseCandidate,
  validateLeaseCandidateUpdate,
  validateStorageVersionMigration,
  validateStorageVersionMigrationStatus,
  validateStorageVersionStatus,
} from '../validation/internal-kinds.ts';
import {
  podCertificateSigner,
  validateClusterTrustBundle,
  validatePodCertificateRequest,
  validatePodCertificateRequestStatus,
  validatePodCertificateRequestUpdate,
} from '../validation/trust.ts';
import {
  validatePodGroup,
  validatePodGroupStatus,
  validateWorkload,
  type GroupSpec,
  type WorkloadGates,
} from '../validation/workloads-alpha.ts';
import { withCheck } from './asynchronous.ts';
import { plainKind } from './common.ts';

/** The registry judges names of its own accord; these kinds do it with the rest. */
const anyName = (): readonly string[] => [];

export function trustStrategies(authorizer: Authorizer | undefined): Record<string, ResourceStrategies> {
  const requests = plainKind(
    {
      status: true,
      allowUnconditionalUpdate: false,
      validate: (object) => validatePodCertificateRequest(object),
      validateUpdate: validatePodCertificateRequestUpdate,
    },
    {
      keepsMetadata: true,
      allowUnconditionalUpdate: false,
      resetFields: [['spec']],
      validateUpdate: (object, old, ctx) => validatePodCertificateRequestStatus(object, old, ctx.now),
    },
  );
  const status = withCheck(
    requests.subresources['status']!,
    authorizer === undefined
      ? undefined
      : async ({ request }, object, old) => {
          if (old === undefined || semanticEqual(object['status'], old['status'])) return [];
          const signer = podCertificateSigner(old);
          if (await mayForSigner(authorizer, request.user, 'sign', signer)) return [];
          return [
            forbiddenField(
              'spec.signerName',
              `User ${JSON.stringify(request.user.name)} is not permitted to "sign" for signer ${JSON.stringify(signer)}`,
            ),
          ];
        },
  );
  return {
    clustertrustbundles: plainKind({
      allowUnconditionalUpdate: false,
      validateName: anyName,
      validate: (object) => validateClusterTrustBundle(object, undefined),
      validateUpdate: validateClusterTrustBundle,
    }),
    podcertificaterequests: { ...requests, subresources: { status } },
  };
}

export function leaseCandidateStrategies(): ResourceStrategies {
  return plainKind({
    validateName: (name) => isConfigMapKey(name),
    allowCreateOnUpdate: true,
    allowUnconditionalUpdate: false,
    validate: (object) => validateLeaseCandidate(object),
    validateUpdate: validateLeaseCandidateUpdate,
  });
}

export function storageVersionStrategies(): ResourceStrategies {
  return plainKind(
    { status: true, allowUnconditionalUpdate: false, validateName: (name) => storageVersionName(name) },
    {
      keepsMetadata: true,
      allowUnconditionalUpdate: false,
      validateUpdate: (object) => validateStorageVersionStatus(object),
    },
  );
}

export function storageVersionMigrationStrategies(): ResourceStrategies {
  return plainKind(
    {
      status: true,
      allowUnconditionalUpdate: false,
      validate: (object) => validateStorageVersionMigration(object, undefined),
      validateUpdate: validateStorageVersionMigration,
    },
    {
      keepsMetadata: true,
      allowUnconditionalUpdate: false,
      validateUpdate: validateStorageVersionMigrationStatus,
    },
  );
}

const gatedMembers: readonly (readonly [gate: FeatureGateName, member: keyof GroupSpec])[] = [
  ['TopologyAwareWorkloadScheduling', 'schedulingConstraints'],
  ['DRAWorkloadResourceClaims', 'resourceClaims'],
  ['WorkloadAwarePreemption', 'disruptionMode'],
  ['WorkloadAwarePreemption', 'priorityClassName'],
  ['WorkloadAwarePreemption', 'priority'],
];

/** What is behind a gate that is off goes, unless the object has it already. */
function withoutGated<T extends GroupSpec>(features: FeatureGates, spec: T, old: T | undefined): T {
  let out = spec;
  for (const [gate, member] of gatedMembers) {
    if (features.enabled(gate) || (old?.[member] ?? undefined) !== undefined || !(member in out)) continue;
    out = { ...out };
    delete out[member];
  }
  return out;
}

type Groups = { readonly podGroupTemplates?: readonly GroupSpec[] | null };

export function workloadGroupStrategies(features: FeatureGates): Record<string, ResourceStrategies> {
  const gates: WorkloadGates = {
    topology: features.enabled('TopologyAwareWorkloadScheduling'),
    claims: features.enabled('DRAWorkloadResourceClaims'),
    preemption: features.enabled('WorkloadAwarePreemption'),
  };
  const ofGroup = (object: KubeObject | undefined): GroupSpec | undefined => object?.['spec'] as GroupSpec | undefined;
  const cleanGroup = (object: Draft, old: KubeObject | undefined): void => {
    const spec = ofGroup(object);
    if (spec !== undefined) object['spec'] = withoutGated(features, spec, ofGroup(old));
  };
  const cleanWorkload = (object: Draft, old: KubeObject | undefined): void => {
    const spec = object['spec'] as Groups | undefined;
    const before = (old?.['spec'] as Groups | undefined)?.podGroupTemplates;
    if (spec?.podGroupTemplates === undefined || spec.podGroupTemplates === null) return;
    const podGroupTemplates = spec.podGroupTemplates.map((t, i) => withoutGated(features, t, before?.[i]));
    object['spec'] = { ...spec, podGroupTemplates };
  };
  return {
    workloads: plainKind({
      create: (object) => cleanWorkload(object, undefined),
      update: cleanWorkload,
      validate: (object) => validateWorkload(object, undefined, gates),
      validateUpdate: (object, old) => validateWorkload(object, old, gates),
    }),
    podgroups: plainKind(
      {
        status: true,
        create: (object) => cleanGroup(object, undefined),
        update: cleanGroup,
        validate: (object) => validatePodGroup(object, undefined, gates),
        validateUpdate: (object, old) => validatePodGroup(object, old, gates),
      },
      {
        keepsMetadata: true,
        update(object, old) {
          if (gates.claims || (ofGroup(old)?.resourceClaims ?? []).length > 0) return;
          const { resourceClaimStatuses: _dropped, ...status } = (object['status'] ?? {}) as Record<string, unknown>;
          if (object['status'] !== undefined) object['status'] = status;
        },
        validateUpdate: (object) => validatePodGroupStatus(object),
      },
    ),
  };
}
