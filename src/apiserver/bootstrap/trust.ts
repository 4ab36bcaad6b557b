/**
 * What aggregated API servers authenticate callers with, in the ConfigMap `extension-apiserver-authentication`: what this server
 * believes beside what is there already, since servers with other authorities may share the store and clients may still have
 * certificates of one that goes. Certificates that have expired fall out.
 */
import { X509Certificate } from 'node:crypto';
import type { KubeObject } from '../../api/object.ts';

/** For clocks that are not together. */
const slackMs = 300_000;

function certificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error('no certificate');
  return blocks.map((block) => new X509Certificate(block));
}

function joinCertificates(pems: readonly string[], now: number): string {
  const joined = new Map<string, string>();
  for (const c of pems.flatMap(certificates))
    if (c.validToDate.getTime() > now - slackMs) joined.set(c.fingerprint512, c.toString());
  return [...joined.values()].map((text) => (text.endsWith('\n') ? text : `${text}\n`)).join('');
}

function joinLists(lists: readonly string[]): string {
  return JSON.stringify([...new Set(lists.flatMap((text) => JSON.parse(text) as string[]))]);
}

/** The data of the ConfigMap. `current`: as it is; what cannot be read of it is given up. */
export function joinedTrust(
  current: KubeObject | undefined,
  own: Readonly<Record<string, string>>,
  now: number,
): Record<string, string> {
  const there = (current?.['data'] ?? {}) as Readonly<Record<string, string>>;
  const joined: Record<string, string> = {};
  for (const key of ['client-ca-file', ...requestHeaderKeys]) {
    const values = [there[key] ?? '', own[key] ?? ''].filter((value) => value !== '');
    if (values.length === 0) continue;
    const join = (parts: readonly string[]): string =>
      key.endsWith('-ca-file') ? joinCertificates(parts, now) : joinLists(parts);
    let value: string;
    try {
      value = join(values);
    } catch {
      // Not what a server has written.
      value = own[key] ?? '';
    }
    if (value !== '') joined[key] = value;
  }
  if (joined['requestheader-client-ca-file'] === undefined) for (const key of requestHeaderKeys) delete joined[key];
  return joined;
}

const requestHeaderKeys = [
  'requestheader-allowed-names',
  'requestheader-client-ca-file',
  'requestheader-extra-headers-prefix',
  'requestheader-group-headers',
  'requestheader-uid-headers',
  'requestheader-username-headers',
] as const;
