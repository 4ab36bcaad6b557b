/**
 * Certificates and kubeconfigs for components that run as processes of their own, in one directory under kubeadm's names: `pki/`,
 * `admin.conf`, `scheduler.conf`, …, and a folder a node that is all its kubelet needs. What stands already is kept.
 */
import { rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { firstServiceIP } from '../apiserver/advertised.ts';
import type { Clock } from '../base/clock.ts';
import { makeDirectory } from '../base/directories.ts';
import type { Random } from '../base/random.ts';
import { renderKubeconfig } from './kubeconfig.ts';
import type { CertificateRequest, PkiFiles } from './pki.ts';
import { controlPlaneRequests, defaultValidity, ensurePki } from './pki.ts';
import { readPki, writePki } from './pki-files.ts';

export interface CertificatesOptions {
  readonly dir: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the API server will be: `https://host:port`. */
  readonly server: string;
  /** Names and addresses that the API server and the store are reached at, besides localhost and the host of `server`. */
  readonly hosts: readonly string[];
  readonly nodes: readonly { readonly name: string; readonly addresses: readonly string[] }[];
  readonly serviceClusterIPRange: string;
}

function isAddress(host: string): boolean {
  return /^[\d.]+$|:/.test(host);
}

function split(hosts: readonly string[]): { dnsNames: string[]; addresses: string[] } {
  const all = [...new Set(['localhost', '127.0.0.1', '::1', ...hosts])];
  return { dnsNames: all.filter((h) => !isAddress(h)), addresses: all.filter(isAddress) };
}

function requests(options: CertificatesOptions): CertificateRequest[] {
  const own = split([new URL(options.server).hostname.replace(/^\[|\]$/g, ''), ...options.hosts]);
  const list = controlPlaneRequests({
    dnsNames: own.dnsNames,
    addresses: [...own.addresses, firstServiceIP(options.serviceClusterIPRange)],
    nodeNames: options.nodes.map((n) => n.name),
    components: true,
  }).map((r) => (r.name === 'etcd/server' ? { ...r, ...own } : r));
  list.push({
    name: 'super-admin',
    ca: 'ca',
    commonName: 'kubernetes-super-admin',
    organizations: ['system:masters'],
    usages: ['client'],
  });
  for (const node of options.nodes)
    list.push({
      name: `kubelet-serving/${node.name}`,
      ca: 'ca',
      commonName: `system:node:${node.name}`,
      organizations: ['system:nodes'],
      usages: ['server'],
      ...split([node.name, ...node.addresses]),
    });
  return list;
}

/** Kubeconfig → certificate that stands in it. */
const kubeconfigs: readonly (readonly [string, string])[] = [
  ['admin.conf', 'admin'],
  ['super-admin.conf', 'super-admin'],
  ['controller-manager.conf', 'controller-manager'],
  ['scheduler.conf', 'scheduler'],
  ['cloud-controller-manager.conf', 'cloud-controller-manager'],
  ['kube-proxy.conf', 'kube-proxy'],
  ['dns.conf', 'dns'],
];

async function write(file: string, text: string, mode: number): Promise<void> {
  makeDirectory(dirname(file), 0o700);
  const temporary = `${file}.new`;
  await writeFile(temporary, text, { mode });
  await rename(temporary, file);
}

/** Makes what is missing; returns the names of the files beside `pki/`. */
export async function makeCertificates(options: CertificatesOptions): Promise<string[]> {
  const pkiDir = join(options.dir, 'pki');
  const existing = await readPki(pkiDir);
  const pki: PkiFiles = await ensurePki({
    now: options.clock.now(),
    random: options.random,
    validity: defaultValidity,
    existing,
    requests: requests(options),
  });
  await writePki(pkiDir, pki, existing);
  const written: string[] = [];
  const put = async (name: string, text: string, mode = 0o600): Promise<void> => {
    await write(join(options.dir, name), text, mode);
    written.push(name);
  };
  const kubeconfig = (certificate: string): string =>
    renderKubeconfig({
      name: 'kubernetes',
      server: options.server,
      certificateAuthority: pki.get('ca.crt')!,
      clientCertificate: pki.get(`${certificate}.crt`)!,
      clientKey: pki.get(`${certificate}.key`)!,
    });
  for (const [file, certificate] of kubeconfigs) await put(file, kubeconfig(certificate));
  for (const { name } of options.nodes) {
    await put(`nodes/${name}/kubelet.conf`, kubeconfig(`kubelet/${name}`));
    await put(`nodes/${name}/pki/ca.crt`, pki.get('ca.crt')!, 0o644);
    await put(`nodes/${name}/pki/kubelet.crt`, pki.get(`kubelet-serving/${name}.crt`)!, 0o644);
    await put(`nodes/${name}/pki/kubelet.key`, pki.get(`kubelet-serving/${name}.key`)!);
  }
  return written;
}
