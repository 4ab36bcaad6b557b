/** The types of the variables that expressions of admission see: the request, and the namespace of its object. */
import type { CelType, FieldDecl } from '../cel/types.ts';
import {
  boolType,
  dynType,
  intType,
  listType,
  mapType,
  stringType,
  structType,
  timestampType,
  isDyn,
} from '../cel/types.ts';

/** An object type with these members. */
export function declared(name: string, members: Readonly<Record<string, CelType>>): CelType {
  const fields = new Map<string, FieldDecl>();
  for (const [member, type] of Object.entries(members)) fields.set(member, { name: member, jsonName: member, type });
  return structType(
    name,
    (member) => fields.get(member),
    undefined,
    () => fields.keys(),
  );
}

const strings = listType(stringType);
const labels = mapType(stringType, stringType);

const kind = declared('kubernetes.GroupVersionKind', { group: stringType, version: stringType, kind: stringType });
const resource = declared('kubernetes.GroupVersionResource', {
  group: stringType,
  version: stringType,
  resource: stringType,
});

/** `request` */
export const requestType: CelType = declared('kubernetes.AdmissionRequest', {
  kind,
  resource,
  subResource: stringType,
  requestKind: kind,
  requestResource: resource,
  requestSubResource: stringType,
  name: stringType,
  namespace: stringType,
  operation: stringType,
  userInfo: declared('kubernetes.UserInfo', {
    username: stringType,
    uid: stringType,
    groups: strings,
    extra: mapType(stringType, strings),
  }),
  dryRun: boolType,
  options: dynType,
});

/** `namespaceObject` */
export const namespaceType: CelType = declared('kubernetes.Namespace', {
  metadata: declared('kubernetes.NamespaceMetadata', {
    name: stringType,
    generateName: stringType,
    namespace: stringType,
    labels,
    annotations: labels,
    // Upstream's slip: no namespace has it by this name.
    UID: stringType,
    creationTimestamp: timestampType,
    deletionGracePeriodSeconds: intType,
    deletionTimestamp: timestampType,
    generation: intType,
    resourceVersion: stringType,
    finalizers: strings,
  }),
  spec: declared('kubernetes.NamespaceSpec', { finalizers: strings }),
  status: declared('kubernetes.NamespaceStatus', {
    conditions: listType(
      declared('kubernetes.NamespaceCondition', {
        status: stringType,
        type: stringType,
        lastTransitionTime: timestampType,
        message: stringType,
        reason: stringType,
      }),
    ),
    phase: stringType,
  }),
});

const kept = ['bool', 'bytes', 'double', 'duration', 'int', 'null', 'string', 'timestamp', 'uint'];

/** The type of a variable of a policy whose expression has this one: scalars, lists and maps; all else is dynamic. */
function variableTypeOf(type: CelType | undefined): CelType {
  if (type === undefined || isDyn(type) || type.nullable) return dynType;
  if (kept.includes(type.kind)) return type;
  if (type.kind === 'list') return listType(variableTypeOf(type.params[0]));
  if (type.kind === 'map') return mapType(variableTypeOf(type.params[0]), variableTypeOf(type.params[1]));
  return dynType;
}

/** The type of `variables`, which gets a member for each variable of a policy as it is declared. */
export class VariablesType {
  readonly #fields = new Map<string, FieldDecl>();
  readonly type: CelType = structType(
    'kubernetes.variables',
    (name) => this.#fields.get(name),
    undefined,
    () => this.#fields.keys(),
  );

  declare(name: string, type: CelType | undefined): void {
    this.#fields.set(name, { name, jsonName: name, type: variableTypeOf(type) });
  }
}
