/** Validation of kinds that the control plane keeps for itself: LeaseCandidate, StorageVersion, StorageVersionMigration. */
import { duplicate, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import {
  emptyError,
  isDNS1035Label,
  isDNS1123Subdomain,
  isQualifiedName,
  nameIsDNSSubdomain,
  regexError,
} from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateConditions, type GivenCondition } from './conditions.ts';
import { invalidEach, specOf, statusOf, validateImmutable } from './field.ts';

// LeaseCandidate -------------------------------------------------------------------------------------------------------

interface LeaseCandidateSpec {
  readonly leaseName?: string;
  readonly binaryVersion?: string;
  readonly emulationVersion?: string;
  readonly strategy?: string;
}

const semver =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$/;

type Version = readonly [major: number, minor: number, patch: number, pre: readonly string[]];

function parseVersion(text: string): Version | undefined {
  const m = semver.exec(text);
  if (m === null) return undefined;
  return [Number(m[1]), Number(m[2]), Number(m[3]), m[4] === undefined ? [] : m[4].split('.')];
}

function isOlder(a: Version, b: Version): boolean {
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return (a[i] as number) < (b[i] as number);
  const [x, y] = [a[3], b[3]];
  if (x.length === 0 || y.length === 0) return x.length > 0 && y.length === 0;
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const [p, q] = [x[i]!, y[i]!];
    if (p === q) continue;
    const [np, nq] = [/^\d+$/.test(p), /^\d+$/.test(q)];
    if (np && nq) return Number(p) < Number(q);
    return np === nq ? p < q : np;
  }
  return x.length < y.length;
}

export function validateLeaseCandidate(object: KubeObject): FieldError[] {
  const {
    leaseName = '',
    binaryVersion = '',
    emulationVersion = '',
    strategy = '',
  } = specOf<LeaseCandidateSpec>(object);
  const errors: FieldError[] = [];
  if (leaseName === '') errors.push(required('spec.leaseName'));
  const zero: Version = [0, 0, 0, []];
  const read = (text: string, path: string): Version => {
    const version = parseVersion(text);
    if (version === undefined) errors.push(invalid(path, text, 'must be a valid semantic version'));
    return version ?? zero;
  };
  const emulation = emulationVersion === '' ? zero : read(emulationVersion, 'spec.emulationVersion');
  if (binaryVersion === '') errors.push(required('spec.binaryVersion'));
  const binary = binaryVersion === '' ? zero : read(binaryVersion, 'spec.binaryVersion');
  if (binaryVersion !== '' && emulationVersion !== '' && isOlder(binary, emulation))
    errors.push(invalid('spec.binaryVersion', binaryVersion, 'must be greater than or equal to `emulationVersion`'));
  if (strategy === '') return [...errors, required('spec.strategy')];
  if (strategy === 'OldestEmulationVersion' && !isOlder(emulation, zero) && !isOlder(zero, emulation))
    errors.push(required('spec.emulationVersion', "must be specified when `strategy` is 'OldestEmulationVersion'"));
  const path = 'spec.strategy.strategy';
  if (strategy.includes('/')) errors.push(...invalidEach(path, strategy, isQualifiedName(strategy)));
  else if (strategy !== 'OldestEmulationVersion') errors.push(notSupported(path, strategy, ['OldestEmulationVersion']));
  return errors;
}

export function validateLeaseCandidateUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [
    ...validateLeaseCandidate(object),
    ...validateImmutable(
      specOf<LeaseCandidateSpec>(object).leaseName,
      specOf<LeaseCandidateSpec>(old).leaseName,
      'spec.leaseName',
    ),
  ];
}

// StorageVersion -------------------------------------------------------------------------------------------------------

interface ServerStorageVersion {
  readonly apiServerID?: string;
  readonly encodingVersion?: string;
  readonly decodableVersions?: readonly string[];
  readonly servedVersions?: readonly string[];
}

interface StorageVersionStatus {
  readonly storageVersions?: readonly ServerStorageVersion[];
  readonly commonEncodingVersion?: string;
  readonly conditions?: readonly {
    readonly type?: string;
    readonly status?: string;
    readonly reason?: string;
    readonly message?: string;
  }[];
}

export function storageVersionName(name: string): readonly string[] {
  const dot = name.lastIndexOf('.');
  if (dot < 0) return ['name must be in the form of <group>.<resource>'];
  return [
    ...isDNS1123Subdomain(name.slice(0, dot)).map((m) => `the group segment ${m}`),
    ...isDNS1035Label(name.slice(dot + 1)).map((m) => `the resource segment ${m}`),
  ];
}

const label1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';
const label1035Message =
  "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";

function apiVersionErrors(text: string): readonly string[] {
  const parts = text.split('/');
  if (parts.length > 2)
    return [
      `an apiVersion is ${regexError(label1035Message, label1035, 'my-name', 'abc-123')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')`,
    ];
  const version = parts.at(-1)!;
  const errors: string[] = [];
  if (parts.length === 2) {
    const own = parts[0] === '' ? [emptyError] : isDNS1123Subdomain(parts[0]!);
    errors.push(...own.map((m) => `group part: ${m}`));
  }
  const own = version === '' ? [emptyError] : isDNS1035Label(version);
  return [...errors, ...own.map((m) => `version part: ${m}`)];
}

function validateServer(server: ServerStorageVersion, path: string): FieldError[] {
  const { apiServerID = '', encodingVersion = '', decodableVersions = [], servedVersions = [] } = server;
  const errors = invalidEach(`${path}.apiServerID`, apiServerID, nameIsDNSSubdomain(apiServerID, false));
  const judge = (version: string, at: string): void => {
    const wrong = apiVersionErrors(version);
    if (wrong.length > 0) errors.push(invalid(at, version, wrong.join(',')));
  };
  judge(encodingVersion, `${path}.encodingVersion`);
  decodableVersions.forEach((v, i) => judge(v, `${path}.decodableVersions[${i}]`));
  if (!decodableVersions.includes(encodingVersion))
    errors.push(
      invalid(
        `${path}.decodableVersions`,
        decodableVersions,
        `decodableVersions must include encodingVersion ${encodingVersion}`,
      ),
    );
  servedVersions.forEach((v, i) => {
    judge(v, `${path}.servedVersions[${i}]`);
    if (!decodableVersions.includes(v))
      errors.push(
        invalid(
          `${path}.servedVersions[${i}]`,
          v,
          `individual served version : ${v} must be included in decodableVersions : [${decodableVersions.join(' ')}]`,
        ),
      );
  });
  return errors;
}

export function validateStorageVersionStatus(object: KubeObject): FieldError[] {
  const { storageVersions = [], commonEncodingVersion, conditions = [] } = statusOf<StorageVersionStatus>(object);
  const errors = storageVersions.flatMap((server, i) => {
    const at = `status.storageVersions[${i}]`;
    const id = server.apiServerID ?? '';
    const first = storageVersions.findIndex((s) => (s.apiServerID ?? '') === id);
    return [...(first < i ? [duplicate(`${at}.apiServerID`, id)] : []), ...validateServer(server, at)];
  });
  const encodings = new Set(storageVersions.map((s) => s.encodingVersion ?? ''));
  const common = encodings.size === 1 ? [...encodings][0] : undefined;
  const at = 'status.commonEncodingVersion';
  if (common === undefined && commonEncodingVersion !== undefined)
    errors.push(
      invalid(
        at,
        commonEncodingVersion,
        'should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet',
      ),
    );
  else if (common !== undefined && commonEncodingVersion === undefined)
    errors.push(invalid(at, null, `the common encoding version is ${common}`));
  else if (common !== commonEncodingVersion)
    errors.push(invalid(at, commonEncodingVersion, `the actual common encoding version is ${common}`));
  conditions.forEach(({ type = '', status = '', reason = '', message = '' }, i) => {
    const path = `status[${i}]`;
    const first = conditions.findIndex((c) => (c.type ?? '') === type);
    if (first < i)
      errors.push(
        invalid(
          `${path}.type`,
          type,
          `the type of the condition is not unique, it also appears in conditions[${first}]`,
        ),
      );
    errors.push(...invalidEach(`${path}.type`, type, isQualifiedName(type)));
    errors.push(...invalidEach(`${path}.status`, status, isQualifiedName(status)));
    if (reason === '') errors.push(required(`${path}.reason`));
    if (message === '') errors.push(required(`${path}.message`));
  });
  return errors;
}

// StorageVersionMigration ----------------------------------------------------------------------------------------------

interface MigrationSpec {
  readonly resource?: { readonly group?: string; readonly resource?: string };
}

interface MigrationStatus {
  readonly conditions?: readonly GivenCondition[];
  readonly resourceVersion?: string;
}

export function validateStorageVersionMigration(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { group = '', resource = '' } = specOf<MigrationSpec>(object).resource ?? {};
  const at = 'spec.resource.resource';
  const errors: FieldError[] = [];
  if (resource === '') errors.push(required(at, 'resource is required to be set'));
  else {
    const wrong = isDNS1035Label(resource);
    if (wrong.length > 0) errors.push(invalid(at, resource, wrong.join(',')));
  }
  const wrong = group === '' ? [] : isDNS1123Subdomain(group);
  if (wrong.length > 0) errors.push(invalid('spec.resource.group', group, wrong.join(',')));
  return old === undefined ? errors : [...errors, ...validateImmutable(object['spec'], old['spec'], 'spec')];
}

export function validateStorageVersionMigrationStatus(object: KubeObject, old: KubeObject): FieldError[] {
  const status = statusOf<MigrationStatus>(object);
  const before = statusOf<MigrationStatus>(old);
  const { conditions = [], resourceVersion = '' } = status;
  const at = 'status.resourceVersion';
  const errors: FieldError[] = [];
  if (resourceVersion !== '' && !/^(0|[1-9]\d*)$/.test(resourceVersion))
    errors.push(invalid(at, resourceVersion, `resource version is not well formed: ${resourceVersion}`));
  errors.push(...validateConditions(conditions, 'status.conditions'));
  if ((before.resourceVersion ?? '') !== '' && before.resourceVersion !== resourceVersion)
    errors.push(invalid(at, resourceVersion, 'field is immutable'));
  const has = (list: readonly GivenCondition[] | undefined, type: string): boolean =>
    (list ?? []).find((c) => c.type === type)?.status === 'True';
  const [succeeded, failed] = [has(conditions, 'Succeeded'), has(conditions, 'Failed')];
  const wrong = (detail: string): void => void errors.push(invalid('status.conditions', conditions, detail));
  if (succeeded && failed) wrong('Both success and failed conditions cannot be true at the same time');
  if (has(before.conditions, 'Succeeded') && !succeeded)
    wrong('Success condition cannot be set to false once it is true');
  if (has(before.conditions, 'Failed') && !failed) wrong('Failed condition cannot be set to false once it is true');
  return errors;
}
