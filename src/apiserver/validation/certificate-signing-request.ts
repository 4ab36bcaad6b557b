/** Validation of CertificateSigningRequest. */
import { X509Certificate } from 'node:crypto';
import { checkRequest, requestDer } from '../../base/certificate-request.ts';
import { duplicate, forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type {
  CertificateSigningRequestCondition,
  CertificateSigningRequestSpec,
  CertificateSigningRequestStatus,
} from '../../api/types/certificates-v1.gen.ts';
import { internalDifference } from './difference.ts';
import { specOf, statusOf } from './field.ts';

const usages = [
  'any',
  'cert sign',
  'client auth',
  'code signing',
  'content commitment',
  'crl sign',
  'data encipherment',
  'decipher only',
  'digital signature',
  'email protection',
  'encipher only',
  'ipsec end system',
  'ipsec tunnel',
  'ipsec user',
  'key agreement',
  'key encipherment',
  'microsoft sgc',
  'netscape sgc',
  'ocsp signing',
  's/mime',
  'server auth',
  'signing',
  'timestamping',
];

type Spec = Partial<CertificateSigningRequestSpec>;
type Status = Partial<CertificateSigningRequestStatus>;
type Condition = CertificateSigningRequestCondition;

function conditionsOf(object: KubeObject | undefined): readonly Condition[] {
  return (object === undefined ? undefined : statusOf<CertificateSigningRequestStatus>(object).conditions) ?? [];
}

/** `domain/path`, as ClusterTrustBundles name signers too. */
export function validateSignerName(name: string | undefined, path: string): FieldError[] {
  if (name === undefined || name === '') return [required(path)];
  const segments = name.split('/');
  if (segments.length !== 2)
    return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")];
  const errors: FieldError[] = [];
  const [domain, rest] = segments as [string, string];
  if (domain.length > 253)
    errors.push({ type: 'FieldValueTooLong', field: path, detail: 'may not be more than 253 bytes' });
  const label = domain.split('.').find((l) => isDNS1123Label(l).length > 0);
  if (label !== undefined)
    for (const m of isDNS1123Label(label))
      errors.push(invalid(path, domain, `validating label ${JSON.stringify(label)}: ${m}`));
  if (domain.split('.').length < 2)
    errors.push(invalid(path, domain, 'should be a domain with at least two segments separated by dots'));
  const part = rest.split('.').find((l) => isDNS1123Subdomain(l).length > 0);
  if (part !== undefined)
    for (const m of isDNS1123Subdomain(part))
      errors.push(invalid(path, rest, `validating label ${JSON.stringify(part)}: ${m}`));
  if (name.length > 571)
    errors.push({ type: 'FieldValueTooLong', field: path, detail: 'may not be more than 571 bytes' });
  return errors;
}

function certificateError(base64: string | undefined): string | undefined {
  if (base64 === undefined || base64 === '') return undefined;
  const text = Buffer.from(base64, 'base64').toString('latin1');
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g)];
  if (blocks.length === 0) return 'must contain at least one CERTIFICATE PEM block';
  for (const block of blocks) {
    if (block[1] !== 'CERTIFICATE') return `only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(block[1])}`;
    if (/\n[A-Za-z-]+: /.test(block[0])) return 'no PEM block headers are permitted';
    try {
      void new X509Certificate(block[0]);
    } catch {
      return 'x509: malformed certificate';
    }
  }
  return undefined;
}

function validateConditions(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const path = 'status.conditions';
  const before = conditionsOf(old);
  const types = before.map((c) => c.type);
  const duplicates = new Set(types).size < types.length;
  const both = types.includes('Approved') && types.includes('Denied');
  const seen = new Set<string>();
  conditionsOf(object).forEach((c, i) => {
    if (c.type === '' && !types.includes('')) errors.push(required(`${path}[${i}].type`));
    const allowed = ['Approved', 'Denied', 'Failed'].includes(c.type) ? ['True'] : ['False', 'True', 'Unknown'];
    if ((c.status ?? '') === '') errors.push(required(`${path}[${i}].status`));
    else if (!allowed.includes(c.status)) errors.push(notSupported(`${path}[${i}].status`, c.status, allowed));
    const opposite = c.type === 'Approved' ? 'Denied' : c.type === 'Denied' ? 'Approved' : undefined;
    if (!both && opposite !== undefined && seen.has(opposite))
      errors.push(invalid(path, c.type, 'Approved and Denied conditions are mutually exclusive'));
    if (!duplicates && seen.has(c.type)) errors.push(duplicate(`${path}[${i}].type`, c.type));
    seen.add(c.type);
  });
  return errors;
}

/** Why the request is not one that its own key signed; undefined when it is good. */
async function requestError(base64: string): Promise<string | undefined> {
  try {
    return (await checkRequest(requestDer(base64))).error;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function validate(object: KubeObject, old: KubeObject | undefined): Promise<FieldError[]> {
  const spec: Spec = specOf<CertificateSigningRequestSpec>(object);
  const before: Spec = old === undefined ? {} : specOf<CertificateSigningRequestSpec>(old);
  const errors: FieldError[] = [];
  if (old === undefined) {
    const why = await requestError(String(spec.request ?? ''));
    if (why !== undefined) errors.push(invalid('spec.request', spec.request ?? null, why));
  }
  const list = (spec.usages ?? []) as readonly string[];
  if (list.length === 0) errors.push(required('spec.usages'));
  const known = ((before.usages ?? []) as readonly string[]).every((u) => usages.includes(u));
  const seen = new Set<string>();
  list.forEach((usage, i) => {
    if (known && !usages.includes(usage)) errors.push(notSupported(`spec.usages[${i}]`, usage, usages));
    if (seen.has(usage) && new Set(before.usages).size === (before.usages ?? []).length)
      errors.push(duplicate(`spec.usages[${i}]`, usage));
    seen.add(usage);
  });
  if (spec.signerName === 'kubernetes.io/legacy-unknown' && before.signerName !== spec.signerName)
    errors.push(
      invalid('spec.signerName', spec.signerName, 'the legacy signerName is not allowed via this API version'),
    );
  else errors.push(...validateSignerName(spec.signerName, 'spec.signerName'));
  if (spec.expirationSeconds !== undefined && spec.expirationSeconds < 600)
    errors.push(
      invalid(
        'spec.expirationSeconds',
        spec.expirationSeconds,
        'may not specify a duration less than 600 seconds (10 minutes)',
      ),
    );
  errors.push(...validateConditions(object, old));
  const certificate = statusOf<CertificateSigningRequestStatus>(object).certificate as string | undefined;
  const oldCertificate =
    old === undefined ? undefined : (statusOf<CertificateSigningRequestStatus>(old).certificate as string | undefined);
  if (old === undefined || (certificate !== oldCertificate && certificateError(oldCertificate) === undefined)) {
    const why = certificateError(certificate);
    if (why !== undefined) errors.push(invalid('status.certificate', '<certificate data>', why));
  }
  return errors;
}

export function validateCertificateSigningRequest(object: KubeObject): Promise<FieldError[]> {
  return validate(object, undefined);
}

async function validateUpdate(
  object: KubeObject,
  old: KubeObject,
  may: { readonly approve: boolean; readonly sign: boolean },
): Promise<FieldError[]> {
  const errors = await validate(object, old);
  const path = 'status.conditions';
  const of = (o: KubeObject, type: string): Condition[] => conditionsOf(o).filter((c) => c.type === type);
  for (const type of ['Approved', 'Denied', 'Failed'])
    if (of(object, type).length < of(old, type).length)
      errors.push(forbiddenField(path, `updates may not remove a condition of type "${type}"`));
  if (!may.approve)
    for (const type of ['Approved', 'Denied']) {
      const [next, before] = [of(object, type), of(old, type)];
      if (next.length > before.length)
        errors.push(forbiddenField(path, `updates may not add a condition of type "${type}"`));
      else if (next.length === before.length && !semanticEqual(next, before))
        errors.push(
          forbiddenField(
            path,
            `updates may not modify a condition of type "${type}"\n${internalDifference('[]certificates.CertificateSigningRequestCondition', before, next)}`,
          ),
        );
    }
  const [next, before] = [object, old].map(
    (o) => (statusOf<CertificateSigningRequestStatus>(o) as Status).certificate ?? '',
  );
  if (next !== before) {
    if (!may.sign) errors.push(forbiddenField('status.certificate', 'updates may not set certificate content'));
    else if (before !== '')
      errors.push(forbiddenField('status.certificate', 'updates may not modify existing certificate content'));
  }
  return errors;
}

export const validateCertificateSigningRequestUpdate = (object: KubeObject, old: KubeObject): Promise<FieldError[]> =>
  validateUpdate(object, old, { approve: false, sign: false });
export const validateCertificateSigningRequestStatusUpdate = (
  object: KubeObject,
  old: KubeObject,
): Promise<FieldError[]> => validateUpdate(object, old, { approve: false, sign: true });
export const validateCertificateSigningRequestApprovalUpdate = (
  object: KubeObject,
  old: KubeObject,
): Promise<FieldError[]> => validateUpdate(object, old, { approve: true, sign: false });
