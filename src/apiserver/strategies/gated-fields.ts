/**
 * Fields behind a feature gate that is off: a write loses them, as upstream's strategies drop them, unless the stored object has
 * them already. Kinds with more to say about their gates (dynamic resources, workload groups) have their own rules.
 */
import type { FeatureGateName, FeatureGates } from '../../api/features/feature-gates.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Draft, ResourceStrategies, Strategy } from '../strategy.ts';
import { podSpecPaths } from './pod-spec-paths.ts';

interface Gated {
  readonly gate: FeatureGateName;
  /** Members from the object down; `*` is each item of a list. */
  readonly path: readonly string[];
}

const inPodSpec: readonly (readonly [FeatureGateName, string])[] = [
  ['GenericWorkload', 'schedulingGroup'],
  ['DynamicResourceAllocation', 'resourceClaims'],
  ['DynamicResourceAllocation', 'containers.*.resources.claims'],
  ['DynamicResourceAllocation', 'initContainers.*.resources.claims'],
  ['DynamicResourceAllocation', 'ephemeralContainers.*.resources.claims'],
  ['ContainerStopSignals', 'containers.*.lifecycle.stopSignal'],
  ['ContainerStopSignals', 'initContainers.*.lifecycle.stopSignal'],
  ['ContainerStopSignals', 'ephemeralContainers.*.lifecycle.stopSignal'],
];

const others: Readonly<Record<string, readonly (readonly [FeatureGateName, string])[]>> = {
  'coordination.k8s.io/leases': [
    ['CoordinatedLeaderElection', 'spec.strategy'],
    ['CoordinatedLeaderElection', 'spec.preferredHolder'],
  ],
  '/pods': [
    ['DRANodeAllocatableResources', 'status.nodeAllocatableResourceClaimStatuses'],
    ['DynamicResourceAllocation', 'status.resourceClaimStatuses'],
  ],
  'storage.k8s.io/csidrivers': [['VolumeLimitScaling', 'spec.preventPodSchedulingIfMissing']],
};

/** The fields of a resource whose gates are off. */
function gatedOff(features: FeatureGates, key: string): Gated[] {
  const spec = podSpecPaths[key];
  const all: (readonly [FeatureGateName, string])[] = [...(others[key] ?? [])];
  if (spec !== undefined) for (const [gate, path] of inPodSpec) all.push([gate, `${spec}.${path}`]);
  return all.filter(([gate]) => !features.enabled(gate)).map(([gate, path]) => ({ gate, path: path.split('.') }));
}

function has(value: unknown, path: readonly string[], at = 0): boolean {
  if (value === undefined || value === null) return false;
  if (at === path.length) return true;
  const step = path[at]!;
  if (step === '*') return Array.isArray(value) && value.some((v) => has(v, path, at + 1));
  return typeof value === 'object' && has((value as Record<string, unknown>)[step], path, at + 1);
}

/** The value without what the path leads to; what it leads through is copied. */
function without(value: unknown, path: readonly string[], at = 0): unknown {
  if (!has(value, path, at)) return value;
  const step = path[at]!;
  if (step === '*') return (value as unknown[]).map((v) => without(v, path, at + 1));
  const out = { ...(value as Record<string, unknown>) };
  if (at === path.length - 1) delete out[step];
  else {
    const rest = without(out[step], path, at + 1);
    // Upstream leaves no empty lifecycle behind.
    if (step === 'lifecycle' && Object.keys(rest as object).length === 0) delete out[step];
    else out[step] = rest;
  }
  return out;
}

function drop(fields: readonly Gated[], object: Draft, old: KubeObject | undefined): void {
  for (const { path } of fields) {
    if (!has(object, path) || has(old, path)) continue;
    const [first, ...rest] = path;
    object[first!] = without(object[first!], rest);
  }
}

/** The strategies of a resource (`group/resource`), with what is gated off dropped before anything else looks at an object. */
export function withGatedFields(
  features: FeatureGates,
  key: string,
  strategies: ResourceStrategies,
): ResourceStrategies {
  const fields = gatedOff(features, key);
  if (fields.length === 0) return strategies;
  const { main } = strategies;
  const gated: Strategy = {
    ...main,
    prepareForCreate(ctx, object) {
      drop(fields, object, undefined);
      main.prepareForCreate?.(ctx, object);
    },
    prepareForUpdate(ctx, object, old) {
      drop(fields, object, old);
      main.prepareForUpdate?.(ctx, object, old);
    },
  };
  const subresources = Object.entries(strategies.subresources).map(([name, strategy]) => [
    name,
    {
      ...strategy,
      prepareForUpdate(ctx, object, old) {
        drop(fields, object, old);
        strategy.prepareForUpdate?.(ctx, object, old);
      },
    } satisfies Strategy,
  ]);
  return { ...strategies, main: gated, subresources: Object.fromEntries(subresources) as Record<string, Strategy> };
}
