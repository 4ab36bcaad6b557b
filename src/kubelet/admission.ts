/** Whether a pod that was bound to this node can run on it: resources, host ports, node affinity, taints, operating system. */
import { requiredNodeAffinity } from '../api/helpers/node-affinity.ts';
import { isSidecar, podRequests } from '../api/helpers/pod-resources.ts';
import { findUntoleratedTaint } from '../api/helpers/taints.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Quantity } from '../api/quantity.ts';
import type { Node, Pod } from '../api/types/index.gen.ts';
import type { NodeHost } from './host/node-host.ts';
import { isStaticPod } from './pod-util.ts';
import type { Shortage } from './preemption.ts';
import { forbiddenSysctl } from './sysctl-allowlist.ts';

/** Amounts as upstream's messages print them: milli-units of cpu, whole units of the rest. */
function amount(name: string, q: Quantity): number {
  return name === 'cpu' ? quantityMilli(q) : quantityValue(q);
}

interface Held {
  readonly requests: readonly (readonly [string, number])[];
  readonly ports: readonly string[];
}

const nothing: Held = { requests: [], ports: [] };

const extended = /\//;

/** Why a pod may not run here. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
  /** Where nothing but room is missing: how much, by resource. */
  readonly missing?: Shortage;
}

function hostPorts(pod: Pod): string[] {
  const out: string[] = [];
  for (const c of [...(pod.spec?.initContainers ?? []).filter(isSidecar), ...(pod.spec?.containers ?? [])])
    for (const p of c.ports ?? [])
      if (p.hostPort !== undefined && p.hostPort > 0)
        out.push(`${p.protocol ?? 'TCP'}/${p.hostIP ?? ''}/${p.hostPort}`);
  return out;
}

function portsClash(a: string, b: string): boolean {
  const [protocolA, ipA, portA] = a.split('/') as [string, string, string];
  const [protocolB, ipB, portB] = b.split('/') as [string, string, string];
  const any = (ip: string) => ip === '' || ip === '0.0.0.0';
  return protocolA === protocolB && portA === portB && (ipA === ipB || any(ipA) || any(ipB));
}

/** What the admitted pods of one node hold. Sums are kept, so that a pod's admission costs nothing per other pod. */
export class NodeAdmission {
  readonly #unsafeSysctls: readonly string[];
  readonly #held = new Map<string, Held>();
  readonly #used = new Map<string, number>();
  #withPorts = 0;
  /** Why the machine cannot enforce AppArmor profiles; undefined where it can. */
  appArmorFault: string | undefined;

  constructor(unsafeSysctls: readonly string[] = []) {
    this.#unsafeSysctls = unsafeSysctls;
  }

  get count(): number {
    return this.#held.size;
  }

  /** Takes the pod in, or says why not. `fresh`: the node's labels and taints are known as they are now. */
  admit(pod: Pod, node: Node | undefined, fresh: boolean): Refusal | undefined {
    const refused = node === undefined ? undefined : this.#check(pod, node, fresh);
    if (refused !== undefined) return refused;
    const requests: [string, number][] = [];
    for (const [name, q] of podRequests(pod as never, { useStatus: false })) requests.push([name, amount(name, q)]);
    const ports = hostPorts(pod);
    this.#hold(pod.metadata.uid!, requests.length === 0 && ports.length === 0 ? nothing : { requests, ports });
    return undefined;
  }

  /** Takes the room that the pod asks for now instead of what it held, or says why not and leaves it what it held. */
  resize(pod: Pod, node: Node | undefined): Refusal | undefined {
    const uid = pod.metadata.uid!;
    const held = this.#held.get(uid);
    this.release(uid);
    const refused = this.admit(pod, node, false);
    if (refused !== undefined && held !== undefined) this.#hold(uid, held);
    return refused;
  }

  #hold(uid: string, held: Held): void {
    this.#held.set(uid, held);
    if (held.ports.length > 0) this.#withPorts++;
    for (const [name, n] of held.requests) this.#used.set(name, (this.#used.get(name) ?? 0) + n);
  }

  release(uid: string): void {
    const held = this.#held.get(uid);
    if (held === undefined) return;
    this.#held.delete(uid);
    if (held.ports.length > 0) this.#withPorts--;
    for (const [name, n] of held.requests) this.#used.set(name, (this.#used.get(name) ?? 0) - n);
  }

  /** What an admitted pod holds of a resource. */
  held(uid: string, resource: string): number {
    if (resource === 'pods') return this.#held.has(uid) ? 1 : 0;
    return this.#held.get(uid)?.requests.find(([name]) => name === resource)?.[1] ?? 0;
  }

  #check(pod: Pod, node: Node, fresh: boolean): Refusal | undefined {
    const special = this.#special(pod, node);
    if (special !== undefined) return special;
    const allocatable = node.status?.allocatable as Record<string, string> | undefined;
    const missing = new Map<string, number>();
    let short: Refusal | undefined;
    const need = (name: string, requested: number): void => {
      const text = allocatable?.[name];
      if (text === undefined && (extended.test(name) || allocatable === undefined)) return;
      const capacity = text === undefined ? 0 : amount(name, parseQuantity(text));
      const used = name === 'pods' ? this.#held.size : (this.#used.get(name) ?? 0);
      if (requested === 0 || used + requested <= capacity) return;
      missing.set(name, requested - (capacity - used));
      short ??= {
        reason: `OutOf${name}`,
        message: `Node didn't have enough resource: ${name}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
        missing,
      };
    };
    need('pods', 1);
    for (const [name, q] of podRequests(pod as never, { useStatus: false })) need(name, amount(name, q));
    const other = this.#predicate(pod, node, fresh);
    // More room helps nothing when something else is in the way.
    if (short !== undefined && other !== undefined) return { reason: short.reason, message: short.message };
    return short ?? other;
  }

  /** What the pod wants of the machine beside room. */
  #special(pod: Pod, node: Node): Refusal | undefined {
    const spec = pod.spec!;
    const os = node.status?.nodeInfo?.operatingSystem ?? 'linux';
    const selected = pod.metadata.labels?.['kubernetes.io/os'];
    if (selected !== undefined && selected !== os)
      return {
        reason: 'PodOSSelectorNodeLabelDoesNotMatch',
        message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
      };
    if (spec.os?.name !== undefined && spec.os.name !== os)
      return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
    if (
      spec.securityContext?.supplementalGroupsPolicy === 'Strict' &&
      node.status?.features?.supplementalGroupsPolicy !== true
    )
      return {
        reason: 'SupplementalGroupsPolicyNotSupported',
        message: 'SupplementalGroupsPolicy=Strict is not supported in this node',
      };
    const sysctl = forbiddenSysctl(pod, node.status?.nodeInfo?.kernelVersion ?? '', this.#unsafeSysctls);
    if (sysctl !== undefined) return sysctl;
    if (this.appArmorFault !== undefined && wantsAppArmor(pod))
      return { reason: 'AppArmor', message: `Cannot enforce AppArmor: ${this.appArmorFault}` };
    return undefined;
  }

  #predicate(pod: Pod, node: Node, fresh: boolean): Refusal | undefined {
    const spec = pod.spec!;
    const affinity = fresh ? requiredNodeAffinity(spec) : undefined;
    if (affinity !== undefined && !affinity({ name: node.metadata.name ?? '', labels: node.metadata.labels ?? {} }))
      return {
        reason: 'NodeAffinity',
        message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
      };
    if (this.#withPorts > 0) {
      const ports = hostPorts(pod);
      for (const held of this.#held.values())
        if (held.ports.some((h) => ports.some((p) => portsClash(h, p))))
          return {
            reason: 'NodePorts',
            message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
          };
    }
    const taints = fresh && !isStaticPod(pod) ? (node.spec?.taints ?? []).filter((t) => t.effect === 'NoExecute') : [];
    if (taints.length > 0 && findUntoleratedTaint(taints, spec.tolerations) !== undefined)
      return {
        reason: 'TaintToleration',
        message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
      };
    return undefined;
  }
}

/** Why the node can never give a pod what a resize asks for. */
export function infeasible(pod: Pod, node: Node | undefined): Refusal | undefined {
  if (isStaticPod(pod)) return { reason: 'Infeasible', message: 'In-place resize of static-pods is not supported' };
  const allocatable = node?.status?.allocatable as Record<string, string> | undefined;
  if (allocatable === undefined) return undefined;
  const requests = podRequests(pod as never, { useStatus: false });
  for (const name of ['memory', 'cpu']) {
    const q = requests.get(name);
    const text = allocatable[name];
    if (q === undefined || text === undefined) continue;
    const requested = amount(name, q);
    const capacity = amount(name, parseQuantity(text));
    if (requested > capacity)
      return {
        reason: 'Infeasible',
        message: `Node didn't have enough capacity: ${name}, requested: ${requested}, capacity: ${capacity}`,
      };
  }
  return undefined;
}

/** Whether a profile is asked for that somebody has to enforce. */
function wantsAppArmor(pod: Pod): boolean {
  const spec = pod.spec!;
  const enforced = (p: { readonly type: string } | undefined): boolean => p !== undefined && p.type !== 'Unconfined';
  return (
    enforced(spec.securityContext?.appArmorProfile) ||
    [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])].some((c) =>
      enforced(c.securityContext?.appArmorProfile),
    )
  );
}

/** Why profiles cannot be enforced on this machine. A simulated one takes all of them. */
export async function appArmorFault(host: NodeHost): Promise<string | undefined> {
  if (host.lazy !== undefined) return undefined;
  const state = await host.readFile('/sys/module/apparmor/parameters/enabled', { maxBytes: 16 });
  return state?.toString().startsWith('Y') === true ? undefined : 'AppArmor is not enabled on the host';
}
