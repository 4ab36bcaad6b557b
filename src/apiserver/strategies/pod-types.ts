/** The generated types that the pod strategies use, in one import. */
export type { Container, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus } from '../../api/types/core-v1.gen.ts';
export type { LabelSelector } from '../../api/types/meta-v1.gen.ts';
