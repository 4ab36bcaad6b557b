/** Field labels: which ones a kind accepts (with upstream's refusals), and their values in an object. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { eventFieldLabels } from '../../api/conversion/event.ts';
import { wantBoth } from '../../api/codec/json-pick.ts';
import type { Wanted } from '../../api/codec/json-pick.ts';
import type { KubeObject } from '../../api/object.ts';
import { everythingSelector } from '../../api/selector.ts';
import { everythingFieldSelector } from '../../api/field-selector.ts';
import { SelectorError } from '../../api/selector.ts';
import { parseLabelSelector } from '../../api/selector-parser.ts';
import { parseFieldSelector } from '../../api/field-selector.ts';
import type { Selector } from '../../api/selector.ts';
import type { FieldSelector } from '../../api/field-selector.ts';
import { badRequest } from '../../api/status.ts';

function text(value: unknown): string {
  if (value === undefined || value === null || typeof value === 'object') return '';
  return String(value as string | number | boolean | bigint);
}

function at(object: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let value: unknown = object;
  for (const member of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[member];
  }
  return value;
}

type Getter = (object: KubeObject) => string;

/** Labels whose value is not simply what stands at their path. */
const special: Readonly<Record<string, Getter>> = {
  'Pod spec.hostNetwork': (pod) => String(at(pod, ['spec', 'hostNetwork']) === true),
  'Pod status.podIP': (pod) => {
    const ips = at(pod, ['status', 'podIPs']);
    return Array.isArray(ips) && ips.length > 0 ? text((ips[0] as Record<string, unknown>)['ip']) : '';
  },
  'Pod status.podIPs': () => '',
  'Node spec.unschedulable': (node) => String(at(node, ['spec', 'unschedulable']) === true),
  'ReplicationController status.replicas': (rc) => text(at(rc, ['status', 'replicas']) ?? 0),
  'Job status.successful': (job) => text(at(job, ['status', 'succeeded']) ?? 0),
  'Event source': (event) => text(at(event, ['source', 'component'])) || text(event['reportingComponent']),
};

/** What the special labels are read of. */
const specialWanted: Readonly<Record<string, Wanted>> = {
  'Pod status.podIP': { status: { podIPs: { ip: 'all' } } },
  'Pod status.podIPs': {},
  'Job status.successful': { status: { succeeded: 'all' } },
  'Event source': { source: { component: 'all' }, reportingComponent: 'all' },
};

/** Names as they stand in JSON, without escapes. */
const plainName = /^[\w/-]+$/;

/** What the values of the labels are read of; undefined where that has to be the whole object. */
export function fieldsWanted(resource: ResourceInfo): Wanted | undefined {
  let wanted: Wanted = {};
  for (const label of resource.fieldLabels) {
    if (label === 'metadata.name' || label === 'metadata.namespace') continue;
    const names = label.split('.');
    // The version is not stored.
    if (names[0] === 'metadata' || !names.every((name) => plainName.test(name))) return undefined;
    const own = specialWanted[`${resource.kind} ${label}`];
    wanted = wantBoth(wanted, own ?? names.reduceRight<Wanted>((inner, name) => ({ [name]: inner }), 'all'));
  }
  return wanted;
}

/** Values of the labels beyond metadata.name and metadata.namespace; undefined when the kind has none. */
export function fieldsOf(
  resource: ResourceInfo,
): ((object: KubeObject) => Readonly<Record<string, string>>) | undefined {
  const labels = resource.fieldLabels.filter((l) => l !== 'metadata.name' && l !== 'metadata.namespace');
  if (labels.length === 0) return undefined;
  const getters = labels.map((label): [string, Getter] => {
    const own = special[`${resource.kind} ${label}`];
    const path = label.split('.');
    return [label, own ?? ((object) => text(at(object, path)))];
  });
  return (object) => {
    const out: Record<string, string> = {};
    for (const [label, get] of getters) out[label] = get(object);
    return out;
  };
}

/** The name under which the stored object has a label of this version. */
function storedLabel(resource: ResourceInfo, label: string): string {
  if (resource.group === 'events.k8s.io' && resource.kind === 'Event') {
    const mapped = eventFieldLabels.get(label);
    if (mapped !== undefined) return mapped;
  } else {
    if (resource.kind === 'Pod' && resource.group === '' && label === 'spec.host') return 'spec.nodeName';
    if (resource.fieldLabels.includes(label)) return label;
  }
  throw badRequest(unsupported(resource, label));
}

function unsupported(resource: ResourceInfo, label: string): string {
  if (resource.group === 'batch' && resource.kind === 'Job') {
    return `field label ${JSON.stringify(label)} not supported for Job`;
  }
  if (resource.group === 'resource.k8s.io' && resource.kind === 'ResourceSlice') {
    return `field label not supported for resource.k8s.io/${resource.version}, Kind=ResourceSlice: ${label}`;
  }
  const plain = resource.fieldLabels.every((l) => l === 'metadata.name' || l === 'metadata.namespace');
  if (plain && !resource.custom && resource.fieldLabels.length === 2) {
    return `${JSON.stringify(label)} is not a known field selector: only "metadata.name", "metadata.namespace"`;
  }
  return `field label not supported: ${label}`;
}

/** @throws {StatusError} 400 */
export function readLabelSelector(selector: string): Selector {
  if (selector === '') return everythingSelector;
  try {
    return parseLabelSelector(selector);
  } catch (error) {
    if (error instanceof SelectorError) throw badRequest(error.message, error);
    throw error;
  }
}

/** A field selector over the labels of the stored form. @throws {StatusError} 400 */
export function readFieldSelector(resource: ResourceInfo, selector: string): FieldSelector {
  if (selector === '') return everythingFieldSelector;
  try {
    return parseFieldSelector(selector, (field, value) => ({ field: storedLabel(resource, field), value }));
  } catch (error) {
    if (error instanceof SelectorError) throw badRequest(error.message, error);
    throw error;
  }
}
