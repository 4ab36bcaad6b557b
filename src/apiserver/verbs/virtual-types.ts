/** `TypeSupport` for bodies that are never stored: bindings, evictions, reviews, tokens. */
import type { Clock } from '../../base/clock.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import { canonicalize } from '../../api/schema/canonicalize.ts';
import { decode } from '../../api/schema/decode.ts';
import { applyDefaults } from '../../api/schema/defaults.ts';
import { formatTime } from '../../api/time.ts';
import type { TypeSupport } from '../registry/type-support.ts';

export function virtualTypes(catalog: Catalog, clock: Clock, gvk: GroupVersionKind): TypeSupport {
  const schema = catalog.schemaForKind(gvk);
  if (schema === undefined) throw new Error(`the catalogue does not know ${apiVersionOf(gvk)} ${gvk.kind}`);
  const apiVersion = apiVersionOf(gvk);
  return {
    apiVersion,
    kind: gvk.kind,
    schema,
    decode(input, request) {
      const { object, strictErrors } = decode(schema, input, request);
      object['kind'] = gvk.kind;
      object['apiVersion'] = apiVersion;
      applyDefaults(schema, object, { now: () => formatTime(clock.now()) });
      object['metadata'] ??= {};
      return { object: canonicalize(schema, object) as KubeObject, strictErrors };
    },
    canonicalize: (object) => canonicalize(schema, object),
    fields: { update: (_live, next) => next, apply: (_live, patch) => patch as unknown as KubeObject },
  };
}
