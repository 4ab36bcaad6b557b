/** PersistentVolume and PersistentVolumeClaim. */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { KubeObject } from '../../api/object.ts';
import { formatTime } from '../../api/time.ts';
import type { PersistentVolumeClaimSpec } from '../../api/types/core-v1.gen.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import {
  validatePersistentVolumeClaim,
  validatePersistentVolumeClaimStatusUpdate,
  validatePersistentVolumeClaimUpdate,
} from '../validation/persistent-volume-claim.ts';
import { validatePersistentVolume, validatePersistentVolumeUpdate } from '../validation/persistent-volume.ts';
import { kindStrategy, statusStrategy } from './common.ts';
import { claimWarnings, volumeWarnings } from './volume-warnings.ts';

/** As it was stored before there were block devices. */
const lacksMode = (json: Buffer): boolean => !json.includes('"volumeMode":');

export function persistentVolumeStrategies(features: FeatureGates): ResourceStrategies {
  const phaseOf = (object: Draft): unknown => (object['status'] as Record<string, unknown> | undefined)?.['phase'];
  return {
    main: {
      ...kindStrategy({
        status: true,
        create(object, ctx) {
          object['status'] = { phase: 'Pending', lastPhaseTransitionTime: formatTime(ctx.now) };
        },
        validate: (object) => validatePersistentVolume(object),
        validateUpdate: (object, old) =>
          validatePersistentVolumeUpdate(object, old, features.enabled('MutablePVNodeAffinity')),
        warnings: volumeWarnings,
      }),
      onRead: { dated: lacksMode },
    },
    subresources: {
      status: statusStrategy({
        update(object, old, ctx) {
          const status = { ...(object['status'] as Record<string, unknown> | undefined) };
          const before = (old['status'] ?? {}) as Record<string, unknown>;
          const at = 'lastPhaseTransitionTime';
          if (phaseOf(object) === before['phase']) {
            if (status[at] === undefined && before[at] !== undefined) status[at] = before[at];
          } else if (status[at] === undefined || status[at] === before[at]) status[at] = formatTime(ctx.now);
          object['status'] = status;
        },
      }),
    },
  };
}

/** dataSource and dataSourceRef name the same thing, whichever the client knows. */
function normalizeDataSources(object: Draft): void {
  let spec = (object['spec'] ?? {}) as Partial<PersistentVolumeClaimSpec>;
  // Sources in other namespaces are behind a gate that nothing here would serve (CrossNamespaceVolumeDataSource).
  if ((spec.dataSourceRef?.namespace ?? '') !== '') {
    const { dataSourceRef: _r, ...rest } = spec;
    spec = rest;
    object['spec'] = rest;
  }
  const { dataSource, dataSourceRef } = spec;
  if (dataSource !== undefined && dataSourceRef === undefined) {
    const known =
      (dataSource.kind === 'PersistentVolumeClaim' && (dataSource.apiGroup ?? '') === '') ||
      (dataSource.kind === 'VolumeSnapshot' && dataSource.apiGroup === 'snapshot.storage.k8s.io');
    const { apiGroup, kind, name } = dataSource;
    const copy = { ...(apiGroup === undefined ? {} : { apiGroup }), kind, name };
    if (known) object['spec'] = { ...spec, dataSourceRef: copy };
    else {
      // Only claims and snapshots were ever allowed in the old field.
      const { dataSource: _d, ...rest } = spec;
      object['spec'] = rest;
    }
  } else if (dataSource === undefined && dataSourceRef !== undefined) {
    const { apiGroup, kind, name } = dataSourceRef;
    object['spec'] = {
      ...spec,
      dataSource: { ...(apiGroup === undefined ? {} : { apiGroup }), kind, name },
    };
  }
}

/** What was stored when there was one of the two. */
function bothDataSources(object: KubeObject): KubeObject {
  const spec = (object['spec'] ?? {}) as Partial<PersistentVolumeClaimSpec>;
  const { dataSource, dataSourceRef } = spec;
  if (dataSource !== undefined && dataSourceRef === undefined)
    return { ...object, spec: { ...spec, dataSourceRef: dataSource } };
  if (dataSource !== undefined || dataSourceRef === undefined || dataSourceRef.namespace !== undefined) return object;
  const { namespace: _, ...reference } = dataSourceRef;
  return { ...object, spec: { ...spec, dataSource: reference } };
}

export function persistentVolumeClaimStrategies(): ResourceStrategies {
  return {
    main: {
      ...kindStrategy({
        status: true,
        create(object) {
          normalizeDataSources(object);
          object['status'] = { phase: 'Pending' };
        },
        update: (object) => normalizeDataSources(object),
        validate: (object) => validatePersistentVolumeClaim(object),
        validateUpdate: (object, old) => validatePersistentVolumeClaimUpdate(object, old),
        warnings: claimWarnings,
      }),
      onRead: {
        dated: (json) => lacksMode(json) || json.includes('"dataSource":') !== json.includes('"dataSourceRef":'),
        complete: bothDataSources,
      },
    },
    subresources: {
      status: statusStrategy({ validateUpdate: (object) => validatePersistentVolumeClaimStatusUpdate(object) }),
    },
  };
}
