/** What the checks of the Pod Security Standards share: containers of a pod, and how violations are put into words. */
import type { Container, PodSpec } from '../../../api/types/core-v1.gen.ts';
import type { ObjectMeta } from '../../../api/object.ts';
import type { Level } from './policy.ts';

/** A broken rule: its short name, and what breaks it. */
export interface Violation {
  readonly reason: string;
  readonly detail: string;
}

export type CheckPod = (spec: PodSpec, metadata: ObjectMeta | undefined) => Violation | undefined;

export interface Check {
  readonly id: string;
  readonly level: Exclude<Level, 'privileged'>;
  /** Revisions by the minor version from which they apply, oldest first. */
  readonly versions: readonly {
    readonly since: number;
    readonly check: CheckPod;
    /** Baseline checks that this one takes the place of. */
    readonly overrides?: readonly string[];
  }[];
}

/** Init containers, containers, ephemeral ones: the order in which they are named. */
export function* containersOf(spec: PodSpec): Generator<Container> {
  yield* spec.initContainers ?? [];
  yield* spec.containers ?? [];
  yield* (spec.ephemeralContainers ?? []) as readonly Container[];
}

/** Names of the containers for which `bad` holds. */
export function namesWhere(spec: PodSpec, bad: (container: Container) => boolean): string[] {
  const names: string[] = [];
  for (const c of containersOf(spec)) if (bad(c)) names.push(c.name);
  return names;
}

/** `"a", "b"` */
export function quoted(items: readonly string[]): string {
  return items.length === 0 ? '' : `"${items.join('", "')}"`;
}

export function plural(one: string, many: string, count: number): string {
  return count === 1 ? one : many;
}

/** `container "a"`, `containers "a", "b"` */
export function containersText(names: readonly string[]): string {
  return `${plural('container', 'containers', names.length)} ${quoted(names)}`;
}

/** `pod and containers "a", "b"`: who set something. */
export function settersText(pod: boolean, names: readonly string[]): string {
  return [...(pod ? ['pod'] : []), ...(names.length === 0 ? [] : [containersText(names)])].join(' and ');
}

export function sorted(values: ReadonlySet<string>): string[] {
  return [...values].sort();
}

/** Windows pods may not set what Linux pods must (since 1.25). */
export function unlessWindows(check: CheckPod): CheckPod {
  return (spec, metadata) => (spec.os?.name === 'windows' ? undefined : check(spec, metadata));
}

/** Root inside of a user namespace is nobody outside (since 1.35). */
export function unlessUserNamespace(check: CheckPod): CheckPod {
  return (spec, metadata) => (spec.hostUsers === false ? undefined : check(spec, metadata));
}
