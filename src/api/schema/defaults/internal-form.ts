/**
 * What the way through upstream's internal types does to an object, beside defaults: aliases are kept equal, write-only
 * members are folded into what they stand for, members that exist in one form only are derived.
 */
import { isEmpty, listOf, struct, structOf } from './hook.ts';
import type { Draft, Hook } from './hook.ts';

const core = 'io.k8s.api.core.v1.';

/** Init containers were annotations once; those are dropped. */
const dropped = ['init-containers', 'init-container-statuses'].flatMap((name) => [
  `pod.beta.kubernetes.io/${name}`,
  `pod.alpha.kubernetes.io/${name}`,
]);

function dropInitContainerAnnotations(draft: Draft): void {
  const annotations = structOf(structOf(draft, 'metadata'), 'annotations');
  if (annotations === undefined) return;
  for (const key of dropped) if (key in annotations) delete annotations[key];
}

const pod: Hook = (draft) => {
  dropInitContainerAnnotations(draft);
  const spec = structOf(draft, 'spec');
  const grace = spec?.['terminationGracePeriodSeconds'];
  if (typeof grace === 'number' && grace < 0) spec!['terminationGracePeriodSeconds'] = 1;
};

/** `serviceAccount` is the older name of `serviceAccountName`. */
const podSpec: Hook = (draft) => {
  if (isEmpty(draft['serviceAccountName'])) {
    if (isEmpty(draft['serviceAccount'])) return;
    draft['serviceAccountName'] = draft['serviceAccount'];
  } else draft['serviceAccount'] = draft['serviceAccountName'];
};

/** The singular member is authoritative where the two differ. */
function singularAndPlural(draft: Draft, singular: string, plural: string, wrap: (value: unknown) => unknown): void {
  const one = draft[singular];
  const many = draft[plural];
  const first: unknown = Array.isArray(many) && many.length > 0 ? many[0] : undefined;
  if (!isEmpty(one)) {
    const wrapped = wrap(one);
    const equal = first !== undefined && JSON.stringify(first) === JSON.stringify(wrapped);
    if (!equal) draft[plural] = [wrapped];
  } else if (first !== undefined) {
    draft[singular] = typeof first === 'object' && first !== null ? (first as Draft)['ip'] : first;
  }
}

const podStatus: Hook = (draft) => singularAndPlural(draft, 'podIP', 'podIPs', (ip) => ({ ip }));
const nodeSpec: Hook = (draft) => singularAndPlural(draft, 'podCIDR', 'podCIDRs', (cidr) => cidr);

/** `stringData` is write-only and wins over `data`. */
const secret: Hook = (draft) => {
  const text = structOf(draft, 'stringData');
  if (text === undefined) return;
  const data = struct(draft, 'data');
  for (const [key, value] of Object.entries(text)) {
    if (typeof value === 'string') data[key] = Buffer.from(value).toString('base64');
  }
  delete draft['stringData'];
};

const statefulSetSpec: Hook = (draft) => {
  for (const template of listOf(draft, 'volumeClaimTemplates')) {
    template['kind'] = 'PersistentVolumeClaim';
    template['apiVersion'] = 'v1';
  }
};

export const internalFormHooks: readonly (readonly [string, Hook])[] = [
  [`${core}Pod`, pod],
  [`${core}PodTemplateSpec`, dropInitContainerAnnotations],
  [`${core}PodSpec`, podSpec],
  [`${core}PodStatus`, podStatus],
  [`${core}NodeSpec`, nodeSpec],
  [`${core}Secret`, secret],
  ['io.k8s.api.apps.v1.StatefulSetSpec', statefulSetSpec],
];
