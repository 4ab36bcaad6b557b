/** Strategies of the kinds that extend the API server: admission registration and APIServices. */
import { nameIsPathSegment } from '../../api/names.ts';
import { formatTime } from '../../api/time.ts';
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import type { APIServiceSpec } from '../../api/types/apiregistration-v1.gen.ts';
import type { ParamAccess, ParamCheck } from '../authorization/param-access.ts';
import type { ResourceStrategies } from '../strategy.ts';
import {
  validateMutatingPolicy,
  validateMutatingPolicyBinding,
  validateValidatingPolicy,
  validateValidatingPolicyBinding,
  validateValidatingPolicyStatus,
} from '../validation/admission-policy.ts';
import { validateApiService, validateApiServiceStatus } from '../validation/api-service.ts';
import {
  staticNameWarnings,
  validateWebhookConfiguration,
  validateWebhookConfigurationUpdate,
} from '../validation/webhook-configuration.ts';
import { withCheck } from './asynchronous.ts';
import { bumpForEmptyLists, plainKind, type KindOptions } from './common.ts';

/** Well-formed objects are refused, too, where their author may not read the parameters. */
function guarded(kind: ResourceStrategies, check: ParamCheck | undefined): ResourceStrategies {
  if (check === undefined) return kind;
  const listed = (error: FieldError | undefined): readonly FieldError[] => (error === undefined ? [] : [error]);
  const main = withCheck(kind.main, (ctx, object, old) => {
    const error = check(ctx.request, object, old);
    return error instanceof Promise ? error.then(listed) : listed(error);
  });
  return { ...kind, main };
}

/** `access`: undefined where nobody is held against what they may do. */
export function admissionRegistrationStrategies(access: ParamAccess | undefined): Record<string, ResourceStrategies> {
  const webhooks: KindOptions = {
    generation: ['webhooks'],
    update: bumpForEmptyLists('webhooks'),
    allowUnconditionalUpdate: false,
    validate: validateWebhookConfiguration,
    validateUpdate: validateWebhookConfigurationUpdate,
    warnings: staticNameWarnings,
  };
  const policy: KindOptions = { generation: ['spec'], allowUnconditionalUpdate: false, warnings: staticNameWarnings };
  const validatingPolicy = plainKind(
    {
      ...policy,
      status: true,
      validate: (object) => validateValidatingPolicy(object),
      validateUpdate: validateValidatingPolicy,
    },
    {
      keepsMetadata: true,
      allowUnconditionalUpdate: false,
      validateUpdate: (object) => validateValidatingPolicyStatus(object),
      warnings: (object) => staticNameWarnings(object),
    },
  );
  const mutatingPolicy = plainKind({
    ...policy,
    validate: (object) => validateMutatingPolicy(object),
    validateUpdate: validateMutatingPolicy,
  });
  const binding = (validate: (object: KubeObject) => readonly FieldError[]): ResourceStrategies =>
    plainKind({ ...policy, validate: (object) => validate(object), validateUpdate: (object) => validate(object) });
  return {
    mutatingadmissionpolicies: guarded(mutatingPolicy, access?.policy),
    mutatingadmissionpolicybindings: guarded(
      binding(validateMutatingPolicyBinding),
      access?.binding('mutatingadmissionpolicies'),
    ),
    mutatingwebhookconfigurations: plainKind(webhooks),
    validatingadmissionpolicies: guarded(validatingPolicy, access?.policy),
    validatingadmissionpolicybindings: guarded(
      binding(validateValidatingPolicyBinding),
      access?.binding('validatingadmissionpolicies'),
    ),
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
