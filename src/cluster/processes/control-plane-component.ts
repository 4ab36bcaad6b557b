/**
 * What scheduler and controller managers share as processes: kubeconfigs, the secure port with health and metrics, waiting for the
 * API server, and leader election around their work.
 */
import type { Family } from '../../apiserver/metrics/exposition.ts';
import { computed } from '../../apiserver/metrics/exposition.ts';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import { DelegatedAuth, publishedClientCA } from './delegated-auth.ts';
import type { ComponentEnvironment } from './environment.ts';
import { isWildcard, probeAddress, readCertificates, readKeyPair } from './environment.ts';
import type { Leadership, LeaderElectionFlags, Work } from './leading.ts';
import { lead } from './leading.ts';
import { selfSigned } from './self-signed.ts';

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
  readonly election: LeaderElectionFlags;
}

export interface ControlPlaneComponent {
  readonly component: string;
  readonly flags: ControlPlaneFlags;
  readonly env: ComponentEnvironment;
  readonly metrics?: readonly Family[];
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

/** Resolves when the signal has ended it; rejects with one line when it cannot start or go on. */
export async function runControlPlaneComponent(c: ControlPlaneComponent): Promise<void> {
  const { component, env, flags } = c;
  const { clock, logger, signal } = env;
  const agent = userAgent(component);
  const config = await connectionOf(flags, env);
  const [pair, namedCA] = await Promise.all([
    readKeyPair('tls-cert-file', flags.tlsCertFile, 'tls-private-key-file', flags.tlsPrivateKeyFile),
    readCertificates('client-ca-file', flags.clientCaFile),
  ]);
  if (flags.securePort !== 0) await probeAddress(flags.bindAddress, flags.securePort, '--secure-port');
  const client = connect(config, env, agent);
  const opened: TypedClient[] = [client];
  let server: ComponentServer | undefined;
  try {
    const { authentication, authorization } = await reviewers(flags, env, agent, client, opened);
    if (!(await waitForServer(client, config, env))) return;
    const leadership: Leadership = { leads: false };
    if (flags.securePort !== 0) {
      const clientCA = namedCA ?? (authentication === undefined ? undefined : await publishedClientCA(authentication));
      const host = flags.bindAddress;
      server = await serveComponent({
        component,
        host,
        port: flags.securePort,
        flag: '--secure-port (0 serves none)',
        clock,
        logger,
        tls: {
          ...(pair ?? (await selfSigned(env, ['localhost', '127.0.0.1', ...(isWildcard(host) ? [] : [host])]))),
          clientCA,
        },
        auth: new DelegatedAuth({
          clock,
          authentication,
          authorization,
          clientCertificates: clientCA !== undefined,
          anonymous: true,
        }),
        alwaysAllow: flags.authorizationAlwaysAllowPaths,
        checks: new Map(),
        metrics: [
          computed('gauge', 'leader_election_master_status', 'Whether this process is the leader of the lease.', () => [
            [{ name: flags.election.resourceName }, leadership.leads ? 1 : 0],
          ]),
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
