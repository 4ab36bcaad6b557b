/**
 * PodNodeSelector: a namespace's node selector (by annotation, or of the configuration) goes into its pods, which may ask for
 * nothing else.
 */
import { isLabelValue, isQualifiedName } from '../../api/names.ts';
import { forbidden, internalError, StatusError } from '../../api/status.ts';
import type { Namespace, PodSpec } from '../../api/types/core-v1.gen.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { metadataOf, withSpec } from './attributes.ts';
import { Namespaces } from './namespaces.ts';

/** The plugin's part of the admission configuration file. */
export interface PodNodeSelectorConfiguration {
  /** Selectors by namespace, `clusterDefaultNodeSelector` for those without one. */
  readonly podNodeSelectorPluginConfig?: Readonly<Record<string, string>>;
}

type Labels = Readonly<Record<string, string>>;

const annotation = 'scheduler.alpha.kubernetes.io/node-selector';

/** `a=b,c=d` as labels. @throws {StatusError} */
function labelsOf(selector: string | undefined): Labels {
  const out: Record<string, string> = {};
  if (selector === undefined || selector === '') return out;
  const wrong = (message: string): StatusError => new StatusError(500, '', message);
  for (const part of selector.split(',')) {
    const [key, value, ...more] = part.split('=');
    if (value === undefined || more.length > 0) throw wrong(`invalid selector: [${part.split('=').join(' ')}]`);
    const name = key!.trim();
    const text = value.trim();
    for (const message of isQualifiedName(name)) throw wrong(message);
    for (const message of isLabelValue(text)) throw wrong(message);
    out[name] = text;
  }
  return out;
}

const conflict = (a: Labels, b: Labels): boolean =>
  Object.entries(a).some(([key, value]) => b[key] !== undefined && b[key] !== value);

export function podNodeSelector(deps: {
  readonly registries: Registries;
  readonly configuration?: PodNodeSelectorConfiguration | undefined;
}): AdmissionPlugin {
  const ofCluster = deps.configuration?.podNodeSelectorPluginConfig ?? {};
  const namespaces = new Namespaces(deps.registries);

  const find = async (name: string): Promise<Namespace> => {
    try {
      return await namespaces.get(name);
    } catch (error) {
      throw internalError(new Error(`namespace ${name} does not exist`, { cause: error }));
    }
  };
  const selectorOf = (namespace: Namespace): Labels => {
    const own = namespace.metadata?.annotations?.[annotation];
    return labelsOf(own ?? ofCluster['clusterDefaultNodeSelector']);
  };
  const refuse = (a: AdmissionAttributes, why: string): StatusError =>
    forbidden({ group: '', resource: 'pods' }, metadataOf(a.object).name ?? '', why);

  const check = (a: AdmissionAttributes, namespace: Namespace, selector: Labels): void => {
    if (conflict(selectorOf(namespace), selector))
      throw refuse(a, 'pod node label selector conflicts with its namespace node label selector');
    const allowed = labelsOf(ofCluster[a.namespace]);
    if (Object.keys(allowed).length === 0) return;
    for (const [key, value] of Object.entries(selector))
      if (allowed[key] !== value)
        throw refuse(a, 'pod node label selector labels conflict with its namespace whitelist');
  };

  return {
    name: 'PodNodeSelector',
    handles: (operation, group, resource, subresource) =>
      operation === 'CREATE' && group === '' && resource === 'pods' && subresource === '',
    async mutate(a) {
      if (a.object === undefined) return undefined;
      const namespace = await find(a.namespace);
      const own = ((a.object['spec'] ?? {}) as PodSpec).nodeSelector ?? {};
      const selector = selectorOf(namespace);
      if (conflict(selector, own))
        throw refuse(a, 'pod node label selector conflicts with its namespace node label selector');
      const merged = { ...selector, ...own };
      check(a, namespace, merged);
      return Object.keys(merged).length === 0 ? a.object : withSpec(a.object, { nodeSelector: merged });
    },
    async validate(a) {
      check(a, await find(a.namespace), ((a.object?.['spec'] ?? {}) as PodSpec).nodeSelector ?? {});
    },
  };
}
