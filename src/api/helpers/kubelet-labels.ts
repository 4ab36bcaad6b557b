/** Which of Kubernetes' own label names a kubelet may set on its node. */

export const kubeletLabels: readonly string[] = [
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/instance-type',
  'beta.kubernetes.io/os',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'kubernetes.io/arch',
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'node.kubernetes.io/instance-type',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
];

/** Any label in one of these, or below. */
export const kubeletLabelNamespaces: readonly string[] = ['kubelet.kubernetes.io', 'node.kubernetes.io'];

/** What stands before the slash; empty without one. */
function namespaceOf(label: string): string {
  return label.includes('/') ? label.slice(0, label.indexOf('/')) : '';
}

/** Whether a label stands in a domain or below it. */
export function labelWithin(label: string, domain: string): boolean {
  const namespace = namespaceOf(label);
  return namespace === domain || namespace.endsWith(`.${domain}`);
}

export const isKubernetesLabel = (label: string): boolean =>
  labelWithin(label, 'kubernetes.io') || labelWithin(label, 'k8s.io');

export const isKubeletLabel = (label: string): boolean =>
  kubeletLabels.includes(label) || kubeletLabelNamespaces.some((domain) => labelWithin(label, domain));
