/** Validation of ConfigMap, Secret, and the warnings of ServiceAccount. */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { forbiddenField, invalid, required, tooLong, type FieldError } from '../../api/field-error.ts';
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { byteLength, isConfigMapKey } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { invalidEach, validateImmutable } from './field.ts';

const maxSize = 1024 * 1024;

type Data = Readonly<Record<string, string>>;

/** Bytes of base64 text; null stands for none. */
function decodedLength(text: string | null): number {
  if (text === null) return 0;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return Math.max((text.length * 3) / 4 - padding, 0);
}

export function validateConfigMap(object: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const data = (object['data'] ?? {}) as Data;
  const binaryData = (object['binaryData'] ?? {}) as Data;
  let size = 0;
  for (const [key, value] of Object.entries(data)) {
    const path = `data[${key}]`;
    errors.push(...invalidEach(path, key, isConfigMapKey(key)));
    if (binaryData[key] !== undefined) errors.push(invalid(path, key, 'duplicate of key present in binaryData'));
    size += byteLength(value);
  }
  for (const [key, value] of Object.entries(binaryData)) {
    errors.push(...invalidEach(`binaryData[${key}]`, key, isConfigMapKey(key)));
    size += decodedLength(value);
  }
  if (size > maxSize) errors.push(tooLong('[]', maxSize));
  return errors;
}

function immutableErrors(object: KubeObject, old: KubeObject, members: readonly string[]): FieldError[] {
  if (old['immutable'] !== true) return [];
  const why = 'field is immutable when `immutable` is set';
  const errors: FieldError[] = [];
  if (object['immutable'] !== true) errors.push(forbiddenField('immutable', why));
  for (const m of members) if (!deepEqual(object[m] ?? {}, old[m] ?? {})) errors.push(forbiddenField(m, why));
  return errors;
}

export function validateConfigMapUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [...immutableErrors(object, old, ['data', 'binaryData']), ...validateConfigMap(object)];
}

/** Go's text for text that is not a JSON object. */
function jsonObjectError(base64: string): string | undefined {
  const text = Buffer.from(base64, 'base64').toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return undefined;
    if (value === null) return undefined;
    const type = Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value;
    return `json: cannot unmarshal ${type} into Go value of type map[string]interface {}`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    if (text.trim() === '') return 'unexpected end of JSON input';
    const at = /position (\d+)/.exec(error.message)?.[1];
    const character = at === undefined ? undefined : text[Number(at)];
    return character === undefined
      ? 'unexpected end of JSON input'
      : `invalid character '${character}' looking for beginning of value`;
  }
}

export function validateSecret(object: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const data = (object['data'] ?? {}) as Data;
  let size = 0;
  for (const [key, value] of Object.entries(data)) {
    errors.push(...invalidEach(`data[${key}]`, key, isConfigMapKey(key)));
    size += decodedLength(value);
  }
  if (size > maxSize) errors.push(tooLong('data', maxSize));
  const need = (key: string): boolean => {
    if (data[key] !== undefined) return true;
    errors.push(required(`data[${key}]`));
    return false;
  };
  const json = (key: string): void => {
    if (!need(key)) return;
    const why = jsonObjectError(data[key]!);
    if (why !== undefined) errors.push(invalid(`data[${key}]`, '<secret contents redacted>', why));
  };
  switch (object['type']) {
    case 'kubernetes.io/service-account-token':
      if ((object.metadata.annotations?.['kubernetes.io/service-account.name'] ?? '') === '')
        errors.push(required('metadata.annotations[kubernetes.io/service-account.name]'));
      break;
    case 'kubernetes.io/dockercfg':
      json('.dockercfg');
      break;
    case 'kubernetes.io/dockerconfigjson':
      json('.dockerconfigjson');
      break;
    case 'kubernetes.io/basic-auth':
      if (data['username'] === undefined && data['password'] === undefined)
        errors.push(required('data[username]'), required('data[password]'));
      break;
    case 'kubernetes.io/ssh-auth':
      if ((data['ssh-privatekey'] ?? '') === '') errors.push(required('data[ssh-privatekey]'));
      break;
    case 'kubernetes.io/tls':
      need('tls.crt');
      need('tls.key');
      break;
  }
  return errors;
}

export function validateSecretUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [
    ...validateImmutable(object['type'], old['type'], 'type', 's'),
    ...immutableErrors(object, old, ['data']),
    ...validateSecret(object),
  ];
}

/** A TLS secret whose certificate and key cannot be used together is stored, but remarked on. */
export function secretWarnings(object: KubeObject): string[] {
  if (object['type'] !== 'kubernetes.io/tls') return [];
  const data = (object['data'] ?? {}) as Data;
  const pem = (key: string): string => Buffer.from(data[key] ?? '', 'base64').toString('latin1');
  const certificateText = pem('tls.crt');
  if (!certificateText.includes('-----BEGIN CERTIFICATE-----'))
    return ['tls: failed to find any PEM data in certificate input'];
  const keyText = pem('tls.key');
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(keyText)) return ['tls: failed to find any PEM data in key input'];
  try {
    const certificate = new X509Certificate(certificateText);
    if (!certificate.checkPrivateKey(createPrivateKey(keyText))) return ['tls: private key does not match public key'];
    return [];
  } catch {
    return ['tls: failed to parse private key'];
  }
}

const enforceAnnotation = 'kubernetes.io/enforce-mountable-secrets';

export function serviceAccountWarnings(object: KubeObject, old: KubeObject | undefined): string[] {
  if (old?.metadata.annotations?.[enforceAnnotation] !== undefined) return [];
  if (object.metadata.annotations?.[enforceAnnotation] === undefined) return [];
  return [
    `metadata.annotations[${enforceAnnotation}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets`,
  ];
}
