/** The certificates of a cluster in one process: kept in its data directory, or for as long as it lives. */
import type { Clock } from '../base/clock.ts';
import { SystemClock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { ClusterOptions } from './cluster.ts';
import { dataDirLayout } from './paths.ts';
import { controlPlaneRequests, defaultValidity, ensurePki, virtualValidity } from './pki.ts';
import type { CertificateRequest, PkiFiles } from './pki.ts';
import { readPki, writePki } from './pki-files.ts';

/** With real nodes the name server is a client like any other. */
function nameServerRequest(real: boolean): CertificateRequest[] {
  if (!real) return [];
  const all = controlPlaneRequests({ dnsNames: [], addresses: [], nodeNames: [], components: true });
  return all.filter((r) => r.name === 'dns');
}

/** The certificates that this cluster needs; without a data directory they live as long as the cluster. */
export async function certificates(
  options: ClusterOptions,
  clock: Clock,
  random: Random,
  /** Where pods and other machines reach the API server. */
  addresses: readonly string[],
): Promise<PkiFiles | undefined> {
  if (options.https === undefined) return undefined;
  const dir = options.dataDir === undefined ? undefined : dataDirLayout(options.dataDir).pki;
  const existing = dir === undefined ? new Map<string, string>() : await readPki(dir);
  const host = options.https.host ?? '127.0.0.1';
  const isName = !/^[\d.]+$|:/.test(host);
  const wild = host === '0.0.0.0' || host === '::';
  const files = await ensurePki({
    now: clock.virtual ? new SystemClock().now() : clock.now(),
    random,
    validity: clock.virtual ? virtualValidity : defaultValidity,
    existing,
    requests: [
      ...nameServerRequest(options.machine !== undefined),
      ...controlPlaneRequests({
        dnsNames: ['localhost', ...(isName ? [host] : [])],
        addresses: [
          '127.0.0.1',
          '::1',
          ...addresses,
          ...(isName || wild || host === '127.0.0.1' || host === '::1' ? [] : [host]),
        ],
        kubelets: true,
        components: false,
        nodeNames: [],
      }),
    ],
  });
  if (dir !== undefined) await writePki(dir, files, existing);
  return files;
}
