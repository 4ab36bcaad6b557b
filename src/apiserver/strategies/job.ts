/** Job: gets its selector and the labels that tie its pods to it, unless it chooses its own selector. */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { JobSpec } from '../../api/types/batch-v1.gen.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import { jobStatusUpdate, jobWarnings, validateJob, validateJobUpdate } from './workload-validation.ts';
import { kindStrategy, statusStrategy } from './common.ts';

const nameLabels = ['job-name', 'batch.kubernetes.io/job-name'];
const uidLabels = ['controller-uid', 'batch.kubernetes.io/controller-uid'];

function generateSelector(object: Draft): void {
  const spec = (object['spec'] ?? {}) as JobSpec;
  if (spec.manualSelector === true) return;
  const { name = '', uid = '' } = object.metadata;
  const labels: Record<string, string> = { ...spec.template?.metadata?.labels };
  for (const label of nameLabels) labels[label] ??= name;
  for (const label of uidLabels) labels[label] ??= uid;
  const matchLabels: Record<string, string> = { ...spec.selector?.matchLabels };
  matchLabels['batch.kubernetes.io/controller-uid'] ??= uid;
  object['spec'] = {
    ...spec,
    selector: { ...spec.selector, matchLabels },
    template: { ...spec.template, metadata: { ...spec.template?.metadata, labels } },
  };
}

const labelsOfTemplate = (object: Draft): unknown =>
  (object['spec'] as JobSpec | undefined)?.template?.metadata?.labels;

/** A Job without labels of its own has its template's. */
function defaultLabels(object: Draft): void {
  const labels = (object['spec'] as JobSpec | undefined)?.template?.metadata?.labels ?? {};
  if (Object.keys(object.metadata.labels ?? {}).length > 0 || Object.keys(labels).length === 0) return;
  object.metadata.labels = labels;
}

export function jobStrategies(features: FeatureGates): ResourceStrategies {
  return {
    main: {
      // Otherwise they are given after everything has been looked at.
      beginCreate(_ctx, object) {
        defaultLabels(object);
        return Promise.resolve(() => Promise.resolve());
      },
      ...kindStrategy({
        status: true,
        generation: ['spec'],
        defaultPropagation: 'Orphan',
        orphansWarning:
          'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning',
        create: (object) => {
          // Labels that are the template's take part in what the template gets.
          const given = object.metadata.labels;
          const template = labelsOfTemplate(object);
          const shared = template !== undefined && (given === undefined || deepEqual(given, template));
          if (shared) delete object.metadata.labels;
          generateSelector(object);
          if (shared) defaultLabels(object);
        },
        update: (object) => defaultLabels(object),
        validate: (object) => validateJob(object),
        validateUpdate: validateJobUpdate(features),
        warnings: (object, old) => jobWarnings(object, old),
      }),
    },
    subresources: {
      status: statusStrategy({ validateUpdate: jobStatusUpdate(features) }),
    },
  };
}
