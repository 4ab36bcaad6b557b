/** Subresources that change one part of the object: everything else stays as it was. Used where a kind brings no own. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Draft, ResourceStrategies, Strategy } from '../strategy.ts';
import { defaultStrategiesFor } from './default-strategy.ts';

type Members = Record<string, unknown>;

function members(value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {};
}

/** The old object with the new managedFields, written into the draft. */
function restore(draft: Draft, old: KubeObject): void {
  const { managedFields } = draft.metadata;
  const { resourceVersion } = draft.metadata;
  for (const member of Object.keys(draft)) if (!(member in old)) delete draft[member];
  for (const member of Object.keys(old)) if (member !== 'metadata') draft[member] = old[member];
  draft.metadata = { ...old.metadata, resourceVersion };
  if (managedFields !== undefined) draft.metadata.managedFields = managedFields;
}

/** Pods: only spec.ephemeralContainers. */
const ephemeralContainers: Strategy = {
  prepareForUpdate(_ctx, draft, old) {
    const added = members(draft['spec'])['ephemeralContainers'];
    restore(draft, old);
    const spec: Members = { ...members(old['spec']) };
    if (added === undefined) delete spec['ephemeralContainers'];
    else spec['ephemeralContainers'] = added;
    draft['spec'] = spec;
    if (added !== members(old['spec'])['ephemeralContainers'] && draft.metadata.generation !== undefined) {
      draft.metadata.generation++;
    }
  },
};

function resized(next: unknown, old: unknown): unknown {
  if (!Array.isArray(next) || !Array.isArray(old)) return old;
  const byName = new Map(next.map((c) => [members(c)['name'], members(c)]));
  return old.map((container) => {
    const change = byName.get(members(container)['name']);
    if (change === undefined) return container as unknown;
    const { resources, resizePolicy } = change;
    const out: Members = { ...members(container), resources: resources ?? {} };
    if (resizePolicy !== undefined) out['resizePolicy'] = resizePolicy;
    return out;
  });
}

/** Pods: only the resources of containers. */
const resize: Strategy = {
  prepareForUpdate(_ctx, draft, old) {
    const wanted = members(draft['spec']);
    restore(draft, old);
    const before = members(old['spec']);
    const spec: Members = { ...before };
    if (before['containers'] !== undefined) {
      spec['containers'] = resized(wanted['containers'], before['containers']);
    }
    if (before['initContainers'] !== undefined) {
      spec['initContainers'] = resized(wanted['initContainers'], before['initContainers']);
    }
    draft['spec'] = spec;
  },
};

/** Namespaces: only spec.finalizers. */
const finalize: Strategy = {
  prepareForUpdate(_ctx, draft, old) {
    const { finalizers } = members(draft['spec']);
    restore(draft, old);
    const spec: Members = { ...members(old['spec']) };
    if (finalizers === undefined) delete spec['finalizers'];
    else spec['finalizers'] = finalizers;
    draft['spec'] = spec;
  },
  allowUnconditionalUpdate: false,
};

/** CertificateSigningRequests: only the approval conditions. */
const approval: Strategy = {
  prepareForUpdate(_ctx, draft, old) {
    const { conditions } = members(draft['status']);
    restore(draft, old);
    const status: Members = { ...members(old['status']) };
    if (conditions === undefined) delete status['conditions'];
    else status['conditions'] = conditions;
    draft['status'] = status;
  },
};

const fallbacks: Readonly<Record<string, Strategy>> = {
  '/pods/ephemeralcontainers': ephemeralContainers,
  '/pods/resize': resize,
  '/namespaces/finalize': finalize,
  'certificates.k8s.io/certificatesigningrequests/approval': approval,
};

/** The strategies of a resource with general ones for the subresources that it leaves out. */
export function completeStrategies(resource: ResourceInfo, own: ResourceStrategies): ResourceStrategies {
  const subresources: Record<string, Strategy> = { ...own.subresources };
  for (const { name } of resource.subresources) {
    if (subresources[name] !== undefined) continue;
    const fallback =
      name === 'status'
        ? defaultStrategiesFor(resource).subresources['status']
        : fallbacks[`${resource.group}/${resource.resource}/${name}`];
    if (fallback !== undefined) subresources[name] = fallback;
  }
  return { ...own, subresources };
}
