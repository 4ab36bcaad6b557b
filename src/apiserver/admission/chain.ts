/** The chain of admission plugins: all that mutate in upstream's order, later all that validate in the same order. */
import { ioNow } from '../../base/io-time.ts';
import type { Admission, AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { AdmissionMetrics, type StepTimer, type StepType } from './metrics.ts';
import { Reinvocation } from './reinvocation.ts';

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

/** A plugin with the times that it took. */
interface Timed {
  readonly plugin: AdmissionPlugin;
  readonly timer: StepTimer;
}

/** Sorts the plugins into upstream's order and runs them one after the other. */
export function createAdmissionChain(plugins: readonly AdmissionPlugin[], metrics = new AdmissionMetrics()): Admission {
  const ordered = plugins.toSorted((a, b) => position(a.name) - position(b.name));
  const timed = (type: StepType, list: readonly AdmissionPlugin[]): readonly Timed[] =>
    list.map((plugin) => ({ plugin, timer: metrics.plugin(plugin.name, type) }));
  const mutating = timed(
    'admit',
    ordered.filter((p) => p.mutate !== undefined),
  );
  const validating = timed(
    'validate',
    ordered.filter((p) => p.validate !== undefined),
  );
  const admitStep = metrics.step('admit');
  const validateStep = metrics.step('validate');

  const mutateOnce = async (attributes: AdmissionAttributes): Promise<AdmissionAttributes> => {
    let a = attributes;
    const { operation, group, resource, subresource } = a;
    let began = ioNow();
    for (let i = 0; i < mutating.length; i++) {
      const { plugin, timer } = mutating[i]!;
      if (!plugin.handles(operation, group, resource, subresource)) continue;
      if (plugin.reinvokes === true && a.reinvocation === undefined) a = { ...a, reinvocation: new Reinvocation() };
      let object: AdmissionAttributes['object'];
      try {
        const mutated = plugin.mutate!(a);
        object = mutated instanceof Promise ? await mutated : mutated;
      } catch (error) {
        timer.observe(operation, true, (ioNow() - began) / 1000);
        throw error;
      }
      const now = ioNow();
      timer.observe(operation, false, (now - began) / 1000);
      began = now;
      if (object !== a.object) a = { ...a, object };
    }
    return a;
  };

  return {
    async mutate(attributes: AdmissionAttributes): Promise<Record<string, unknown> | undefined> {
      const began = ioNow();
      let rejected = true;
      try {
        let a = await mutateOnce(attributes);
        const { reinvocation } = a;
        if (reinvocation?.wanted === true) {
          reinvocation.again = true;
          a = await mutateOnce(a);
        }
        rejected = false;
        return a.object;
      } finally {
        admitStep.observe(attributes.operation, rejected, (ioNow() - began) / 1000);
      }
    },
    async validate(attributes: AdmissionAttributes): Promise<void> {
      const { operation, group, resource, subresource } = attributes;
      const start = ioNow();
      let began = start;
      let rejected = true;
      try {
        for (let i = 0; i < validating.length; i++) {
          const { plugin, timer } = validating[i]!;
          if (!plugin.handles(operation, group, resource, subresource)) continue;
          try {
            const done = plugin.validate!(attributes);
            if (done instanceof Promise) await done;
          } catch (error) {
            timer.observe(operation, true, (ioNow() - began) / 1000);
            throw error;
          }
          const now = ioNow();
          timer.observe(operation, false, (now - began) / 1000);
          began = now;
        }
        rejected = false;
      } finally {
        validateStep.observe(operation, rejected, (ioNow() - start) / 1000);
      }
    },
  };
}
