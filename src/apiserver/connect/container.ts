/** Which container of a pod a log or exec request means. */
import { badRequest } from '../../api/status.ts';
import type { KubeObjectLike } from '../request.ts';

interface Named {
  name: string;
}

/** The pod's only container when none is named; throws 400 with upstream's texts. */
export function containerOf(pod: KubeObjectLike, asked: string): string {
  const spec = (pod['spec'] ?? {}) as {
    containers?: Named[];
    initContainers?: Named[];
    ephemeralContainers?: Named[];
  };
  const podName = String(pod.metadata['name']);
  const containers = spec.containers ?? [];
  const all = [...(spec.initContainers ?? []), ...containers, ...(spec.ephemeralContainers ?? [])].map((c) => c.name);
  if (asked !== '') {
    if (!all.includes(asked)) throw badRequest(`container ${asked} is not valid for pod ${podName}`);
    return asked;
  }
  if (containers.length === 1) return containers[0]!.name;
  if (containers.length === 0) throw badRequest(`a container name must be specified for pod ${podName}`);
  throw badRequest(`a container name must be specified for pod ${podName}, choose one of: [${all.join(' ')}]`);
}
