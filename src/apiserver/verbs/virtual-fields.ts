/** managedFields of what is asked and never kept (reviews, tokens): upstream's answers tell who set which field of them. */
import { FieldManager } from '../../api/apply/managed-fields.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { formatTime } from '../../api/time.ts';

export class VirtualFields {
  readonly #managers = new Map<string, FieldManager>();

  /** A new object with the fields that `manager` gives it. `now`: milliseconds. */
  owned(
    object: KubeObject,
    schema: ObjectSchema,
    of: GroupVersionKind,
    subresource: string,
    manager: string,
    now: number,
  ): KubeObject {
    const apiVersion = apiVersionOf(of);
    const key = `${apiVersion} ${of.kind} ${subresource}`;
    let found = this.#managers.get(key);
    if (found === undefined) {
      found = new FieldManager({
        schema,
        apiVersion,
        kind: of.kind,
        subresource,
        hubApiVersion: apiVersion,
        schemaFor: (version) => (version === apiVersion ? schema : undefined),
        convert: (value, to) => (to === apiVersion ? value : undefined),
      });
      this.#managers.set(key, found);
    }
    return found.updateObject(undefined, object, manager, formatTime(now));
  }
}
