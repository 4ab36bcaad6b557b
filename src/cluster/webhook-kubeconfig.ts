/** The kubeconfig of a webhook (authentication, authorization, image policy) as the API server's client takes it. */
import { readFile } from 'node:fs/promises';
import type { WebhookClientConfig } from '../apiserver/connect/webhook-client.ts';
import type { Clock } from '../base/clock.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';

/** @throws {Error} when the file cannot be read or names no server */
export async function webhookOfKubeconfig(file: string, clock: Clock): Promise<WebhookClientConfig> {
  const connection = await loadKubeconfig(file, { clock });
  if (!connection.server.toLowerCase().startsWith('https://'))
    throw new Error(`${file}: the server of a webhook is an https URL, not ${connection.server}`);
  const token =
    connection.tokenFile === undefined ? connection.token : (await readFile(connection.tokenFile, 'utf8')).trim();
  return {
    url: connection.server,
    ...(connection.ca === undefined ? {} : { caBundle: Buffer.from(connection.ca).toString('base64') }),
    ...(connection.certificate === undefined || connection.key === undefined
      ? {}
      : { clientCertificate: { certificate: connection.certificate, key: connection.key } }),
    ...(token === undefined ? {} : { token }),
    ...(connection.tlsServerName === undefined ? {} : { serverName: connection.tlsServerName }),
    ...(connection.insecureSkipTlsVerify === true ? { insecureSkipTLSVerify: true } : {}),
  };
}
