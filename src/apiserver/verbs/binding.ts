/** `pods/binding` and the legacy `bindings`: a pod gets its node, once. */
import { formatFieldError, notSupported, required } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { badRequest, conflict, notFound, StatusError } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import { namespaceOf } from './options.ts';
import type { VerbHandler } from './verb.ts';
import { created, readVirtual, successStatus } from './virtual.ts';

interface Condition {
  type?: string;
  status?: string;
  reason?: string;
  message?: string;
  lastProbeTime?: string | null;
  lastTransitionTime?: string | null;
  observedGeneration?: number;
}

/** Sets a pod condition; its transition time moves only with its status. */
export function withPodCondition(
  conditions: readonly Condition[] | undefined,
  condition: { type: string; status: string; reason?: string; message?: string },
  now: number,
): Condition[] {
  const list = conditions ?? [];
  const old = list.find((c) => c.type === condition.type);
  const lastTransitionTime =
    old !== undefined && old.status === condition.status ? old.lastTransitionTime : formatTime(now);
  const next: Condition = {
    type: condition.type,
    status: condition.status,
    lastProbeTime: old?.lastProbeTime ?? null,
    lastTransitionTime: lastTransitionTime ?? null,
    ...(condition.reason === undefined ? {} : { reason: condition.reason }),
    ...(condition.message === undefined ? {} : { message: condition.message }),
  };
  return old === undefined ? [...list, next] : list.map((c) => (c === old ? next : c));
}

export const handleBinding: VerbHandler = async (verbs, ctx) => {
  const { object: binding, query, admit } = await readVirtual(verbs, ctx, { keepSystemFields: true });
  const name = ctx.info.subresource === '' ? (binding.metadata.name ?? '') : ctx.info.name;
  if (name !== (binding.metadata.name ?? '')) {
    throw badRequest('name in URL does not match name in Binding object');
  }
  if (name === '') throw badRequest('Name parameter required.');
  const target = (binding['target'] ?? {}) as { kind?: string; name?: string };
  const errors: FieldError[] = [];
  if ((target.kind ?? '') !== '' && target.kind !== 'Node') {
    errors.push(notSupported('target.kind', target.kind, ['Node', '<empty>']));
  }
  if ((target.name ?? '') === '') errors.push(required('target.name'));
  if (errors.length > 0) {
    const texts = errors.map(formatFieldError);
    throw new StatusError(500, '', texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`);
  }
  await admit(binding);
  const registry = verbs.registries.registry('', 'pods');
  if (registry === undefined) throw notFound({ group: '', resource: 'pods' }, name);
  const now = verbs.clock.now();
  const pods = { group: '', resource: 'pods' };
  const refuse = (why: string): Error => conflict({ group: '', resource: 'pods/binding' }, name, why);
  const { resourceVersion = '', annotations, labels } = binding.metadata;
  // Only the subresource keeps what a client says of it.
  const uid = ctx.info.subresource === '' ? '' : (binding.metadata.uid ?? '');
  await registry.modify(
    namespaceOf(ctx),
    name,
    (pod: KubeObject) => {
      const { metadata } = pod;
      const key = registry.key(namespaceOf(ctx), name);
      const failed = (what: string, given: string, found: string): Error =>
        conflict(
          pods,
          name,
          `StorageError: invalid object, Code: 4, Key: ${key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: ${what} in precondition: ${given}, ${what} in object meta: ${found}`,
        );
      if (uid !== '' && uid !== metadata.uid) throw failed('UID', uid, metadata.uid ?? '');
      if (resourceVersion !== '' && resourceVersion !== metadata.resourceVersion) {
        throw failed('ResourceVersion', resourceVersion, metadata.resourceVersion ?? '');
      }
      const spec = (pod['spec'] ?? {}) as Record<string, unknown>;
      if (metadata.deletionTimestamp !== undefined) {
        throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
      }
      const { nodeName, schedulingGates } = spec;
      if (typeof nodeName === 'string' && nodeName !== '') {
        throw refuse(`pod ${name} is already assigned to node ${JSON.stringify(nodeName)}`);
      }
      if (Array.isArray(schedulingGates) && schedulingGates.length > 0) {
        throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
      }
      const status = { ...(pod['status'] as Record<string, unknown> | undefined) };
      if (verbs.clearsNomination ?? true) delete status['nominatedNodeName'];
      return {
        ...pod,
        metadata: {
          ...metadata,
          ...(annotations === undefined ? {} : { annotations: { ...metadata.annotations, ...annotations } }),
          ...(labels === undefined ? {} : { labels: { ...metadata.labels, ...labels } }),
        },
        spec: { ...spec, nodeName: target.name },
        status: {
          ...status,
          conditions: withPodCondition(
            status['conditions'] as Condition[] | undefined,
            { type: 'PodScheduled', status: 'True' },
            now,
          ),
        },
      };
    },
    query.dryRun,
  );
  return created(successStatus);
};
