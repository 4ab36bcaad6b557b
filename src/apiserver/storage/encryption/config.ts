/** EncryptionConfiguration of apiserver.config.k8s.io/v1: read strictly, validated with upstream's messages. */
import { formatFieldError, invalid, required, type FieldError } from '../../../api/field-error.ts';
import type { GroupResource } from '../resource-of-key.ts';
import { decodeConfig, type ConfigKind } from '../../config-decode.ts';

export interface EncryptionKey {
  readonly name?: string;
  readonly secret?: string;
}

export interface KmsConfig {
  readonly apiVersion?: string;
  readonly name?: string;
  readonly endpoint?: string;
  readonly cachesize?: number;
  /** Milliseconds. */
  readonly timeout?: number;
}

export interface EncryptionProvider {
  readonly identity?: object;
  readonly aescbc?: { readonly keys?: readonly EncryptionKey[] };
  readonly aesgcm?: { readonly keys?: readonly EncryptionKey[] };
  readonly secretbox?: { readonly keys?: readonly EncryptionKey[] };
  readonly kms?: KmsConfig;
}

export interface EncryptionResources {
  readonly resources: readonly string[];
  readonly providers: readonly EncryptionProvider[];
}

const keys = { fields: { keys: { list: { fields: { name: 'string', secret: 'string' } } } } } as const;

const kind: ConfigKind = {
  kind: 'EncryptionConfiguration',
  versions: ['v1'],
  fields: {
    metadata: 'any',
    resources: {
      list: {
        fields: {
          resources: { list: 'string' },
          providers: {
            list: {
              fields: {
                identity: { fields: {} },
                aescbc: keys,
                aesgcm: keys,
                secretbox: keys,
                kms: {
                  fields: {
                    apiVersion: 'string',
                    name: 'string',
                    endpoint: 'string',
                    cachesize: 'int',
                    timeout: 'duration',
                  },
                },
              },
            },
          },
        },
      },
    },
  },
};

/** `deployments.apps` taken apart at the first dot. */
export function parseGroupResource(text: string): GroupResource {
  const at = text.indexOf('.');
  return at < 0 ? { group: '', resource: text } : { group: text.slice(at + 1), resource: text.slice(0, at) };
}

function overlapErrors(resources: readonly string[], path: string): FieldError[] {
  const all = resources.map(parseGroupResource);
  let duplicate = false;
  let overlap = false;
  for (const [i, a] of all.entries())
    for (const [j, b] of all.entries()) {
      if (i === j) continue;
      const same = a.group === b.group;
      if (same && a.resource === b.resource && !duplicate) duplicate = true;
      else if (a.group === '*' && a.resource === '*') overlap = true;
      else if (same && (a.resource === '*' || b.resource === '*')) overlap = true;
    }
  const errors: FieldError[] = [];
  if (duplicate) errors.push(invalid(path, resources, 'the same resource cannot be specified multiple times'));
  if (overlap)
    errors.push(
      invalid(
        path,
        resources,
        "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
      ),
    );
  return errors;
}

/** Why a resource cannot be encrypted under this name; undefined when it can. */
function nameError(text: string): string | undefined {
  if (text.toLowerCase() !== text) return 'resource name should not contain capital letters';
  if (text === '*') return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources";
  if (['apiserveripinfo', 'serviceipallocations', 'servicenodeportallocations'].includes(text))
    return 'resources which do not have REST API/s cannot be encrypted';
  const { group, resource } = parseGroupResource(text);
  if (group === 'events.k8s.io')
    return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file";
  if (group === 'extensions') return "'extensions' group has been removed and cannot be used for encryption";
  if (group === '*' && resource !== '*') return 'encrypting the same resource across groups is not supported';
  return undefined;
}

function isBase64(text: string): boolean {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
}

function keyErrors(list: readonly EncryptionKey[] | undefined, path: string, sizes: readonly number[]): FieldError[] {
  if (list === undefined || list.length === 0) return [required(path, 'at least one keys is required')];
  const errors: FieldError[] = [];
  for (const [i, { name = '', secret = '' }] of list.entries()) {
    if (name === '') errors.push(required(`${path}[${i}].name`, 'name is a mandatory field for a key'));
    const at = `${path}[${i}].secret`;
    if (secret === '') errors.push(required(at, 'secret is a mandatory field for a key'));
    else if (!isBase64(secret)) errors.push(invalid(at, 'REDACTED', 'secrets must be base64 encoded'));
    else {
      const size = Buffer.from(secret, 'base64').length;
      if (!sizes.includes(size))
        errors.push(
          invalid(
            at,
            'REDACTED',
            `secret is not of the expected length, got ${size}, expected one of [${sizes.join(' ')}]`,
          ),
        );
    }
  }
  return errors;
}

/** Upstream's default of a KMS provider's timeout. */
export const kmsTimeoutMs = 3000;

function kmsErrors(kms: KmsConfig, path: string, names: ReadonlySet<string>, reload: boolean): FieldError[] {
  const { name = '', endpoint = '', apiVersion = 'v1', cachesize, timeout = kmsTimeoutMs } = kms;
  const errors: FieldError[] = [];
  if (name === '') errors.push(required(`${path}.name`, 'name is a mandatory field for a provider'));
  if (apiVersion !== 'v1' && name.includes(':'))
    errors.push(invalid(`${path}.name`, name, `invalid KMS provider name ${name}, must not contain ':'`));
  if ((reload || apiVersion !== 'v1') && names.has(name))
    errors.push(invalid(`${path}.name`, name, `duplicate KMS provider name ${name}, names must be unique`));
  if (timeout <= 0) errors.push(invalid(`${path}.timeout`, `${timeout / 1000}s`, 'timeout should be a positive value'));
  if (endpoint === '') errors.push(invalid(`${path}.endpoint`, '', 'endpoint is a mandatory field for a kms'));
  else {
    const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(endpoint)?.[1] ?? '';
    if (scheme !== 'unix')
      errors.push(
        invalid(
          `${path}.endpoint`,
          endpoint,
          `unsupported scheme ${JSON.stringify(scheme)} for KMS provider, only unix is supported`,
        ),
      );
  }
  if (apiVersion !== 'v1' && cachesize !== undefined)
    errors.push(invalid(`${path}.cachesize`, cachesize, 'cachesize is not supported in v2'));
  if (apiVersion === 'v1' && cachesize === 0)
    errors.push(
      invalid(`${path}.cachesize`, cachesize, 'cachesize should be a positive value, or negative to disable'),
    );
  if (apiVersion !== 'v1' && apiVersion !== 'v2')
    errors.push(
      invalid(
        `${path}.apiVersion`,
        apiVersion,
        'unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported',
      ),
    );
  return errors;
}

const providerNames = ['kms', 'aesgcm', 'aescbc', 'secretbox', 'identity'] as const;

function validate(all: readonly EncryptionResources[], reload: boolean): FieldError[] {
  if (all.length === 0) return [required('resources', 'at least one resources is required')];
  const errors: FieldError[] = [];
  const kmsNames = new Set<string>();
  for (const [i, { resources, providers }] of all.entries()) {
    const r = `resources[${i}].resources`;
    const p = `resources[${i}].providers`;
    if (resources.length === 0) errors.push(required(r, `at least one ${r} is required`));
    errors.push(...overlapErrors(resources, r));
    for (const [j, text] of resources.entries()) {
      const why = nameError(text);
      if (why !== undefined) errors.push(invalid(`${r}[${j}]`, text, why));
    }
    if (providers.length === 0) errors.push(required(p, `at least one ${p} is required`));
    for (const [j, provider] of providers.entries()) {
      const at = `${p}[${j}]`;
      const found = providerNames.filter((n) => provider[n] !== undefined);
      if (found.length === 0)
        errors.push(
          invalid(
            at,
            Object.keys(provider),
            'provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity',
          ),
        );
      if (found.length > 1)
        errors.push(
          invalid(
            at,
            found,
            'more than one provider specified in a single element, should split into different list elements',
          ),
        );
      if (provider.kms !== undefined) {
        errors.push(...kmsErrors(provider.kms, `${at}.kms`, kmsNames, reload));
        kmsNames.add(provider.kms.name ?? '');
      } else if (provider.aesgcm !== undefined)
        errors.push(...keyErrors(provider.aesgcm.keys, `${at}.aesgcm.keys`, [16, 24, 32]));
      else if (provider.aescbc !== undefined)
        errors.push(...keyErrors(provider.aescbc.keys, `${at}.aescbc.keys`, [16, 24, 32]));
      else if (provider.secretbox !== undefined)
        errors.push(...keyErrors(provider.secretbox.keys, `${at}.secretbox.keys`, [32]));
    }
  }
  return errors;
}

/**
 * The configuration of a parsed file.
 * @throws {Error} with upstream's message
 */
export function parseEncryptionConfig(value: unknown, reload: boolean): readonly EncryptionResources[] {
  const { fields } = decodeConfig(value, kind);
  const given = (fields['resources'] ?? []) as readonly Partial<EncryptionResources>[];
  const all = given.map((r) => ({ resources: r.resources ?? [], providers: r.providers ?? [] }));
  const errors = validate(all, reload);
  if (errors.length > 0) {
    const texts = [...new Set(errors.map(formatFieldError))];
    throw new Error(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`);
  }
  return all;
}
