/** Where the strategies of the workload kinds get their semantic validation from. */
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';

type OnCreate = (object: KubeObject) => readonly FieldError[];
type OnUpdate = (object: KubeObject, old: KubeObject) => readonly FieldError[];
type Warnings = (object: KubeObject, old: KubeObject | undefined) => readonly string[];

const create: OnCreate = () => [];
const update: OnUpdate = () => [];
const quiet: Warnings = () => [];

/** The Warning on each write while workloads are stored without semantic validation; undefined once they are validated. */
export const workloadIncomplete: string | undefined = 'knarr does not validate this kind beyond its structure yet';
export const validateDeployment = create;
export const validateDeploymentUpdate = update;
export const validateDeploymentStatusUpdate = update;
export const deploymentWarnings = quiet;
export const validateReplicaSet = create;
export const validateReplicaSetUpdate = update;
export const validateReplicaSetStatusUpdate = update;
export const replicaSetWarnings = quiet;
export const validateReplicationController = create;
export const validateReplicationControllerUpdate = update;
export const validateReplicationControllerStatusUpdate = update;
export const replicationControllerWarnings = quiet;
export const validateStatefulSet = create;
export const validateStatefulSetUpdate = update;
export const validateStatefulSetStatusUpdate = update;
export const statefulSetWarnings = quiet;
export const validateDaemonSet = create;
export const validateDaemonSetUpdate = update;
export const validateDaemonSetStatusUpdate = update;
export const daemonSetWarnings = quiet;
export const validateJob = create;
export const validateJobUpdate = update;
export const validateJobStatusUpdate = update;
export const jobWarnings = quiet;
export const validateCronJob = create;
export const validateCronJobUpdate = update;
export const cronJobWarnings = quiet;
export const validateControllerRevision = create;
export const validateControllerRevisionUpdate = update;
export const validatePodTemplateObject = create;
export const validatePodTemplateObjectUpdate = update;
