/**
 * A kubelet's certificates on disk in upstream's layout: each in a file with its time, and a link `PREFIX-current.pem` to the newest;
 * and when the next one is asked for: when seven to nine tenths of its life have passed.
 */
import { X509Certificate } from 'node:crypto';
import { readFile, rename, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../../base/directories.ts';
import type { CertificateEnvironment, CertificatePair } from './certificate-request.ts';

export type CertificateKind = 'kubelet-client' | 'kubelet-server';

/** The certificate (with its chain) and the key in a file's text; undefined without either. */
export function readPair(text: string): CertificatePair | undefined {
  const certificate = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g)?.join('');
  const key = /-----BEGIN (?:EC )?PRIVATE KEY-----[\s\S]+?-----END (?:EC )?PRIVATE KEY-----\n?/.exec(text)?.[0];
  return certificate === undefined || key === undefined ? undefined : { certificate, key };
}

export const currentFile = (dir: string, kind: CertificateKind): string => join(dir, `${kind}-current.pem`);

/** The newest one; undefined when there is none for this node that is still good. */
export async function loadCurrent(
  dir: string,
  kind: CertificateKind,
  nodeName: string,
  now: number,
): Promise<CertificatePair | undefined> {
  let text: string;
  try {
    text = await readFile(currentFile(dir, kind), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const pair = readPair(text);
  if (pair === undefined) return undefined;
  const certificate = new X509Certificate(pair.certificate);
  const ours = certificate.subject.split('\n').includes(`CN=system:node:${nodeName}`);
  return ours && Date.parse(certificate.validTo) > now ? pair : undefined;
}

export async function saveCurrent(
  dir: string,
  kind: CertificateKind,
  pair: CertificatePair,
  now: number,
): Promise<void> {
  makeDirectory(dir, 0o700);
  const stamp = new Date(now).toISOString().slice(0, 19).replaceAll(':', '-').replace('T', '-');
  const name = `${kind}-${stamp}.pem`;
  await writeFile(join(dir, name), pair.certificate + pair.key, { mode: 0o600 });
  const link = `${currentFile(dir, kind)}.new`;
  await unlink(link).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await symlink(name, link);
  await rename(link, currentFile(dir, kind));
}

/** When to ask for the next one, in milliseconds since the epoch. */
export function renewAt(pair: CertificatePair, env: Pick<CertificateEnvironment, 'random'>): number {
  const certificate = new X509Certificate(pair.certificate);
  const from = Date.parse(certificate.validFrom);
  const life = Date.parse(certificate.validTo) - from;
  return from + life * (0.7 + 0.2 * env.random.float());
}
