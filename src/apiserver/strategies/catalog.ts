/** `StrategyCatalog`: what is particular to each built-in resource, by group and plural name. */
import { FeatureGates } from '../../api/features/feature-gates.ts';
import type { EscalationChecks } from '../authorization/escalation.ts';
import type { ParamAccess } from '../authorization/param-access.ts';
import type { Authorizer } from '../context.ts';
import type { Draft, ResourceStrategies, StrategyCatalog, StrategyContext } from '../strategy.ts';
import {
  secretWarnings,
  serviceAccountWarnings,
  validateConfigMap,
  validateConfigMapUpdate,
  validateSecret,
  validateSecretUpdate,
} from '../validation/config.ts';
import { validateEvent, validateEventUpdate } from '../validation/event.ts';
import {
  validateHorizontalPodAutoscaler,
  validateHorizontalPodAutoscalerStatusUpdate,
} from '../validation/horizontal-pod-autoscaler.ts';
import { validateLease } from '../validation/lease.ts';
import {
  validatePodDisruptionBudget,
  validatePodDisruptionBudgetStatusUpdate,
} from '../validation/pod-disruption-budget.ts';
import {
  resourceQuotaWarnings,
  validateLimitRange,
  validateResourceQuota,
  validateResourceQuotaStatus,
  validateResourceQuotaUpdate,
} from '../validation/quota.ts';
import { runtimeClassWarnings, validateRuntimeClass, validateRuntimeClassUpdate } from '../validation/runtime-class.ts';
import { validatePriorityClass, validatePriorityClassUpdate } from '../validation/scheduling.ts';
import { certificateSigningRequestStrategies } from './certificate-signing-request.ts';
import { plainKind } from './common.ts';
import { dynamicResourceStrategies } from './dynamic-resources.ts';
import { admissionRegistrationStrategies, apiServiceStrategies } from './extension-points.ts';
import { withGatedFields } from './gated-fields.ts';
import { flowControlStrategies } from './flow-control.ts';
import { jobStrategies } from './job.ts';
import { namespaceStrategies } from './namespace.ts';
import { discoveryStrategies, endpointsStrategies, networkingStrategies } from './networking.ts';
import { nodeStrategies } from './node.ts';
import {
  leaseCandidateStrategies,
  storageVersionMigrationStrategies,
  storageVersionStrategies,
  trustStrategies,
  workloadGroupStrategies,
} from './optional-kinds.ts';
import { podStrategies } from './pod.ts';
import { rbacStrategies } from './rbac.ts';
import { serviceStrategies, type ServiceDeps } from './service.ts';
import { storageStrategies } from './storage.ts';
import { withoutPrivileged } from './privileged.ts';
import { persistentVolumeClaimStrategies, persistentVolumeStrategies } from './volumes.ts';
import {
  controllerRevisionStrategies,
  cronJobStrategies,
  daemonSetStrategies,
  deploymentStrategies,
  podTemplateStrategies,
  replicaSetStrategies,
  replicationControllerStrategies,
  statefulSetStrategies,
} from './workloads.ts';

export interface StrategyDeps extends ServiceDeps {
  /** undefined: RBAC is off, and nothing is held against what the caller may do. */
  readonly escalation: EscalationChecks | undefined;
  /** undefined: nor against what the author of a policy may read. */
  readonly paramAccess?: ParamAccess | undefined;
  /** `--feature-gates`; the release's defaults when left out. */
  readonly features?: FeatureGates | undefined;
  /** Asked where the right to a part of an object is not the right to the whole; undefined: nobody is asked. */
  readonly authorizer?: Authorizer | undefined;
  /** Strategies made elsewhere (custom resource definitions), by `group/resource`; they come first. */
  readonly extra?: ReadonlyMap<string, ResourceStrategies>;
  /** Kinds that nothing in this cluster acts upon, by `group/resource`, with the warning for each write. */
  readonly withoutEffect?: Readonly<Record<string, string>> | undefined;
  /** `--allow-privileged`, default true. */
  readonly allowPrivileged?: boolean;
}

/** Types of a service account's secret references are of no use: the name alone is kept. */
function cleanSecretReferences(object: Draft): void {
  const secrets = object['secrets'] as readonly { name?: string }[] | undefined;
  if (secrets !== undefined) object['secrets'] = secrets.map(({ name }) => (name === undefined ? {} : { name }));
}

/** Events, whichever of the two groups they come by. */
function events(): ResourceStrategies {
  const core = ({ request }: StrategyContext): boolean => request.info.group === '';
  return plainKind({
    allowCreateOnUpdate: true,
    validate: (object, ctx) => validateEvent(object, core(ctx)),
    validateUpdate: (object, old, ctx) => validateEventUpdate(object, old, core(ctx)),
  });
}

function core(deps: StrategyDeps, features: FeatureGates): Record<string, ResourceStrategies> {
  return {
    configmaps: plainKind({ validate: validateConfigMap, validateUpdate: validateConfigMapUpdate }),
    endpoints: endpointsStrategies(),
    events: events(),
    limitranges: plainKind({
      // Alone among all kinds it needs no name.
      create(object) {
        if ((object.metadata.name ?? '') === '') object.metadata.name = object.metadata.uid;
      },
      allowCreateOnUpdate: true,
      validate: validateLimitRange,
      validateUpdate: (object) => validateLimitRange(object),
    }),
    namespaces: namespaceStrategies(),
    nodes: nodeStrategies(),
    persistentvolumeclaims: persistentVolumeClaimStrategies(),
    persistentvolumes: persistentVolumeStrategies(features),
    pods: podStrategies(),
    podtemplates: podTemplateStrategies(),
    replicationcontrollers: replicationControllerStrategies(),
    resourcequotas: plainKind(
      {
        status: true,
        validate: validateResourceQuota,
        validateUpdate: validateResourceQuotaUpdate,
        warnings: (object, old) => (old === undefined ? resourceQuotaWarnings(object) : []),
      },
      { validateUpdate: (object) => validateResourceQuotaStatus(object) },
    ),
    secrets: plainKind({
      update(object, old) {
        if ((object['type'] ?? '') === '' && old['type'] !== undefined) object['type'] = old['type'];
      },
      validate: validateSecret,
      validateUpdate: validateSecretUpdate,
      warnings: (object) => secretWarnings(object),
    }),
    serviceaccounts: plainKind({
      create: (object) => cleanSecretReferences(object),
      update: (object) => cleanSecretReferences(object),
      warnings: serviceAccountWarnings,
    }),
    services: serviceStrategies(deps, features),
  };
}

const apps: Record<string, ResourceStrategies> = {
  controllerrevisions: controllerRevisionStrategies(),
  daemonsets: daemonSetStrategies(),
  deployments: deploymentStrategies(),
  replicasets: replicaSetStrategies(),
  statefulsets: statefulSetStrategies(),
};

interface StoredVersion {
  readonly name: string;
  readonly storage?: boolean;
}

/** The storage version of a definition is always among those its objects may be stored in. */
function withStoredVersion(object: Draft): void {
  const versions = (object['spec'] as { versions?: readonly StoredVersion[] } | undefined)?.versions ?? [];
  const storage = versions.find((v) => v.storage === true)?.name;
  const status = (object['status'] ?? {}) as { storedVersions?: readonly string[] };
  const stored = status.storedVersions ?? [];
  if (storage !== undefined && !stored.includes(storage))
    object['status'] = { ...status, storedVersions: [...stored, storage] };
}

const definitions: Record<string, ResourceStrategies> = {
  customresourcedefinitions: plainKind(
    {
      status: true,
      generation: ['spec'],
      allowUnconditionalUpdate: false,
      create: withStoredVersion,
      update: withStoredVersion,
    },
    { allowUnconditionalUpdate: false },
  ),
};

/** Strategies of every resource of the served groups; anything else follows the usual rules of its shape. */
export function createStrategies(deps: StrategyDeps): StrategyCatalog {
  const features = deps.features ?? new FeatureGates();
  const groups: Readonly<Record<string, Readonly<Record<string, ResourceStrategies>>>> = {
    '': core(deps, features),
    apps,
    batch: { cronjobs: cronJobStrategies(), jobs: jobStrategies(features) },
    autoscaling: {
      horizontalpodautoscalers: plainKind(
        {
          status: true,
          validate: (object) => validateHorizontalPodAutoscaler(object),
          validateUpdate: validateHorizontalPodAutoscaler,
        },
        { validateUpdate: (object) => validateHorizontalPodAutoscalerStatusUpdate(object) },
      ),
    },
    policy: {
      poddisruptionbudgets: plainKind(
        {
          status: true,
          generation: ['spec'],
          allowUnconditionalUpdate: false,
          validate: (object) => validatePodDisruptionBudget(object),
          validateUpdate: validatePodDisruptionBudget,
        },
        {
          allowUnconditionalUpdate: false,
          validateUpdate: (object) => validatePodDisruptionBudgetStatusUpdate(object),
        },
      ),
    },
    'rbac.authorization.k8s.io': rbacStrategies(deps.escalation),
    'coordination.k8s.io': {
      leasecandidates: leaseCandidateStrategies(),
      leases: plainKind({
        allowCreateOnUpdate: true,
        allowUnconditionalUpdate: false,
        validate: validateLease,
        validateUpdate: (object) => validateLease(object),
      }),
    },
    'certificates.k8s.io': {
      certificatesigningrequests: certificateSigningRequestStrategies(),
      ...trustStrategies(deps.authorizer),
    },
    'discovery.k8s.io': discoveryStrategies(),
    'events.k8s.io': { events: events() },
    'networking.k8s.io': networkingStrategies(),
    'storage.k8s.io': storageStrategies(),
    'scheduling.k8s.io': {
      ...workloadGroupStrategies(features),
      priorityclasses: plainKind({
        generation: [],
        validate: validatePriorityClass,
        validateUpdate: validatePriorityClassUpdate,
      }),
    },
    'node.k8s.io': {
      runtimeclasses: plainKind({
        allowCreateOnUpdate: true,
        allowUnconditionalUpdate: false,
        validate: validateRuntimeClass,
        validateUpdate: validateRuntimeClassUpdate,
        warnings: runtimeClassWarnings,
      }),
    },
    'admissionregistration.k8s.io': admissionRegistrationStrategies(deps.paramAccess),
    'apiextensions.k8s.io': definitions,
    'apiregistration.k8s.io': apiServiceStrategies(),
    'flowcontrol.apiserver.k8s.io': flowControlStrategies(),
    'resource.k8s.io': dynamicResourceStrategies({
      features,
      registries: deps.registries,
      authorizer: deps.authorizer,
    }),
    'internal.apiserver.k8s.io': { storageversions: storageVersionStrategies() },
    'storagemigration.k8s.io': { storageversionmigrations: storageVersionMigrationStrategies() },
  };
  const usual = plainKind({});
  return {
    strategies(group, resource) {
      const key = `${group}/${resource}`;
      const own = deps.extra?.get(key) ?? groups[group]?.[resource] ?? usual;
      const found = withGatedFields(features, key, deps.allowPrivileged === false ? withoutPrivileged(key, own) : own);
      const missing = deps.withoutEffect?.[key];
      return missing === undefined ? found : { ...found, incomplete: found.incomplete ?? missing };
    },
  };
}
