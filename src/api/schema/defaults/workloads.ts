/** Conditional defaults of apps, batch and autoscaling. */
import { isEmpty, isUnset, setIfEmpty, setIfUnset, struct, structOf } from './hook.ts';
import type { Draft, Hook } from './hook.ts';

const deployment: Hook = (draft) => {
  const strategy = struct(struct(draft, 'spec'), 'strategy');
  setIfEmpty(strategy, 'type', 'RollingUpdate');
  if (strategy['type'] !== 'RollingUpdate') return;
  const rolling = struct(strategy, 'rollingUpdate');
  setIfUnset(rolling, 'maxUnavailable', '25%');
  setIfUnset(rolling, 'maxSurge', '25%');
};

const daemonSet: Hook = (draft) => {
  const strategy = struct(struct(draft, 'spec'), 'updateStrategy');
  setIfEmpty(strategy, 'type', 'RollingUpdate');
  if (strategy['type'] !== 'RollingUpdate') return;
  const rolling = struct(strategy, 'rollingUpdate');
  setIfUnset(rolling, 'maxUnavailable', 1);
  setIfUnset(rolling, 'maxSurge', 0);
};

const statefulSet: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  const strategy = struct(spec, 'updateStrategy');
  if (isEmpty(strategy['type'])) {
    strategy['type'] = 'RollingUpdate';
    struct(strategy, 'rollingUpdate');
  }
  const rolling = structOf(strategy, 'rollingUpdate');
  if (strategy['type'] === 'RollingUpdate' && rolling !== undefined) setIfUnset(rolling, 'partition', 0);
  const retention = struct(spec, 'persistentVolumeClaimRetentionPolicy');
  setIfEmpty(retention, 'whenDeleted', 'Retain');
  setIfEmpty(retention, 'whenScaled', 'Retain');
};

const job: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  if (isUnset(spec['completions']) && isUnset(spec['parallelism'])) spec['completions'] = 1;
  setIfUnset(spec, 'parallelism', 1);
  setIfUnset(spec, 'backoffLimit', isUnset(spec['backoffLimitPerIndex']) ? 6 : 2147483647);
  const labels = structOf(structOf(structOf(spec, 'template'), 'metadata'), 'labels');
  if (labels !== undefined) setIfEmpty(struct(draft, 'metadata'), 'labels', { ...labels });
  setIfUnset(spec, 'completionMode', 'NonIndexed');
  setIfUnset(spec, 'suspend', false);
  setIfUnset(spec, 'podReplacementPolicy', isUnset(spec['podFailurePolicy']) ? 'TerminatingOrFailed' : 'Failed');
  setIfUnset(spec, 'manualSelector', false);
};

function scalingRules(behavior: Draft, name: string, defaults: Draft): void {
  const rules = struct(behavior, name);
  for (const [member, value] of Object.entries(defaults)) setIfUnset(rules, member, value);
}

const horizontalPodAutoscaler: Hook = (draft) => {
  const behavior = structOf(struct(draft, 'spec'), 'behavior');
  if (behavior === undefined) return;
  const percent = { type: 'Percent', value: 100, periodSeconds: 15 };
  scalingRules(behavior, 'scaleUp', {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }, { ...percent }],
  });
  scalingRules(behavior, 'scaleDown', { selectPolicy: 'Max', policies: [{ ...percent }] });
};

export const workloadHooks: readonly (readonly [string, Hook])[] = [
  ['io.k8s.api.apps.v1.Deployment', deployment],
  ['io.k8s.api.apps.v1.DaemonSet', daemonSet],
  ['io.k8s.api.apps.v1.StatefulSet', statefulSet],
  ['io.k8s.api.batch.v1.Job', job],
  ['io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler', horizontalPodAutoscaler],
];
