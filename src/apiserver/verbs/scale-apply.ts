/** Server-side apply to the scale subresource: an applied Scale is a configuration of the object's replicas alone. */
import { printGroupVersionKind } from '../../api/apply/managed-fields.ts';
import { apiVersionOf } from '../../api/object.ts';
import { isObject } from '../../api/patch/values.ts';
import { StatusError, badRequest, notFound } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import type { OutgoingResponse } from '../request.ts';
import { objectIn } from '../storage/codec.ts';
import { completeApplied, readApplyConfiguration, reportStrict } from './apply.ts';
import { namespaceOf, readWriteQuery } from './options.ts';
import type { Scaling } from './scale.ts';
import { scaleView } from './scale-view.ts';
import { registryOf, typesOf } from './verb.ts';
import type { VerbContext } from './verb.ts';

/** Conflicts are told of the Scale, whatever holds the replicas in the object. */
async function asScaleConflict<T>(apply: () => Promise<T>): Promise<T> {
  try {
    return await apply();
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== 409 || error.details?.causes === undefined) throw error;
    const own = error.details.causes.map((c) => c.field ?? '').find((field) => field !== '') ?? '.spec.replicas';
    const text = (s: string): string =>
      s.replace(/ using [^:\s]+/g, ' using autoscaling/v1').replaceAll(own, '.spec.replicas');
    const causes = error.details.causes.map((c) => ({
      ...c,
      message: text(c.message ?? ''),
      field: text(c.field ?? ''),
    }));
    const details = { ...error.details, causes };
    throw new StatusError(error.code, error.reason, text(error.message), details, { cause: error });
  }
}

export async function handleApplyScale(
  verbs: VerbContext,
  ctx: RequestContext,
  scaling: Scaling,
  asScale: TypeSupport,
): Promise<OutgoingResponse> {
  const registry = registryOf(verbs, ctx);
  const types = typesOf(registry, ctx);
  const query = readWriteQuery(ctx, 'PatchOptions', true);
  const configuration = await readApplyConfiguration(ctx, query.fieldValidation);
  const { patch } = configuration;
  if (patch['apiVersion'] !== asScale.apiVersion || patch['kind'] !== asScale.kind)
    throw badRequest(`invalid object type: ${printGroupVersionKind(patch['apiVersion'], patch['kind'])}`);
  const spec = patch['spec'];
  const replicas = isObject(spec) ? spec['replicas'] : undefined;
  if (replicas !== undefined && (typeof replicas !== 'number' || !Number.isInteger(replicas))) {
    throw badRequest('failed to create typed patch object: .spec.replicas: expected numeric (int or float)');
  }
  const { name } = ctx.info;
  const { committed } = await registry.update(
    ctx,
    namespaceOf(ctx),
    name,
    async (current) => {
      const { group, resource } = ctx.resource!;
      if (current === undefined) throw notFound({ group, resource: `${resource}/scale` }, name);
      const config = scaling.configuration(current, replicas);
      const applied = await asScaleConflict(async () =>
        types.fields.apply(current, config, {
          manager: query.fieldManager,
          subresource: 'scale',
          now: verbs.clock.now(),
          force: query.force,
        }),
      );
      reportStrict(ctx, configuration, query);
      if (applied === current) return current;
      const object = completeApplied(ctx, types, applied);
      return replicas === undefined ? object : scaling.scaled(object, { metadata: { name }, spec: { replicas } }, ctx);
    },
    {
      dryRun: query.dryRun,
      fieldManager: query.fieldManager,
      subresource: 'scale',
      options: { ...query.options, kind: 'UpdateOptions' },
      apply: true,
      createIfMissing: false,
      strategy: registry.support.strategies.main,
      admissionView: scaleView(scaling, ctx),
    },
  );
  const object = scaling.of(objectIn(committed, apiVersionOf(ctx.resource!)));
  return {
    status: 200,
    body: { kind: 'object', object: object as typeof object & { metadata: Record<string, unknown> } },
  };
}
