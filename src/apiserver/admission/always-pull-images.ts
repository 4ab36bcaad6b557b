/** AlwaysPullImages: every container's image is pulled anew, so that nobody runs a private image that others have pulled. */
import { formatFieldError, notSupported } from '../../api/field-error.ts';
import type { Container, PodSpec } from '../../api/types/core-v1.gen.ts';
import { StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { refuse, withSpec } from './attributes.ts';

const lists = ['initContainers', 'containers', 'ephemeralContainers'] as const;

function specOf(object: Record<string, unknown> | undefined): PodSpec {
  return (object?.['spec'] ?? {}) as PodSpec;
}

function imagesOf(spec: PodSpec): string[] {
  return lists.flatMap((list) => ((spec[list] ?? []) as readonly Container[]).map((c) => c.image ?? ''));
}

/** An update that brings no image that the pod did not have. */
function bringsNoImage(a: AdmissionAttributes): boolean {
  if (a.operation !== 'UPDATE') return false;
  const had = new Set(imagesOf(specOf(a.oldObject)));
  return imagesOf(specOf(a.object)).every((image) => had.has(image));
}

export const alwaysPullImages: AdmissionPlugin = {
  name: 'AlwaysPullImages',
  handles: (operation, group, resource, subresource) =>
    (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'pods' && subresource === '',
  mutate(a) {
    if (a.object === undefined || bringsNoImage(a)) return a.object;
    const spec = specOf(a.object);
    const change: Record<string, unknown> = {};
    for (const list of lists) {
      const containers = spec[list] as readonly Container[] | undefined;
      if (containers !== undefined) change[list] = containers.map((c) => ({ ...c, imagePullPolicy: 'Always' }));
    }
    if (spec.volumes?.some((v) => v.image !== undefined))
      change['volumes'] = spec.volumes.map((v) =>
        v.image === undefined ? v : { ...v, image: { ...v.image, pullPolicy: 'Always' } },
      );
    return withSpec(a.object, change);
  },
  validate(a) {
    if (bringsNoImage(a)) return;
    const spec = specOf(a.object);
    const errors: string[] = [];
    const look = (path: string, policy: unknown): void => {
      if (policy !== 'Always') errors.push(refuse(a, formatFieldError(notSupported(path, policy, ['Always']))).message);
    };
    for (const list of lists)
      ((spec[list] ?? []) as readonly Container[]).forEach((c, i) =>
        look(`spec.${list}[${i}].imagePullPolicy`, c.imagePullPolicy),
      );
    spec.volumes?.forEach((v, i) => {
      if (v.image !== undefined) look(`spec.volumes[${i}].image.pullPolicy`, v.image.pullPolicy);
    });
    if (errors.length > 0) throw new StatusError(500, '', errors.length === 1 ? errors[0]! : `[${errors.join(', ')}]`);
  },
};
