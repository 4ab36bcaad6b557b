/** `--egress-selector-config-file`: reads it and the files it names. */
import { existsSync } from 'node:fs';
import { decodeEgressConfiguration, validateEgressSelections } from '../../apiserver/egress/config.ts';
import type { EgressSelection } from '../../apiserver/egress/config.ts';
import { EgressSelector } from '../../apiserver/egress/selector.ts';
import type { EgressName, EgressProxy } from '../../apiserver/egress/selector.ts';
import { aggregateFieldErrors } from '../../apiserver/authentication/config.ts';
import { SystemRandom } from '../../base/random.ts';
import { loadYaml } from '../yaml.ts';
import { readCertificates, readKeyPair, readNamed, StartError } from './environment.ts';

const flag = 'egress-selector-config-file';

async function proxyOf({ connection }: EgressSelection): Promise<EgressProxy | undefined> {
  if (connection.proxyProtocol === 'Direct') return undefined;
  if (connection.proxyProtocol === 'GRPC')
    return { transport: 'uds', path: connection.transport!.uds!.udsName, grpc: new SystemRandom() };
  const { tcp, uds } = connection.transport!;
  if (uds !== undefined) return { transport: 'uds', path: uds.udsName };
  const { url, tlsConfig } = tcp!;
  if (!URL.canParse(url)) throw new StartError(`--${flag}: invalid proxy server url "${url}"`);
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const secure = protocol === 'https:';
  const way = { transport: 'tcp', host, port: port === '' ? (secure ? 443 : 80) : Number(port) } as const;
  if (!secure) return way;
  const { caBundle, clientCert, clientKey, tlsServerName = '' } = tlsConfig!;
  const ca = await readCertificates(`${flag}, caBundle`, caBundle);
  const pair = await readKeyPair(`${flag}, clientCert`, clientCert, `${flag}, clientKey`, clientKey);
  return {
    ...way,
    tls: {
      serverName: tlsServerName === '' ? host : tlsServerName,
      ...(ca === undefined ? {} : { ca }),
      clientCertificate: pair!,
    },
  };
}

/** @throws {StartError} */
export async function readEgressSelector(path: string | undefined): Promise<EgressSelector | undefined> {
  if (path === undefined || path === '') return undefined;
  const text = await readNamed(flag, path);
  let selections;
  try {
    selections = decodeEgressConfiguration(await loadYaml(text));
  } catch (error) {
    throw new StartError(`failed to read egress selector config: ${(error as Error).message}`, { cause: error });
  }
  const errors = validateEgressSelections(selections, existsSync);
  if (errors.length > 0)
    throw new StartError(`failed to validate egress selector configuration: ${aggregateFieldErrors(errors)}`);
  if (selections.length === 0) return undefined;
  const proxies = new Map<EgressName, EgressProxy | undefined>();
  for (const selection of selections) {
    proxies.set(selection.name.toLowerCase() as EgressName, await proxyOf(selection));
  }
  return new EgressSelector(proxies);
}
