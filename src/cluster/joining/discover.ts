/**
 * How a machine that knows an address, a bootstrap token and the hash of the authority's key comes to trust a cluster: it reads
 * `cluster-info` without trust, checks that the token signed it and that the authority in it has that key, and asks once more
 * with trust (kubeadm's token-based discovery).
 */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { parseBootstrapToken, verifiedClusterInfo } from '../../api/helpers/bootstrap-token.ts';
import { HttpTransport } from '../../client/http-transport.ts';
import type { ConnectionConfig } from '../../client/kubeconfig.ts';
import { createClient } from '../../client/typed-client.ts';
import { userAgent } from '../processes/api-connection.ts';
import { StartError } from '../processes/environment.ts';
import { publicKeyHash } from './tokens.ts';

export interface DiscoveryOptions {
  readonly server: string;
  readonly token: string;
  /** Any of these; empty takes whatever the token vouches for. */
  readonly caCertHashes: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
}

/** A token is signed for a moment after it is made; so long is asked again. */
const signatureWaitMs = 5000;
const askAgainMs = 250;
const hashForm = /^sha256:[0-9a-f]{64}$/;

async function clusterInfo(
  config: ConnectionConfig,
  id: string,
  secret: string,
  { clock, random }: DiscoveryOptions,
): Promise<string> {
  const end = clock.now() + signatureWaitMs;
  const client = createClient(new HttpTransport(config, { random, userAgent: userAgent('knarr') }));
  try {
    for (;;) {
      const map = await client.core.configmaps.get('cluster-info', 'kube-public');
      const kubeconfig = verifiedClusterInfo(map, id, secret);
      if (kubeconfig !== undefined) return kubeconfig;
      if (clock.now() >= end)
        throw new StartError(
          `${config.server} does not know the token ${id}.…: it may have expired; make a new one there with "knarr token create"`,
        );
      await clock.sleep(askAgainMs);
    }
  } finally {
    await client.transport.close();
  }
}

/** The authorities of a cluster-info's kubeconfig, PEM. */
function authorityOf(kubeconfig: string): string {
  const data = /certificate-authority-data:\s*(\S+)/.exec(kubeconfig)?.[1];
  if (data === undefined) throw new StartError('the cluster-info of that server names no certificate authority');
  return Buffer.from(data, 'base64').toString('utf8');
}

/** PEM of the authority of the cluster at `server`. @throws StartError in one line */
export async function discoverCluster(options: DiscoveryOptions): Promise<string> {
  const parsed = parseBootstrapToken(options.token);
  if (parsed === undefined)
    throw new StartError('--token is not of the form [a-z0-9]{6}.[a-z0-9]{16}: make one with "knarr token create"');
  for (const hash of options.caCertHashes)
    if (!hashForm.test(hash)) throw new StartError(`--ca-cert-hash ${hash} is not of the form sha256:<64 hex digits>`);
  const { server } = options;
  let ca: string;
  try {
    ca = authorityOf(await clusterInfo({ server, insecureSkipTlsVerify: true }, parsed.id, parsed.secret, options));
    const hash = publicKeyHash(ca);
    if (options.caCertHashes.length > 0 && !options.caCertHashes.includes(hash))
      throw new StartError(`the cluster at ${server} is another one: its authority is ${hash}`);
    // The same again, from a server that now has to show a certificate of that authority.
    const again = authorityOf(await clusterInfo({ server, ca }, parsed.id, parsed.secret, options));
    if (again !== ca) throw new StartError(`${server} gave two different authorities`);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`cannot read cluster-info from ${server}: ${(error as Error).message}`, { cause: error });
  }
  return ca;
}
