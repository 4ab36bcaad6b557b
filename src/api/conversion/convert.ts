/**
 * Conversion of built-in objects between versions. Most versions of a kind differ in their apiVersion alone; the kinds that
 * really differ have a file of their own here. Conversion goes through the hub, which is the storage version.
 */
import type { KubeObject } from '../object.ts';
import { oldDefinitionToV1 } from './custom-resource-definition.ts';
import { dynamicResourceConversions } from './dynamic-resources.ts';
import { coreEventToEvents, eventsToCoreEvent } from './event.ts';
import { oldBudgetToV1 } from './pod-disruption-budget.ts';
import { autoscalingV1ToV2, autoscalingV2ToV1 } from './horizontal-pod-autoscaler.ts';

type Conversion = (object: KubeObject) => KubeObject;

/** `apiVersion kind` of the source and apiVersion of the target. */
const conversions: ReadonlyMap<string, Conversion> = new Map<string, Conversion>([
  ['v1 Event events.k8s.io/v1', coreEventToEvents],
  ['events.k8s.io/v1 Event v1', eventsToCoreEvent],
  ['autoscaling/v1 HorizontalPodAutoscaler autoscaling/v2', autoscalingV1ToV2],
  ['autoscaling/v2 HorizontalPodAutoscaler autoscaling/v1', autoscalingV2ToV1],
  ['apiextensions.k8s.io/v1beta1 CustomResourceDefinition apiextensions.k8s.io/v1', oldDefinitionToV1],
  ['policy/v1beta1 PodDisruptionBudget policy/v1', oldBudgetToV1],
  ...dynamicResourceConversions.map(([kind, from, to, fn]): [string, Conversion] => [`${from} ${kind} ${to}`, fn]),
]);

/** True when two versions of a kind have the same fields, so that only apiVersion has to change. */
export function isSameShape(from: string, to: string, kind: string): boolean {
  return from === to || !conversions.has(`${from} ${kind} ${to}`);
}

const templateGeneration = 'deprecated.daemonset.template.generation';

/**
 * A given object as upstream has it after decoding: converted to the internal version and back, so that the request's version
 * shows what it leaves to the internal one to say.
 */
export function throughInternal(object: KubeObject, hub: string): KubeObject {
  if (object.kind === 'DaemonSet' && object.apiVersion === 'apps/v1') {
    const { annotations } = object.metadata;
    const given = Number(annotations?.[templateGeneration] ?? 0);
    const value = String(Number.isInteger(given) ? given : 0);
    if (annotations?.[templateGeneration] === value) return object;
    return {
      ...object,
      metadata: { ...object.metadata, annotations: { ...annotations, [templateGeneration]: value } },
    };
  }
  const from = object.apiVersion ?? '';
  return isSameShape(from, hub, object.kind ?? '') ? object : convert(convert(object, hub), from);
}

/** The object in another version: the same object when it is in that version already. */
export function convert(object: KubeObject, apiVersion: string): KubeObject {
  if (object.apiVersion === apiVersion) return object;
  const conversion = conversions.get(`${object.apiVersion ?? ''} ${object.kind ?? ''} ${apiVersion}`);
  return conversion === undefined ? { ...object, apiVersion } : conversion(object);
}
