/** The scale subresource: spec.replicas of a workload (or what a CRD names), shown and changed as an autoscaling/v1 Scale. */
import { invalid, invalidStatus } from '../../api/field-error.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { compileLabelSelector, selectorFromSet } from '../../api/selector.ts';
import type { LabelSelector } from '../../api/selector.ts';
import { badRequest, notFound } from '../../api/status.ts';
import { canonicalize } from '../../api/schema/canonicalize.ts';
import { decode } from '../../api/schema/decode.ts';
import { isObject } from '../../api/patch/values.ts';
import { applyStrategicMergePatch } from '../../api/patch/strategic-merge.ts';
import type { RequestContext } from '../context.ts';
import type { GenericRegistry } from '../registry/generic.ts';
import type { DecodedObject, ScalePaths, TypeSupport } from '../registry/type-support.ts';
import type { OutgoingResponse } from '../request.ts';
import { objectIn } from '../storage/codec.ts';
import { handleApplyScale } from './scale-apply.ts';
import { nameIsDNSSubdomain } from '../../api/names.ts';
import { validateKubeFinalizers, validateObjectMeta } from '../registry/object-meta.ts';
import { checkName, readObject } from './body.ts';
import { scaleView } from './scale-view.ts';
import { managerOf, namespaceOf, readWriteQuery } from './options.ts';
import { applyPatchType, patchDocument, patchTypeOf, readPatch, readPatched } from './patch.ts';
import { uidConflict } from './update.ts';
import { registryOf, typesOf } from './verb.ts';
import type { VerbContext, VerbHandler } from './verb.ts';

const builtinPaths: ScalePaths = {
  specReplicasPath: '.spec.replicas',
  statusReplicasPath: '.status.replicas',
  labelSelectorPath: '.spec.selector',
};

function membersOf(path: string): string[] {
  return path.replace(/^\./, '').split('.');
}

function valueAt(object: KubeObject, path: string): unknown {
  let value: unknown = object;
  for (const member of membersOf(path)) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[member];
  }
  return value;
}

function withValue(object: KubeObject, path: string, value: unknown): KubeObject {
  const members = membersOf(path);
  const set = (from: Record<string, unknown>, at: number): Record<string, unknown> => {
    const member = members[at]!;
    if (at === members.length - 1) return { ...from, [member]: value };
    return { ...from, [member]: set((from[member] ?? {}) as Record<string, unknown>, at + 1) };
  };
  return set(object, 0) as KubeObject;
}

/** Reads and writes the scale of one kind. */
export class Scaling {
  readonly #paths: ScalePaths;
  readonly #custom: boolean;
  readonly #mapSelector: boolean;
  readonly #registry: GenericRegistry;

  constructor(registry: GenericRegistry, types: TypeSupport) {
    this.#registry = registry;
    this.#custom = registry.resource.custom;
    this.#paths = types.scale ?? builtinPaths;
    this.#mapSelector = registry.resource.kind === 'ReplicationController';
  }

  #selector(object: KubeObject): string {
    const { labelSelectorPath } = this.#paths;
    if (labelSelectorPath === undefined) return '';
    const value = valueAt(object, labelSelectorPath);
    if (this.#custom) return typeof value === 'string' ? value : '';
    if (this.#mapSelector) return selectorFromSet(value as Record<string, string> | undefined).toString();
    try {
      return compileLabelSelector(value as LabelSelector | undefined).toString();
    } catch (error) {
      throw badRequest(error instanceof Error ? error.message : String(error), error);
    }
  }

  /** The Scale of an object. */
  of(object: KubeObject): KubeObject {
    const replicas = valueAt(object, this.#paths.specReplicasPath);
    const selector = this.#selector(object);
    const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
    return {
      kind: 'Scale',
      apiVersion: 'autoscaling/v1',
      metadata: {
        ...(name === undefined ? {} : { name }),
        ...(namespace === undefined ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
        ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
      },
      spec: typeof replicas === 'number' && replicas !== 0 ? { replicas } : {},
      status: {
        replicas: Number(valueAt(object, this.#paths.statusReplicasPath) ?? 0),
        ...(selector === '' ? {} : { selector }),
      },
    };
  }

  /** The Scale that is patched: with those who set the replicas, as managers of its own. */
  patched(object: KubeObject): KubeObject {
    const scale = this.of(object);
    const path = membersOf(this.#paths.specReplicasPath).map((member) => `f:${member}`);
    const owns = (fields: unknown): boolean => {
      let at = fields;
      for (const step of path) at = isObject(at) ? at[step] : undefined;
      return at !== undefined;
    };
    const managedFields = (object.metadata.managedFields ?? [])
      .filter((entry) => owns(entry.fieldsV1))
      .map((entry) => ({ ...entry, apiVersion: 'autoscaling/v1', fieldsV1: { 'f:spec': { 'f:replicas': {} } } }));
    return managedFields.length === 0 ? scale : { ...scale, metadata: { ...scale.metadata, managedFields } };
  }

  /** The object with the replicas that the Scale asks for; checked. */
  scaled(object: KubeObject, scale: KubeObject, ctx: RequestContext): KubeObject {
    const { name = '', uid = '', resourceVersion = '' } = scale.metadata;
    const found = object.metadata.uid ?? '';
    if (uid !== '' && uid !== found) throw uidConflict(this.#registry, ctx, uid, found);
    const replicas = replicasOf(scale);
    // Of custom resources only the replicas are looked at.
    const given = { ...scale.metadata, namespace: object.metadata.namespace ?? '' };
    const errors = this.#custom
      ? []
      : [...validateObjectMeta(given, true, nameIsDNSSubdomain), ...validateKubeFinalizers(given)];
    if (replicas < 0) errors.push(invalid('spec.replicas', replicas, 'must be greater than or equal to 0'));
    if (errors.length > 0) throw invalidStatus('autoscaling', 'Scale', name, errors);
    const path = this.#paths.specReplicasPath;
    const next = valueAt(object, path) === replicas ? object : withValue(object, path, replicas);
    if (resourceVersion === '' || resourceVersion === object.metadata.resourceVersion) return next;
    return { ...next, metadata: { ...next.metadata, resourceVersion } };
  }

  /** An applied Scale as a configuration of the object. */
  configuration(object: KubeObject, replicas: unknown): Record<string, unknown> {
    const { apiVersion, kind, metadata } = object;
    const bare: KubeObject = {
      apiVersion,
      kind,
      metadata: { name: metadata.name, ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }) },
    };
    return replicas === undefined ? bare : withValue(bare, this.#paths.specReplicasPath, replicas);
  }
}

function replicasOf(scale: KubeObject): number {
  return Number((scale['spec'] as { replicas?: number } | undefined)?.replicas ?? 0);
}

/** `TypeSupport` of Scale, which is not stored and has no managed fields of its own. */
function scaleTypes(verbs: VerbContext): TypeSupport {
  const schema = verbs.catalog.schemaForKind({ group: 'autoscaling', version: 'v1', kind: 'Scale' });
  if (schema === undefined) throw new Error('the catalogue does not know Scale');
  const read = (input: unknown, strict: boolean): DecodedObject => {
    const { object, strictErrors } = decode(schema, input, { strict });
    object['kind'] = 'Scale';
    object['apiVersion'] = 'autoscaling/v1';
    object['metadata'] ??= {};
    return { object: canonicalize(schema, object) as KubeObject, strictErrors };
  };
  return {
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    schema,
    decode: (input, request) => read(input, request.strict),
    canonicalize: (object) => object,
    fields: { update: (_live, next) => next, apply: (_live, patch) => patch as unknown as KubeObject },
    strategicMerge: (document, patch) => applyStrategicMergePatch(document, patch, schema),
  };
}

function response(object: KubeObject): OutgoingResponse {
  return { status: 200, body: { kind: 'object', object: object as OutgoingObject } };
}

type OutgoingObject = KubeObject & { metadata: Record<string, unknown> };

export const handleScale: VerbHandler = async (verbs, ctx) => {
  const registry = registryOf(verbs, ctx);
  const types = typesOf(registry, ctx);
  const scaling = new Scaling(registry, types);
  const { name, verb } = ctx.info;
  const namespace = namespaceOf(ctx);
  const apiVersion = apiVersionOf(ctx.resource!);
  if (verb === 'get') {
    const resourceVersion = ctx.request.query.get('resourceVersion') ?? '';
    const current = await registry.get(ctx, namespace, name, resourceVersion);
    return response(scaling.of(objectIn(current, apiVersion)));
  }
  const asScale = scaleTypes(verbs);
  const patchType = verb === 'patch' ? patchTypeOf(ctx, verbs.body.cbor) : '';
  if (patchType === applyPatchType) return handleApplyScale(verbs, ctx, scaling, asScale);
  const query = readWriteQuery(ctx, verb === 'patch' ? 'PatchOptions' : 'UpdateOptions');
  let change: (scale: KubeObject, first: boolean) => KubeObject;
  if (verb === 'patch') {
    const patch = await readPatch(ctx, patchType, query);
    change = (scale, first) => {
      const patched = patchDocument(asScale, scale, patch);
      const object = readPatched(ctx, verbs.catalog, asScale, patched, patch, query, first);
      checkName(object, name);
      return object;
    };
  } else {
    const given = await readObject(ctx, verbs.body, asScale, query.fieldValidation);
    checkName(given, name);
    const own = given.metadata.namespace ?? '';
    if (own !== '' && own !== namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    change = () => given;
  }
  let first = true;
  const { committed } = await registry.update(
    ctx,
    namespace,
    name,
    (current) => {
      const { group, resource } = ctx.resource!;
      if (current === undefined) throw notFound({ group, resource: `${resource}/scale` }, name);
      const report = first;
      first = false;
      return scaling.scaled(current, change(scaling.patched(current), report), ctx);
    },
    {
      dryRun: query.dryRun,
      fieldManager: managerOf(ctx, query.fieldManager),
      subresource: 'scale',
      options: { ...query.options, kind: 'UpdateOptions' },
      apply: false,
      createIfMissing: false,
      strategy: registry.support.strategies.main,
      admissionView: scaleView(scaling, ctx),
    },
  );
  return response(scaling.of(objectIn(committed, apiVersion)));
};
