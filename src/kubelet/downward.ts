/** Downward API: values of a pod's fields and of its containers' resources (fieldRef, resourceFieldRef). */
import { goQuote } from '../api/codec/json.ts';
import type { Quantity } from '../api/quantity.ts';
import { parseQuantity, quantityValue, quantityMilli } from '../api/quantity.ts';
import type { Container, ObjectFieldSelector, Pod, ResourceFieldSelector } from '../api/types/index.gen.ts';
import { allContainers } from './pod-util.ts';

/** `key="value"` lines, sorted by key, quoted as Go's `%q`. */
function formatMap(map: Record<string, string> | undefined): string {
  return Object.keys(map ?? {})
    .sort()
    .map((k) => `${k}=${goQuote(map![k]!)}`)
    .join('\n');
}

/** What the node adds to a pod's own fields. */
export interface PodRuntimeFields {
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  readonly podIps: readonly string[];
  /** What a limit that is not set falls back to. */
  readonly allocatable: Readonly<Record<string, string>>;
}

/** The value behind a fieldRef. Throws when the field is not among the supported ones. */
export function fieldValue(ref: ObjectFieldSelector, pod: Pod, node: PodRuntimeFields): string {
  const path = ref.fieldPath;
  const subscript = /^(metadata\.(?:annotations|labels))\['(.*)'\]$/.exec(path);
  if (subscript !== null) {
    const map = subscript[1] === 'metadata.labels' ? pod.metadata.labels : pod.metadata.annotations;
    return map?.[subscript[2]!] ?? '';
  }
  switch (path) {
    case 'metadata.annotations':
      return formatMap(pod.metadata.annotations);
    case 'metadata.labels':
      return formatMap(pod.metadata.labels);
    case 'metadata.name':
      return pod.metadata.name ?? '';
    case 'metadata.namespace':
      return pod.metadata.namespace ?? '';
    case 'metadata.uid':
      return pod.metadata.uid ?? '';
    case 'spec.nodeName':
      return pod.spec?.nodeName ?? node.nodeName;
    case 'spec.serviceAccountName':
      return pod.spec?.serviceAccountName ?? '';
    case 'status.hostIP':
      return node.hostIps[0] ?? '';
    case 'status.hostIPs':
      return node.hostIps.join(',');
    case 'status.podIP':
      return node.podIps[0] ?? '';
    case 'status.podIPs':
      return node.podIps.join(',');
    default:
      throw new Error(`unsupported fieldPath: ${path}`);
  }
}

function divide(q: Quantity, divisor: string | undefined, cpu: boolean): string {
  if (cpu) {
    const d = divisor === undefined || divisor === '0' ? 1000 : quantityMilli(parseQuantity(divisor));
    return String(Math.ceil(quantityMilli(q) / (d || 1000)));
  }
  const d = divisor === undefined || divisor === '0' ? 1 : quantityValue(parseQuantity(divisor));
  return String(Math.ceil(quantityValue(q) / (d || 1)));
}

/** The value behind a resourceFieldRef; `fallback` is the container that the reference stands in. */
export function resourceValue(
  ref: ResourceFieldSelector,
  pod: Pod,
  node: PodRuntimeFields,
  fallback?: Container,
): string {
  let container = fallback;
  if (ref.containerName !== undefined && ref.containerName !== '') {
    container = undefined;
    for (const c of allContainers(pod.spec!)) if (c.container.name === ref.containerName) container = c.container;
    if (container === undefined) throw new Error(`container ${ref.containerName} not found`);
  }
  if (container === undefined) throw new Error('containerName is required');
  const [kind = '', ...rest] = ref.resource.split('.');
  const name = rest.join('.');
  if ((kind !== 'limits' && kind !== 'requests') || !/^(cpu|memory|ephemeral-storage|hugepages-.+)$/.test(name))
    throw new Error(`Unsupported container resource : ${ref.resource}`);
  let text = container.resources?.[kind]?.[name];
  if (text === undefined && kind === 'limits' && !name.startsWith('hugepages-')) text = node.allocatable[name];
  return divide(parseQuantity(text ?? '0'), ref.divisor as string | undefined, name === 'cpu');
}

/** Replaces `$(NAME)` where NAME is known; `$$` stands for `$` before a parenthesis, as upstream's expansion. */
export function expand(text: string, value: (name: string) => string | undefined): string {
  if (!text.includes('$')) return text;
  let out = '';
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '$' || i + 1 >= text.length) {
      out += text[i];
      continue;
    }
    const next = text[i + 1]!;
    if (next === '$') {
      out += '$';
      i++;
    } else if (next === '(') {
      const end = text.indexOf(')', i + 2);
      if (end === -1) {
        out += '$(';
        i++;
        continue;
      }
      const name = text.slice(i + 2, end);
      out += value(name) ?? `$(${name})`;
      i = end;
    } else {
      out += `$${next}`;
      i++;
    }
  }
  return out;
}
