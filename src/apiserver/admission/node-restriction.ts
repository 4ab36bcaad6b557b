/**
 * NodeRestriction: a kubelet changes only its own Node, lease, CSINode and slices, the status of the pods bound to it, and
 * gets tokens only for those pods. The Node authorizer has let it pass; here the content is looked at.
 */
import { readRequest, requestDer } from '../../base/certificate-request.ts';
import type { CertificateSigningRequest } from '../../api/types/certificates-v1.gen.ts';
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume } from '../../api/types/core-v1.gen.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { notFound } from '../../api/status.ts';
import type { CSIDriver } from '../../api/types/storage-v1.gen.ts';
import { nodeIdentity } from '../authorization/node.ts';
import { isKubeletLabel, isKubernetesLabel, labelWithin } from '../../api/helpers/kubelet-labels.ts';
import { translatedInlineVolume, translatedVolume } from '../../api/helpers/csi-translation/csi-translation.ts';
import { apiObjectReference } from '../../api/helpers/pod-references.ts';
import type { AdmissionAttributes, AdmissionPlugin, Authorizer } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, metadataOf, refuse } from './attributes.ts';
import { admitPodCertificateRequest } from './pod-certificate-requests.ts';

const mirrorAnnotation = 'kubernetes.io/config.mirror';

/** Of the changed labels those that a kubelet may not set on itself. */
function forbiddenLabels(after: Record<string, string> = {}, before: Record<string, string> = {}): string[] {
  const changed = new Set<string>();
  for (const [k, v] of Object.entries(after)) if (before[k] !== v) changed.add(k);
  for (const k of Object.keys(before)) if (after[k] === undefined) changed.add(k);
  return [...changed]
    .filter((label) => {
      if (labelWithin(label, 'node-restriction.kubernetes.io')) return true;
      return isKubernetesLabel(label) && !isKubeletLabel(label);
    })
    .toSorted();
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}

const sameLabels = (a: Record<string, string> = {}, b: Record<string, string> = {}): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([k, v]) => b[k] === v);

export function nodeRestriction(deps: {
  readonly registries: Registries;
  readonly authorizer: Authorizer;
  readonly features: FeatureGates;
}): AdmissionPlugin {
  const { registries } = deps;
  const getPod = (a: AdmissionAttributes, name: string): Pod => {
    const pod = cachedObject<Pod>(registries, '', 'pods', a.namespace, name);
    // Upstream's caches name what is not there in the singular.
    if (pod === undefined) throw notFound({ group: '', resource: 'pod' }, name);
    return pod;
  };

  const podCreate = (node: string, a: AdmissionAttributes, pod: Pod): void => {
    const q = JSON.stringify(node);
    if (pod.metadata?.annotations?.[mirrorAnnotation] === undefined)
      throw refuse(a, `pod does not have "${mirrorAnnotation}" annotation, node ${q} can only create mirror pods`);
    if (pod.spec?.nodeName !== node) throw refuse(a, `node ${q} can only create pods with spec.nodeName set to itself`);
    const owners = pod.metadata?.ownerReferences ?? [];
    if (owners.length > 1)
      throw refuse(a, `node ${q} can only create pods with a single owner reference set to itself`);
    const owner = owners[0];
    if (owner === undefined || owner.apiVersion !== 'v1' || owner.kind !== 'Node' || owner.name !== node)
      throw refuse(a, `node ${q} can only create pods with an owner reference set to itself`);
    if (owner.controller !== true)
      throw refuse(a, `node ${q} can only create pods with a controller owner reference set to itself`);
    if (owner.blockOwnerDeletion === true)
      throw refuse(a, `node ${q} must not set blockOwnerDeletion on an owner reference`);
    const object = cachedObject<Node>(registries, '', 'nodes', '', node);
    if (object === undefined) throw notFound({ group: '', resource: 'node' }, node);
    if (owner.uid !== object.metadata?.uid)
      throw refuse(a, `node ${node} UID mismatch: expected ${owner.uid} got ${object.metadata?.uid}`);
    const reference = apiObjectReference(pod);
    if (reference !== undefined) throw refuse(a, `node ${q} can not create pods that reference ${reference}`);
  };

  const admitPod = (node: string, a: AdmissionAttributes): void => {
    const q = JSON.stringify(node);
    switch (a.subresource) {
      case '':
        if (a.operation === 'CREATE') podCreate(node, a, a.object as unknown as Pod);
        else if (a.operation === 'DELETE') {
          if (getPod(a, a.name).spec?.nodeName !== node)
            throw refuse(a, `node ${q} can only delete pods with spec.nodeName set to itself`);
        } else
          throw refuse(a, `unexpected operation "${a.operation}", node ${q} can only create and delete mirror pods`);
        return;
      case 'status': {
        if (a.operation !== 'UPDATE') throw refuse(a, `unexpected operation "${a.operation}"`);
        const old = a.oldObject as unknown as Pod;
        const pod = a.object as unknown as Pod;
        if (old.spec?.nodeName !== node)
          throw refuse(a, `node ${q} can only update pod status for pods with spec.nodeName set to itself`);
        if (!sameLabels(old.metadata?.labels, pod.metadata?.labels))
          throw refuse(a, `node ${q} cannot update labels through pod status`);
        const claims = (p: Pod): unknown => p.status?.resourceClaimStatuses ?? [];
        if (!same(claims(old), claims(pod))) throw refuse(a, `node ${q} cannot update resource claim statues`);
        if (!same(old.status?.extendedResourceClaimStatus, pod.status?.extendedResourceClaimStatus))
          throw refuse(a, `node ${q} cannot update extended resource claim status`);
        return;
      }
      case 'eviction': {
        if (a.operation !== 'CREATE') throw refuse(a, `unexpected operation ${a.operation}`);
        const name = a.name || metadataOf(a.object).name || '';
        if (name === '') throw refuse(a, 'could not determine pod from request data');
        if (getPod(a, name).spec?.nodeName !== node)
          throw refuse(a, `node ${node} can only evict pods with spec.nodeName set to itself`);
        return;
      }
      default:
        throw refuse(a, `unexpected pod subresource "${a.subresource}", only 'status' and 'eviction' are allowed`);
    }
  };

  const admitNode = (node: string, a: AdmissionAttributes): void => {
    const q = JSON.stringify(node);
    if (a.name !== node) throw refuse(a, `node ${q} is not allowed to modify node ${JSON.stringify(a.name)}`);
    const object = a.object as unknown as Node | undefined;
    if (a.operation === 'CREATE') {
      if (object?.spec?.configSource !== undefined)
        throw refuse(a, `node ${q} is not allowed to create pods with a non-nil configSource`);
      const labels = forbiddenLabels(object?.metadata?.labels);
      if (labels.length > 0)
        throw refuse(a, `node ${q} is not allowed to set the following labels: ${labels.join(', ')}`);
    }
    if (a.operation !== 'UPDATE') return;
    const old = a.oldObject as unknown as Node;
    if (object?.spec?.configSource !== undefined && !same(object.spec.configSource, old.spec?.configSource))
      throw refuse(a, `node ${q} is not allowed to update configSource to a new non-nil configSource`);
    if (!same(object?.spec?.taints ?? [], old.spec?.taints ?? []))
      throw refuse(a, `node ${q} is not allowed to modify taints`);
    if (!same(object?.metadata?.ownerReferences ?? [], old.metadata?.ownerReferences ?? []))
      throw refuse(a, `node ${q} is not allowed to modify ownerReferences`);
    const labels = forbiddenLabels(object?.metadata?.labels, old.metadata?.labels);
    if (labels.length > 0) throw refuse(a, `is not allowed to modify labels: ${labels.join(', ')}`);
  };

  const admitClaimStatus = (node: string, a: AdmissionAttributes): void => {
    if (a.subresource !== 'status') throw refuse(a, 'may only update PVC status');
    if (a.operation !== 'UPDATE') throw refuse(a, `unexpected operation "${a.operation}"`);
    const strip = (o: unknown): unknown => {
      const { metadata, status, spec } = o as PersistentVolumeClaim;
      const { resourceVersion: _r, managedFields: _m, ...rest } = metadata ?? {};
      const {
        capacity: _c,
        conditions: _d,
        allocatedResources: _a,
        allocatedResourceStatuses: _s,
        ...other
      } = status ?? {};
      return { metadata: rest, spec, status: other };
    };
    if (!same(strip(a.oldObject), strip(a.object)))
      throw refuse(
        a,
        `node ${JSON.stringify(node)} is not allowed to update fields other than status.quantity and status.conditions`,
      );
  };

  /** The object, or why a volume does not lead to a driver. @throws {StatusError} */
  const needed = <T>(group: string, resource: string, namespace: string, name: string): T => {
    const object = cachedObject<T>(registries, group, resource, namespace, name);
    if (object === undefined) throw notFound({ group, resource: resource.slice(0, -1) }, name);
    return object;
  };

  const driverOfClaim = (namespace: string, name: string): string => {
    const pvc = needed<PersistentVolumeClaim>('', 'persistentvolumeclaims', namespace, name);
    const pv = needed<PersistentVolume>('', 'persistentvolumes', '', pvc.spec?.volumeName ?? '');
    return translatedVolume(pv).spec?.csi?.driver ?? '';
  };

  /** The CSI driver that mounts the volume; empty for volumes without one. @throws {StatusError} */
  const driverOfVolume = (pod: Pod, v: Volume): string => {
    const namespace = pod.metadata?.namespace ?? '';
    // A null in place of a source is none.
    if (v.ephemeral?.volumeClaimTemplate) return driverOfClaim(namespace, `${pod.metadata?.name}-${v.name}`);
    if (v.persistentVolumeClaim) return driverOfClaim(namespace, v.persistentVolumeClaim.claimName);
    if (v.csi) return v.csi.driver;
    return translatedInlineVolume(v, namespace)?.spec?.csi?.driver ?? '';
  };

  /** Is the audience one that a volume of the pod asks for? Else why that could not be found out, if it could not. */
  const podUsesAudience = (pod: Pod, audience: string): boolean | string => {
    const errors = new Set<string>();
    for (const v of pod.spec?.volumes ?? []) {
      for (const s of v.projected?.sources ?? [])
        if (s.serviceAccountToken && (s.serviceAccountToken.audience ?? '') === audience) return true;
      try {
        const name = driverOfVolume(pod, v);
        if (name === '') continue;
        const driver = needed<CSIDriver>('storage.k8s.io', 'csidrivers', '', name);
        if (driver.spec.tokenRequests?.some((t) => t.audience === audience) === true) return true;
      } catch (error) {
        if (!(error instanceof Error) || error instanceof TypeError) throw error;
        errors.add(error.message);
      }
    }
    if (errors.size === 0) return false;
    return errors.size === 1 ? [...errors][0]! : `[${[...errors].join(', ')}]`;
  };

  const admitToken = (node: string, a: AdmissionAttributes): void | Promise<void> => {
    if (a.operation !== 'CREATE' || a.subresource !== 'token') return;
    const spec = (a.object?.['spec'] ?? {}) as {
      audiences?: string[];
      boundObjectRef?: { apiVersion?: string; kind?: string; name?: string; uid?: string } | null;
    };
    // Go's clients say null where there is none.
    const ref = spec.boundObjectRef ?? undefined;
    if (ref === undefined || ref.apiVersion !== 'v1' || ref.kind !== 'Pod' || (ref.name ?? '') === '')
      throw refuse(a, 'node requested token not bound to a pod');
    if ((ref.uid ?? '') === '') throw refuse(a, 'node requested token with a pod binding without a uid');
    const pod = getPod(a, ref.name!);
    if (ref.uid !== pod.metadata?.uid)
      throw refuse(
        a,
        `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
      );
    if (pod.spec?.nodeName !== node)
      throw refuse(a, 'node requested token bound to a pod scheduled on a different node');
    if (!deps.features.enabled('ServiceAccountNodeAudienceRestriction')) return;
    const audiences = spec.audiences ?? [];
    if (audiences.length > 1) throw refuse(a, 'node may only request 0 or 1 audiences');
    const audience = audiences[0] ?? '';
    const used = podUsesAudience(pod, audience);
    if (used === true) return;
    if (used !== false) throw refuse(a, `error validating audience ${JSON.stringify(audience)}: ${used}`);
    const outcome = deps.authorizer.authorize({
      user: a.user,
      verb: 'request-serviceaccounts-token-audience',
      isResourceRequest: true,
      group: '',
      version: 'v1',
      resource: audience,
      subresource: '',
      namespace: a.namespace,
      name: a.name,
      path: '',
    });
    const decide = ({ decision }: { decision: string }): void => {
      if (decision !== 'allow')
        throw refuse(
          a,
          `audience ${JSON.stringify(audience)} not found in pod spec volume, ${a.user.name} is not authorized to request tokens for this audience`,
        );
    };
    return outcome instanceof Promise ? outcome.then(decide) : decide(outcome);
  };

  const admitNamed = (node: string, a: AdmissionAttributes, what: string): void => {
    const name = a.operation === 'CREATE' ? metadataOf(a.object).name : a.name;
    if (name !== node) throw refuse(a, `can only access ${what} with the same name as the requesting node`);
  };

  const admitSlice = (node: string, a: AdmissionAttributes): void => {
    const nodeName = (o: Record<string, unknown> | undefined): string | undefined =>
      (o?.['spec'] as { nodeName?: string } | undefined)?.nodeName;
    if (a.operation === 'CREATE' && nodeName(a.object) !== node)
      throw refuse(a, 'can only create ResourceSlice with the same NodeName as the requesting node');
    if (a.operation === 'DELETE' && nodeName(a.oldObject) !== node)
      throw refuse(a, 'can only delete ResourceSlice with the same NodeName as the requesting node');
  };

  const admitCsr = async (node: string, a: AdmissionAttributes): Promise<void> => {
    if (a.operation !== 'CREATE') return;
    const csr = a.object as unknown as CertificateSigningRequest;
    const signer = csr.spec?.signerName;
    if (signer !== 'kubernetes.io/kubelet-serving' && signer !== 'kubernetes.io/kube-apiserver-client-kubelet') return;
    let commonName: string;
    try {
      ({ commonName } = await readRequest(requestDer(String(csr.spec?.request ?? ''))));
    } catch (error) {
      throw refuse(a, `unable to parse csr: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (commonName !== `system:node:${node}`) throw refuse(a, `can only create a node CSR with CN=system:node:${node}`);
  };

  const admit = (a: AdmissionAttributes): void | Promise<void> => {
    const node = nodeIdentity(a.user);
    if (node === undefined) return;
    if (node === '') throw refuse(a, `could not determine node from user ${JSON.stringify(a.user.name)}`);
    switch (`${a.group}/${a.resource}`) {
      case '/pods':
        return admitPod(node, a);
      case '/nodes':
        return admitNode(node, a);
      case '/persistentvolumeclaims':
        return admitClaimStatus(node, a);
      case '/serviceaccounts':
        return admitToken(node, a);
      case 'coordination.k8s.io/leases':
        if (a.namespace !== 'kube-node-lease')
          throw refuse(a, 'can only access leases in the "kube-node-lease" system namespace');
        return admitNamed(node, a, 'node lease');
      case 'storage.k8s.io/csinodes':
        return admitNamed(node, a, 'CSINode');
      case 'resource.k8s.io/resourceslices':
        return admitSlice(node, a);
      case 'certificates.k8s.io/certificatesigningrequests':
        return admitCsr(node, a);
      case 'certificates.k8s.io/podcertificaterequests':
        if (!deps.features.enabled('PodCertificateRequest'))
          throw refuse(a, 'PodCertificateRequest feature gate is disabled');
        return admitPodCertificateRequest(registries, node, a);
    }
  };

  return {
    name: 'NodeRestriction',
    handles: (operation) => operation !== 'CONNECT',
    mutate(a) {
      if (!a.user.name.startsWith('system:node:')) return a.object;
      const done = admit(a);
      return done instanceof Promise ? done.then(() => a.object) : a.object;
    },
  };
}
