/**
 * The cluster's certificates, laid out as kubeadm lays them out (`pki/ca.crt`, `pki/apiserver.crt`, `pki/sa.key`, …), so
 * that upstream's components can be pointed at the same folder. All keys that are made are ECDSA P-256.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { newKeyPair, pkcs8Pem, spkiPem } from '../base/keys.ts';
import type { Random } from '../base/random.ts';
import { issuerOf, makeAuthority, makeLeaf } from './certificate.ts';
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

/** True when `text` is a certificate for what is asked, with enough time left. */
function stillGood(text: string, request: CertificateRequest, now: number): boolean {
  const cert = new X509Certificate(text);
  if (cert.validToDate.getTime() - now < renewBefore) return false;
  if (!(request.dnsNames ?? []).every((n) => cert.checkHost(n) !== undefined)) return false;
  return (request.addresses ?? []).every((n) => cert.checkIP(n) !== undefined);
}

/** PEM of a certificate and of its key. */
type Pair = readonly [certificate: string, key: string];

async function leafPair(options: PkiOptions, issuer: Issuer, request: CertificateRequest): Promise<Pair> {
  const { commonName, organizations, usages, dnsNames, addresses } = request;
  const { publicKey, privateKey } = newKeyPair();
  const certificate = await makeLeaf(
    {
      subject: { commonName, ...(organizations === undefined ? {} : { organizations }) },
      notBefore: options.now - day,
      notAfter: options.now + options.validity.leafDays * day,
      publicKey,
      usages,
      ...(dnsNames === undefined ? {} : { dnsNames }),
      ...(addresses === undefined ? {} : { addresses }),
    },
    issuer,
    options.random,
  );
  return [certificate, pkcs8Pem(privateKey)];
}

async function authorityPair(options: PkiOptions, commonName: string): Promise<{ pair: Pair; issuer: Issuer }> {
  const keys = newKeyPair();
  const { certificate, issuer } = await makeAuthority(
    {
      subject: { commonName },
      notBefore: options.now - day,
      notAfter: options.now + options.validity.authorityDays * day,
      dnsNames: [commonName],
    },
    keys,
    options.random,
  );
  return { pair: [certificate, pkcs8Pem(keys.privateKey)], issuer };
}

/** All files: those that stand and still fit, and those that had to be made; where all stand, no library is loaded. */
export async function ensurePki(options: PkiOptions): Promise<PkiFiles> {
  const files = new Map(options.existing);
  const add = (name: string, [certificate, key]: Pair): void => {
    files.set(`${name}.crt`, certificate);
    files.set(`${name}.key`, key);
  };
  const wanted = options.requests.filter((r) => {
    const have = files.get(`${r.name}.crt`);
    return have === undefined || !files.has(`${r.name}.key`) || !stillGood(have, r, options.now);
  });
  const issuers = new Map<string, Issuer>();
  await Promise.all(
    authorities.map(async ({ name, commonName }) => {
      const certificate = files.get(`${name}.crt`);
      const key = files.get(`${name}.key`);
      if (certificate === undefined || key === undefined) {
        const { pair, issuer } = await authorityPair(options, commonName);
        add(name, pair);
        issuers.set(name, issuer);
      } else if (wanted.some((r) => r.ca === name))
        issuers.set(name, await issuerOf(certificate, createPrivateKey(key)));
    }),
  );
  if (!files.has('sa.key')) {
    const keys = newKeyPair();
    files.set('sa.key', pkcs8Pem(keys.privateKey));
    files.set('sa.pub', spkiPem(keys.publicKey));
  }
  await Promise.all(wanted.map(async (r) => add(r.name, await leafPair(options, issuers.get(r.ca)!, r))));
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
