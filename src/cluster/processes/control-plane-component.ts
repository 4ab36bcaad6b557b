/**
 * What scheduler and controller managers share as processes: kubeconfigs, the secure port with health and metrics, waiting for the
 * API server, and leader election around their work.
 */
import type { Family } from '../../apiserver/metrics/exposition.ts';
import { computed } from '../../apiserver/metrics/exposition.ts';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer, ComponentServerOptions } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { RequestHeaderOptions } from '../../apiserver/authentication/request-header.ts';
import { certificateOfDirectory } from './certificate-directory.ts';
import { DelegatedAuth, publishedAuthorities, type PublishedAuthorities } from './delegated-auth.ts';
import type { ComponentEnvironment, KeyPair } from './environment.ts';
import { isWildcard, probeAddress, StartError } from './environment.ts';
import type { Leadership, LeaderElectionFlags, Work } from './leading.ts';
import { lead } from './leading.ts';
import { readMetricChoice, type MetricFlags } from './metric-choice.ts';
import { selfSigned } from './self-signed.ts';
import { readServingCertificates, readTlsSettings, type TlsFlags } from './serving-certificates.ts';

/** Named and defaulted as upstream's flags. */
export interface ControlPlaneFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  readonly authenticationKubeconfig: string | undefined;
  readonly authorizationKubeconfig: string | undefined;
  readonly authorizationAlwaysAllowPaths: readonly string[];
  readonly clientCaFile: string | undefined;
  readonly bindAddress: string;
  /** 0: no port is served. */
  readonly securePort: number;
  readonly tlsCertFile: string | undefined;
  readonly tlsPrivateKeyFile: string | undefined;
  /** '': none. */
  readonly certDir: string;
  readonly tls: Pick<TlsFlags, 'minVersion' | 'cipherSuites' | 'curvePreferences' | 'sniCertKeys'>;
  readonly permitPortSharing: boolean;
  readonly metrics: MetricFlags;
  readonly tokenTtlMs: number;
  readonly authorizedTtlMs: number;
  readonly unauthorizedTtlMs: number;
  /** Authorities that are not given are not looked for in the cluster. */
  readonly skipLookup: boolean;
  readonly tolerateLookupFailure: boolean;
  readonly requestheaderClientCaFile: string | undefined;
  readonly requestHeader: RequestHeaderOptions;
  readonly election: LeaderElectionFlags;
}

export interface ControlPlaneComponent {
  readonly component: string;
  readonly flags: ControlPlaneFlags;
  readonly env: ComponentEnvironment;
  readonly metrics?: readonly Family[];
  readonly routes?: ComponentServerOptions['routes'];
  /** Called when the work is to begin. */
  make(client: TypedClient, config: ConnectionConfig): Work;
}

interface Reviewers {
  readonly authentication: TypedClient | undefined;
  readonly authorization: TypedClient | undefined;
}

/** Clients for the reviews; each kubeconfig that is the component's own shares its connection. */
async function reviewers(
  flags: ControlPlaneFlags,
  env: ComponentEnvironment,
  agent: string,
  own: TypedClient,
  opened: TypedClient[],
): Promise<Reviewers> {
  const of = async (file: string | undefined, flag: string): Promise<TypedClient | undefined> => {
    if (file === undefined || file === '') return undefined;
    if (file === flags.kubeconfig) return own;
    const client = connect(await connectionOf({ kubeconfig: file }, env, flag), env, agent);
    opened.push(client);
    return client;
  };
  return {
    authentication: await of(flags.authenticationKubeconfig, 'authentication-kubeconfig'),
    authorization: await of(flags.authorizationKubeconfig, 'authorization-kubeconfig'),
  };
}

/** What the cluster tells of authorities, where some are not given. @throws {StartError} */
async function lookedUp(
  flags: ControlPlaneFlags,
  env: ComponentEnvironment,
  client: TypedClient | undefined,
): Promise<PublishedAuthorities> {
  const given = (flags.clientCaFile ?? '') !== '' && (flags.requestheaderClientCaFile ?? '') !== '';
  if (client === undefined || flags.skipLookup || given) return {};
  try {
    return await publishedAuthorities(client);
  } catch (error) {
    const why = `unable to load configmap based request-header-client-ca-file: ${(error as Error).message}`;
    if (!flags.tolerateLookupFailure) throw new StartError(why, { cause: error });
    env.logger.warn('Error looking up in-cluster authentication configuration', { why });
    return {};
  }
}

/** Resolves when the signal has ended it; rejects with one line when it cannot start or go on. */
export async function runControlPlaneComponent(c: ControlPlaneComponent): Promise<void> {
  const { component, env, flags } = c;
  const { clock, logger, signal } = env;
  const agent = userAgent(component);
  const config = await connectionOf(flags, env);
  const host = flags.bindAddress;
  const certificates = await readServingCertificates(flags, async () => {
    const make = (): Promise<KeyPair> =>
      selfSigned(env, ['localhost', '127.0.0.1', ...(isWildcard(host) ? [] : [host])]);
    const directory = { dir: flags.certDir, chosen: true, name: component };
    return (await certificateOfDirectory(directory, make, env)).pair;
  });
  const tls = readTlsSettings({ ...flags.tls, disableHttp2: true, goawayChance: 0, maxStreams: 0 });
  const metricChoice = await readMetricChoice(flags.metrics);
  if (flags.securePort !== 0) await probeAddress(host, flags.securePort, '--secure-port', flags.permitPortSharing);
  const client = connect(config, env, agent);
  const opened: TypedClient[] = [client];
  let server: ComponentServer | undefined;
  try {
    const { authentication, authorization } = await reviewers(flags, env, agent, client, opened);
    if (!(await waitForServer(client, config, env))) return;
    const leadership: Leadership = { leads: false };
    if (flags.securePort !== 0) {
      const published = await lookedUp(flags, env, authentication);
      const clientCA = certificates.clientCA ?? published.clientCA;
      const proxies =
        certificates.frontProxyCA === undefined
          ? published.proxies
          : { ca: certificates.frontProxyCA, headers: flags.requestHeader };
      server = await serveComponent({
        component,
        host,
        port: flags.securePort,
        flag: '--secure-port (0 serves none)',
        clock,
        logger,
        shared: flags.permitPortSharing,
        version: env.version,
        metricChoice,
        tls: { ...certificates, clientCA, proxyCA: proxies?.ca, settings: tls },
        auth: new DelegatedAuth({
          clock,
          authentication,
          authorization,
          clientCA,
          proxies,
          anonymous: true,
          tokenTtlMs: flags.tokenTtlMs,
          authorizedTtlMs: flags.authorizedTtlMs,
          unauthorizedTtlMs: flags.unauthorizedTtlMs,
        }),
        alwaysAllow: flags.authorizationAlwaysAllowPaths,
        checks: new Map(),
        ...(c.routes === undefined ? {} : { routes: c.routes }),
        metrics: [
          computed('gauge', 'leader_election_master_status', 'Whether this process is the leader of the lease.', () => [
            [{ name: flags.election.resourceName }, leadership.leads ? 1 : 0],
          ]),
          ...(env.requests?.families ?? []),
          ...(c.metrics ?? []),
        ],
      });
    }
    env.say(`${component}: working with ${config.server}${server === undefined ? '' : `, health on ${server.url}`}`);
    await lead({
      component,
      env,
      client,
      flags: flags.election,
      leadership,
      make: () => c.make(client, config),
    });
  } finally {
    await server?.close();
    await Promise.all(opened.map((o) => o.transport.close()));
    if (signal.aborted) logger.debug('stopped', { component });
  }
}
