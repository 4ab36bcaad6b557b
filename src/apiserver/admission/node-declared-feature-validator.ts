/** NodeDeclaredFeatureValidator: a pod on a node is not changed in a way that the node does not say it can follow (KEP-5328). */
import { deepEqual, semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Node, Pod } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';

/** What a node must declare for this change, in the order of the names. */
function featuresForUpdate(old: Pod, pod: Pod): string[] {
  const needed: string[] = [];
  if (!semanticEqual(old.spec?.resources, pod.spec?.resources)) needed.push('InPlacePodLevelResourcesVerticalScaling');
  const resized = (old.spec?.initContainers ?? []).some(
    (c, i) => c.restartPolicy !== 'Always' && !deepEqual(c.resources, pod.spec?.initContainers?.[i]?.resources),
  );
  if (resized) needed.push('InPlacePodVerticalScalingInitContainers');
  return needed;
}

export function nodeDeclaredFeatureValidator(deps: {
  readonly registries: Registries;
  readonly features: FeatureGates;
}): AdmissionPlugin {
  const on = deps.features.enabled('NodeDeclaredFeatures');
  return {
    name: 'NodeDeclaredFeatureValidator',
    handles: (operation, group, resource, subresource) =>
      on &&
      operation === 'UPDATE' &&
      group === '' &&
      resource === 'pods' &&
      (subresource === '' || subresource === 'resize'),
    validate(a) {
      const pod = a.object as unknown as Pod;
      const old = a.oldObject as unknown as Pod;
      const nodeName = pod.spec?.nodeName ?? '';
      if (nodeName === '' || old.metadata?.generation === pod.metadata?.generation) return;
      const needed = featuresForUpdate(old, pod);
      if (needed.length === 0) return;
      const node = cachedObject<Node>(deps.registries, '', 'nodes', '', nodeName);
      if (node === undefined) throw refuse(a, `node ${JSON.stringify(nodeName)} not found`);
      const missing = needed.filter((feature) => node.status?.declaredFeatures?.includes(feature) !== true);
      if (missing.length > 0)
        throw refuse(
          a,
          `pod update requires features ${missing.join(', ')} which are not available on node ${JSON.stringify(nodeName)}`,
        );
    },
  };
}
