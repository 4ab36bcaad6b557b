/** Server-side apply: PATCH with `application/apply-patch+yaml`. Creates what does not exist. */
import { CborError, decodeCbor } from '../../api/codec/cbor.ts';
import { parseYaml, YamlError, yamlStrictErrorText } from '../../api/codec/yaml.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { isObject } from '../../api/patch/values.ts';
import { copyJson, DecodeError } from '../../api/schema/decode.ts';
import { badRequest, conflict, notFound, StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import { checkName, readBytes, warnStrict } from './body.ts';
import { namespaceOf, readWriteQuery } from './options.ts';
import type { WriteQuery } from './options.ts';
import { answer, registryOf, typesOf } from './verb.ts';
import type { VerbHandler } from './verb.ts';

export const applyCborType = 'application/apply-patch+cbor';

export interface ApplyConfiguration {
  readonly patch: Record<string, unknown>;
  /** One text with all duplicate keys; upstream reports it after the apply itself. */
  readonly strictError: string | undefined;
}

/** The applied configuration from the body. @throws {StatusError} 400 */
export async function readApplyConfiguration(
  ctx: RequestContext,
  fieldValidation: WriteQuery['fieldValidation'],
): Promise<ApplyConfiguration> {
  const { body } = ctx.request;
  let value: unknown;
  let strictErrors: readonly string[] = [];
  if (body.kind === 'object') value = copyJson(body.value);
  else {
    const bytes = await readBytes(ctx);
    try {
      if (ctx.request.headers['content-type']?.startsWith(applyCborType) === true) value = decodeCbor(bytes);
      else ({ value, strictErrors } = await parseYaml(bytes, { strict: fieldValidation !== 'Ignore' }));
    } catch (error) {
      if (error instanceof CborError) throw badRequest(`error decoding CBOR: ${error.message}`, error);
      if (error instanceof YamlError)
        throw badRequest(`error decoding YAML: error converting YAML to JSON: ${error.message}`, error);
      throw error;
    }
  }
  // Nothing at all is an object without a kind.
  if (value === null || value === undefined) value = {};
  if (!isObject(value)) {
    const type = Array.isArray(value) ? 'array' : typeof value;
    throw badRequest(
      `error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ${type} into Go value of type map[string]interface {}`,
    );
  }
  ctx.audit?.patch(value);
  return { patch: value, strictError: strictErrors.length === 0 ? undefined : yamlStrictErrorText(strictErrors) };
}

/** Duplicate keys of a configuration that could be applied. @throws {StatusError} 400 under Strict */
export function reportStrict(ctx: RequestContext, configuration: ApplyConfiguration, query: WriteQuery): void {
  if (configuration.strictError === undefined) return;
  if (query.fieldValidation === 'Strict') {
    throw badRequest(`error strict decoding YAML: error converting YAML to JSON: ${configuration.strictError}`);
  }
  warnStrict(ctx, [configuration.strictError]);
}

/** What the field manager made, as a clean object of its type. */
export function completeApplied(
  ctx: RequestContext,
  types: TypeSupport,
  applied: KubeObject,
  configuration?: Partial<KubeObject>,
): KubeObject {
  try {
    const { object, emptyLists } = types.decode(applied, { strict: false, owned: false, keepNulls: true });
    ctx.emptyLists = emptyLists;
    return object;
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    const { group, version } = parseApiVersion(types.apiVersion)!;
    const gvk = `${group}/${version}, Kind=${types.kind}`;
    const { namespace = '', name = '' } = configuration?.metadata ?? {};
    throw new StatusError(
      500,
      '',
      `failed to convert new object (${namespace}/${name}; ${gvk}) to proper version: unable to convert unstructured object to ${gvk}: ${error.message}`,
      undefined,
      { cause: error },
    );
  }
}

export const handleApply: VerbHandler = async (verbs, ctx) => {
  const registry = registryOf(verbs, ctx);
  const types = typesOf(registry, ctx);
  const query = readWriteQuery(ctx, 'PatchOptions', true);
  const { name, subresource } = ctx.info;
  const configuration = await readApplyConfiguration(ctx, query.fieldValidation);
  const { fieldManager } = query;
  let reported = false;
  const { created, committed } = await registry.update(
    ctx,
    namespaceOf(ctx),
    name,
    async (current) => {
      if (current === undefined && subresource !== '') {
        const { group, resource } = ctx.resource!;
        throw notFound({ group, resource }, name);
      }
      const applied = await types.fields.apply(current, configuration.patch, {
        manager: fieldManager,
        subresource,
        now: verbs.clock.now(),
        force: query.force,
      });
      if (!reported) reportStrict(ctx, configuration, query);
      reported = true;
      if (applied === current) return current;
      const { uid } = applied.metadata;
      if (current === undefined && uid !== undefined && uid !== '') {
        const why = `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`;
        const { group, resource } = ctx.resource!;
        throw conflict({ group, resource }, name, why);
      }
      const object = completeApplied(ctx, types, applied, configuration.patch);
      checkName(object, name);
      return object;
    },
    {
      dryRun: query.dryRun,
      fieldManager,
      subresource,
      options: { ...query.options, kind: 'UpdateOptions' },
      apply: true,
      createIfMissing: subresource === '',
    },
  );
  return answer(created ? 201 : 200, committed);
};
