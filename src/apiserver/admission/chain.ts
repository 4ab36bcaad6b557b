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

  // No promises where nothing has to be waited for, which is the way of most writes.
  type Mutated = AdmissionAttributes | Promise<AdmissionAttributes>;

  const mutateOnce = (given: AdmissionAttributes, from = 0, since = ioNow()): Mutated => {
    let a = given;
    let began = since;
    const { operation, group, resource, subresource } = a;
    for (let i = from; i < mutating.length; i++) {
      const { plugin, timer } = mutating[i]!;
      if (!plugin.handles(operation, group, resource, subresource)) continue;
      if (plugin.reinvokes === true && a.reinvocation === undefined) a = { ...a, reinvocation: new Reinvocation() };
      let object: ReturnType<NonNullable<AdmissionPlugin['mutate']>>;
      try {
        object = plugin.mutate!(a);
      } catch (error) {
        timer.observe(operation, true, (ioNow() - began) / 1000);
        throw error;
      }
      if (object instanceof Promise) return mutateLater(a, i, object, began);
      const now = ioNow();
      timer.observe(operation, false, (now - began) / 1000);
      began = now;
      if (object !== a.object) a = { ...a, object };
    }
    return a;
  };

  const mutateLater = async (
    a: AdmissionAttributes,
    at: number,
    pending: Promise<AdmissionAttributes['object']>,
    began: number,
  ): Promise<AdmissionAttributes> => {
    const { timer } = mutating[at]!;
    let object: AdmissionAttributes['object'];
    try {
      object = await pending;
    } catch (error) {
      timer.observe(a.operation, true, (ioNow() - began) / 1000);
      throw error;
    }
    const now = ioNow();
    timer.observe(a.operation, false, (now - began) / 1000);
    return mutateOnce(object === a.object ? a : { ...a, object }, at + 1, now);
  };

  const mutateAgain = async (
    once: Promise<AdmissionAttributes> | AdmissionAttributes,
  ): Promise<AdmissionAttributes> => {
    const a = await once;
    if (a.reinvocation?.wanted !== true) return a;
    a.reinvocation.again = true;
    return mutateOnce(a);
  };

  const validateFrom = (attributes: AdmissionAttributes, from: number, since: number): Promise<void> | undefined => {
    const { operation, group, resource, subresource } = attributes;
    let began = since;
    for (let i = from; i < validating.length; i++) {
      const { plugin, timer } = validating[i]!;
      if (!plugin.handles(operation, group, resource, subresource)) continue;
      let done: ReturnType<NonNullable<AdmissionPlugin['validate']>>;
      try {
        done = plugin.validate!(attributes);
      } catch (error) {
        timer.observe(operation, true, (ioNow() - began) / 1000);
        throw error;
      }
      if (done instanceof Promise) return validateLater(attributes, i, done, began);
      const now = ioNow();
      timer.observe(operation, false, (now - began) / 1000);
      began = now;
    }
    return undefined;
  };

  const validateLater = async (
    attributes: AdmissionAttributes,
    at: number,
    pending: Promise<void>,
    began: number,
  ): Promise<void> => {
    const { timer } = validating[at]!;
    let rejected = true;
    try {
      await pending;
      rejected = false;
    } finally {
      timer.observe(attributes.operation, rejected, (ioNow() - began) / 1000);
    }
    return validateFrom(attributes, at + 1, ioNow());
  };

  /** Times a step of the chain as a whole, whether it has to be waited for or not. */
  const timedStep = <T>(step: StepTimer, operation: AdmissionAttributes['operation'], work: () => T): T => {
    const began = ioNow();
    const ended = (rejected: boolean): void => step.observe(operation, rejected, (ioNow() - began) / 1000);
    let result: T;
    try {
      result = work();
    } catch (error) {
      ended(true);
      throw error;
    }
    if (result instanceof Promise)
      return result.then(
        (value: unknown) => {
          ended(false);
          return value;
        },
        (error: unknown) => {
          ended(true);
          throw error;
        },
      ) as T;
    ended(false);
    return result;
  };

  return {
    mutate: (attributes) =>
      timedStep(admitStep, attributes.operation, () => {
        const once = mutateOnce(attributes);
        if (!(once instanceof Promise) && once.reinvocation?.wanted !== true) return once.object;
        return mutateAgain(once).then((a) => a.object);
      }),
    validate: (attributes) => timedStep(validateStep, attributes.operation, () => validateFrom(attributes, 0, ioNow())),
  };
}
