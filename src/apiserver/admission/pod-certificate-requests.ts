/** What a kubelet may ask for with a PodCertificateRequest: certificates of the pods that run on its node, as they are. */
import type { Node, Pod, ServiceAccount } from '../../api/types/core-v1.gen.ts';
import { internalError } from '../../api/status.ts';
import type { AdmissionAttributes } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';

const mirrorAnnotation = 'kubernetes.io/config.mirror';

interface RequestSpec {
  readonly podName?: string;
  readonly podUID?: string;
  readonly nodeName?: string;
  readonly nodeUID?: string;
  readonly serviceAccountName?: string;
  readonly serviceAccountUID?: string;
}

/** @throws {StatusError} 403 for what is not the node's; 500 for what may only be too new, and can be asked for again */
export function admitPodCertificateRequest(registries: Registries, node: string, a: AdmissionAttributes): void {
  if (a.operation !== 'CREATE') throw refuse(a, `unexpected operation ${a.operation}`);
  if (a.subresource !== '') throw refuse(a, `unexpected subresource ${a.subresource}`);
  const spec = (a.object?.['spec'] ?? {}) as RequestSpec;
  const q = (text: string | undefined): string => JSON.stringify(text ?? '');
  const { namespace } = a;
  const again = (why: string): Error => internalError(new Error(why));
  const missing = (what: string, name: string, resource: string): Error =>
    again(
      `while retrieving ${what} ${q(name)} named in the PodCertificateRequest: ${resource} ${q(name.slice(name.indexOf('/') + 1))} not found`,
    );
  if (spec.nodeName !== node)
    throw refuse(
      a,
      `PodCertificateRequest.Spec.NodeName=${q(spec.nodeName)}, which is not the requesting node ${q(node)}`,
    );
  const podName = `${namespace}/${spec.podName ?? ''}`;
  const found = cachedObject<Node>(registries, '', 'nodes', '', node);
  if (found === undefined) throw missing('node', node, 'node');
  if (found.metadata?.uid !== spec.nodeUID)
    throw again(
      `PodCertificateRequest for pod ${q(podName)} names node UID ${q(spec.nodeUID)}, inconsistent with the running node (${q(found.metadata?.uid)})`,
    );
  const pod = cachedObject<Pod>(registries, '', 'pods', namespace, spec.podName ?? '');
  if (pod === undefined) throw missing('pod', podName, 'pod');
  if (pod.metadata?.uid !== spec.podUID)
    throw again(
      `PodCertificateRequest for pod ${q(podName)} contains pod UID (${q(spec.podUID)}) which differs from running pod ${q(pod.metadata?.uid)}`,
    );
  if (pod.spec?.nodeName !== node)
    throw refuse(a, `pod ${q(podName)} is not running on node ${q(node)} named in the PodCertificateRequest`);
  if (pod.metadata?.annotations?.[mirrorAnnotation] !== undefined) throw refuse(a, `pod ${q(podName)} is a mirror pod`);
  const account = spec.serviceAccountName ?? '';
  if (account !== pod.spec.serviceAccountName)
    throw refuse(
      a,
      `PodCertificateRequest for pod ${q(podName)} contains serviceAccountName (${q(account)}) that differs from running pod (${q(pod.spec.serviceAccountName)})`,
    );
  const serviceAccount = cachedObject<ServiceAccount>(registries, '', 'serviceaccounts', namespace, account);
  if (serviceAccount === undefined) throw missing('service account', `${namespace}/${account}`, 'serviceaccount');
  if (serviceAccount.metadata?.uid !== spec.serviceAccountUID)
    throw again(
      `PodCertificateRequest for pod ${q(podName)} names service account UID ${q(spec.serviceAccountUID)}, which differs from the running service account (${q(serviceAccount.metadata?.uid)})`,
    );
}
