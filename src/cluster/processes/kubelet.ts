/** `knarr kubelet`: one node's agent alone, over a real container runtime or the simulated one. */
import { hostname } from 'node:os';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import { SimulatedHost } from '../../kubelet/host/simulated/host.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { createKubelet } from '../../kubelet/kubelet.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { SimulatedImages } from '../../kubelet/runtime/simulated/images.ts';
import { SimulatedNetwork } from '../../kubelet/runtime/simulated/network.ts';
import { SimulatedRuntime } from '../../kubelet/runtime/simulated/runtime.ts';
import { createDelegatedAuth } from '../../kubelet/server/auth.ts';
import { NodeCertificate, writeNodeKubeconfig } from '../joining/node-certificate.ts';
import { createMachineNode } from '../real/machine-node.ts';
import type { OverlayMode } from '../real/routes.ts';
import { NoRuntimeError, openNodeRuntime } from '../real/runtime.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import {
  aborted,
  defaultAddress,
  freePort,
  hostPort,
  isWildcard,
  listenError,
  probeAddress,
  readCertificates,
  readKeyPair,
  StartError,
} from './environment.ts';
import type { KubeletSettings } from './kubelet-config.ts';
import { readKubeletConfig } from './kubelet-config.ts';
import { selfSigned } from './self-signed.ts';

export interface KubeletFlags extends KubeletSettings {
  readonly kubeconfig: string | undefined;
  /** With a bootstrap token: gets the certificate that `kubeconfig` is then written for. */
  readonly bootstrapKubeconfig: string | undefined;
  readonly certDir: string;
  readonly rotateCertificates: boolean;
  readonly cniConfDir: string;
  readonly cgroupRoot: string;
  readonly clusterCidrs: readonly string[];
  /** How pods of other nodes are reached; `auto` when left out. */
  readonly overlay?: OverlayMode;
  readonly config: string | undefined;
  readonly hostnameOverride: string | undefined;
  readonly nodeIp: readonly string[];
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly cloudProvider: 'external' | undefined;
  readonly rootDir: string;
}

/** Only flags that were given go before the file. */
function merged(flags: KubeletSettings, config: KubeletSettings): KubeletSettings {
  const given = Object.entries(flags).filter(([, v]) => v !== undefined && !(Array.isArray(v) && v.length === 0));
  return { ...config, ...Object.fromEntries(given) };
}

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
  env: ComponentEnvironment,
  onRunning?: () => void,
): Promise<void> {
  const { clock, random, logger, signal } = env;
  const s = merged(flags, flags.config === undefined ? {} : await readKubeletConfig(flags.config));
  const simulated = s.containerRuntimeEndpoint?.startsWith('simulated://') === true;
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const address = s.address ?? '0.0.0.0';
  const identity = await nodeIdentity(flags, nodeName, env);
  const config = identity?.config ?? (await connectionOf(flags, env));
  const [pair, clientCA] = await Promise.all([
    readKeyPair('tls-cert-file', s.tlsCertFile, 'tls-private-key-file', s.tlsPrivateKeyFile),
    readCertificates('client-ca-file', s.clientCaFile),
  ]);
  const healthHost = s.healthzBindAddress ?? '127.0.0.1';
  const healthPort = s.healthzPort ?? 10_248;
  await probeAddress(address, s.port ?? 10_250, '--port');
  const port = s.port === 0 ? await freePort(address) : (s.port ?? 10_250);
  const addresses = flags.nodeIp.length > 0 ? flags.nodeIp : [isWildcard(address) ? defaultAddress() : address];
  const client = connect(config, env, userAgent('kubelet'));
  let health: ComponentServer | undefined;
  try {
    if (healthPort !== 0)
      health = await serveComponent({
        component: 'kubelet',
        host: healthHost,
        port: healthPort,
        flag: '--healthz-port (0 serves none)',
        clock,
        logger,
        tls: undefined,
        auth: undefined,
        healthOnly: true,
        checks: new Map(),
      });
    if (!(await waitForServer(client, config, env))) return;
    if (identity !== undefined && flags.rotateCertificates) void identity.certificate.renew(client);
    const shared = {
      nodeName,
      client,
      clock,
      random,
      logger,
      rootDir: flags.rootDir,
      clusterDns: s.clusterDns ?? [],
      clusterDomain: s.clusterDomain ?? 'cluster.local',
    };
    const settings = {
      port,
      nodeLabels: flags.nodeLabels,
      maxPods: s.maxPods ?? 110,
      registerNode: s.registerNode ?? true,
      leaseDurationSeconds: s.nodeLeaseDurationSeconds ?? 40,
      ...(s.registerWithTaints === undefined ? {} : { registerWithTaints: s.registerWithTaints }),
      ...(s.podCidr === undefined || s.podCidr === '' ? {} : { podCidrs: s.podCidr.split(',') }),
      ...(s.providerId === undefined ? {} : { providerId: s.providerId }),
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
        endpoint: s.containerRuntimeEndpoint,
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
        cgroupRoot: flags.cgroupRoot,
        clusterCidrs: flags.clusterCidrs,
        ...(flags.overlay === undefined ? {} : { overlay: flags.overlay }),
        kubelet: { ...settings, configuration: {} },
      });
      node = real;
      kubelet = real.kubelet;
    }
    try {
      const own = pair ?? (await selfSigned(env, [nodeName, 'localhost', '127.0.0.1', ...addresses]));
      const delegated = createDelegatedAuth({ client, clock, anonymous: s.anonymousAuth ?? false });
      const webhook = (s.authorizationMode ?? 'Webhook') === 'Webhook';
      const listening = await kubelet
        .listen({
          address,
          port,
          cert: own.certificate,
          key: own.key,
          ...(clientCA === undefined ? {} : { clientCA }),
          auth: {
            authenticate: (request) => {
              if (s.tokenWebhook === false) delete request.headers.authorization;
              return delegated.authenticate(request);
            },
            authorize: (user, access, subresource) =>
              webhook ? delegated.authorize(user, access, subresource) : Promise.resolve(true),
          },
        })
        .catch((error: unknown) => {
          throw listenError(error, address, port, '--port');
        });
      const started = node.start();
      started.catch(() => {});
      await Promise.race([started, aborted(signal)]);
      if (!signal.aborted) onRunning?.();
      if (!signal.aborted)
        env.say(
          `kubelet: node ${nodeName} with ${config.server}, serving on https://${hostPort(listening.address, listening.port)}`,
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
