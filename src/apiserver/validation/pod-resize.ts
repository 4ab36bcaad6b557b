/**
 * What the subresource `resize` of a pod may change: cpu and memory of its containers (KEP-1287) and of the pod as a whole
 * (KEP-5419), nothing else (pkg/apis/core/validation).
 */
import { forbiddenField, invalid } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import type { Container, Pod, PodSpec, ResourceRequirements } from '../../api/types/index.gen.ts';
import type { Errors } from './field.ts';

type Amounts = Readonly<Record<string, string>> | undefined;

const mirror = 'kubernetes.io/config.mirror';
const lists = ['requests', 'limits'] as const;

function removed(now: Amounts, old: Amounts): boolean {
  return Object.keys(old ?? {}).some((name) => now?.[name] === undefined);
}

/** The new amounts with cpu and memory as they were. */
function masked(now: Amounts, old: Amounts): Amounts {
  if (now === undefined && old === undefined) return undefined;
  const out: Record<string, string> = { ...now };
  for (const name of ['cpu', 'memory']) {
    delete out[name];
    if (old?.[name] !== undefined) out[name] = old[name];
  }
  return out;
}

function maskedResources(now: ResourceRequirements | undefined, old: ResourceRequirements | undefined) {
  return {
    limits: masked(now?.limits as Amounts, old?.limits as Amounts),
    requests: masked(now?.requests as Amounts, old?.requests as Amounts),
  };
}

/** Of an old kubelet that does not tell what its containers have. */
function nodeCannotResize(old: Pod): boolean {
  const running = (old.status?.containerStatuses ?? []).find((c) => c.state?.running !== undefined);
  return running !== undefined && running.resources === undefined;
}

function podLevel(now: PodSpec, old: PodSpec): Errors {
  const a = now.resources;
  const b = old.resources;
  const amounts = (r: ResourceRequirements | undefined): number =>
    lists.reduce((sum, list) => sum + Object.keys(r?.[list] ?? {}).length, 0);
  if (amounts(a) + amounts(b) === 0) return [];
  if (b !== undefined && a === undefined)
    return [forbiddenField('spec.resources', 'pod-level resources cannot be removed')];
  const errors: Errors = [];
  for (const list of lists)
    if (removed(a?.[list] as Amounts, b?.[list] as Amounts))
      errors.push(forbiddenField(`spec.resources.${list}`, `pod-level resource ${list} cannot be removed`));
  if (!semanticEqual({ ...a, ...maskedResources(a, b) }, b ?? {}))
    errors.push(forbiddenField('spec', 'only cpu and memory resources are mutable at pod-level'));
  return errors;
}

/** Containers stay what they are and where they are. */
function order(now: PodSpec, old: PodSpec): Errors {
  const errors: Errors = [];
  for (const list of ['containers', 'initContainers'] as const) {
    const a = now[list] ?? [];
    const b = old[list] ?? [];
    if (a.length !== b.length)
      errors.push(forbiddenField(`spec.${list}`, `${list} may not be added or removed on resize`));
    else
      b.forEach((c, i) => {
        if (a[i]!.name !== c.name)
          errors.push(forbiddenField(`spec.${list}[${i}].name`, `${list} may not be renamed or reordered on resize`));
      });
  }
  return errors;
}

const otherThanResources = (now: Container, old: Container): boolean =>
  !semanticEqual(
    { ...now, resources: maskedResources(now.resources, old.resources) },
    { ...old, resources: old.resources ?? {} },
  );

/** The rules of a resize alone; those of every pod stand beside it. */
export function podResizeErrors(pod: Pod, old: Pod, everyPod: (pod: Pod) => Errors): Errors {
  if (old.metadata.annotations?.[mirror] !== undefined) return [forbiddenField('[]', 'static pods cannot be resized')];
  const spec = pod.spec!;
  const was = old.spec!;
  if (was.os?.name === 'windows') return [forbiddenField('[]', 'windows pods cannot be resized')];
  const errors = everyPod(pod);
  if ((old.status?.qosClass ?? podQOSClass(old as never)) !== podQOSClass(pod as never))
    errors.push(invalid('spec', pod.status?.qosClass ?? '', 'Pod QOS Class may not change as a result of resizing'));
  if (nodeCannotResize(old)) errors.push(forbiddenField('spec', 'Pod running on node without support for resize'));
  errors.push(...podLevel(spec, was));
  if ((old.status?.nodeAllocatableResourceClaimStatuses ?? []).length > 0)
    errors.push(forbiddenField('spec', 'pods with node allocatable resource claims cannot be resized'));
  const moved = order(spec, was);
  if (moved.length > 0) return [...errors, ...moved];
  const each = (list: 'containers' | 'initContainers', of: (now: Container, old: Container, at: string) => void) =>
    (was[list] ?? []).forEach((c, i) => of(spec[list]![i]!, c, `spec.${list}[${i}]`));
  const kept = (now: Container, before: Container, at: string): void => {
    for (const list of lists)
      if (removed(now.resources?.[list] as Amounts, before.resources?.[list] as Amounts))
        errors.push(forbiddenField(`${at}.resources.${list}`, `resource ${list} cannot be removed`));
  };
  each('initContainers', kept);
  each('containers', kept);
  each('containers', (now, before) => {
    if (otherThanResources(now, before))
      errors.push(forbiddenField('spec', 'only cpu and memory resources are mutable'));
  });
  each('initContainers', (now, before, at) => {
    if (otherThanResources(now, before))
      errors.push(forbiddenField(at, 'only cpu and memory resources for init or sidecar containers are mutable'));
    if (!semanticEqual(now, before) && now.restartPolicy !== 'Always')
      for (const policy of now.resizePolicy ?? [])
        if (policy.restartPolicy === 'RestartContainer')
          errors.push(
            forbiddenField(
              at,
              'non-sidecar init containers with a resize policy of RestartContainer cannot be resized',
            ),
          );
  });
  if (errors.length > 0) return errors;
  const rest = ({ containers: _c, initContainers: _i, resources: _r, ...others }: PodSpec): unknown => others;
  return semanticEqual(rest(spec), rest(was))
    ? []
    : [forbiddenField('spec', 'only cpu and memory resources are mutable')];
}
