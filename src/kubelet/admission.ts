/** Whether a pod that was bound to this node can run on it: resources, host ports, node affinity, taints, operating system. */
import { requiredNodeAffinity } from '../api/helpers/node-affinity.ts';
import { podRequests } from '../api/helpers/pod-resources.ts';
import { findUntoleratedTaint } from '../api/helpers/taints.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Quantity } from '../api/quantity.ts';
import type { Node, Pod } from '../api/types/index.gen.ts';
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

function hostPorts(pod: Pod): string[] {
  const out: string[] = [];
  for (const c of pod.spec?.containers ?? [])
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

  constructor(unsafeSysctls: readonly string[] = []) {
    this.#unsafeSysctls = unsafeSysctls;
  }

  get count(): number {
    return this.#held.size;
  }

  /** Takes the pod in, or says why not. `fresh`: the node's labels and taints are known as they are now. */
  admit(pod: Pod, node: Node | undefined, fresh: boolean): { reason: string; message: string } | undefined {
    const refused = node === undefined ? undefined : this.#check(pod, node, fresh);
    if (refused !== undefined) return refused;
    const requests: [string, number][] = [];
    for (const [name, q] of podRequests(pod as never, { useStatus: false })) requests.push([name, amount(name, q)]);
    const ports = hostPorts(pod);
    this.#hold(pod.metadata.uid!, requests.length === 0 && ports.length === 0 ? nothing : { requests, ports });
    return undefined;
  }

  /** Takes the room that the pod asks for now instead of what it held, or says why not and leaves it what it held. */
  resize(pod: Pod, node: Node | undefined): { reason: string; message: string } | undefined {
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

  #check(pod: Pod, node: Node, fresh: boolean): { reason: string; message: string } | undefined {
    const spec = pod.spec!;
    const sysctl = forbiddenSysctl(pod, node.status?.nodeInfo?.kernelVersion ?? '', this.#unsafeSysctls);
    if (sysctl !== undefined) return sysctl;
    if (spec.os?.name !== undefined && spec.os.name !== (node.status?.nodeInfo?.operatingSystem ?? 'linux'))
      return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
    const allocatable = node.status?.allocatable as Record<string, string> | undefined;
    const shortage = (name: string, requested: number): { reason: string; message: string } | undefined => {
      const text = allocatable?.[name];
      if (text === undefined && (extended.test(name) || allocatable === undefined)) return undefined;
      const capacity = text === undefined ? 0 : amount(name, parseQuantity(text));
      const used = name === 'pods' ? this.#held.size : (this.#used.get(name) ?? 0);
      if (requested === 0 || used + requested <= capacity) return undefined;
      return {
        reason: `OutOf${name}`,
        message: `Node didn't have enough resource: ${name}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
      };
    };
    const full = shortage('pods', 1);
    if (full !== undefined) return full;
    for (const [name, q] of podRequests(pod as never, { useStatus: false })) {
      const refused = shortage(name, amount(name, q));
      if (refused !== undefined) return refused;
    }
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
    const taints = fresh ? (node.spec?.taints ?? []).filter((t) => t.effect === 'NoExecute') : [];
    if (taints.length > 0 && findUntoleratedTaint(taints, spec.tolerations) !== undefined)
      return {
        reason: 'TaintToleration',
        message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
      };
    return undefined;
  }
}
