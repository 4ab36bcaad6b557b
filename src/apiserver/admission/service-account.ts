/**
 * ServiceAccount: every pod runs as a service account that exists (`default` when it names none), gets the projected token
 * volume `kube-api-access-…` mounted unless it opts out, and the account's image pull secrets.
 */
import type { Random } from '../../base/random.ts';
import { ioTimer } from '../../base/io-time.ts';
import { parseBool } from '../../base/parse-bool.ts';
import type { Container, Pod, PodSpec, ServiceAccount, Volume, VolumeMount } from '../../api/types/core-v1.gen.ts';
import { StatusError } from '../../api/status.ts';
import { podSecretNames } from '../../api/helpers/pod-references.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { loopbackContext } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, metadataOf, refuse, withSpec } from './attributes.ts';

const mountPath = '/var/run/secrets/kubernetes.io/serviceaccount';
const volumePrefix = 'kube-api-access-';
const mirrorAnnotation = 'kubernetes.io/config.mirror';
/** How often, and with what pause, a missing `default` account is looked for: its controller may just be making it. */
const attempts = 30;
const pauseMs = 50;

/** The sources of the token volume: token, cluster CA, namespace. */
const projectedSources = Object.freeze([
  Object.freeze({ serviceAccountToken: Object.freeze({ expirationSeconds: 3607, path: 'token' }) }),
  Object.freeze({
    configMap: Object.freeze({
      items: Object.freeze([Object.freeze({ key: 'ca.crt', path: 'ca.crt' })]),
      name: 'kube-root-ca.crt',
    }),
  }),
  Object.freeze({
    downwardAPI: Object.freeze({
      items: Object.freeze([
        Object.freeze({
          fieldRef: Object.freeze({ apiVersion: 'v1', fieldPath: 'metadata.namespace' }),
          path: 'namespace',
        }),
      ]),
    }),
  }),
]);

const sleep = (ms: number): Promise<void> => new Promise((resolve) => void ioTimer(ms, resolve));

export function serviceAccount(deps: { readonly registries: Registries; readonly random: Random }): AdmissionPlugin {
  const { registries, random } = deps;

  const find = (namespace: string, name: string): ServiceAccount | undefined =>
    cachedObject<ServiceAccount>(registries, '', 'serviceaccounts', namespace, name);

  const wait = async (namespace: string, name: string): Promise<ServiceAccount | undefined> => {
    const registry = registries.registry('', 'serviceaccounts')!;
    const ctx = loopbackContext({ verb: 'get', resource: registry.resource, namespace, name });
    for (let i = 0; i < (name === 'default' ? attempts : 1); i++) {
      if (i > 0) await sleep(pauseMs);
      const cached = find(namespace, name);
      if (cached !== undefined) return cached;
      if (i > 0 && i % 5 !== 0) continue;
      try {
        return (await registry.get(ctx, namespace, name, '')).object() as unknown as ServiceAccount;
      } catch (error) {
        if (!(error instanceof StatusError && error.code === 404)) throw error;
      }
    }
    return undefined;
  };

  const missing = (a: AdmissionAttributes, name: string): StatusError =>
    refuse(a, `error looking up service account ${a.namespace}/${name}: serviceaccount "${name}" not found`);

  const mount = (spec: PodSpec): Partial<PodSpec> => {
    const volumes = spec.volumes ?? [];
    const existing = volumes.find((v) => v.name.startsWith(volumePrefix));
    const name = existing?.name ?? `${volumePrefix}${random.suffix(5)}`;
    const volumeMount: VolumeMount = { name, readOnly: true, mountPath };
    let needed = false;
    const into = (container: Container): Container => {
      if (container.volumeMounts?.some((m) => m.mountPath === mountPath)) return container;
      needed = true;
      return { ...container, volumeMounts: [...(container.volumeMounts ?? []), volumeMount] };
    };
    const change: Partial<PodSpec> = {};
    if (spec.initContainers) change.initContainers = spec.initContainers.map(into);
    // What is left out is null here; validation says so later.
    if (spec.containers) change.containers = spec.containers.map(into);
    if (needed && existing === undefined)
      change.volumes = [
        ...volumes,
        { name, projected: { defaultMode: 420, sources: projectedSources } } as unknown as Volume,
      ];
    return change;
  };

  const admit = (a: AdmissionAttributes, object: Record<string, unknown>, account: ServiceAccount) => {
    const spec = object['spec'] as PodSpec;
    const change: Partial<PodSpec> & { serviceAccount?: string } = {
      serviceAccountName: account.metadata?.name,
      serviceAccount: account.metadata?.name,
    };
    if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true)
      Object.assign(change, mount(spec));
    if ((spec.imagePullSecrets ?? []).length === 0 && (account.imagePullSecrets ?? []).length > 0)
      change.imagePullSecrets = account.imagePullSecrets!.map((s) => ({ name: s.name }));
    const admitted = withSpec(object, change);
    limitReferences(a, account, admitted as unknown as Pod);
    return admitted;
  };

  return {
    name: 'ServiceAccount',
    handles: (operation, group, resource, subresource) =>
      group === '' &&
      resource === 'pods' &&
      ((operation === 'CREATE' && subresource === '') ||
        (operation === 'UPDATE' && subresource === 'ephemeralcontainers')),
    mutate(a) {
      const { object } = a;
      if (object === undefined || a.operation !== 'CREATE' || !object['spec']) return object;
      if (metadataOf(object).annotations?.[mirrorAnnotation] !== undefined) {
        checkMirror(a, object as unknown as Pod);
        return object;
      }
      const name = (object['spec'] as PodSpec).serviceAccountName || 'default';
      const cached = find(a.namespace, name);
      if (cached !== undefined) return admit(a, object, cached);
      return wait(a.namespace, name).then((account) => {
        if (account === undefined) throw missing(a, name);
        return admit(a, object, account);
      });
    },
    validate(a) {
      const pod = a.object as unknown as Pod | undefined;
      if (pod === undefined) return;
      if (a.operation === 'CREATE' && pod.metadata?.annotations?.[mirrorAnnotation] !== undefined) {
        checkMirror(a, pod);
        return;
      }
      const name = pod.spec?.serviceAccountName ?? '';
      if (name === '') throw refuse(a, `no service account specified for pod ${a.namespace}/${pod.metadata?.name}`);
      const account = find(a.namespace, name);
      if (account !== undefined) limitReferences(a, account, pod);
    },
  };
}

/** A mirror pod mirrors a file of its node: it has no identity and no secrets of the cluster's. */
function checkMirror(a: AdmissionAttributes, pod: Pod): void {
  if ((pod.spec?.serviceAccountName ?? '') !== '') throw refuse(a, 'a mirror pod may not reference service accounts');
  if (podSecretNames(pod).size > 0) throw refuse(a, 'a mirror pod may not reference secrets');
  for (const v of pod.spec?.volumes ?? [])
    if (v.projected?.sources?.some((s) => s.serviceAccountToken !== undefined))
      throw refuse(a, 'a mirror pod may not use ServiceAccountToken volume projections');
}

/** Accounts annotated so let their pods use the secrets they list alone. */
function limitReferences(a: AdmissionAttributes, account: ServiceAccount, pod: Pod): void {
  const enforced = account.metadata?.annotations?.['kubernetes.io/enforce-mountable-secrets'];
  if (enforced === undefined || parseBool(enforced) !== true) return;
  const mountable = new Set((account.secrets ?? []).map((s) => s.name));
  const name = account.metadata?.name;
  const fail = (what: string, secret: string | undefined): StatusError =>
    refuse(
      a,
      `${what} secret.secretName="${secret}" is not allowed because service account ${name} does not reference that secret`,
    );
  const containers = (prefix: string, list: readonly Pick<Container, 'name' | 'env' | 'envFrom'>[] | undefined) => {
    for (const c of list ?? []) {
      for (const env of c.env ?? []) {
        const secret = env.valueFrom?.secretKeyRef?.name;
        if (env.valueFrom?.secretKeyRef !== undefined && !mountable.has(secret))
          throw fail(`${prefix} ${c.name} with envVar ${env.name} referencing`, secret);
      }
      for (const from of c.envFrom ?? [])
        if (from.secretRef !== undefined && !mountable.has(from.secretRef.name))
          throw fail(`${prefix} ${c.name} with envFrom referencing`, from.secretRef.name);
    }
  };
  if (a.subresource === 'ephemeralcontainers') {
    containers('ephemeral container', pod.spec?.ephemeralContainers);
    return;
  }
  for (const v of pod.spec?.volumes ?? [])
    if (v.secret !== undefined && !mountable.has(v.secret.secretName)) throw fail('volume with', v.secret.secretName);
  containers('init container', pod.spec?.initContainers);
  containers('container', pod.spec?.containers);
  const pull = new Set((account.imagePullSecrets ?? []).map((s) => s.name));
  (pod.spec?.imagePullSecrets ?? []).forEach((ref, i) => {
    if (!pull.has(ref.name))
      throw refuse(
        a,
        `imagePullSecrets[${i}].name="${ref.name}" is not allowed because service account ${name} does not reference that imagePullSecret`,
      );
  });
}
