/** Where the API groups stand in discovery: the priorities with which upstream registers its own group versions. */
import { compareVersions } from '../resource-directory.ts';

export interface Priority {
  readonly group: number;
  readonly version: number;
}

/** By group: its priority, and those of its versions. */
const builtIn: Readonly<Record<string, readonly [number, Readonly<Record<string, number>>]>> = {
  '': [18_000, { v1: 1 }],
  apps: [17_800, { v1: 15 }],
  'events.k8s.io': [17_750, { v1: 15, v1beta1: 5 }],
  'authentication.k8s.io': [17_700, { v1: 15, v1beta1: 9, v1alpha1: 1 }],
  'authorization.k8s.io': [17_600, { v1: 15 }],
  autoscaling: [17_500, { v1: 15, v2: 30, v2beta1: 9, v2beta2: 1 }],
  batch: [17_400, { v1: 15, v1beta1: 9, v2alpha1: 9 }],
  'certificates.k8s.io': [17_300, { v1: 15, v1beta1: 9, v1alpha1: 1 }],
  'networking.k8s.io': [17_200, { v1: 15, v1beta1: 9 }],
  policy: [17_100, { v1: 15, v1beta1: 9 }],
  'rbac.authorization.k8s.io': [17_000, { v1: 15 }],
  'storage.k8s.io': [16_800, { v1: 15, v1beta1: 9, v1alpha1: 1 }],
  'apiextensions.k8s.io': [16_700, { v1: 15 }],
  'admissionregistration.k8s.io': [16_700, { v1: 15, v1beta1: 12, v1alpha1: 9 }],
  'scheduling.k8s.io': [16_600, { v1: 15, v1alpha2: 2 }],
  'coordination.k8s.io': [16_500, { v1: 15, v1beta1: 13, v1alpha2: 12 }],
  'node.k8s.io': [16_300, { v1: 15, v1beta1: 9, v1alpha1: 1 }],
  'discovery.k8s.io': [16_200, { v1: 15, v1beta1: 12 }],
  'resource.k8s.io': [16_200, { v1: 21, v1beta2: 15, v1beta1: 9, v1alpha3: 1 }],
  'flowcontrol.apiserver.k8s.io': [16_100, { v1: 21, v1beta3: 18, v1beta2: 15, v1beta1: 12, v1alpha1: 9 }],
  'internal.apiserver.k8s.io': [16_000, { v1alpha1: 9 }],
  'storagemigration.k8s.io': [15_800, { v1beta1: 9 }],
};

/** Custom resources come late, their versions in the usual order. */
export const customPriority: Priority = Object.freeze({ group: 1000, version: 100 });

/** undefined: upstream does not register it (its own group, and what has no place in the list). */
export function builtInPriority(group: string, version: string): Priority | undefined {
  const found = builtIn[group];
  const ofVersion = found?.[1][version];
  return ofVersion === undefined ? undefined : { group: found![0], version: ofVersion };
}

/** What is made of others' objects stands behind all: metrics-server's place. */
const computedPriority = 100;

/** A group of discovery's list; the aggregator's own group stands before all. */
export function groupPriority(group: string, custom: boolean, computed = false): number {
  if (computed) return computedPriority;
  if (group === 'apiregistration.k8s.io') return Infinity;
  return custom ? customPriority.group : (builtIn[group]?.[0] ?? 0);
}

export interface PrioritizedVersion {
  readonly version: string;
  readonly priority: number;
}

/** Preferred versions first. */
export function compareVersionPriority(a: PrioritizedVersion, b: PrioritizedVersion): number {
  return b.priority - a.priority || compareVersions(a.version, b.version);
}
