/** The built-in admission plugins by name: those that are on by default, and those that are asked for. */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { WebhookClients } from '../connect/webhook-client.ts';
import type { AdmissionPlugin, Authorizer } from '../context.ts';
import type { Registries } from '../registry.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { alwaysAdmit, alwaysDeny } from './always.ts';
import { alwaysPullImages } from './always-pull-images.ts';
import {
  certificateApproval,
  certificateSigning,
  certificateSubjectRestriction,
  clusterTrustBundleAttest,
} from './certificates.ts';
import { defaultIngressClass } from './default-ingress-class.ts';
import { defaultStorageClass } from './default-storage-class.ts';
import { defaultTolerationSeconds } from './default-toleration-seconds.ts';
import { denyServiceExternalIPs } from './deny-service-external-ips.ts';
import { eventRateLimit, type EventRateLimitConfiguration } from './event-rate-limit.ts';
import { extendedResourceToleration } from './extended-resource-toleration.ts';
import { imagePolicyWebhook, type ImagePolicyConfiguration } from './image-policy-webhook.ts';
import { limitPodHardAntiAffinityTopology } from './limit-pod-hard-anti-affinity-topology.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceAutoProvision } from './namespace-auto-provision.ts';
import { namespaceExists } from './namespace-exists.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodeDeclaredFeatureValidator } from './node-declared-feature-validator.ts';
import { nodeRestriction } from './node-restriction.ts';
import { ownerReferencesPermissionEnforcement } from './owner-references-permission-enforcement.ts';
import { persistentVolumeClaimResize } from './persistent-volume-claim-resize.ts';
import { podNodeSelector, type PodNodeSelectorConfiguration } from './pod-node-selector.ts';
import { podResizeValidator } from './pod-resize-validator.ts';
import type { PodSecurityConfiguration } from './pod-security/configuration.ts';
import type { PodSecurityMetrics } from './pod-security/metrics.ts';
import { podSecurity } from './pod-security/pod-security.ts';
import { podTolerationRestriction, type PodTolerationRestrictionConfiguration } from './pod-toleration-restriction.ts';
import { podTopologyLabels } from './pod-topology-labels.ts';
import { priority } from './priority.ts';
import { resourceQuota, type ResourceQuotaConfiguration } from './resource-quota.ts';
import { runtimeClass } from './runtime-class.ts';
import { serviceAccount } from './service-account.ts';
import { storageObjectInUseProtection } from './storage-object-in-use-protection.ts';
import { taintNodesByCondition } from './taint-nodes-by-condition.ts';
import type { WebhookAdmissionConfiguration } from './webhook/webhook-admission.ts';

/** `--admission-control-config-file`: what plugins are told, by their names. */
export interface AdmissionConfiguration {
  readonly EventRateLimit?: EventRateLimitConfiguration;
  readonly ImagePolicyWebhook?: ImagePolicyConfiguration;
  readonly MutatingAdmissionWebhook?: WebhookAdmissionConfiguration;
  readonly PodNodeSelector?: PodNodeSelectorConfiguration;
  readonly PodSecurity?: PodSecurityConfiguration;
  readonly PodTolerationRestriction?: PodTolerationRestrictionConfiguration;
  readonly ResourceQuota?: ResourceQuotaConfiguration;
  readonly ValidatingAdmissionWebhook?: WebhookAdmissionConfiguration;
}

export interface AdmissionPluginDeps {
  readonly registries: Registries;
  readonly directory: ResourceDirectory;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clients: WebhookClients;
  readonly podSecurityMetrics: PodSecurityMetrics;
  readonly features: FeatureGates;
  readonly configuration: AdmissionConfiguration;
  readonly tolerationSeconds?: { readonly notReady: number; readonly unreachable: number } | undefined;
}

type Make = (deps: AdmissionPluginDeps) => AdmissionPlugin;

/** On unless they are disabled. */
const byDefault: Readonly<Record<string, Make>> = {
  CertificateApproval: certificateApproval,
  CertificateSigning: certificateSigning,
  CertificateSubjectRestriction: () => certificateSubjectRestriction,
  ClusterTrustBundleAttest: clusterTrustBundleAttest,
  DefaultIngressClass: defaultIngressClass,
  DefaultStorageClass: defaultStorageClass,
  DefaultTolerationSeconds: ({ tolerationSeconds }) => defaultTolerationSeconds(tolerationSeconds),
  LimitRanger: limitRanger,
  NamespaceLifecycle: namespaceLifecycle,
  NodeDeclaredFeatureValidator: nodeDeclaredFeatureValidator,
  PersistentVolumeClaimResize: persistentVolumeClaimResize,
  PodResizeValidator: podResizeValidator,
  PodSecurity: ({ registries, podSecurityMetrics: metrics, configuration }) =>
    podSecurity({ registries, metrics, configuration: configuration.PodSecurity }),
  PodTopologyLabels: podTopologyLabels,
  Priority: priority,
  ResourceQuota: ({ registries, clock, configuration }) =>
    resourceQuota({ registries, clock, configuration: configuration.ResourceQuota }),
  RuntimeClass: runtimeClass,
  ServiceAccount: serviceAccount,
  StorageObjectInUseProtection: () => storageObjectInUseProtection,
  TaintNodesByCondition: () => taintNodesByCondition,
};

/** Off unless they are enabled. */
const onRequest: Readonly<Record<string, Make>> = {
  AlwaysAdmit: () => alwaysAdmit,
  AlwaysDeny: () => alwaysDeny,
  AlwaysPullImages: () => alwaysPullImages,
  DenyServiceExternalIPs: () => denyServiceExternalIPs,
  EventRateLimit: ({ clock, configuration }) => eventRateLimit({ clock, configuration: configuration.EventRateLimit }),
  ExtendedResourceToleration: () => extendedResourceToleration,
  ImagePolicyWebhook: ({ clients, clock, logger, configuration }) =>
    imagePolicyWebhook({ clients, clock, logger, configuration: configuration.ImagePolicyWebhook }),
  LimitPodHardAntiAffinityTopology: () => limitPodHardAntiAffinityTopology,
  NamespaceAutoProvision: namespaceAutoProvision,
  NamespaceExists: namespaceExists,
  NodeRestriction: nodeRestriction,
  OwnerReferencesPermissionEnforcement: ownerReferencesPermissionEnforcement,
  PodNodeSelector: ({ registries, configuration }) =>
    podNodeSelector({ registries, configuration: configuration.PodNodeSelector }),
  PodTolerationRestriction: ({ registries, configuration }) =>
    podTolerationRestriction({ registries, configuration: configuration.PodTolerationRestriction }),
};

/** Made elsewhere; on unless they are disabled. */
const extending = [
  'MutatingAdmissionPolicy',
  'MutatingAdmissionWebhook',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionWebhook',
];

export const defaultPluginNames: readonly string[] = [...Object.keys(byDefault), ...extending].sort();
export const optionalPluginNames: readonly string[] = Object.keys(onRequest).sort();

export interface PluginChoice {
  readonly enable: ReadonlySet<string>;
  readonly disable: ReadonlySet<string>;
}

/** The chosen plugins. @throws {Error} for one whose configuration is wrong or missing */
export function builtInPlugins(deps: AdmissionPluginDeps, choice: PluginChoice): AdmissionPlugin[] {
  const made: AdmissionPlugin[] = [];
  for (const [name, make] of Object.entries(byDefault)) if (!choice.disable.has(name)) made.push(make(deps));
  for (const [name, make] of Object.entries(onRequest))
    if (choice.enable.has(name) && !choice.disable.has(name)) made.push(make(deps));
  return made;
}
