/** Which Secrets, ConfigMaps, claims and accounts a pod (or a volume) refers to: what its node may read, and what is in use. */
import type { Container, PersistentVolume, Pod } from '../types/core-v1.gen.ts';

/** Calls back for every container: init, ordinary and ephemeral. */
function eachContainer(pod: Pod, visit: (c: Pick<Container, 'env' | 'envFrom'>) => void): void {
  for (const c of pod.spec?.initContainers ?? []) visit(c);
  for (const c of pod.spec?.containers ?? []) visit(c);
  for (const c of pod.spec?.ephemeralContainers ?? []) visit(c);
}

/** Names of the Secrets in the pod's namespace that its kubelet reads. */
export function podSecretNames(pod: Pod): Set<string> {
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name !== undefined && name !== '') names.add(name);
  };
  for (const r of pod.spec?.imagePullSecrets ?? []) add(r.name);
  eachContainer(pod, (c) => {
    for (const e of c.envFrom ?? []) add(e.secretRef?.name);
    for (const e of c.env ?? []) add(e.valueFrom?.secretKeyRef?.name);
  });
  for (const v of pod.spec?.volumes ?? []) {
    add(v.azureFile?.secretName);
    add(v.cephfs?.secretRef?.name);
    add(v.cinder?.secretRef?.name);
    add(v.flexVolume?.secretRef?.name);
    for (const s of v.projected?.sources ?? []) add(s.secret?.name);
    add(v.rbd?.secretRef?.name);
    add(v.secret?.secretName);
    add(v.scaleIO?.secretRef?.name);
    add(v.iscsi?.secretRef?.name);
    add(v.storageos?.secretRef?.name);
    add(v.csi?.nodePublishSecretRef?.name);
  }
  return names;
}

/** Names of the ConfigMaps in the pod's namespace that its kubelet reads. */
export function podConfigMapNames(pod: Pod): Set<string> {
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name !== undefined && name !== '') names.add(name);
  };
  eachContainer(pod, (c) => {
    for (const e of c.envFrom ?? []) add(e.configMapRef?.name);
    for (const e of c.env ?? []) add(e.valueFrom?.configMapKeyRef?.name);
  });
  for (const v of pod.spec?.volumes ?? []) {
    for (const s of v.projected?.sources ?? []) add(s.configMap?.name);
    add(v.configMap?.name);
  }
  return names;
}

/** Names of the claims the pod mounts; a generic ephemeral volume's claim is named after pod and volume. */
export function podClaimNames(pod: Pod): Set<string> {
  const names = new Set<string>();
  for (const v of pod.spec?.volumes ?? []) {
    if (v.persistentVolumeClaim !== undefined) names.add(v.persistentVolumeClaim.claimName);
    else if (v.ephemeral !== undefined) names.add(`${pod.metadata?.name}-${v.name}`);
  }
  names.delete('');
  return names;
}

/** Names of the ResourceClaims that exist for the pod: named in its spec, or made from templates and named in its status. */
export function podResourceClaimNames(pod: Pod): Set<string> {
  const names = new Set<string>();
  for (const claim of pod.spec?.resourceClaims ?? []) {
    const name =
      claim.resourceClaimName ??
      pod.status?.resourceClaimStatuses?.find((s) => s.name === claim.name)?.resourceClaimName;
    if (name !== undefined && name !== '') names.add(name);
  }
  const extended = pod.status?.extendedResourceClaimStatus?.resourceClaimName;
  if (extended !== undefined && extended !== '') names.add(extended);
  return names;
}

/** `namespace/name` of the Secrets of a bound volume that a kubelet reads. */
export function volumeSecrets(pv: PersistentVolume): string[] {
  const spec = pv.spec;
  const claimNamespace = spec?.claimRef?.namespace ?? '';
  const out: string[] = [];
  // Go's clients say null of an azureFile's namespace where there is none.
  const add = (ref: { name?: string; namespace?: string | null } | undefined, fallback: string): void => {
    if (ref?.name === undefined || ref.name === '') return;
    out.push(`${(ref.namespace ?? '') === '' ? fallback : ref.namespace}/${ref.name}`);
  };
  if (spec === undefined) return out;
  if (spec.azureFile !== undefined)
    add({ name: spec.azureFile.secretName, namespace: spec.azureFile.secretNamespace }, claimNamespace);
  add(spec.cephfs?.secretRef, claimNamespace);
  add(spec.cinder?.secretRef, '');
  add(spec.flexVolume?.secretRef, claimNamespace);
  add(spec.rbd?.secretRef, claimNamespace);
  add(spec.scaleIO?.secretRef, claimNamespace);
  add(spec.iscsi?.secretRef, claimNamespace);
  add(spec.storageos?.secretRef, '');
  add(spec.csi?.nodePublishSecretRef, '');
  add(spec.csi?.nodeStageSecretRef, '');
  add(spec.csi?.nodeExpandSecretRef, '');
  return out;
}

/** What of the API a pod refers to, if anything: a static pod may not. */
export function apiObjectReference(pod: Pod): string | undefined {
  if ((pod.spec?.serviceAccountName ?? '') !== '') return 'serviceaccounts';
  if (podSecretNames(pod).size > 0) return 'secrets';
  if (podConfigMapNames(pod).size > 0) return 'configmaps';
  if ((pod.spec?.resourceClaims ?? []).length > 0) return 'resourceclaims';
  for (const v of pod.spec?.volumes ?? []) {
    if (v.csi !== undefined) return 'csidrivers (via CSI volumes)';
    if (v.glusterfs !== undefined) return 'endpoints (via glusterFS volumes)';
    if (v.persistentVolumeClaim !== undefined) return 'persistentvolumeclaims';
    if (v.ephemeral !== undefined) return 'persistentvolumeclaims (via ephemeral volumes)';
    for (const s of v.projected?.sources ?? []) {
      if (s.serviceAccountToken !== undefined) return 'serviceaccounts (via projected volumes)';
      if (s.clusterTrustBundle !== undefined) return 'clustertrustbundles';
      if (s.podCertificate !== undefined) return 'podcertificates';
    }
  }
  return undefined;
}
