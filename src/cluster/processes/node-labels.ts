/** Checks `--node-labels`: a kubelet labels its own node with few of Kubernetes' own names. */
import {
  isKubeletLabel,
  isKubernetesLabel,
  kubeletLabelNamespaces,
  kubeletLabels,
} from '../../api/helpers/kubelet-labels.ts';
import { isLabelValue, isQualifiedName } from '../../api/names.ts';
import { StartError } from './environment.ts';

/** @throws StartError with upstream's words */
export function checkNodeLabels(labels: Readonly<Record<string, string>>): void {
  const fail = (message: string): never => {
    throw new StartError(`failed to validate kubelet flags: ${message}`);
  };
  const unknown = Object.keys(labels).filter((label) => isKubernetesLabel(label) && !isKubeletLabel(label));
  if (unknown.length > 0)
    fail(
      `unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [${unknown.toSorted().join(' ')}]\n` +
        `--node-labels in the 'kubernetes.io' namespace must begin with an allowed prefix (${kubeletLabelNamespaces.join(', ')}) or be in the specifically allowed set (${kubeletLabels.join(', ')})`,
    );
  const invalid = Object.entries(labels).flatMap(([label, value]) =>
    [[label, isQualifiedName(label)] as const, [value, isLabelValue(value)] as const].flatMap(([text, errors]) =>
      errors.length === 0 ? [] : [`'${text}' - ${errors.join(', ')}`],
    ),
  );
  if (invalid.length > 0) fail(`invalid node labels: ${invalid.join('; ')}`);
}
