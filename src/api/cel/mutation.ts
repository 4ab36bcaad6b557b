/** The types that mutating expressions make objects of: `Object{spec: Object.spec{...}}` and `JSONPatch{op: "add", ...}`. */
import { CelMap, StructValue, isObjectMap, mapGet, mapKeys } from './values.ts';
import type { CelType } from './types.ts';
import { dynType, stringType, structType } from './types.ts';

const patchFields: Readonly<Record<string, CelType>> = {
  op: stringType,
  path: stringType,
  from: stringType,
  value: dynType,
};

/** What an expression of a JSON patch makes a list of. Its values are `StructValue`s with op, path, from, value. */
export const jsonPatchType: CelType = structType(
  'JSONPatch',
  (name) => (Object.hasOwn(patchFields, name) ? { name, jsonName: name, type: patchFields[name]! } : undefined),
  undefined,
  () => Object.keys(patchFields),
);

/** What an expression of an apply configuration makes: members are of any name and type. */
export const applyConfigurationType: CelType = objectType('Object');

function objectType(name: string): CelType {
  return structType(name, (member) => ({ name: member, jsonName: member, type: dynType }));
}

/** For `createEnv({ types: mutationTypes })`. */
export function mutationTypes(name: string): CelType | undefined {
  if (name === 'JSONPatch') return jsonPatchType;
  if (name === 'Object') return applyConfigurationType;
  return name.startsWith('Object.') ? objectType(name) : undefined;
}

/**
 * Objects within an object must have the name of the members they stand in (`Object.spec` in `spec`), lists and maps between not
 * counted. All that do not, in upstream's words.
 */
export function typeNameMismatches(value: StructValue): string[] {
  const errors: string[] = [];
  collect(value, value.type.name, errors);
  return errors;
}

function collect(value: unknown, path: string, errors: string[]): void {
  if (value instanceof StructValue) {
    const { name } = value.type;
    if (name !== path) {
      errors.push(
        `unexpected type name ${JSON.stringify(name)}, expected ${JSON.stringify(path)}, which matches field name path from root Object type`,
      );
    }
    for (const [member, inner] of value.fields) collect(inner, `${path}.${member}`, errors);
  } else if (Array.isArray(value)) {
    for (const item of value) collect(item, path, errors);
  } else if (value instanceof CelMap || isObjectMap(value)) {
    for (const key of mapKeys(value)) collect(mapGet(value, key), path, errors);
  }
}
