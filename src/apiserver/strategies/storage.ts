/** Strategies of storage.k8s.io. */
import type { ResourceStrategies } from '../strategy.ts';
import {
  csiDriverWarnings,
  csiStorageCapacityWarnings,
  storageClassWarnings,
  validateCsiDriver,
  validateCsiDriverUpdate,
  validateCsiNode,
  validateCsiNodeUpdate,
  validateCsiStorageCapacity,
  validateStorageClass,
  validateStorageClassUpdate,
  validateVolumeAttachment,
  validateVolumeAttachmentUpdate,
  validateVolumeAttributesClass,
  validateVolumeAttributesClassUpdate,
} from '../validation/storage.ts';
import { bumpWhenChanged, plainKind } from './common.ts';

export function storageStrategies(): Record<string, ResourceStrategies> {
  return {
    csidrivers: plainKind({
      allowUnconditionalUpdate: false,
      // A new driver has no generation; changes count from there.
      update: (object, old) => bumpWhenChanged(object, old, ['spec']),
      validate: validateCsiDriver,
      validateUpdate: validateCsiDriverUpdate,
      warnings: csiDriverWarnings,
    }),
    csinodes: plainKind({
      allowUnconditionalUpdate: false,
      validate: validateCsiNode,
      validateUpdate: validateCsiNodeUpdate,
    }),
    csistoragecapacities: plainKind({
      allowUnconditionalUpdate: false,
      validate: (object) => validateCsiStorageCapacity(object),
      validateUpdate: validateCsiStorageCapacity,
      warnings: csiStorageCapacityWarnings,
    }),
    storageclasses: plainKind({
      validate: validateStorageClass,
      validateUpdate: validateStorageClassUpdate,
      warnings: storageClassWarnings,
    }),
    volumeattachments: plainKind(
      {
        status: true,
        allowUnconditionalUpdate: false,
        validate: validateVolumeAttachment,
        validateUpdate: validateVolumeAttachmentUpdate,
      },
      {
        keepsMetadata: true,
        allowUnconditionalUpdate: false,
        validateUpdate: validateVolumeAttachmentUpdate,
      },
    ),
    volumeattributesclasses: plainKind({
      validate: validateVolumeAttributesClass,
      validateUpdate: validateVolumeAttributesClassUpdate,
    }),
  };
}
