/** The workload kinds: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, CronJob, ControllerRevision. */
import { canonicalEqual, semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isLongName, nameIsDNSLabel } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ResourceStrategies } from '../strategy.ts';
import * as workloads from './workload-validation.ts';
import { bump, kindStrategy, statusStrategy } from './common.ts';

export function deploymentStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      update(object, old) {
        if (!semanticEqual(object.metadata.annotations, old.metadata.annotations)) bump(object, old);
      },
      validate: workloads.validateDeployment,
      validateUpdate: workloads.validateDeploymentUpdate,
      warnings: workloads.deploymentWarnings,
    }),
    subresources: {
      status: statusStrategy({
        update(object, old) {
          if (old.metadata.labels === undefined) delete object.metadata.labels;
          else object.metadata.labels = old.metadata.labels;
        },
        validateUpdate: workloads.validateDeploymentStatusUpdate,
        resetFields: [['spec'], ['metadata', 'labels']],
      }),
    },
  };
}

export function replicaSetStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      validate: workloads.validateReplicaSet,
      validateUpdate: workloads.validateReplicaSetUpdate,
      warnings: workloads.replicaSetWarnings,
    }),
    subresources: { status: statusStrategy({ validateUpdate: workloads.validateReplicaSetStatusUpdate }) },
  };
}

export function replicationControllerStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      defaultPropagation: 'Orphan',
      validateName: isLongName,
      validate: workloads.validateReplicationController,
      validateUpdate: (object) => workloads.validateReplicationController(object),
      warnings: workloads.replicationControllerWarnings,
    }),
    subresources: { status: statusStrategy({ validateUpdate: workloads.validateReplicationControllerStatusUpdate }) },
  };
}

export function statefulSetStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      validateName: nameIsDNSLabel,
      validate: workloads.validateStatefulSet,
      validateUpdate: workloads.validateStatefulSetUpdate,
      warnings: workloads.statefulSetWarnings,
    }),
    subresources: { status: statusStrategy({ validateUpdate: workloads.validateStatefulSetStatusUpdate }) },
  };
}

const templateGenerationAnnotation = 'deprecated.daemonset.template.generation';

function templateOf(object: KubeObject): unknown {
  return (object['spec'] as { template?: unknown } | undefined)?.template;
}

export function daemonSetStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      // The template's generation lives in an annotation in apps/v1.
      create(object) {
        const given = Number(object.metadata.annotations?.[templateGenerationAnnotation]);
        const value = Number.isInteger(given) && given >= 1 ? given : 1;
        object.metadata.annotations = {
          ...object.metadata.annotations,
          [templateGenerationAnnotation]: String(value),
        };
      },
      update(object, old) {
        const before = Number(old.metadata.annotations?.[templateGenerationAnnotation] ?? 0);
        const changed = !canonicalEqual(templateOf(object), templateOf(old));
        object.metadata.annotations = {
          ...object.metadata.annotations,
          [templateGenerationAnnotation]: String(changed ? before + 1 : before),
        };
      },
      validate: workloads.validateDaemonSet,
      validateUpdate: workloads.validateDaemonSetUpdate,
      warnings: workloads.daemonSetWarnings,
    }),
    subresources: {
      status: statusStrategy({
        // Which is a part of what stays as it is.
        update(object, old) {
          const value = old.metadata.annotations?.[templateGenerationAnnotation];
          if (value === undefined) return;
          object.metadata.annotations = { ...object.metadata.annotations, [templateGenerationAnnotation]: value };
        },
        validateUpdate: workloads.validateDaemonSetStatusUpdate,
      }),
    },
  };
}

export function cronJobStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      generation: ['spec'],
      validate: workloads.validateCronJob,
      validateUpdate: workloads.validateCronJobUpdate,
      warnings: workloads.cronJobWarnings,
    }),
    subresources: { status: statusStrategy() },
  };
}

export function controllerRevisionStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      validate: workloads.validateControllerRevision,
      validateUpdate: workloads.validateControllerRevisionUpdate,
    }),
    subresources: {},
  };
}

export function podTemplateStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      generation: ['template'],
      validate: workloads.validatePodTemplateObject,
      validateUpdate: (object) => workloads.validatePodTemplateObject(object),
      warnings: workloads.podTemplateWarnings,
    }),
    subresources: {},
  };
}
