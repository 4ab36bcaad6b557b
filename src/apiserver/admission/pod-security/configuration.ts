/** `PodSecurityConfiguration` of the admission configuration file: defaults for namespaces without labels, and exemptions. */
import { duplicate, formatFieldError, invalid, type FieldError } from '../../../api/field-error.ts';
import { isDNS1123Label, isDNS1123Subdomain } from '../../../api/names.ts';
import { levelError, readLevel, readVersion, versionError } from './policy.ts';
import type { LevelVersion, Policy } from './policy.ts';

export interface PodSecurityConfiguration {
  readonly defaults?: {
    readonly enforce?: string;
    readonly 'enforce-version'?: string;
    readonly audit?: string;
    readonly 'audit-version'?: string;
    readonly warn?: string;
    readonly 'warn-version'?: string;
  };
  readonly exemptions?: {
    readonly usernames?: readonly string[];
    readonly namespaces?: readonly string[];
    readonly runtimeClasses?: readonly string[];
  };
}

export interface PodSecuritySettings {
  readonly defaults: Policy;
  readonly usernames: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
  readonly runtimeClasses: ReadonlySet<string>;
}

/** @throws {Error} with every field that is wrong */
export function readPodSecurityConfiguration(given: PodSecurityConfiguration = {}): PodSecuritySettings {
  const errors: FieldError[] = [];
  const mode = (name: 'enforce' | 'audit' | 'warn'): LevelVersion => {
    const level = given.defaults?.[name] ?? 'privileged';
    const version = given.defaults?.[`${name}-version`] ?? 'latest';
    const known = readLevel(level);
    const when = readVersion(version);
    if (known === undefined) errors.push(invalid(`defaults.${name}`, level, levelError));
    if (when === undefined) errors.push(invalid(`defaults.${name}-version`, version, versionError));
    return { level: known ?? 'restricted', version: when ?? 'latest' };
  };
  const set = (
    name: 'usernames' | 'namespaces' | 'runtimeClasses',
    wrong: (value: string) => readonly string[],
  ): ReadonlySet<string> => {
    const values = new Set<string>();
    (given.exemptions?.[name] ?? []).forEach((value, i) => {
      const path = `exemptions.${name}[${i}]`;
      const messages = wrong(value);
      if (messages.length > 0) errors.push(invalid(path, value, messages.join(', ')));
      else if (values.has(value)) errors.push(duplicate(path, value));
      else values.add(value);
    });
    return values;
  };
  const enforce = mode('enforce');
  const warn = mode('warn');
  const audit = mode('audit');
  const settings: PodSecuritySettings = {
    defaults: { enforce, audit, warn },
    namespaces: set('namespaces', isDNS1123Label),
    runtimeClasses: set('runtimeClasses', isDNS1123Subdomain),
    usernames: set('usernames', (value) => (value === '' ? ['username must not be empty'] : [])),
  };
  if (errors.length > 0) throw new Error(`PodSecurity invalid: ${errors.map(formatFieldError).join(', ')}`);
  return settings;
}
