/** CertificateSigningRequest: records who asks; approval and certificate each go through their own endpoint. */
import { nameIsPathSegment } from '../../api/names.ts';
import { formatTime } from '../../api/time.ts';
import type { KubeObject } from '../../api/object.ts';
import type { CertificateSigningRequestCondition } from '../../api/types/certificates-v1.gen.ts';
import type { Draft, ResourceStrategies, StrategyContext } from '../strategy.ts';
import {
  validateCertificateSigningRequest,
  validateCertificateSigningRequestApprovalUpdate,
  validateCertificateSigningRequestStatusUpdate,
  validateCertificateSigningRequestUpdate,
} from '../validation/certificate-signing-request.ts';
import { keepSpec, keepStatus } from './common.ts';

type Condition = CertificateSigningRequestCondition;

function conditionsOf(object: KubeObject): readonly Condition[] {
  return (object['status'] as { conditions?: Condition[] } | undefined)?.conditions ?? [];
}

/** New conditions get their times; an unchanged status keeps its transition time. */
function withTimes(conditions: readonly Condition[], old: readonly Condition[], now: string): Condition[] {
  return conditions.map((c) => {
    const out = { ...c };
    out.lastUpdateTime ??= now;
    out.lastTransitionTime ??=
      old.find((o) => o.type === c.type && o.status === c.status && (o.lastTransitionTime ?? null) !== null)
        ?.lastTransitionTime ?? now;
    return out;
  });
}

/** Approval is not the status endpoint's: as many conditions of the type as before are the ones of before. */
function keepDecisions(conditions: Condition[], old: readonly Condition[], type: string): void {
  const at = conditions.flatMap((c, i) => (c.type === type ? [i] : []));
  const before = old.filter((c) => c.type === type);
  if (at.length === before.length) at.forEach((index, i) => (conditions[index] = before[i]!));
}

function setConditions(object: Draft, conditions: readonly Condition[]): void {
  const status = { ...(object['status'] as Record<string, unknown> | undefined) };
  if (conditions.length === 0) delete status['conditions'];
  else status['conditions'] = conditions;
  object['status'] = status;
}

export function certificateSigningRequestStrategies(): ResourceStrategies {
  const now = (ctx: StrategyContext): string => formatTime(ctx.now);
  return {
    main: {
      // Any name that fits into a path.
      validateName: nameIsPathSegment,
      prepareForCreate(ctx, object) {
        const {
          username: _u,
          uid: _i,
          groups: _g,
          extra: _e,
          ...spec
        } = (object['spec'] ?? {}) as Record<string, unknown>;
        const { user } = ctx.request;
        object['spec'] = {
          ...spec,
          username: user.name,
          ...(user.uid === undefined || user.uid === '' ? {} : { uid: user.uid }),
          ...(user.groups.length === 0 ? {} : { groups: [...user.groups] }),
          ...(user.extra === undefined || Object.keys(user.extra).length === 0 ? {} : { extra: user.extra }),
        };
        delete object['status'];
      },
      prepareForUpdate(_ctx, object, old) {
        keepSpec(object, old);
        keepStatus(object, old);
      },
      validate: (_ctx, object) => validateCertificateSigningRequest(object),
      validateUpdate: (_ctx, object, old) => validateCertificateSigningRequestUpdate(object, old),
      resetFields: [['spec'], ['status']],
    },
    subresources: {
      status: {
        prepareForUpdate(ctx, object, old) {
          keepSpec(object, old);
          const conditions = [...conditionsOf(object)];
          keepDecisions(conditions, conditionsOf(old), 'Approved');
          keepDecisions(conditions, conditionsOf(old), 'Denied');
          setConditions(object, withTimes(conditions, conditionsOf(old), now(ctx)));
        },
        validateUpdate: (_ctx, object, old) => validateCertificateSigningRequestStatusUpdate(object, old),
        resetFields: [['spec'], ['status', 'conditions']],
      },
      approval: {
        prepareForUpdate(ctx, object, old) {
          const conditions = withTimes(conditionsOf(object), conditionsOf(old), now(ctx));
          keepSpec(object, old);
          keepStatus(object, old);
          setConditions(object, conditions);
        },
        validateUpdate: (_ctx, object, old) => validateCertificateSigningRequestApprovalUpdate(object, old),
        resetFields: [['spec'], ['status', 'certificate']],
      },
    },
  };
}
