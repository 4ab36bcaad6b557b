/** Small rules about pods and their containers that several parts of the kubelet share. */
import type { Container, EphemeralContainer, Pod, PodSpec } from '../api/types/index.gen.ts';

export type ContainerKind = 'init' | 'regular' | 'ephemeral';

/** `name_namespace(uid)`: how the kubelet's messages name a pod. */
export function formatPod(pod: Pod): string {
  return `${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
}

/** An ephemeral container seen as a container. */
export function asContainer(c: EphemeralContainer): Container {
  return c as unknown as Container;
}

export function* allContainers(spec: PodSpec): Generator<{ container: Container; kind: ContainerKind }> {
  for (const container of spec.initContainers ?? []) yield { container, kind: 'init' };
  for (const container of spec.containers) yield { container, kind: 'regular' };
  for (const c of spec.ephemeralContainers ?? []) yield { container: asContainer(c), kind: 'ephemeral' };
}

export function findContainer(spec: PodSpec, name: string): { container: Container; kind: ContainerKind } | undefined {
  for (const c of allContainers(spec)) if (c.container.name === name) return c;
  return undefined;
}

/** Where an event about a container points: `spec.containers{name}`. */
export function containerFieldPath(spec: PodSpec, name: string): string | undefined {
  const kind = findContainer(spec, name)?.kind;
  if (kind === undefined) return undefined;
  const list = kind === 'init' ? 'initContainers' : kind === 'regular' ? 'containers' : 'ephemeralContainers';
  return `spec.${list}{${name}}`;
}

/** Whether a container is restarted that the kubelet has killed: its rules ask for an exit of its own. */
export function restartsWhenKilled(container: Container, spec: PodSpec): boolean {
  return (container.restartPolicy ?? spec.restartPolicy ?? 'Always') !== 'Never';
}

/** Whether a container is ever restarted. */
export function isRestartable(container: Container, spec: PodSpec): boolean {
  if (
    container.restartPolicy !== undefined &&
    container.restartPolicyRules?.some((r) => r.action === 'Restart') === true
  )
    return true;
  return restartsWhenKilled(container, spec);
}

const mirrorAnnotation = 'kubernetes.io/config.mirror';
const sourceAnnotation = 'kubernetes.io/config.source';
const systemCriticalPriority = 2_000_000_000;

/** A pod that comes from a file of the node. */
export function isStaticPod(pod: Pod): boolean {
  const source = pod.metadata.annotations?.[sourceAnnotation];
  return source !== undefined && source !== 'api';
}

/** The API's picture of a static pod. */
export function isMirrorPod(pod: Pod): boolean {
  return pod.metadata.annotations?.[mirrorAnnotation] !== undefined;
}

/** A pod that the node must not do without. */
export function isCriticalPod(pod: Pod): boolean {
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec?.priority ?? 0) >= systemCriticalPriority;
}

export function isHostNetwork(pod: Pod): boolean {
  return pod.spec?.hostNetwork === true;
}

/** JSON as Go writes it: safe inside HTML. */
function goJson(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * A hash of what a change of the spec restarts a container for: its name and image. Upstream's own (32-bit FNV-1a of how Go prints
 * the bytes of their JSON), so that neither kubelet restarts what the other has started.
 */
export function containerHash(container: Container): string {
  const json = Buffer.from(`{"image":${goJson(container.image ?? '')},"name":${goJson(container.name)}}`);
  let h = 0x811c9dc5;
  const add = (text: string): void => {
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  };
  add('([]uint8)[');
  for (let i = 0; i < json.length; i++) add(i === 0 ? String(json[i]) : ` ${json[i]}`);
  add(']');
  return (h >>> 0).toString(16);
}

/** A container port by number or name; undefined when the name is not among the container's. */
export function resolvePort(port: number | string, container: Container): number | undefined {
  if (typeof port === 'number') return port;
  for (const p of container.ports ?? []) if (p.name === port) return p.containerPort;
  return /^\d+$/.test(port) ? Number(port) : undefined;
}
