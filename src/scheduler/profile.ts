/** `SchedulerProfile`: pods that name a scheduler are placed with its choice of plugins (KubeSchedulerConfiguration's `profiles`). */
import type { Plugin } from './framework.ts';

export interface PluginSet {
  readonly enabled?: readonly { readonly name: string; readonly weight?: number }[];
  /** `*`: all of them. */
  readonly disabled?: readonly { readonly name: string }[];
}

export interface SchedulerProfile {
  readonly schedulerName: string;
  /** Which part of a large cluster's nodes is looked at; 0 or left out: by its size. */
  readonly percentageOfNodesToScore?: number;
  /** By extension point: `multiPoint`, `filter`, `score`, … */
  readonly plugins?: Readonly<Record<string, PluginSet>>;
}

export const defaultSchedulerName = 'default-scheduler';

/** Upstream's plugins, those without a say here among them. */
export const pluginNames: readonly string[] = [
  'DefaultBinder',
  'DefaultPreemption',
  'DynamicResources',
  'GangScheduling',
  'ImageLocality',
  'InterPodAffinity',
  'NodeAffinity',
  'NodeDeclaredFeatures',
  'NodeName',
  'NodePorts',
  'NodeResourcesBalancedAllocation',
  'NodeResourcesFit',
  'NodeUnschedulable',
  'NodeVolumeLimits',
  'PodGroupPodsCount',
  'PodTopologySpread',
  'PrioritySort',
  'SchedulingGates',
  'TaintToleration',
  'TopologyPlacementGenerator',
  'VolumeBinding',
  'VolumeRestrictions',
  'VolumeZone',
];

const names = (set: readonly { readonly name: string }[] | undefined, name: string): boolean =>
  set?.some((p) => p.name === name) === true;

/** Whether a plugin works at one of the extension points. */
function works(profile: SchedulerProfile, name: string, points: readonly string[]): boolean {
  const sets = profile.plugins ?? {};
  if (points.some((p) => names(sets[p]?.enabled, name))) return true;
  if (points.some((p) => names(sets[p]?.disabled, name) || names(sets[p]?.disabled, '*'))) return false;
  const all = sets['multiPoint'];
  if (names(all?.enabled, name)) return true;
  return !names(all?.disabled, name) && !names(all?.disabled, '*');
}

function weightOf(profile: SchedulerProfile, name: string): number | undefined {
  for (const point of ['score', 'multiPoint']) {
    const weight = profile.plugins?.[point]?.enabled?.find((p) => p.name === name)?.weight;
    if (weight !== undefined && weight !== 0) return weight;
  }
  return undefined;
}

/** The plugins of a profile, each with what of it works there. */
export function pluginsOf(profile: SchedulerProfile, all: readonly Plugin[]): readonly Plugin[] {
  if (profile.plugins === undefined) return all;
  return all.map((plugin) => {
    const { name } = plugin;
    const weight = weightOf(profile, name) ?? plugin.weight;
    const on = (...points: string[]): boolean => works(profile, name, points);
    return {
      name,
      events: plugin.events,
      ...(weight === undefined ? {} : { weight }),
      ...(plugin.preEnqueue === undefined || !on('preEnqueue') ? {} : { preEnqueue: plugin.preEnqueue.bind(plugin) }),
      ...(plugin.filter === undefined || !on('preFilter', 'filter') ? {} : { filter: plugin.filter.bind(plugin) }),
      ...(plugin.score === undefined || !on('preScore', 'score') ? {} : { score: plugin.score.bind(plugin) }),
      ...(plugin.preBind === undefined || !on('reserve', 'preBind') ? {} : { preBind: plugin.preBind.bind(plugin) }),
    };
  });
}

/** Whether pods may make others go. */
export function preempts(profile: SchedulerProfile): boolean {
  return works(profile, 'DefaultPreemption', ['postFilter']);
}
