/**
 * The cluster's certificates, laid out as kubeadm lays them out (`pki/ca.crt`, `pki/apiserver.crt`, `pki/sa.key`, …), so
 * that upstream's components can be pointed at the same folder. All keys that are made are ECDSA P-256.
 */
import { X509Certificate } from 'node:crypto';
import { newKeyPair, pkcs8Pem, spkiPem } from '../base/keys.ts';
import type { Random } from '../base/random.ts';
import type { Issuer } from './certificate.ts';

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

type Make = typeof import('./certificate.ts');

/** True when `text` is a certificate for what is asked, with enough time left. */
function stillGood(text: string, request: CertificateRequest, now: number): boolean {
  const cert = new X509Certificate(text);
  if (cert.validToDate.getTime() - now < renewBefore) return false;
  if (!(request.dnsNames ?? []).every((n) => cert.checkHost(n) !== undefined)) return false;
  return (request.addresses ?? []).every((n) => cert.checkIP(n) !== undefined);
}

function makeLeaf(make: Make, options: PkiOptions, issuer: Issuer, request: CertificateRequest): [string, string] {
  const { commonName, organizations, usages, dnsNames, addresses } = request;
  const keys = newKeyPair();
  const certificate = make.makeCertificate(
    {
      subject: { commonName, ...(organizations === undefined ? {} : { organizations }) },
      notBefore: options.now - day,
      notAfter: options.now + options.validity.leafDays * day,
      publicKey: keys.publicKey,
      authority: false,
      usages,
      ...(dnsNames === undefined ? {} : { dnsNames }),
      ...(addresses === undefined ? {} : { addresses }),
    },
    issuer,
    options.random,
  );
  return [certificate, pkcs8Pem(keys.privateKey)];
}

function makeAuthority(make: Make, options: PkiOptions, commonName: string): [string, string] {
  const keys = newKeyPair();
  const certificate = make.makeCertificate(
    {
      subject: { commonName },
      notBefore: options.now - day,
      notAfter: options.now + options.validity.authorityDays * day,
      publicKey: keys.publicKey,
      authority: true,
      dnsNames: [commonName],
    },
    keys.privateKey,
    options.random,
  );
  return [certificate, pkcs8Pem(keys.privateKey)];
}

/** Whether everything stands, so that nothing has to be made. */
function complete(options: PkiOptions): boolean {
  const files = options.existing;
  if (files === undefined || !files.has('sa.key') || !files.has('sa.pub')) return false;
  for (const a of authorities) if (!files.has(`${a.name}.crt`) || !files.has(`${a.name}.key`)) return false;
  return options.requests.every((r) => {
    const text = files.get(`${r.name}.crt`);
    return text !== undefined && files.has(`${r.name}.key`) && stillGood(text, r, options.now);
  });
}

/** All files: those that stand and still fit, and those that had to be made. */
export async function ensurePki(options: PkiOptions): Promise<PkiFiles> {
  if (complete(options)) return options.existing!;
  const make = await import('./certificate.ts');
  const files = new Map(options.existing);
  const issuers = new Map<string, Issuer>();
  for (const { name, commonName } of authorities) {
    if (!files.has(`${name}.crt`) || !files.has(`${name}.key`)) {
      const [certificate, key] = makeAuthority(make, options, commonName);
      files.set(`${name}.crt`, certificate);
      files.set(`${name}.key`, key);
    }
    issuers.set(name, make.issuerOf(files.get(`${name}.crt`)!, files.get(`${name}.key`)!));
  }
  if (!files.has('sa.key')) {
    const keys = newKeyPair();
    files.set('sa.key', pkcs8Pem(keys.privateKey));
    files.set('sa.pub', spkiPem(keys.publicKey));
  }
  for (const request of options.requests) {
    const have = files.get(`${request.name}.crt`);
    if (have !== undefined && files.has(`${request.name}.key`) && stillGood(have, request, options.now)) continue;
    const [certificate, key] = makeLeaf(make, options, issuers.get(request.ca)!, request);
    files.set(`${request.name}.crt`, certificate);
    files.set(`${request.name}.key`, key);
  }
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
