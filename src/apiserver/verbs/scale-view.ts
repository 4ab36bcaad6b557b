/** How admission sees a write to a scale subresource: as a Scale, not as the object that is scaled. */
import type { KubeObject } from '../../api/object.ts';
import type { RequestContext } from '../context.ts';
import type { Scaling } from './scale.ts';

/** Admission of scale sees Scales. */
export function scaleView(scaling: Scaling, ctx: RequestContext) {
  return {
    group: 'autoscaling',
    version: 'v1',
    kind: 'Scale',
    of: (object: KubeObject) => scaling.of(object),
    merge: (object: KubeObject, view: KubeObject) => scaling.scaled(object, view, ctx),
  };
}
