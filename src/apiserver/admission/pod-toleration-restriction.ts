/** PodTolerationRestriction: a namespace's default tolerations go into its pods, which may carry none but those it allows. */
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { StatusError } from '../../api/status.ts';
import type { Namespace, Pod, PodSpec, Toleration } from '../../api/types/core-v1.gen.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { withSpec } from './attributes.ts';
import { Namespaces } from './namespaces.ts';
import { covers, mergeTolerations } from './tolerations.ts';

/** The plugin's part of the admission configuration file: what holds for namespaces that say nothing. */
export interface PodTolerationRestrictionConfiguration {
  readonly default?: readonly Toleration[];
  readonly whitelist?: readonly Toleration[];
}

const defaultAnnotation = 'scheduler.alpha.kubernetes.io/defaultTolerations';
const allowedAnnotation = 'scheduler.alpha.kubernetes.io/tolerationsWhitelist';

/** undefined: the namespace does not say. @throws {StatusError} */
function annotated(namespace: Namespace, key: string): readonly Toleration[] | undefined {
  const text = namespace.metadata?.annotations?.[key];
  if (text === undefined) return undefined;
  if (text === '') return [];
  try {
    return (JSON.parse(text) ?? []) as Toleration[];
  } catch (error) {
    throw new StatusError(500, '', error instanceof Error ? error.message : String(error), undefined, { cause: error });
  }
}

export function podTolerationRestriction(deps: {
  readonly registries: Registries;
  readonly configuration?: PodTolerationRestrictionConfiguration | undefined;
}): AdmissionPlugin {
  const { configuration = {} } = deps;
  const namespaces = new Namespaces(deps.registries);

  const check = (namespace: Namespace, tolerations: readonly Toleration[]): void => {
    if (tolerations.length === 0) return;
    const own = annotated(namespace, allowedAnnotation);
    const allowed = own ?? configuration.whitelist ?? [];
    if (allowed.length === 0 || tolerations.every((t) => allowed.some((w) => covers(w, t)))) return;
    throw new StatusError(
      500,
      '',
      `pod tolerations (possibly merged with namespace default tolerations) conflict with its ${own === undefined ? 'cluster' : 'namespace'} whitelist`,
    );
  };
  const tolerationsOf = (a: AdmissionAttributes): readonly Toleration[] =>
    ((a.object?.['spec'] ?? {}) as PodSpec).tolerations ?? [];

  return {
    name: 'PodTolerationRestriction',
    handles: (operation, group, resource, subresource) =>
      (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'pods' && subresource === '',
    async mutate(a) {
      if (a.object === undefined) return undefined;
      const namespace = await namespaces.get(a.namespace);
      const extra: Toleration[] = [];
      if (a.operation === 'CREATE')
        extra.push(...(annotated(namespace, defaultAnnotation) ?? configuration.default ?? []));
      if (podQOSClass(a.object as unknown as Pod & { spec: PodSpec }) !== 'BestEffort')
        extra.push({ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' });
      const merged = extra.length === 0 ? tolerationsOf(a) : mergeTolerations(tolerationsOf(a), extra);
      check(namespace, merged);
      return extra.length === 0 ? a.object : withSpec(a.object, { tolerations: merged });
    },
    async validate(a) {
      check(await namespaces.get(a.namespace), tolerationsOf(a));
    },
  };
}
