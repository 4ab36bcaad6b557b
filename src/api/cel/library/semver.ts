/** Kubernetes' semantic versions in expressions (semver.org 2.0, with the texts of the Go library upstream uses). */
import { goQuote } from '../../codec/json.ts';
import type { Impl, Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { boolType, intType, libraryType, stringType } from '../types.ts';
import { LibraryValue, intValue } from '../values.ts';

const semverType = libraryType('kubernetes.Semver');

class SemverError extends Error {}

interface Version {
  readonly numbers: readonly [major: bigint, minor: bigint, patch: bigint];
  readonly pre: readonly (bigint | string)[];
  readonly build: readonly string[];
}

const maxUint64 = 2n ** 64n - 1n;

function number(text: string, what: string): bigint {
  if (text === '') throw new SemverError('strconv.ParseUint: parsing "": invalid syntax');
  if (!/^[0-9]+$/.test(text))
    throw new SemverError(`Invalid character(s) found in ${what.toLowerCase()} number ${goQuote(text)}`);
  if (text.length > 1 && text.startsWith('0')) {
    throw new SemverError(`${what} number must not contain leading zeroes ${goQuote(text)}`);
  }
  const value = BigInt(text);
  if (value > maxUint64) throw new SemverError(`strconv.ParseUint: parsing ${goQuote(text)}: value out of range`);
  return value;
}

function prerelease(text: string): bigint | string {
  if (text === '') throw new SemverError('Prerelease is empty');
  if (/^[0-9]+$/.test(text)) {
    if (text.length > 1 && text.startsWith('0')) {
      throw new SemverError(`Numeric PreRelease version must not contain leading zeroes ${goQuote(text)}`);
    }
    const value = BigInt(text);
    if (value > maxUint64) throw new SemverError(`strconv.ParseUint: parsing ${goQuote(text)}: value out of range`);
    return value;
  }
  if (!/^[0-9A-Za-z-]+$/.test(text)) {
    throw new SemverError(`Invalid character(s) found in prerelease ${goQuote(text)}`);
  }
  return text;
}

function parse(text: string): Version {
  if (text === '') throw new SemverError('Version string empty');
  const [major, minor, ...others] = text.split('.');
  if (minor === undefined || others.length === 0) throw new SemverError('No Major.Minor.Patch elements found');
  const m = number(major!, 'Major');
  const n = number(minor, 'Minor');
  let rest = others.join('.');
  let build: string[] = [];
  const plus = rest.indexOf('+');
  if (plus !== -1) {
    build = rest.slice(plus + 1).split('.');
    rest = rest.slice(0, plus);
  }
  let pre: string[] = [];
  const dash = rest.indexOf('-');
  if (dash !== -1) {
    pre = rest.slice(dash + 1).split('.');
    rest = rest.slice(0, dash);
  }
  const numbers = [m, n, number(rest, 'Patch')] as const;
  const parsed = pre.map(prerelease);
  for (const b of build) {
    if (b === '') throw new SemverError('Build meta data is empty');
    if (!/^[0-9A-Za-z-]+$/.test(b))
      throw new SemverError(`Invalid character(s) found in build meta data ${goQuote(b)}`);
  }
  return { numbers, pre: parsed, build };
}

/** Drops a `v`, leading zeros, and fills up short versions. */
function normalize(text: string): string {
  const plain = text.startsWith('v') ? text.slice(1) : text;
  const [major = '', minor, ...others] = plain.split('.');
  let parts = [major, ...(minor === undefined ? [] : [minor]), ...(others.length > 0 ? [others.join('.')] : [])];
  parts = parts.map((p) => {
    if (p.length <= 1) return p;
    const trimmed = p.replace(/^0+/, '');
    return /^[0-9]/.test(trimmed) ? trimmed : `0${trimmed}`;
  });
  if (parts.length < 3) {
    if (/[+-]/.test(parts[parts.length - 1]!)) {
      throw new SemverError('short version cannot contain PreRelease/Build meta data');
    }
    while (parts.length < 3) parts.push('0');
  }
  return parts.join('.');
}

function compareVersions(a: Version, b: Version): number {
  for (let i = 0; i < 3; i++) if (a.numbers[i] !== b.numbers[i]) return a.numbers[i]! < b.numbers[i]! ? -1 : 1;
  if (a.pre.length === 0 || b.pre.length === 0)
    return Math.sign(Number(a.pre.length === 0) - Number(b.pre.length === 0));
  for (let i = 0; i < Math.min(a.pre.length, b.pre.length); i++) {
    const [x, y] = [a.pre[i]!, b.pre[i]!];
    if (x === y) continue;
    if (typeof x !== typeof y) return typeof x === 'bigint' ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return Math.sign(a.pre.length - b.pre.length);
}

class SemverValue extends LibraryValue {
  readonly version: Version;

  constructor(version: Version) {
    super();
    this.version = version;
  }

  get celType(): typeof semverType {
    return semverType;
  }

  equals(other: LibraryValue): boolean {
    return compareVersions(this.version, (other as SemverValue).version) === 0;
  }

  override toJSON(): string {
    const { numbers, pre, build } = this.version;
    return (
      numbers.join('.') + (pre.length > 0 ? `-${pre.join('.')}` : '') + (build.length > 0 ? `+${build.join('.')}` : '')
    );
  }
}

/** A version, or why there is none. */
function read(text: string, loose: boolean): Version | string {
  try {
    return parse(loose ? normalize(text) : text);
  } catch (error) {
    if (error instanceof SemverError) return error.message;
    throw error;
  }
}

const toSemver: Impl = ([text, loose]) => {
  const version = read(text as string, loose === true);
  return typeof version === 'string' ? fail(version) : new SemverValue(version);
};
const isSemver: Impl = ([text, loose]) => typeof read(text as string, loose === true) !== 'string';

const of = (v: unknown): Version => (v as SemverValue).version;
const compared = (a: unknown, b: unknown): number => compareVersions(of(a), of(b));
const t = semverType;
const part = (name: string, index: 0 | 1 | 2): ReturnType<typeof member>[] => [
  member(`semver_${name}`, [t], intType, ([v]) => intValue(BigInt.asIntN(64, of(v).numbers[index]))),
];

export const semverLibrary: Library = {
  name: 'kubernetes.Semver',
  types: [semverType],
  functions: {
    semver: [
      global('string_to_semver', [stringType], t, toSemver),
      global('string_bool_to_semver', [stringType, boolType], t, toSemver),
    ],
    isSemver: [
      global('is_semver_string', [stringType], boolType, isSemver),
      global('is_semver_string_bool', [stringType, boolType], boolType, isSemver),
    ],
    isGreaterThan: [member('semver_is_greater_than', [t, t], boolType, ([a, b]) => compared(a, b) > 0)],
    isLessThan: [member('semver_is_less_than', [t, t], boolType, ([a, b]) => compared(a, b) < 0)],
    compareTo: [member('semver_compare_to', [t, t], intType, ([a, b]) => compared(a, b))],
    major: part('major', 0),
    minor: part('minor', 1),
    patch: part('patch', 2),
  },
};
