/**
 * What is checked of CEL rules when a CRD is written: that they compile, return what they must, cost no more than allowed for how
 * often they can run, and compare with old values only where there is one to find.
 */
import { schemaType } from '../cel/schema-type.ts';
import type { FieldError } from '../field-error.ts';
import { forbiddenField, invalid } from '../field-error.ts';
import type { CompiledRule } from './cel-rule.ts';
import { compileRules, maxCardinality } from './cel-rule.ts';
import { constraintsOf } from './from-openapi.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import type { Schema, ValidationRule } from './schema.ts';

/** The most one rule may be estimated to cost. */
const maxRuleCost = 10_000_000;
/** The most all rules of a version may be estimated to cost. */
const maxTotalCost = 100_000_000;
const maxUint64 = 2 ** 64;

/** Where in a CRD's schema a check stands. */
export interface RulePlace {
  readonly schema: Schema | undefined;
  /** How often values of this node can be in an object; undefined when nothing bounds it. */
  readonly cardinality: number | undefined;
  /** The outermost node whose items cannot be found again after an update. */
  readonly uncorrelatable: string | undefined;
}

/** How many values of its children a node can hold; undefined when nothing bounds it. */
function elements(s: JSONSchemaProps): number | undefined {
  if (s.type === 'array') return s.maxItems === undefined ? undefined : Math.max(0, s.maxItems);
  if (s.type === 'object' && s.additionalProperties !== undefined) {
    return s.maxProperties === undefined ? undefined : Math.max(0, s.maxProperties);
  }
  return 1;
}

const times = (a: number, b: number): number => Math.min(a * b, maxUint64);

/** The place of a child of `s`. */
export function childPlace(
  place: RulePlace,
  s: JSONSchemaProps,
  path: string,
  child: { readonly property: string } | 'items' | 'values',
): RulePlace {
  const count = elements(s);
  const { schema, cardinality } = place;
  let inner: Schema | undefined;
  if (child === 'items') inner = schema?.kind === 'list' ? schema.items : undefined;
  else if (child === 'values') inner = schema?.kind === 'map' ? schema.values : undefined;
  else inner = schema?.kind === 'object' ? schema.fields.get(child.property)?.schema : undefined;
  const mapType = s['x-kubernetes-map-type'] ?? 'granular';
  const lost =
    child === 'items'
      ? s['x-kubernetes-list-type'] !== 'map'
      : child !== 'values' && mapType !== 'granular' && mapType !== 'atomic';
  return {
    schema: inner,
    cardinality: cardinality === undefined || count === undefined ? undefined : times(cardinality, count),
    uncorrelatable: place.uncorrelatable ?? (lost ? path : undefined),
  };
}

function exceeds(what: string, cost: number, limit: number): string {
  const factor = cost / limit;
  const shown = factor > 100 ? 'more than 100x' : factor < 1.5 ? `${factor.toFixed(6)}x` : `${factor.toFixed(1)}x`;
  const hint =
    'try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared';
  return `${what} exceeds budget by factor of ${shown} (${hint})`;
}

/** A rule as upstream's internal type prints it. */
const printedRule = (rule: ValidationRule): unknown => ({
  Rule: rule.rule,
  Message: rule.message ?? '',
  MessageExpression: rule.messageExpression ?? '',
  Reason: rule.reason ?? null,
  FieldPath: rule.fieldPath ?? '',
  OptionalOldSelf: rule.optionalOldSelf ?? null,
});

/** The checks of one version's schema. */
export class RuleChecks {
  readonly errors: FieldError[] = [];
  readonly #unchanged: boolean;
  #total = 0;
  readonly #expensive: { readonly path: string; readonly cost: number }[] = [];

  /** `unchanged`: the schema was accepted before, and may keep rules that cost too much. */
  constructor(unchanged: boolean) {
    this.#unchanged = unchanged;
  }

  /** The rules of one node. */
  node(s: JSONSchemaProps, path: string, place: RulePlace): void {
    const at = `${path}.x-kubernetes-validations`;
    const type = place.schema === undefined ? undefined : schemaType(place.schema, 'selfType');
    if (type === undefined) {
      const detail =
        'internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations';
      this.errors.push({ type: 'InternalError', field: at, detail });
      return;
    }
    const cardinality = place.cardinality ?? maxCardinality(type);
    compileRules(constraintsOf(s), type).forEach((compiled, i) =>
      this.#rule(compiled, `${at}[${i}]`, cardinality, place),
    );
  }

  #rule(compiled: CompiledRule, at: string, cardinality: number, place: RulePlace): void {
    const { rule } = compiled;
    this.#cost(`${at}.rule`, 'estimated rule cost', times(compiled.maxCost, cardinality));
    if (compiled.error !== undefined) this.errors.push(invalid(`${at}.rule`, printedRule(rule), compiled.error));
    if (compiled.messageError !== undefined) {
      this.errors.push(invalid(`${at}.messageExpression`, printedRule(rule), compiled.messageError));
    } else if (compiled.message !== undefined) {
      this.#cost(`${at}.messageExpression`, 'estimated messageExpression cost', compiled.messageMaxCost);
    }
    if (compiled.usesOldSelf) {
      if (place.uncorrelatable !== undefined) {
        const why = `oldSelf cannot be used on the uncorrelatable portion of the schema within ${place.uncorrelatable}`;
        this.errors.push(invalid(`${at}.rule`, rule.rule, why));
      }
    } else if (rule.optionalOldSelf !== undefined) {
      const why = 'may not be set if oldSelf is not used in rule';
      this.errors.push(invalid(`${at}.optionalOldSelf`, rule.optionalOldSelf, why));
    }
  }

  #cost(path: string, what: string, cost: number): void {
    if (!this.#unchanged && cost > maxRuleCost)
      this.errors.push(forbiddenField(path, exceeds(what, cost, maxRuleCost)));
    this.#total = Math.min(this.#total + cost, maxUint64);
    if (cost >= maxTotalCost / 100) this.#expensive.push({ path, cost });
  }

  /** The errors of all rules together: `path` is that of the whole schema. */
  totalErrors(path: string): FieldError[] {
    if (this.#total <= maxTotalCost) return [];
    const most = this.#expensive.toSorted((a, b) => b.cost - a.cost).slice(0, 4);
    const why = 'contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema';
    const total = 'x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema';
    return [
      ...most.map((rule) => forbiddenField(rule.path, why)),
      forbiddenField(path, exceeds(total, this.#total, maxTotalCost)),
    ];
  }
}
