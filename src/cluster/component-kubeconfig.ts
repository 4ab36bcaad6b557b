/**
 * Kubeconfigs for components that somebody brings to a cluster of one process (`--disable kube-proxy` and the like): a client
 * certificate of upstream's identity, signed by the authority in the data directory.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { BroughtComponent } from './components.ts';
import { renderKubeconfig } from './kubeconfig.ts';
import { dataDirLayout } from './paths.ts';
import { controlPlaneRequests, defaultValidity, ensurePki } from './pki.ts';
import { readPki, writePki } from './pki-files.ts';
import { loadYaml } from './yaml.ts';

/** Component → name of its certificate, kubeadm's. */
const certificateOf: Readonly<Record<BroughtComponent, string>> = {
  'kube-scheduler': 'scheduler',
  'kube-controller-manager': 'controller-manager',
  'cloud-controller-manager': 'cloud-controller-manager',
  'kube-proxy': 'kube-proxy',
  dns: 'dns',
};

interface AdminFile {
  readonly clusters?: readonly { readonly cluster?: { readonly server?: string } }[];
}

async function administratorsServer(file: string): Promise<string> {
  const admin = (await loadYaml(await readFile(file, 'utf8'))) as AdminFile;
  const server = admin.clusters?.[0]?.cluster?.server;
  if (server === undefined) throw new Error(`${file} names no server`);
  return server;
}

/**
 * The text of a component's kubeconfig; its certificate is kept in the data directory.
 * @param options.server where the API server is; default: as in the administrator's kubeconfig
 */
export async function componentKubeconfig(options: {
  readonly dataDir: string;
  readonly component: BroughtComponent;
  readonly server?: string;
  readonly clock: Clock;
  readonly random: Random;
}): Promise<string> {
  const layout = dataDirLayout(options.dataDir);
  const server = options.server ?? (await administratorsServer(layout.adminConf));
  const existing = await readPki(layout.pki);
  const name = certificateOf[options.component];
  const pki = await ensurePki({
    now: options.clock.now(),
    random: options.random,
    validity: defaultValidity,
    existing,
    requests: controlPlaneRequests({ dnsNames: [], addresses: [], nodeNames: [], components: true }).filter(
      (r) => r.name === name,
    ),
  });
  await writePki(layout.pki, pki, existing);
  return renderKubeconfig({
    name: 'knarr',
    server,
    certificateAuthority: pki.get('ca.crt')!,
    clientCertificate: pki.get(`${name}.crt`)!,
    clientKey: pki.get(`${name}.key`)!,
  });
}
