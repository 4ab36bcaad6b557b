/**
 * The feature gates of the release: `--feature-gates` as upstream's component-base reads it, with `AllAlpha` and `AllBeta`,
 * gates that are locked to their default, and gates that need others. What a gate switches is asked for where it is done.
 */
import { parseBool } from '../../base/parse-bool.ts';
import { gateIn, type EffectiveVersion } from './emulation.ts';
import gatesJson from './feature-gates.json' with { type: 'json' };

type Stage = 'Alpha' | 'Beta' | 'GA' | 'Deprecated';

interface Gate {
  readonly default: boolean;
  readonly stage: Stage;
  /** Can be told, but not changed. */
  readonly locked?: boolean;
  /** Gates that must be on for this one. */
  readonly needs?: readonly string[];
}

const gatesNow = gatesJson as unknown as Readonly<Record<string, Gate>>;

/** Names of gates that this release knows. */
export type FeatureGateName = keyof typeof gatesJson;

/** What was told cannot be; one message for everything that is wrong, as upstream prints it. */
export class FeatureGateError extends Error {}

export class FeatureGates {
  readonly #values: ReadonlyMap<string, boolean>;
  readonly #gates: ReadonlyMap<string, Gate>;
  /** What the operator should know of the gates told: those that will go away. */
  readonly warnings: readonly string[];

  /**
   * `given`: as after `--feature-gates`, by name; `version`: the release that is emulated, where it is not this one.
   * @throws {FeatureGateError} for unknown gates, values that are no booleans, locked gates, and gates without what they need
   */
  constructor(
    given: Readonly<Record<string, boolean | string>> = {},
    version?: Pick<EffectiveVersion, 'emulation' | 'minCompatibility'>,
  ) {
    const gates = new Map<string, Gate>();
    for (const [name, now] of Object.entries(gatesNow)) {
      const then = version === undefined ? undefined : gateIn(version.emulation, name);
      if (then !== null) gates.set(name, then === undefined ? now : { ...then, needs: now.needs ?? [] });
    }
    const errors: string[] = [];
    const warnings: string[] = [];
    const told = new Map<string, boolean>();
    const special = new Map<Stage, boolean>();
    for (const [text, value] of Object.entries(given)) {
      // `component:Name`, of which there is one component.
      const [component, name] = text.includes(':') ? (text.split(':', 2) as [string, string]) : ['kube', text];
      if (component !== 'kube') {
        errors.push(`component not registered: ${component}`);
        continue;
      }
      const on = typeof value === 'boolean' ? value : parseBool(value.trim());
      if (on === undefined) {
        errors.push(
          `invalid value of ${name}=${value}, err: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`,
        );
        continue;
      }
      if (name === 'AllAlpha' || name === 'AllBeta') {
        special.set(name === 'AllAlpha' ? 'Alpha' : 'Beta', on);
        continue;
      }
      const gate = gates.get(name);
      if (gate === undefined)
        errors.push(
          Object.hasOwn(gatesNow, name)
            ? `cannot set feature gate ${name} to ${on}, feature is PreAlpha at emulated version ${version!.emulation}, min compatibility version ${version!.minCompatibility}`
            : `unrecognized feature gate: ${name}`,
        );
      else if (gate.locked === true && gate.default !== on)
        errors.push(`cannot set feature gate ${name} to ${on}, feature is locked to ${gate.default}`);
      else {
        told.set(name, on);
        if (gate.stage === 'GA' || gate.stage === 'Deprecated')
          warnings.push(
            `setting ${gate.stage === 'GA' ? 'GA' : 'deprecated'} feature gate ${name}=${on}. It will be removed in a future release.`,
          );
      }
    }
    const values = new Map<string, boolean>();
    for (const [name, gate] of gates)
      values.set(name, told.get(name) ?? (gate.locked === true ? undefined : special.get(gate.stage)) ?? gate.default);
    if (errors.length === 0) {
      for (const [name, { needs }] of gates) {
        if (needs === undefined || values.get(name) !== true) continue;
        // What was not there yet was not needed.
        const off = needs.filter((n) => gates.has(n) && values.get(n) !== true);
        if (off.length > 0)
          errors.push(`${name} is enabled, but depends on features that are disabled: [${off.join(' ')}]`);
      }
    }
    if (errors.length === 1) throw new FeatureGateError(errors[0]);
    if (errors.length > 1) throw new FeatureGateError(`[${errors.join(', ')}]`);
    this.#values = values;
    this.#gates = gates;
    this.warnings = warnings;
  }

  enabled(name: FeatureGateName): boolean {
    return this.#values.get(name) === true;
  }

  /** Every gate with its stage and value, by name: for `kubernetes_feature_enabled` and `/flagz`. */
  *entries(): Iterable<{ readonly name: string; readonly stage: string; readonly enabled: boolean }> {
    for (const [name, { stage }] of this.#gates) yield { name, stage, enabled: this.#values.get(name) === true };
  }
}
