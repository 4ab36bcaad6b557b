/** `StrategyCatalog`: what is particular to each built-in resource, by group and plural name. */
import type { EscalationChecks } from '../authorization/escalation.ts';
import type { Draft, ResourceStrategies, StrategyCatalog } from '../strategy.ts';
import {
  secretWarnings,
  serviceAccountWarnings,
  validateConfigMap,
  validateConfigMapUpdate,
  validateSecret,
  validateSecretUpdate,
} from '../validation/config.ts';
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
import { validatePriorityClass, validatePriorityClassUpdate } from '../validation/scheduling.ts';
import { certificateSigningRequestStrategies } from './certificate-signing-request.ts';
import { bumpWhenChanged, kindStrategy, statusStrategy, type KindOptions, type StatusOptions } from './common.ts';
import { jobStrategies } from './job.ts';
import { namespaceStrategies } from './namespace.ts';
import { nodeStrategies } from './node.ts';
import { podStrategies } from './pod.ts';
import { rbacStrategies } from './rbac.ts';
import { serviceStrategies, type ServiceDeps } from './service.ts';
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
  /** Strategies made elsewhere (custom resource definitions), by `group/resource`; they come first. */
  readonly extra?: ReadonlyMap<string, ResourceStrategies>;
}

/** A kind that follows the usual rules. `status: true` gives it the subresource. */
function plain(options: KindOptions, status?: StatusOptions): ResourceStrategies {
  return {
    main: kindStrategy(options),
    subresources: options.status === true ? { status: statusStrategy(status) } : {},
  };
}

/** A kind whose semantic validation is not there yet: each write says so. */
function unvalidated(options: KindOptions, status?: StatusOptions): ResourceStrategies {
  return {
    ...plain(options, status),
    incomplete: 'knarr does not validate this kind beyond its structure yet',
  };
}

const keepsMetadata: StatusOptions = { keepsMetadata: true };

/** Types of a service account's secret references are of no use: the name alone is kept. */
function cleanSecretReferences(object: Draft): void {
  const secrets = object['secrets'] as readonly { name?: string }[] | undefined;
  if (secrets !== undefined) object['secrets'] = secrets.map(({ name }) => (name === undefined ? {} : { name }));
}

function core(deps: StrategyDeps): Record<string, ResourceStrategies> {
  return {
    configmaps: plain({ validate: validateConfigMap, validateUpdate: validateConfigMapUpdate }),
    endpoints: unvalidated({ allowCreateOnUpdate: true }),
    events: unvalidated({ allowCreateOnUpdate: true }),
    limitranges: plain({
      allowCreateOnUpdate: true,
      validate: validateLimitRange,
      validateUpdate: (object) => validateLimitRange(object),
    }),
    namespaces: namespaceStrategies(),
    nodes: nodeStrategies(),
    persistentvolumeclaims: persistentVolumeClaimStrategies(),
    persistentvolumes: persistentVolumeStrategies(),
    pods: podStrategies(),
    podtemplates: podTemplateStrategies(),
    replicationcontrollers: replicationControllerStrategies(),
    resourcequotas: plain(
      {
        status: true,
        validate: validateResourceQuota,
        validateUpdate: validateResourceQuotaUpdate,
        warnings: (object, old) => (old === undefined ? resourceQuotaWarnings(object) : []),
      },
      { validateUpdate: (object) => validateResourceQuotaStatus(object) },
    ),
    secrets: plain({
      update(object, old) {
        if ((object['type'] ?? '') === '' && old['type'] !== undefined) object['type'] = old['type'];
      },
      validate: validateSecret,
      validateUpdate: validateSecretUpdate,
      warnings: (object) => secretWarnings(object),
    }),
    serviceaccounts: plain({
      create: (object) => cleanSecretReferences(object),
      update: (object) => cleanSecretReferences(object),
      warnings: serviceAccountWarnings,
    }),
    services: serviceStrategies(deps),
  };
}

const apps: Record<string, ResourceStrategies> = {
  controllerrevisions: controllerRevisionStrategies(),
  daemonsets: daemonSetStrategies(),
  deployments: deploymentStrategies(),
  replicasets: replicaSetStrategies(),
  statefulsets: statefulSetStrategies(),
};

function networking(): Record<string, ResourceStrategies> {
  return {
    ingresses: {
      ...unvalidated({
        status: true,
        generation: ['spec'],
        warnings(object, old) {
          const annotation = 'kubernetes.io/ingress.class';
          const spec = (object['spec'] ?? {}) as { ingressClassName?: string };
          return old === undefined &&
            object.metadata.annotations?.[annotation] !== undefined &&
            spec.ingressClassName === undefined
            ? [`annotation "${annotation}" is deprecated, please use 'spec.ingressClassName' instead`]
            : [];
        },
      }),
    },
    ingressclasses: unvalidated({ generation: ['spec'] }),
    ipaddresses: unvalidated({ validateName: () => [] }),
    networkpolicies: unvalidated({ generation: ['spec'] }),
    servicecidrs: unvalidated({ status: true }, keepsMetadata),
  };
}

function storage(): Record<string, ResourceStrategies> {
  return {
    csidrivers: unvalidated({ generation: ['spec'], allowUnconditionalUpdate: false }),
    csinodes: unvalidated({ allowUnconditionalUpdate: false }),
    csistoragecapacities: unvalidated({ allowUnconditionalUpdate: false }),
    storageclasses: unvalidated({}),
    volumeattachments: unvalidated(
      { status: true, allowUnconditionalUpdate: false },
      { keepsMetadata: true, allowUnconditionalUpdate: false },
    ),
    volumeattributesclasses: unvalidated({}),
  };
}

function admissionRegistration(): Record<string, ResourceStrategies> {
  const policy: KindOptions = { generation: ['spec'], allowUnconditionalUpdate: false };
  const webhooks: KindOptions = { generation: ['webhooks'], allowUnconditionalUpdate: false };
  return {
    mutatingadmissionpolicies: unvalidated(policy),
    mutatingadmissionpolicybindings: unvalidated(policy),
    mutatingwebhookconfigurations: unvalidated(webhooks),
    validatingadmissionpolicies: unvalidated(
      { ...policy, status: true },
      { keepsMetadata: true, allowUnconditionalUpdate: false },
    ),
    validatingadmissionpolicybindings: unvalidated(policy),
    validatingwebhookconfigurations: unvalidated(webhooks),
  };
}

function flowControl(): Record<string, ResourceStrategies> {
  return {
    flowschemas: unvalidated({ status: true, generation: ['spec'] }, keepsMetadata),
    prioritylevelconfigurations: unvalidated({ status: true, generation: ['spec'] }, keepsMetadata),
  };
}

function dynamicResources(): Record<string, ResourceStrategies> {
  return {
    deviceclasses: unvalidated({ generation: ['spec'] }),
    resourceclaims: unvalidated({ status: true }, keepsMetadata),
    resourceclaimtemplates: unvalidated({}),
    resourceslices: unvalidated({ generation: ['spec'] }),
  };
}

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
  customresourcedefinitions: plain(
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

const apiServices: Record<string, ResourceStrategies> = {
  apiservices: unvalidated(
    { status: true, allowUnconditionalUpdate: false },
    {
      allowUnconditionalUpdate: false,
      resetFields: [['spec'], ['metadata']],
      update(object, old) {
        for (const member of ['labels', 'annotations'] as const)
          if (old.metadata[member] === undefined) delete object.metadata[member];
          else object.metadata[member] = old.metadata[member];
      },
    },
  ),
};

const endpointSlices: Record<string, ResourceStrategies> = {
  endpointslices: unvalidated({
    generation: ['endpoints', 'ports', 'addressType'],
    update(object, old) {
      bumpWhenChanged(
        { ...object, metadata: object.metadata, labels: object.metadata.labels },
        { ...old, labels: old.metadata.labels },
        ['labels'],
      );
    },
    warnings: (object, old) =>
      old === undefined && object['addressType'] === 'FQDN' ? ['spec.addressType: FQDN endpoints are deprecated'] : [],
  }),
};

/** Strategies of every resource of the served groups; anything else follows the usual rules of its shape. */
export function createStrategies(deps: StrategyDeps): StrategyCatalog {
  const groups: Readonly<Record<string, Readonly<Record<string, ResourceStrategies>>>> = {
    '': core(deps),
    apps,
    batch: { cronjobs: cronJobStrategies(), jobs: jobStrategies() },
    autoscaling: { horizontalpodautoscalers: unvalidated({ status: true }) },
    policy: {
      poddisruptionbudgets: plain(
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
      leases: plain({
        allowCreateOnUpdate: true,
        allowUnconditionalUpdate: false,
        validate: validateLease,
        validateUpdate: (object) => validateLease(object),
      }),
    },
    'certificates.k8s.io': { certificatesigningrequests: certificateSigningRequestStrategies() },
    'discovery.k8s.io': endpointSlices,
    'events.k8s.io': { events: unvalidated({ allowCreateOnUpdate: true }) },
    'networking.k8s.io': networking(),
    'storage.k8s.io': storage(),
    'scheduling.k8s.io': {
      priorityclasses: plain({
        generation: [],
        validate: validatePriorityClass,
        validateUpdate: validatePriorityClassUpdate,
      }),
    },
    'node.k8s.io': { runtimeclasses: unvalidated({ allowCreateOnUpdate: true, allowUnconditionalUpdate: false }) },
    'admissionregistration.k8s.io': admissionRegistration(),
    'apiextensions.k8s.io': definitions,
    'apiregistration.k8s.io': apiServices,
    'flowcontrol.apiserver.k8s.io': flowControl(),
    'resource.k8s.io': dynamicResources(),
  };
  const usual = unvalidated({});
  return {
    strategies(group, resource) {
      return deps.extra?.get(`${group}/${resource}`) ?? groups[group]?.[resource] ?? usual;
    },
  };
}
