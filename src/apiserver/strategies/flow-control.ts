/** Strategies of flowcontrol.apiserver.k8s.io. */
import type { ResourceStrategies } from '../strategy.ts';
import {
  validateFlowControlStatus,
  validateFlowSchema,
  validatePriorityLevelConfiguration,
} from '../validation/flow-control.ts';
import { plainKind, type StatusOptions } from './common.ts';

export function flowControlStrategies(): Record<string, ResourceStrategies> {
  const status: StatusOptions = { keepsMetadata: true, validateUpdate: (object) => validateFlowControlStatus(object) };
  return {
    flowschemas: plainKind(
      {
        status: true,
        generation: ['spec'],
        validate: (object) => validateFlowSchema(object),
        validateUpdate: (object) => validateFlowSchema(object),
      },
      status,
    ),
    prioritylevelconfigurations: plainKind(
      {
        status: true,
        generation: ['spec'],
        validate: (object) => validatePriorityLevelConfiguration(object),
        validateUpdate: (object) => validatePriorityLevelConfiguration(object),
      },
      status,
    ),
  };
}
