/**
 * The cluster's certificates, laid out as kubeadm lays them out (`pki/ca.crt`, `pki/apiserver.crt`, `pki/sa.key`, …), so
 * that upstream's components can be pointed at the same folder. All keys are ECDSA P-256. The X.509 library is loaded
 * only when something has to be made.
 */
import { webcrypto } from 'node:crypto';
import { ecdsaP256, generateSigningKey, importSigningKey, privateKeyPem, publicKeyPem } from '../base/keys.ts';
import type { CryptoKey } from '../base/keys.ts';
import type { Random } from '../base/random.ts';

/** PEM texts by file name below `pki/`: `ca.crt`, `ca.key`, `sa.pub`, … */
export type PkiFiles = ReadonlyMap<string, string>;

export interface CertificateRequest {
  /** File name without suffix: `apiserver`, `kubelet/node-1`. */
  readonly name: string;
  readonly ca: 'ca' | 'front-proxy-ca' | 'etcd/ca';
  readonly commonName: string;
  readonly organizations?: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
}

const day = 86_400_000;

/** How long certificates live: kubeadm's ten years for authorities and one for the rest; decades under a virtual clock. */
export interface Validity {
  readonly authorityDays: number;
  readonly leafDays: number;
}

export const defaultValidity: Validity = { authorityDays: 3650, leafDays: 365 };
export const virtualValidity: Validity = { authorityDays: 36_500, leafDays: 36_500 };

/** Certificates with less than this left are made again at start. */
const renewBefore = 30 * day;

const authorities: readonly { name: CertificateRequest['ca']; commonName: string }[] = [
  { name: 'ca', commonName: 'kubernetes' },
  { name: 'front-proxy-ca', commonName: 'front-proxy-ca' },
  { name: 'etcd/ca', commonName: 'etcd-ca' },
];

export interface PkiOptions {
  readonly now: number;
  readonly random: Random;
  readonly validity: Validity;
  readonly requests: readonly CertificateRequest[];
  /** What stands already; only what is missing, ageing or no longer fits is made. */
  readonly existing?: PkiFiles;
}

type X509 = typeof import('@peculiar/x509');

async function loadX509(): Promise<X509> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

function serial(random: Random): string {
  const b = random.bytes(16);
  b[0] = b[0]! & 0x7f;
  return b.toString('hex');
}

interface Authority {
  readonly certificate: string;
  readonly key: CryptoKey;
  readonly commonName: string;
}

/** True when `text` is a certificate for what is asked, with enough time left. */
function stillGood(x509: X509, text: string, request: CertificateRequest, now: number): boolean {
  const cert = new x509.X509Certificate(text);
  if (cert.notAfter.getTime() - now < renewBefore) return false;
  const san = cert.getExtension(x509.SubjectAlternativeNameExtension);
  const have = new Set(san?.names.items.map((n) => n.value) ?? []);
  return [...(request.dnsNames ?? []), ...(request.addresses ?? [])].every((n) => have.has(n));
}

async function makeLeaf(
  x509: X509,
  options: PkiOptions,
  authority: Authority,
  request: CertificateRequest,
): Promise<[string, string]> {
  const keys = await generateSigningKey();
  const names = [
    ...(request.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(request.addresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const usage = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth };
  const subject: Record<string, string[]>[] = [
    ...(request.organizations ?? []).map((o) => ({ O: [o] })),
    { CN: [request.commonName] },
  ];
  const cert = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(options.random),
      subject,
      issuer: [{ CN: [authority.commonName] }],
      notBefore: new Date(options.now - day),
      notAfter: new Date(options.now + options.validity.leafDays * day),
      publicKey: keys.publicKey,
      signingKey: authority.key,
      signingAlgorithm: ecdsaP256,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension(request.usages.map((u) => usage[u])),
        new x509.BasicConstraintsExtension(false, undefined, true),
        await x509.AuthorityKeyIdentifierExtension.create(
          new x509.X509Certificate(authority.certificate),
          false,
          webcrypto,
        ),
        ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
      ],
    },
    webcrypto,
  );
  return [`${cert.toString('pem')}\n`, await privateKeyPem(keys.privateKey)];
}

async function makeAuthority(
  x509: X509,
  options: PkiOptions,
  commonName: string,
): Promise<[string, string, CryptoKey]> {
  const keys = await generateSigningKey();
  const cert = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(options.random),
      name: [{ CN: [commonName] }],
      notBefore: new Date(options.now - day),
      notAfter: new Date(options.now + options.validity.authorityDays * day),
      keys,
      signingAlgorithm: ecdsaP256,
      extensions: [
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment | x509.KeyUsageFlags.keyCertSign,
          true,
        ),
        new x509.BasicConstraintsExtension(true, undefined, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: commonName }]),
      ],
    },
    webcrypto,
  );
  return [`${cert.toString('pem')}\n`, await privateKeyPem(keys.privateKey), keys.privateKey];
}

/** Expiry and subject alternative names are read with Node's own parser first, so that a restart loads no X.509 library. */
async function quickCheck(options: PkiOptions): Promise<boolean> {
  const { X509Certificate } = await import('node:crypto');
  const files = options.existing;
  if (files === undefined || !files.has('sa.key') || !files.has('sa.pub')) return false;
  for (const a of authorities) if (!files.has(`${a.name}.crt`) || !files.has(`${a.name}.key`)) return false;
  for (const r of options.requests) {
    const text = files.get(`${r.name}.crt`);
    if (text === undefined || !files.has(`${r.name}.key`)) return false;
    const cert = new X509Certificate(text);
    if (new Date(cert.validTo).getTime() - options.now < renewBefore) return false;
    if (!(r.dnsNames ?? []).every((n) => cert.checkHost(n) !== undefined)) return false;
    if (!(r.addresses ?? []).every((n) => cert.checkIP(n) !== undefined)) return false;
  }
  return true;
}

/** All files: those that stand and still fit, and those that had to be made. */
export async function ensurePki(options: PkiOptions): Promise<PkiFiles> {
  if (await quickCheck(options)) return options.existing!;
  const x509 = await loadX509();
  const files = new Map(options.existing);
  const signers = new Map<string, Authority>();
  await Promise.all(
    authorities.map(async ({ name, commonName }) => {
      const cert = files.get(`${name}.crt`);
      const key = files.get(`${name}.key`);
      if (cert !== undefined && key !== undefined) {
        signers.set(name, { certificate: cert, key: await importSigningKey(key), commonName });
        return;
      }
      const [certificate, keyText, privateKey] = await makeAuthority(x509, options, commonName);
      files.set(`${name}.crt`, certificate);
      files.set(`${name}.key`, keyText);
      signers.set(name, { certificate, key: privateKey, commonName });
    }),
  );
  if (!files.has('sa.key')) {
    const sa = await generateSigningKey();
    files.set('sa.key', await privateKeyPem(sa.privateKey));
    files.set('sa.pub', await publicKeyPem(sa.publicKey));
  }
  await Promise.all(
    options.requests.map(async (request) => {
      const have = files.get(`${request.name}.crt`);
      if (have !== undefined && files.has(`${request.name}.key`) && stillGood(x509, have, request, options.now)) return;
      const [cert, key] = await makeLeaf(x509, options, signers.get(request.ca)!, request);
      files.set(`${request.name}.crt`, cert);
      files.set(`${request.name}.key`, key);
    }),
  );
  return files;
}

/** The certificates of a control plane, with kubeadm's names and subjects. */
export function controlPlaneRequests(options: {
  readonly dnsNames: readonly string[];
  readonly addresses: readonly string[];
  readonly nodeNames: readonly string[];
  /** Also for components that run as processes of their own; those of one process need none. */
  readonly components: boolean;
  /** Also what the API server shows to kubelets of other processes and machines. */
  readonly kubelets?: boolean;
}): CertificateRequest[] {
  const client = (name: string, commonName: string, ...organizations: string[]): CertificateRequest => ({
    name,
    ca: 'ca',
    commonName,
    organizations,
    usages: ['client'],
  });
  return [
    {
      name: 'apiserver',
      ca: 'ca',
      commonName: 'kube-apiserver',
      usages: ['server'],
      dnsNames: [
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        'kubernetes.default.svc.cluster.local',
        ...options.dnsNames,
      ],
      addresses: options.addresses,
    },
    client('admin', 'kubernetes-admin', 'kubeadm:cluster-admins'),
    { name: 'front-proxy-client', ca: 'front-proxy-ca', commonName: 'front-proxy-client', usages: ['client'] },
    ...(options.kubelets === true ? [kubeletClient(client)] : []),
    ...(options.components ? componentRequests(client) : []),
    ...options.nodeNames.map((n) => client(`kubelet/${n}`, `system:node:${n}`, 'system:nodes')),
  ];
}

type ClientRequest = (name: string, commonName: string, ...organizations: string[]) => CertificateRequest;

function kubeletClient(client: ClientRequest): CertificateRequest {
  return client('apiserver-kubelet-client', 'kube-apiserver-kubelet-client', 'kubeadm:cluster-admins');
}

function componentRequests(client: ClientRequest): CertificateRequest[] {
  return [
    kubeletClient(client),
    {
      name: 'etcd/server',
      ca: 'etcd/ca',
      commonName: 'etcd',
      usages: ['server', 'client'],
      dnsNames: ['localhost'],
      addresses: ['127.0.0.1', '::1'],
    },
    { name: 'apiserver-etcd-client', ca: 'etcd/ca', commonName: 'kube-apiserver-etcd-client', usages: ['client'] },
    client('controller-manager', 'system:kube-controller-manager'),
    client('scheduler', 'system:kube-scheduler'),
    client('kube-proxy', 'system:kube-proxy'),
    client(
      'cloud-controller-manager',
      'system:serviceaccount:kube-system:cloud-controller-manager',
      'system:serviceaccounts',
      'system:serviceaccounts:kube-system',
    ),
    client(
      'dns',
      'system:serviceaccount:kube-system:coredns',
      'system:serviceaccounts',
      'system:serviceaccounts:kube-system',
    ),
  ];
}
