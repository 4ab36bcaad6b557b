/** `knarr kubelet`: one node's agent alone, over a real container runtime or the simulated one. */
import { joinHostPort } from '../../base/host-port.ts';
import { hostname } from 'node:os';
import { watchFile } from '../../base/file-watch.ts';
import { parseDuration } from '../../api/time.ts';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { SimulatedHost } from '../../kubelet/host/simulated/host.ts';
import type { KubeletConfiguration } from '../../kubelet/configuration/configuration.ts';
import type { PlainObject } from '../../kubelet/configuration/configuration-fields.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { expose } from '../../apiserver/metrics/exposition.ts';
import { helpOf } from '../../apiserver/metrics/stability.ts';
import { createKubelet } from '../../kubelet/kubelet.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { SimulatedImages } from '../../kubelet/runtime/simulated/images.ts';
import { SimulatedNetwork } from '../../kubelet/runtime/simulated/network.ts';
import { SimulatedRuntime } from '../../kubelet/runtime/simulated/runtime.ts';
import { createDelegatedAuth } from '../../kubelet/server/auth.ts';
import type { KubeletListenOptions } from '../../kubelet/server/server.ts';
import { NodeCertificate, writeNodeKubeconfig } from '../joining/node-certificate.ts';
import { keepServingCertificate } from '../joining/serving-certificate.ts';
import { createMachineNode } from '../real/machine-node.ts';
import type { OverlayMode } from '../real/routes.ts';
import { NoRuntimeError, openNodeRuntime } from '../real/runtime.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { processMetrics, serveComponent } from './component-server.ts';
import type { ComponentEnvironment, KeyPair } from './environment.ts';
import { openCredentialProviders } from './credential-providers.ts';
import {
  aborted,
  defaultAddress,
  freePort,
  isWildcard,
  listenError,
  measured,
  probeAddress,
  readCertificates,
  readKeyPair,
  StartError,
} from './environment.ts';
import { readKubeletConfig, tellGaps } from './kubelet-config.ts';
import { checkMachine, setOomScore } from './kubelet-machine.ts';
import { checkNodeLabels } from './node-labels.ts';
import { selfSigned } from './self-signed.ts';
import { tlsOptions } from './tls-options.ts';

export interface KubeletFlags {
  readonly kubeconfig: string | undefined;
  /** With a bootstrap token: gets the certificate that `kubeconfig` is then written for. */
  readonly bootstrapKubeconfig: string | undefined;
  readonly certDir: string;
  readonly cniConfDir: string;
  readonly clusterCidrs: readonly string[];
  /** How pods of other nodes are reached; `auto` when left out. */
  readonly overlay?: OverlayMode;
  /** A KubeletConfiguration, and a folder of files that go before it. */
  readonly config?: string | undefined;
  readonly configDir?: string | undefined;
  /** What flags say in the form of a KubeletConfiguration: it goes before the files. A port of 0 is a free one. */
  readonly configuration: PlainObject;
  readonly hostnameOverride: string | undefined;
  readonly nodeIp: readonly string[];
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly cloudProvider: 'external' | undefined;
  readonly rootDir: string;
  /** `--image-credential-provider-config` and `--image-credential-provider-bin-dir`. */
  readonly imageCredentialProvider?: { readonly config: string | undefined; readonly binDir: string | undefined };
}

/** The socket that stands for "where runtimes usually are". */
const usualEndpoint = 'unix:///run/containerd/containerd.sock';

/** The certificate of TLS bootstrapping, and the connection with it; undefined where a kubeconfig says it all. */
async function nodeIdentity(
  flags: KubeletFlags,
  nodeName: string,
  env: ComponentEnvironment,
): Promise<{ readonly certificate: NodeCertificate; readonly config: ConnectionConfig } | undefined> {
  const { bootstrapKubeconfig, kubeconfig } = flags;
  if (bootstrapKubeconfig === undefined) return undefined;
  if (kubeconfig === undefined) throw new StartError('--bootstrap-kubeconfig needs --kubeconfig FILE, which it writes');
  const first = await connectionOf({ kubeconfig: bootstrapKubeconfig }, env, 'bootstrap-kubeconfig');
  const certificate = await NodeCertificate.open(flags.certDir, nodeName, env, () =>
    connect(first, env, userAgent('kubelet')),
  ).catch((error: unknown) => {
    if (env.signal.aborted) throw error;
    throw new StartError(`${first.server} gives this node no certificate: ${(error as Error).message}`, {
      cause: error,
    });
  });
  await writeNodeKubeconfig(kubeconfig, { server: first.server, ca: first.ca, certificate: certificate.file });
  const { token: _, tokenFile: __, ...rest } = first;
  return { certificate, config: { ...rest, credentials: certificate.credentials } };
}

/** @param onRunning told when the node is registered and works */
export async function runKubelet(
  flags: KubeletFlags,
  given: ComponentEnvironment,
  onRunning?: () => void,
): Promise<void> {
  const env = measured(given);
  const { clock, random, logger, signal } = env;
  checkNodeLabels(flags.nodeLabels);
  const anyPort = flags.configuration['port'] === 0;
  const read = await readKubeletConfig({ file: flags.config, directory: flags.configDir, flags: flags.configuration });
  const c = read.configuration;
  const simulated = c.containerRuntimeEndpoint.startsWith('simulated://');
  if (!simulated) await checkMachine(read);
  tellGaps(c, logger);
  const tls = tlsOptions({
    minVersion: c.tlsMinVersion,
    cipherSuites: c.tlsCipherSuites,
    curves: c.tlsCurvePreferences,
  });
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const { address } = c;
  const identity = await nodeIdentity(flags, nodeName, env);
  const config = identity?.config ?? (await connectionOf(flags, env));
  const [pair, clientCA] = await Promise.all([
    readKeyPair('tls-cert-file', named(c.tlsCertFile), 'tls-private-key-file', named(c.tlsPrivateKeyFile)),
    readCertificates('client-ca-file', named(c.authentication.x509.clientCAFile)),
  ]);
  if (!anyPort) await probeAddress(address, c.port, '--port');
  const port = anyPort ? await freePort(address) : c.port;
  const addresses = flags.nodeIp.length > 0 ? flags.nodeIp : [isWildcard(address) ? defaultAddress() : address];
  const client = connect(config, env, userAgent('kubelet'));
  let health: ComponentServer | undefined;
  try {
    if (c.healthzPort !== 0)
      health = await serveComponent({
        component: 'kubelet',
        host: c.healthzBindAddress,
        port: c.healthzPort,
        flag: '--healthz-port (0 serves none)',
        clock,
        logger,
        tls: undefined,
        auth: undefined,
        healthOnly: true,
        checks: new Map(),
      });
    if (!(await waitForServer(client, config, env))) return;
    if (identity !== undefined && c.rotateCertificates) void identity.certificate.renew(client);
    const shared = {
      nodeName,
      client,
      clock,
      random,
      logger,
      rootDir: flags.rootDir,
      processMetrics: () => expose([...processMetrics(clock, env.version), ...env.requests.families], helpOf),
      clusterDns: c.clusterDNS,
      clusterDomain: c.clusterDomain === '' ? 'cluster.local' : c.clusterDomain,
    };
    const imageCredentials = await openCredentialProviders(flags.imageCredentialProvider ?? {}, env);
    const settings = {
      port,
      ...(imageCredentials === undefined ? {} : { imageCredentials }),
      ...(env.version === undefined ? {} : { kubeletVersion: env.version }),
      nodeLabels: flags.nodeLabels,
      maxPods: c.maxPods,
      registerNode: c.registerNode,
      leaseDurationSeconds: c.nodeLeaseDurationSeconds,
      ...(c.registerWithTaints.length === 0 ? {} : { registerWithTaints: c.registerWithTaints }),
      ...(c.podCIDR === '' ? {} : { podCidrs: c.podCIDR.split(',') }),
      ...(c.providerID === '' ? {} : { providerId: c.providerID }),
      ...(flags.cloudProvider === undefined ? {} : { cloudProvider: flags.cloudProvider }),
    };
    let runtime: CriRuntime | undefined;
    let node: Pick<Kubelet, 'start' | 'stop'>;
    let kubelet: Kubelet;
    if (simulated) {
      const host = new SimulatedHost({ hostname: nodeName, clock, network: new SimulatedNetwork(), addresses });
      const machine = new SimulatedRuntime({ clock, random, host, images: new SimulatedImages(), addresses });
      node = kubelet = createKubelet({ ...shared, ...settings, runtime: machine, host });
    } else {
      runtime = await openNodeRuntime({
        endpoint: c.containerRuntimeEndpoint === usualEndpoint ? undefined : c.containerRuntimeEndpoint,
        podLogsDir: c.podLogsDir,
        timeoutMs: parseDuration(c.runtimeRequestTimeout),
        ...(c.imageServiceEndpoint === '' ? {} : { imageEndpoint: c.imageServiceEndpoint }),
        rootDir: flags.rootDir,
        owner: config.ca ?? config.server,
        clock,
        logger,
      }).catch((error: unknown) => {
        throw error instanceof NoRuntimeError ? new StartError(error.message, { cause: error }) : error;
      });
      const real = await createMachineNode({
        ...shared,
        runtime,
        addresses,
        cniConfDir: flags.cniConfDir,
        cgroupRoot: c.cgroupRoot === '' ? '/' : c.cgroupRoot,
        ...(read.given['resolvConf'] === undefined ? {} : { resolvConf: c.resolvConf }),
        clusterCidrs: flags.clusterCidrs,
        ...(flags.overlay === undefined ? {} : { overlay: flags.overlay }),
        kubelet: { ...settings, configuration: c },
      });
      await setOomScore(c, logger);
      node = real;
      kubelet = real.kubelet;
    }
    try {
      const listening = c.enableServer
        ? await serve({ c, env, kubelet, client, nodeName, address, port, addresses, pair, clientCA, tls, flags })
        : undefined;
      if (c.readOnlyPort !== 0)
        await kubelet.listenReadOnly({ address, port: c.readOnlyPort }).catch((error: unknown) => {
          throw listenError(error, address, c.readOnlyPort, '--read-only-port');
        });
      await Promise.race([node.start(), aborted(signal)]);
      if (!signal.aborted) onRunning?.();
      if (!signal.aborted)
        env.say(
          `kubelet: node ${nodeName} with ${config.server}${listening === undefined ? '' : `, serving on https://${joinHostPort(listening.address, listening.port)}`}`,
        );
      await aborted(signal);
    } finally {
      await node.stop();
      runtime?.close();
    }
  } finally {
    await health?.close();
    await client.transport.close();
  }
}

const named = (file: string): string | undefined => (file === '' ? undefined : file);

interface Serving {
  readonly c: KubeletConfiguration;
  readonly env: ComponentEnvironment;
  readonly kubelet: Kubelet;
  readonly client: TypedClient;
  readonly nodeName: string;
  readonly address: string;
  readonly port: number;
  readonly addresses: readonly string[];
  /** Of files. */
  readonly pair: KeyPair | undefined;
  readonly clientCA: string | undefined;
  readonly tls: ReturnType<typeof tlsOptions>;
  readonly flags: KubeletFlags;
}

/** Opens the kubelet's endpoint, with a certificate of files, of the cluster's authority, or of its own. */
async function serve(s: Serving): Promise<{ readonly address: string; readonly port: number }> {
  const { c, env, kubelet, client, nodeName, address, port } = s;
  const { authentication, authorization } = c;
  const bootstrap = s.pair === undefined && c.serverTLSBootstrap;
  const own =
    s.pair ?? (bootstrap ? undefined : await selfSigned(env, [nodeName, 'localhost', '127.0.0.1', ...s.addresses]));
  const delegated = createDelegatedAuth({
    client,
    clock: env.clock,
    anonymous: authentication.anonymous.enabled,
    tokenTtlMs: parseDuration(authentication.webhook.cacheTTL),
    allowTtlMs: parseDuration(authorization.webhook.cacheAuthorizedTTL),
    denyTtlMs: parseDuration(authorization.webhook.cacheUnauthorizedTTL),
  });
  return kubelet
    .listen({
      address,
      port,
      tls: s.tls,
      ...(own === undefined ? {} : { cert: own.certificate, key: own.key }),
      ...(s.clientCA === undefined ? {} : { clientCA: s.clientCA }),
      auth: {
        authenticate: (request) => {
          if (!authentication.webhook.enabled) delete request.headers.authorization;
          return delegated.authenticate(request);
        },
        authorize: (user, access, subresource) =>
          authorization.mode === 'Webhook' ? delegated.authorize(user, access, subresource) : Promise.resolve(true),
      },
      follow: (use) => {
        if (bootstrap)
          void keepServingCertificate({
            dir: s.flags.certDir,
            nodeName,
            client,
            env,
            addresses: () => kubelet.node?.status?.addresses ?? [],
            use: ({ certificate, key }) => use({ cert: certificate, key }),
          });
        return followFiles(c, env, use);
      },
    })
    .catch((error: unknown) => {
      throw listenError(error, address, port, '--port');
    });
}

/** Reads certificate, key and client authorities again when their files have changed. Returns what ends it. */
function followFiles(
  c: KubeletConfiguration,
  env: ComponentEnvironment,
  use: Parameters<NonNullable<KubeletListenOptions['follow']>>[0],
): () => void {
  const ends: (() => void)[] = [];
  const follow = (files: readonly string[], load: () => Promise<Parameters<typeof use>[0]>): void => {
    let before: string | undefined;
    const look = async (): Promise<void> => {
      try {
        const read = await load();
        const text = JSON.stringify(read);
        if (before !== undefined && before !== text) {
          use(read);
          env.logger.info('certificates were read again', { files: files.join(', ') });
        }
        before = text;
      } catch (error) {
        env.logger.warn('certificates cannot be read again; those in use stay', { why: (error as Error).message });
      }
    };
    void look();
    for (const file of files) ends.push(watchFile(file, () => void look()));
  };
  const { tlsCertFile, tlsPrivateKeyFile } = c;
  if (tlsCertFile !== '')
    follow([tlsCertFile, tlsPrivateKeyFile], async () => {
      const pair = await readKeyPair('tls-cert-file', tlsCertFile, 'tls-private-key-file', tlsPrivateKeyFile);
      return { cert: pair!.certificate, key: pair!.key };
    });
  const { clientCAFile } = c.authentication.x509;
  if (clientCAFile !== '')
    follow([clientCAFile], async () => ({ clientCA: (await readCertificates('client-ca-file', clientCAFile))! }));
  return () => {
    for (const end of ends.splice(0)) end();
  };
}
