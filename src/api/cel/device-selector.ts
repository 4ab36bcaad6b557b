/**
 * The CEL environment of device selectors (resource.k8s.io): one variable, `device`, with its driver, attributes and
 * capacity by domain; and the bounds that the cost of an expression is estimated with.
 */
import { Env } from './env.ts';
import type { Library } from './declarations.ts';
import { member } from './declarations.ts';
import { fail } from './errors.ts';
import { estimateCost } from './estimate.ts';
import { extraLibraries, kubernetesLibraries } from './libraries.ts';
import { quantityType } from './library/quantity.ts';
import { compile, type Compiled } from './program.ts';
import type { CelType, FieldDecl } from './types.ts';
import { anyType, boolType, dynType, mapType, stringType, structType, withFacts } from './types.ts';
import { equals } from './values.ts';

export interface DeviceSelectorFeatures {
  /** DRAConsumableCapacity: `device.allowMultipleAllocations`. */
  readonly consumableCapacity: boolean;
  /** DRAListTypeAttributes: attributes may be lists, and `includes` looks into them. */
  readonly listAttributes: boolean;
}

const maxDomain = 63;
const maxId = 32;
const maxEntries = 32;
const maxValues = 48;
const maxValueLength = 64;

const includes: Library = {
  name: 'kubernetes.dra',
  functions: {
    includes: [
      member('dra_includes_dyn_dyn', [dynType, dynType], boolType, ([target, wanted]) => {
        if (!Array.isArray(target)) return equals(target, wanted);
        if (target.length > maxValues)
          return fail(`'includes' function cannot be applied to lists longer than ${maxValues} values`);
        return target.some((v) => equals(v, wanted));
      }),
    ],
  },
};

function struct(name: string, members: Readonly<Record<string, CelType>>): CelType {
  const fields = new Map<string, FieldDecl>(
    Object.entries(members).map(([key, type]) => [key, { name: key, jsonName: key, type, required: true }]),
  );
  return structType(
    name,
    (key) => fields.get(key),
    undefined,
    () => fields.keys(),
  );
}

export interface DeviceSelector extends Compiled {
  /** What an evaluation may cost at worst. */
  readonly maxCost: number;
}

/** Compiles device selectors; immutable, any number of expressions. */
export class DeviceSelectorCompiler {
  readonly #env: Env;
  readonly #root: CelType;
  readonly #listAttributes: boolean;

  constructor(features: DeviceSelectorFeatures) {
    const { consumableCapacity, listAttributes } = features;
    const id = withFacts(stringType, { maxElements: maxId });
    const domain = withFacts(stringType, { maxElements: maxDomain });
    const attribute = withFacts(listAttributes ? dynType : anyType, { maxElements: maxValueLength });
    const byDomain = (value: CelType): CelType =>
      mapType(domain, mapType(id, value, { maxElements: maxEntries }), { maxElements: maxEntries });
    const device = struct('kubernetes.DRADevice', {
      driver: withFacts(stringType, { maxElements: maxDomain }),
      attributes: byDomain(attribute),
      capacity: byDomain(quantityType),
      ...(consumableCapacity ? { allowMultipleAllocations: boolType } : {}),
    });
    this.#listAttributes = listAttributes;
    this.#root = struct('', { device });
    this.#env = new Env({
      variables: { device },
      libraries: [...kubernetesLibraries, extraLibraries.bindings, ...(listAttributes ? [includes] : [])],
    });
  }

  /** The selector, or why it is none, in upstream's words. */
  compile(expression: string): DeviceSelector | string {
    const compiled = compile(expression, this.#env);
    if (compiled.errors !== undefined) {
      const { stage, message } = compiled.errors;
      return `${stage === 'check' ? 'compilation failed' : 'program instantiation failed'}: ${message}`;
    }
    const { type, tree } = compiled;
    const fits = type.kind === 'bool' || type.kind === 'any' || (this.#listAttributes && type.kind === 'dyn');
    if (!fits) return `must evaluate to bool or the unknown type, not ${type.toString()}`;
    return { ...compiled, maxCost: estimateCost(tree, this.#root).max };
  }
}
