/** What network policies need to know of a pod; everything else of it is dropped as it arrives. */
import { formatIp, parseIp } from '../../base/ip.ts';
import type { Labels } from '../../api/selector.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';

export interface NamedPort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
}

export interface PodFacts {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly node: string;
  /** Canonical; none: it has no address of its own (yet, any more, or because it uses its node's). */
  readonly addresses: readonly string[];
  readonly ports: readonly NamedPort[];
}

const ended = new Set(['Succeeded', 'Failed']);

function withPorts(containers: readonly Container[] | undefined): unknown[] {
  return (containers ?? []).flatMap((c) => {
    const ports = (c.ports ?? []).filter((p) => p.name !== undefined && p.name !== '');
    return ports.length === 0 ? [] : [{ name: c.name, ports }];
  });
}

/** Leaves of a pod only what `podFacts` reads. */
export function trimPod<T>(object: T): T {
  const { metadata, spec, status } = object as unknown as Pod;
  const { name, namespace, resourceVersion, labels } = metadata;
  const sidecars = (spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  return {
    metadata: { name, namespace, resourceVersion, labels },
    spec: {
      nodeName: spec?.nodeName,
      hostNetwork: spec?.hostNetwork,
      containers: [...withPorts(spec?.containers), ...withPorts(sidecars)],
    },
    status: { phase: status?.phase, podIPs: status?.podIPs },
  } as unknown as T;
}

/** Addresses in the form in which nft knows them; what is none is left out. */
export function canonicalAddresses(addresses: readonly (string | undefined)[]): string[] {
  const out: string[] = [];
  for (const a of addresses) {
    const ip = a === undefined ? undefined : parseIp(a);
    if (ip !== undefined) out.push(formatIp(ip));
  }
  return out;
}

/** `announced`: addresses that the pod is known to have before its status tells so. */
export function podFacts(pod: Pod, announced: readonly string[] = []): PodFacts {
  const namespace = pod.metadata.namespace ?? '';
  const isOver = ended.has(pod.status?.phase ?? '') || pod.spec?.hostNetwork === true;
  const told = canonicalAddresses((pod.status?.podIPs ?? []).map((i) => i.ip));
  return {
    key: `${namespace}/${pod.metadata.name ?? ''}`,
    namespace,
    labels: pod.metadata.labels ?? {},
    node: pod.spec?.nodeName ?? '',
    addresses: isOver ? [] : told.length > 0 ? told : announced,
    ports: (pod.spec?.containers ?? []).flatMap((c) =>
      (c.ports ?? []).map((p) => ({ name: p.name ?? '', protocol: p.protocol ?? 'TCP', port: p.containerPort })),
    ),
  };
}
