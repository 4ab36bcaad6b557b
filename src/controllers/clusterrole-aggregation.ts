/** The ClusterRole aggregation controller: a role with an aggregation rule gets the rules of all roles that it selects. */
import { semanticEqual } from '../api/helpers/deep-equal.ts';
import { compileLabelSelector } from '../api/selector.ts';
import type { ClusterRole, PolicyRule } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('clusterrole-aggregation-controller');
  const roles = context.informers.informer(resources.rbac.clusterroles);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'clusterrole-aggregation',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (name) => {
      const role = roles.lister.get(name);
      const selectors = role?.aggregationRule?.clusterRoleSelectors;
      if (role === undefined || role.aggregationRule === undefined) return;
      const rules: PolicyRule[] = [];
      for (const source of selectors ?? []) {
        const selector = compileLabelSelector(source);
        const selected = [...roles.lister.list()]
          .filter((r) => r.metadata.name !== name && selector.matches(r.metadata.labels))
          .toSorted((a, b) => (a.metadata.name! < b.metadata.name! ? -1 : 1));
        for (const r of selected) {
          for (const rule of r.rules ?? []) if (!rules.some((have) => semanticEqual(have, rule))) rules.push(rule);
        }
      }
      if (semanticEqual(rules, role.rules)) return;
      await client.rbac.clusterroles.apply(
        { metadata: { name }, rules },
        { fieldManager: 'clusterrole-aggregation-controller', force: true },
      );
    },
  });
  // Which role feeds which is not known beforehand; those that aggregate are few.
  const all = (): void => {
    for (const r of roles.lister.list()) {
      if (r.aggregationRule !== undefined) controller.queue.add(r.metadata.name!);
    }
  };
  roles.addHandler({
    onAdd: (_: ClusterRole, initial) => (initial ? undefined : all()),
    onUpdate: (old, role) => {
      const same =
        semanticEqual(old.rules, role.rules) &&
        semanticEqual(old.metadata.labels, role.metadata.labels) &&
        semanticEqual(old.aggregationRule, role.aggregationRule);
      if (!same) all();
    },
    onDelete: all,
  });
  roles.synced.then(all, () => {});
  controller.start(roles.synced);
  return controller;
}

export const clusterRoleAggregationController: ControllerDescriptor = {
  name: 'clusterrole-aggregation-controller',
  aliases: ['clusterrole-aggregation'],
  start,
};
