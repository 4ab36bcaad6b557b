/** Validation of ClusterTrustBundle and PodCertificateRequest. */
import { constants, createPublicKey, verify, X509Certificate, type KeyObject } from 'node:crypto';
import { checkRequest } from '../../base/certificate-request.ts';
import { invalid, notSupported, omitted, required, tooLong, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { byteLength, isDNS1123Subdomain, isQualifiedName, nameIsDNSSubdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { timeMs } from '../../api/time.ts';
import { validateSignerName } from './certificate-signing-request.ts';
import { validateConditions, type GivenCondition } from './conditions.ts';
import { invalidEach, specOf, statusOf, validateImmutable } from './field.ts';

const maxBundleBytes = 1024 * 1024;
const maxUidBytes = 128;
const maxKeyBytes = 10 * 1024;
const maxChainBytes = 100 * 1024;
const annotationLimit = 256 * 1024;
const minLifetime = 3600;
const maxLifetime = 91 * 24 * 3600;
const maxKubernetesLifetime = 24 * 3600;
const hidden = '<value omitted>';

interface Block {
  readonly type: string;
  readonly headers: boolean;
  readonly der: Buffer;
}

function pemBlocks(text: string): Block[] {
  return [...text.matchAll(/-----BEGIN ([^\n-]+)-----\r?\n([\s\S]*?)-----END \1-----/g)].map(([, type, body]) => {
    const headers = /^[^\n:]+:/.test(body!);
    const base64 = headers ? body!.slice(body!.search(/\r?\n\r?\n/) + 1) : body!;
    return { type: type!, headers, der: Buffer.from(base64.replace(/\s+/g, ''), 'base64') };
  });
}

function certificate(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined; // told as what it is: no certificate
  }
}

interface BundleSpec {
  readonly signerName?: string;
  readonly trustBundle?: string;
}

function bundleNameErrors(name: string, prefix: boolean, signer: string): readonly string[] {
  if (signer === '')
    return name.includes(':')
      ? ['ClusterTrustBundle without signer name must not have ":" in its name']
      : nameIsDNSSubdomain(name, prefix);
  const wanted = `${signer.replaceAll('/', ':')}:`;
  if (!name.startsWith(wanted))
    return [`ClusterTrustBundle for signerName ${signer} must be named with prefix ${wanted}`];
  return nameIsDNSSubdomain(name.slice(wanted.length), prefix);
}

function validateBundle(text: string): FieldError[] {
  const path = 'spec.trustBundle';
  if (byteLength(text) > maxBundleBytes) return [tooLong(path, maxBundleBytes)];
  const seen = new Map<string, number[]>();
  const errors: FieldError[] = [];
  pemBlocks(text).forEach(({ type, headers, der }, i) => {
    const wrong = (why: string): void => void errors.push(invalid(path, hidden, `entry ${i} ${why}`));
    if (type !== 'CERTIFICATE') return wrong(`has bad block type: ${type}`);
    if (headers) return wrong('has PEM block headers');
    const cert = certificate(der);
    if (cert === undefined) return wrong('does not parse as X.509');
    if (!cert.ca) return wrong('does not have the CA bit set');
    const key = der.toString('latin1');
    seen.set(key, [...(seen.get(key) ?? []), i]);
  });
  if (errors.length > 0) return errors;
  if (seen.size === 0) errors.push(invalid(path, hidden, 'at least one trust anchor must be provided'));
  for (const at of seen.values())
    if (at.length > 1) errors.push(invalid(path, hidden, `duplicate trust anchor (indices [${at.join(' ')}])`));
  return errors;
}

export function validateClusterTrustBundle(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { signerName = '', trustBundle = '' } = specOf<BundleSpec>(object);
  const { name = '', generateName = '' } = object.metadata;
  const before = old === undefined ? undefined : specOf<BundleSpec>(old);
  const errors: FieldError[] = [];
  if (generateName !== '')
    errors.push(
      ...invalidEach('metadata.generateName', generateName, bundleNameErrors(generateName, true, signerName)),
    );
  if (name !== '') errors.push(...invalidEach('metadata.name', name, bundleNameErrors(name, false, signerName)));
  if (signerName !== '') errors.push(...validateSignerName(signerName, 'spec.signerName'));
  if (before === undefined || (before.trustBundle ?? '') !== trustBundle) errors.push(...validateBundle(trustBundle));
  if (before !== undefined) errors.push(...validateImmutable(signerName, before.signerName ?? '', 'spec.signerName'));
  return errors;
}

interface RequestSpec {
  readonly signerName?: string;
  readonly podName?: string;
  readonly podUID?: string;
  readonly serviceAccountName?: string;
  readonly serviceAccountUID?: string;
  readonly nodeName?: string;
  readonly nodeUID?: string;
  readonly maxExpirationSeconds?: number;
  readonly pkixPublicKey?: string;
  readonly proofOfPossession?: string;
  readonly stubPKCS10Request?: string;
  readonly unverifiedUserAnnotations?: Readonly<Record<string, string>>;
}

interface RequestStatus {
  readonly conditions?: readonly GivenCondition[];
  readonly certificateChain?: string;
  readonly notBefore?: string;
  readonly beginRefreshAt?: string;
  readonly notAfter?: string;
}

const bytesOf = (base64: string | undefined): Buffer => Buffer.from(base64 ?? '', 'base64');

function isKubernetesSigner(name: string): boolean {
  const domain = name.split('/')[0]!;
  return domain === 'kubernetes.io' || domain.endsWith('.kubernetes.io');
}

/** What is wrong with a key's kind or size: the value to show, and the words. */
function keyError(key: KeyObject, curves: string): readonly [value: string, detail: string] | undefined {
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return undefined;
    case 'ec': {
      const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
      return ['prime256v1', 'secp384r1', 'secp521r1'].includes(curve)
        ? undefined
        : [`curve ${curve}`, `elliptic public keys must use curve ${curves}`];
    }
    case 'rsa': {
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      return bits === 3072 || bits === 4096
        ? undefined
        : [`${bits}-bit modulus`, 'RSA keys must have modulus size 3072 or 4096'];
    }
    default:
      return ['', 'unknown public key type; supported types are Ed25519, ECDSA, and RSA'];
  }
}

function publicKey(der: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: der, format: 'der', type: 'spki' });
  } catch {
    return undefined; // told as what it is: no key
  }
}

async function stubKey(der: Buffer): Promise<KeyObject | undefined> {
  try {
    return (await checkRequest(der)).key;
  } catch {
    return undefined; // told as what it is: no request
  }
}

function proves(key: KeyObject, uid: string, proof: Buffer): boolean {
  const data = Buffer.from(uid);
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return verify(null, data, key, proof);
    case 'rsa':
      return verify(
        'sha256',
        data,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
        proof,
      );
    default:
      return verify('sha256', data, key, proof);
  }
}

function validateOldKey(spec: RequestSpec): FieldError[] {
  const keyAt = 'spec.pkixPublicKey';
  const proofAt = 'spec.proofOfPossession';
  const der = bytesOf(spec.pkixPublicKey);
  const proof = bytesOf(spec.proofOfPossession);
  if (der.length > maxKeyBytes) return [tooLong(keyAt, maxKeyBytes)];
  if (proof.length > maxKeyBytes) return [tooLong(proofAt, maxKeyBytes)];
  const key = publicKey(der);
  if (key === undefined) return [invalid(keyAt, spec.pkixPublicKey, 'must be a valid PKIX-serialized public key')];
  const wrong = keyError(key, 'P256 or P384');
  if (wrong !== undefined) return [invalid(keyAt, wrong[0] === '' ? spec.pkixPublicKey : wrong[0], wrong[1])];
  return proves(key, spec.podUID ?? '', proof)
    ? []
    : [invalid(proofAt, omitted, 'could not verify proof-of-possession signature')];
}

async function validateStub(spec: RequestSpec): Promise<FieldError[]> {
  const path = 'spec.stubPKCS10Request';
  const der = bytesOf(spec.stubPKCS10Request);
  if (der.length > maxKeyBytes) return [tooLong(path, maxKeyBytes)];
  try {
    const { key, error } = await checkRequest(der);
    const wrong = keyError(key, 'P256, P384, or P521');
    if (wrong !== undefined) return [invalid(path, wrong[0] === '' ? omitted : wrong[0], wrong[1])];
    return error === undefined ? [] : [invalid(path, omitted, 'invalid signature')];
  } catch {
    return [invalid(path, omitted, 'must be a valid PKCS#10 CSR')];
  }
}

function validateUserAnnotations(annotations: Readonly<Record<string, string>> | undefined): FieldError[] {
  const path = 'spec.unverifiedUserAnnotations';
  const errors: FieldError[] = [];
  let size = 0;
  for (const [key, value] of Object.entries(annotations ?? {})) {
    const lower = key.toLowerCase();
    size += byteLength(key) + byteLength(value);
    if (lower.includes('/')) errors.push(...invalidEach(path, lower, isQualifiedName(lower)));
    else errors.push(invalid(path, lower, 'must be a domain-prefixed key (such as "acme.io/foo")'));
  }
  if (size > annotationLimit) errors.push(tooLong(path, annotationLimit));
  return errors;
}

export async function validatePodCertificateRequest(object: KubeObject): Promise<FieldError[]> {
  const spec = specOf<RequestSpec>(object);
  const errors = [
    ...validateSignerName(spec.signerName, 'spec.signerName'),
    ...validateUserAnnotations(spec.unverifiedUserAnnotations),
  ];
  for (const [name, uid] of [
    ['podName', 'podUID'],
    ['serviceAccountName', 'serviceAccountUID'],
    ['nodeName', 'nodeUID'],
  ] as const) {
    const named = spec[name] ?? '';
    const id = spec[uid] ?? '';
    errors.push(...invalidEach(`spec.${name}`, named, isDNS1123Subdomain(named)));
    if (id === '') errors.push(invalid(`spec.${uid}`, id, 'must not be empty'));
    if (byteLength(id) > maxUidBytes) errors.push(tooLong(`spec.${uid}`, maxUidBytes));
  }
  const lifetime = spec.maxExpirationSeconds;
  const at = 'spec.maxExpirationSeconds';
  if (lifetime === undefined) return [...errors, required(at, 'must be set')];
  const max = isKubernetesSigner(spec.signerName ?? '') ? maxKubernetesLifetime : maxLifetime;
  if (lifetime < minLifetime || lifetime > max)
    errors.push(invalid(at, lifetime, `must be in the range [${minLifetime}, ${max}]`));
  const has = (value: string | undefined): boolean => (value ?? '') !== '';
  const stub = has(spec.stubPKCS10Request);
  const key = has(spec.pkixPublicKey);
  const proof = has(spec.proofOfPossession);
  if (stub && !key && !proof) return [...errors, ...(await validateStub(spec))];
  if (!stub && key && proof) return [...errors, ...validateOldKey(spec)];
  return [
    ...errors,
    invalid('spec', omitted, 'exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set'),
  ];
}

export function validatePodCertificateRequestUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return validateImmutable(object['spec'], old['spec'], 'spec');
}

const outcomes = ['Issued', 'Denied', 'Failed'];

function outcomeOf({ conditions = [] }: RequestStatus): string | undefined {
  return conditions.find((c) => outcomes.includes(c.type ?? '') && c.status === 'True')?.type;
}

/** A Go duration of whole seconds, as its String method prints it. */
function goDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `"${Math.floor(seconds / 3600)}h${Math.floor(seconds / 60) % 60}m${seconds % 60}s"`;
}

async function validateIssued(spec: RequestSpec, status: RequestStatus, now: number): Promise<FieldError[]> {
  const chainAt = 'status.certificateChain';
  const chain = status.certificateChain ?? '';
  if (byteLength(chain) > maxChainBytes) return [tooLong(chainAt, maxChainBytes)];
  const wrong = (detail: string, value: unknown = chain): FieldError[] => [invalid(chainAt, value, detail)];
  const [leafBlock, ...rest] = pemBlocks(chain);
  if (leafBlock === undefined) return wrong('issued certificate chain must contain at least one certificate');
  if (leafBlock.type !== 'CERTIFICATE')
    return wrong('issued certificate chain must consist entirely of CERTIFICATE PEM blocks');
  const leaf = certificate(leafBlock.der);
  if (leaf === undefined) return wrong('leaf certificate does not parse as valid X.509');
  const stub = (spec.stubPKCS10Request ?? '') !== '';
  const wanted = stub ? await stubKey(bytesOf(spec.stubPKCS10Request)) : publicKey(bytesOf(spec.pkixPublicKey));
  if (wanted === undefined)
    return stub
      ? [invalid('spec.stubPKCS10Request', omitted, 'must be a valid PKCS#10 CSR')]
      : [invalid('spec.pkixPublicKey', omitted, 'must be a valid PKIX-serialized public key')];
  if (!wanted.equals(leaf.publicKey)) return wrong('leaf certificate was not issued to the requested public key');
  const errors: FieldError[] = [];
  const { notBefore, notAfter, beginRefreshAt } = status;
  if (notBefore === undefined)
    errors.push(required('status.notBefore', 'must be present and consistent with the issued certificate'));
  if (notAfter === undefined)
    errors.push(required('status.notAfter', 'must be present and consistent with the issued certificate'));
  if (beginRefreshAt === undefined)
    errors.push(
      required('status.beginRefreshAt', 'must be present and in the range [notbefore+10min, notafter-10min]'),
    );
  if (errors.length > 0) return errors;
  const minutes = 60_000;
  const from = timeMs(notBefore);
  const to = timeMs(notAfter);
  const refresh = timeMs(beginRefreshAt);
  if (from !== leaf.validFromDate.getTime())
    return [
      invalid('status.notBefore', notBefore, 'must be set to the NotBefore time encoded in the leaf certificate'),
    ];
  if (Math.abs(from - now) >= 5 * minutes)
    return [invalid('status.notBefore', notBefore, "must be set to within 5 minutes of kube-apiserver's current time")];
  if (to !== leaf.validToDate.getTime())
    return [invalid('status.notAfter', notAfter, 'must be set to the NotAfter time encoded in the leaf certificate')];
  const lifetime = to - from;
  if (lifetime < 60 * minutes) return wrong('leaf certificate lifetime must be >= 1 hour', goDuration(lifetime));
  const max = spec.maxExpirationSeconds ?? 0;
  if (lifetime > max * 1000)
    return wrong(`leaf certificate lifetime must be <= spec.maxExpirationSeconds (${max})`, goDuration(lifetime));
  if (refresh < from + 10 * minutes)
    return [invalid('status.beginRefreshAt', beginRefreshAt, 'must be at least 10 minutes after status.notBefore')];
  if (refresh > to - 10 * minutes)
    return [invalid('status.beginRefreshAt', beginRefreshAt, 'must be at least 10 minutes before status.notAfter')];
  for (const { type, der } of rest) {
    if (type !== 'CERTIFICATE') return wrong('issued certificate chain must consist entirely of CERTFICATE PEM blocks');
    if (certificate(der) === undefined) return wrong('intermediate certificate does not parse as valid X.509');
  }
  return [];
}

/** `now`: milliseconds since the epoch. */
export async function validatePodCertificateRequestStatus(
  object: KubeObject,
  old: KubeObject,
  now: number,
): Promise<FieldError[]> {
  const status = statusOf<RequestStatus>(object);
  const before = statusOf<RequestStatus>(old);
  const path = 'status.conditions';
  const errors: FieldError[] = [];
  let known = 0;
  (status.conditions ?? []).forEach((c, i) => {
    const at = `${path}.[${i}]`;
    const type = c.type ?? '';
    if (!outcomes.includes(type)) {
      errors.push(notSupported(`${at}.type`, type, outcomes));
      return;
    }
    if (++known > 1)
      errors.push(
        invalid(`${at}.type`, type, 'There may be at most one condition with type "Issued", "Denied", or "Failed"'),
      );
    if (c.status !== 'True') errors.push(notSupported(`${at}.status`, c.status ?? '', ['True']));
  });
  errors.push(...validateConditions(status.conditions, path));
  if (errors.length > 0) return errors;
  const fixed = (same: boolean, detail: string): FieldError[] => (same ? [] : [invalid('status', omitted, detail)]);
  if (outcomeOf(before) !== undefined)
    return fixed(semanticEqual(status, before), 'immutable after PodCertificateRequest is issued, denied, or failed');
  switch (outcomeOf(status)) {
    case 'Denied':
    case 'Failed':
      return fixed(
        semanticEqual(status, { conditions: status.conditions }),
        'non-condition status fields must be empty when denying or failing the PodCertificateRequest',
      );
    case 'Issued':
      return validateIssued(specOf<RequestSpec>(old), status, now);
    default:
      return fixed(
        semanticEqual(status, before),
        'status is immutable unless transitioning to "Issued", "Denied", or "Failed"',
      );
  }
}

/** The signer that a request is for. */
export function podCertificateSigner(object: KubeObject): string {
  return specOf<RequestSpec>(object).signerName ?? '';
}
