/** `knarr kubelet`: one node's agent alone, over the simulated runtime. */
import { hostname } from 'node:os';
import { SimulatedHost } from '../../kubelet/host/simulated/host.ts';
import { createKubelet } from '../../kubelet/kubelet.ts';
import { SimulatedImages } from '../../kubelet/runtime/simulated/images.ts';
import { SimulatedNetwork } from '../../kubelet/runtime/simulated/network.ts';
import { SimulatedRuntime } from '../../kubelet/runtime/simulated/runtime.ts';
import { createDelegatedAuth } from '../../kubelet/server/auth.ts';
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

export async function runKubelet(flags: KubeletFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger, signal } = env;
  const s = merged(flags, flags.config === undefined ? {} : await readKubeletConfig(flags.config));
  const endpoint = s.containerRuntimeEndpoint ?? 'unix:///run/containerd/containerd.sock';
  if (!endpoint.startsWith('simulated://'))
    throw new StartError(
      `real containers are not part of this version yet (${endpoint}): say --container-runtime-endpoint simulated://`,
    );
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const address = s.address ?? '0.0.0.0';
  const config = await connectionOf(flags, env);
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
    const host = new SimulatedHost({ hostname: nodeName, clock, network: new SimulatedNetwork(), addresses });
    const runtime = new SimulatedRuntime({ clock, random, host, images: new SimulatedImages(), addresses });
    const kubelet = createKubelet({
      nodeName,
      client,
      clock,
      random,
      logger,
      runtime,
      host,
      port,
      nodeLabels: flags.nodeLabels,
      rootDir: flags.rootDir,
      clusterDns: s.clusterDns ?? [],
      clusterDomain: s.clusterDomain ?? 'cluster.local',
      maxPods: s.maxPods ?? 110,
      registerNode: s.registerNode ?? true,
      leaseDurationSeconds: s.nodeLeaseDurationSeconds ?? 40,
      ...(s.registerWithTaints === undefined ? {} : { registerWithTaints: s.registerWithTaints }),
      ...(s.podCidr === undefined || s.podCidr === '' ? {} : { podCidrs: s.podCidr.split(',') }),
      ...(s.providerId === undefined ? {} : { providerId: s.providerId }),
      ...(flags.cloudProvider === undefined ? {} : { cloudProvider: flags.cloudProvider }),
    });
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
      const started = kubelet.start();
      started.catch(() => {});
      await Promise.race([started, aborted(signal)]);
      if (!signal.aborted)
        env.say(
          `kubelet: node ${nodeName} with ${config.server}, serving on https://${hostPort(listening.address, listening.port)}`,
        );
      await aborted(signal);
    } finally {
      await kubelet.stop();
    }
  } finally {
    await health?.close();
    await client.transport.close();
  }
}
