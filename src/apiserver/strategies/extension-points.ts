/** Strategies of the kinds that extend the API server: admission registration and APIServices. */
import { nameIsPathSegment } from '../../api/names.ts';
import { formatTime } from '../../api/time.ts';
import type { ObjectMeta } from '../../api/object.ts';
import type { APIServiceSpec } from '../../api/types/apiregistration-v1.gen.ts';
import type { ResourceStrategies } from '../strategy.ts';
import { validateApiService, validateApiServiceStatus } from '../validation/api-service.ts';
import {
  staticNameWarnings,
  validateWebhookConfiguration,
  validateWebhookConfigurationUpdate,
} from '../validation/webhook-configuration.ts';
import { plainKind, unvalidatedKind, type KindOptions } from './common.ts';

export function admissionRegistrationStrategies(): Record<string, ResourceStrategies> {
  const policy: KindOptions = { generation: ['spec'], allowUnconditionalUpdate: false };
  const webhooks: KindOptions = {
    generation: ['webhooks'],
    allowUnconditionalUpdate: false,
    validate: validateWebhookConfiguration,
    validateUpdate: validateWebhookConfigurationUpdate,
    warnings: staticNameWarnings,
  };
  return {
    mutatingadmissionpolicies: unvalidatedKind(policy),
    mutatingadmissionpolicybindings: unvalidatedKind(policy),
    mutatingwebhookconfigurations: plainKind(webhooks),
    validatingadmissionpolicies: unvalidatedKind(
      { ...policy, status: true },
      { keepsMetadata: true, allowUnconditionalUpdate: false },
    ),
    validatingadmissionpolicybindings: unvalidatedKind(policy),
    validatingwebhookconfigurations: plainKind(webhooks),
  };
}

const keptMetadata: readonly (keyof ObjectMeta)[] = ['labels', 'annotations', 'finalizers', 'ownerReferences'];

export function apiServiceStrategies(): Record<string, ResourceStrategies> {
  return {
    apiservices: plainKind(
      {
        status: true,
        allowUnconditionalUpdate: false,
        validateName: nameIsPathSegment,
        create(object, { now }) {
          const spec = (object['spec'] ?? {}) as Partial<APIServiceSpec>;
          if (spec.service !== undefined && spec.service !== null) return;
          object['status'] = {
            conditions: [
              {
                type: 'Available',
                status: 'True',
                lastTransitionTime: formatTime(now),
                reason: 'Local',
                message: 'Local APIServices are always available',
              },
            ],
          };
        },
        validate: validateApiService,
        validateUpdate: (object) => validateApiService(object),
      },
      {
        allowUnconditionalUpdate: false,
        resetFields: [['spec'], ['metadata']],
        update(object, old) {
          const to = object.metadata as Record<string, unknown>;
          for (const member of keptMetadata)
            if (old.metadata[member] === undefined) delete to[member];
            else to[member] = old.metadata[member];
        },
        validateUpdate: (object) => validateApiServiceStatus(object),
      },
    ),
  };
}
