/** The chain of admission plugins: all that mutate in upstream's order, later all that validate in the same order. */
import type { Admission, AdmissionAttributes, AdmissionPlugin } from '../context.ts';

/** Upstream's order of all plugins (pkg/kubeapiserver/options); plugins not named here run before ResourceQuota. */
export const pluginOrder: readonly string[] = [
  'AlwaysAdmit',
  'NamespaceAutoProvision',
  'NamespaceLifecycle',
  'NamespaceExists',
  'LimitPodHardAntiAffinityTopology',
  'LimitRanger',
  'ServiceAccount',
  'NodeRestriction',
  'TaintNodesByCondition',
  'AlwaysPullImages',
  'ImagePolicyWebhook',
  'PodSecurity',
  'PodNodeSelector',
  'Priority',
  'DefaultTolerationSeconds',
  'PodTolerationRestriction',
  'EventRateLimit',
  'ExtendedResourceToleration',
  'DefaultStorageClass',
  'StorageObjectInUseProtection',
  'PodGroupProtection',
  'OwnerReferencesPermissionEnforcement',
  'PersistentVolumeClaimResize',
  'RuntimeClass',
  'CertificateApproval',
  'CertificateSigning',
  'ClusterTrustBundleAttest',
  'CertificateSubjectRestriction',
  'DefaultIngressClass',
  'DenyServiceExternalIPs',
  'PodTopologyLabels',
  'PodGroupWorkloadExists',
  'NodeDeclaredFeatureValidator',
  'JobValidation',
  'PodResizeValidator',
  'MutatingAdmissionPolicy',
  'MutatingAdmissionWebhook',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionWebhook',
  'ResourceQuota',
  'AlwaysDeny',
];

function position(name: string): number {
  const at = pluginOrder.indexOf(name);
  return at < 0 ? pluginOrder.indexOf('ResourceQuota') - 0.5 : at;
}

/** Sorts the plugins into upstream's order and runs them one after the other. */
export function createAdmissionChain(plugins: readonly AdmissionPlugin[]): Admission {
  const ordered = plugins.toSorted((a, b) => position(a.name) - position(b.name));
  const mutating = ordered.filter((p) => p.mutate !== undefined);
  const validating = ordered.filter((p) => p.validate !== undefined);
  return {
    async mutate(attributes: AdmissionAttributes): Promise<Record<string, unknown> | undefined> {
      let a = attributes;
      for (const plugin of mutating) {
        if (!plugin.handles(a.operation, a.group, a.resource, a.subresource)) continue;
        let object = plugin.mutate!(a);
        if (object instanceof Promise) object = await object;
        if (object !== a.object) a = { ...a, object };
      }
      return a.object;
    },
    async validate(attributes: AdmissionAttributes): Promise<void> {
      const { operation, group, resource, subresource } = attributes;
      for (const plugin of validating) {
        if (!plugin.handles(operation, group, resource, subresource)) continue;
        const done = plugin.validate!(attributes);
        if (done instanceof Promise) await done;
      }
    },
  };
}
