/**
 * `knarr join`: this machine as a further node of a cluster that runs elsewhere: trust by token and key hash, a certificate by TLS
 * bootstrapping, then kubelet, proxy and routes in one process. What it was told is kept, so that starting again needs no token.
 */
import { access, readFile, rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../../base/directories.ts';
import { HttpTransport } from '../../client/http-transport.ts';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { createClient } from '../../client/typed-client.ts';
import { findRuntimeSocket } from '../../kubelet/runtime/cri/open.ts';
import { serveControl } from '../control.ts';
import { dataDirLayout } from '../paths.ts';
import { userAgent } from '../processes/api-connection.ts';
import type { ComponentEnvironment } from '../processes/environment.ts';
import { aborted, ownAddress, StartError } from '../processes/environment.ts';
import { runKubelet } from '../processes/kubelet.ts';
import type { RealNodeRecord } from '../real/remove.ts';
import { localPathRoot } from '../storage/local-path-provisioner.ts';
import { gitVersion } from '../version.ts';
import { discoverCluster } from './discover.ts';
import { currentCredentials } from './node-certificate.ts';
import type { NodeFacts } from './node-facts.ts';
import { readNodeFacts } from './node-facts.ts';

export interface JoinFlags {
  readonly server: string | undefined;
  readonly token: string | undefined;
  readonly caCertHashes: readonly string[];
  /** Where what joining needs is kept; default /var/lib/knarr */
  readonly dataDir: string;
  readonly nodeName: string | undefined;
  readonly nodeIp: readonly string[];
  readonly containerRuntimeEndpoint: string | undefined;
  readonly rootDir: string;
  readonly cniConfDir: string;
  readonly cgroupRoot: string;
  readonly kubeletPort: number;
  readonly kubeProxy: boolean;
}

/** What is kept of the cluster. */
interface ClusterFacts extends NodeFacts {
  readonly server: string;
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function write(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** One of this machine's addresses for each family that pods have. */
function ownAddresses(clusterCidrs: readonly string[]): string[] {
  const families = clusterCidrs.map((c) => (c.includes(':') ? 6 : 4));
  return families.map(ownAddress).filter((a) => a !== undefined);
}

/** Where the node's parts are, for `knarr leave`. */
async function recordNode(flags: JoinFlags): Promise<void> {
  const { rootDir, cniConfDir, cgroupRoot } = flags;
  const endpoint = flags.containerRuntimeEndpoint ?? (await findRuntimeSocket()) ?? '';
  const record: RealNodeRecord = { rootDir, cniConfDir, cgroupRoot, endpoint };
  await write(dataDirLayout(flags.dataDir).node, `${JSON.stringify(record)}\n`);
}

/** Writes `bootstrap-kubelet.conf` and `ca.crt`, after the cluster has shown that it is the one that is meant. */
async function trust(flags: JoinFlags, env: ComponentEnvironment): Promise<void> {
  const { server, token } = flags;
  if (server === undefined || token === undefined)
    throw new StartError('--server and --token are needed the first time: "knarr token create" prints them');
  const url = server.includes('://') ? server : `https://${server}`;
  const ca = await discoverCluster({
    server: url,
    token,
    caCertHashes: flags.caCertHashes,
    clock: env.clock,
    random: env.random,
  });
  const client = createClient(
    new HttpTransport({ server: url, ca, token }, { random: env.random, userAgent: userAgent('knarr') }),
  );
  let facts: ClusterFacts;
  try {
    facts = { server: url, ...(await readNodeFacts(client)) };
  } catch (error) {
    throw new StartError(`${url} does not say what its nodes share: ${(error as Error).message}`, { cause: error });
  } finally {
    await client.transport.close();
  }
  makeDirectory(flags.dataDir, 0o700);
  await write(join(flags.dataDir, 'ca.crt'), ca);
  await write(join(flags.dataDir, 'cluster.json'), `${JSON.stringify(facts)}\n`);
  await write(
    join(flags.dataDir, 'bootstrap-kubelet.conf'),
    `${JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'c', cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') } },
      ],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    })}\n`,
  );
}

export async function runJoin(flags: JoinFlags, env: ComponentEnvironment): Promise<void> {
  const bootstrap = join(flags.dataDir, 'bootstrap-kubelet.conf');
  const known = await exists(bootstrap);
  if (!known || flags.token !== undefined) await trust(flags, env);
  const facts = JSON.parse(await readFile(join(flags.dataDir, 'cluster.json'), 'utf8')) as ClusterFacts;
  const kubeconfig = join(flags.dataDir, 'kubelet.conf');
  const nodeName = (flags.nodeName ?? hostname()).trim().toLowerCase();
  const startedAt = new Date(env.clock.now()).toISOString();
  const simulated = flags.containerRuntimeEndpoint?.startsWith('simulated://') === true;
  const ended = new AbortController();
  const stop = (): void => ended.abort(env.signal.reason);
  env.signal.addEventListener('abort', stop, { once: true });
  const inner = { ...env, signal: ended.signal };
  if (!simulated) await recordNode(flags);
  // The machine is left alone until its kubelet has found all that it needs.
  const registered = Promise.withResolvers<void>();
  const kubelet = runKubelet(
    {
      kubeconfig,
      bootstrapKubeconfig: bootstrap,
      certDir: join(flags.dataDir, 'pki'),
      hostnameOverride: nodeName,
      nodeIp: flags.nodeIp.length > 0 ? flags.nodeIp : ownAddresses(facts.clusterCidrs),
      nodeLabels: {},
      cloudProvider: facts.externalCloud ? 'external' : undefined,
      rootDir: flags.rootDir,
      cniConfDir: flags.cniConfDir,
      clusterCidrs: facts.clusterCidrs,
      overlay: facts.overlay ?? 'auto',
      configuration: {
        rotateCertificates: true,
        // A machine that joins may have swap, as one that "knarr up" makes a node may.
        failSwapOn: false,
        cgroupRoot: flags.cgroupRoot,
        port: flags.kubeletPort,
        healthzPort: 0,
        authentication: { x509: { clientCAFile: join(flags.dataDir, 'ca.crt') } },
        ...(facts.dns === '' ? {} : { clusterDNS: facts.dns.split(',') }),
        ...(flags.containerRuntimeEndpoint === undefined
          ? {}
          : { containerRuntimeEndpoint: flags.containerRuntimeEndpoint }),
      },
    },
    inner,
    () => registered.resolve(),
  );
  const work = [kubelet];
  const certDir = join(flags.dataDir, 'pki');
  if (!simulated)
    work.push(
      registered.promise.then(() =>
        besideKubelet({ kubeconfig, certDir, nodeName, facts, kubeProxy: flags.kubeProxy }, inner),
      ),
    );
  const control = await serveControl(flags.dataDir, {
    stop: () => ended.abort(new Error('told to stop')),
    status: () => ({
      pid: process.pid,
      version: gitVersion,
      url: facts.server,
      dataDir: flags.dataDir,
      runtime: flags.containerRuntimeEndpoint ?? '',
      startedAt,
      ready: true,
      kubeconfig,
      components: flags.kubeProxy ? ['kubelet', 'kube-proxy'] : ['kubelet'],
      nodes: 1,
    }),
  });
  try {
    await Promise.race(work);
    if (!ended.signal.aborted) throw new StartError('the node has ended by itself');
  } finally {
    // One without the other is no node.
    ended.abort(env.signal.reason ?? new Error('the node is stopping'));
    env.signal.removeEventListener('abort', stop);
    registered.resolve();
    await Promise.allSettled(work);
    await control.close();
  }
}

interface BesideKubelet {
  readonly kubeconfig: string;
  readonly certDir: string;
  readonly nodeName: string;
  readonly facts: ClusterFacts;
  /** False: Services and policies are another implementation's. */
  readonly kubeProxy: boolean;
}

/** Services, network policies, addresses of load balancers, and tidying up behind volumes, with the kubelet's identity. */
async function besideKubelet(o: BesideKubelet, env: ComponentEnvironment): Promise<void> {
  const { nodeName, facts } = o;
  const { clock, random, logger, signal } = env;
  const config = await loadKubeconfig(o.kubeconfig, { clock });
  const client = createClient(
    new HttpTransport(
      { ...config, credentials: () => currentCredentials(o.certDir) },
      { random, userAgent: userAgent('kube-proxy') },
    ),
  );
  const shared = { client, clock, random, logger };
  const { LocalPathCleaner } = await import('../real/local-path-cleaner.ts');
  const work: { start(): Promise<void>; stop(): Promise<void> }[] = [
    new LocalPathCleaner({ ...shared, root: localPathRoot }),
  ];
  if (o.kubeProxy) {
    const { createNodeProxy, nodeConnections } = await import('../../proxy/node-proxy.ts');
    const detectLocal = { mode: 'ClusterCIDR', cidrs: facts.clusterCidrs } as const;
    work.push(createNodeProxy({ ...shared, nodeName, connections: nodeConnections, nftables: { detectLocal } }));
  }
  const pool = facts.loadBalancerPool ?? [];
  if (pool.length > 0) {
    const { LoadBalancerAddresses } = await import('../real/load-balancer-addresses.ts');
    work.push(new LoadBalancerAddresses({ ...shared, nodeName, pool }));
  }
  try {
    // A start that waits for the API server must not hold up the end.
    await Promise.race([Promise.all(work.map((w) => w.start())), aborted(signal)]);
    await aborted(signal);
  } finally {
    await Promise.all(work.map((w) => w.stop()));
    await client.transport.close();
  }
}
