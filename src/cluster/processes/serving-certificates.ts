/** The certificates that the API server serves with and believes, from the files of its flags, followed as they change. */
import type { ListenerCertificates } from '../../apiserver/http/listener.ts';
import { tlsSettings, type NamedCertificate, type TlsSettings } from '../../apiserver/http/tls-settings.ts';
import { watchFile } from '../../base/file-watch.ts';
import type { KeyPair } from './environment.ts';
import { readCertificates, readKeyPair, StartError, type ComponentEnvironment } from './environment.ts';

export interface TlsFlags {
  readonly minVersion: string;
  readonly cipherSuites: readonly string[];
  readonly curvePreferences: readonly string[];
  /** `certificate,key` or `certificate,key:name,…` */
  readonly sniCertKeys: readonly string[];
  readonly disableHttp2: boolean;
  readonly goawayChance: number;
  /** 0: the default. */
  readonly maxStreams: number;
}

export interface CertificateFiles {
  readonly tlsCertFile: string | undefined;
  readonly tlsPrivateKeyFile: string | undefined;
  readonly clientCaFile: string | undefined;
  readonly requestheaderClientCaFile: string | undefined;
  readonly tls: Pick<TlsFlags, 'sniCertKeys'>;
}

/** @throws {StartError} */
export function readTlsSettings(flags: TlsFlags): TlsSettings {
  if (!(flags.goawayChance >= 0 && flags.goawayChance <= 0.02))
    throw new StartError('--goaway-chance can not be less than 0 or greater than 0.02');
  try {
    if (flags.maxStreams < 0) throw new Error('--http2-max-streams-per-connection can not be a negative value');
    const settings = tlsSettings({
      minVersion: flags.minVersion,
      cipherSuites: flags.cipherSuites,
      curves: flags.curvePreferences,
      http2: !flags.disableHttp2,
    });
    return flags.maxStreams === 0 ? settings : { ...settings, maxStreams: flags.maxStreams };
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
}

interface SniFiles {
  readonly certificate: string;
  readonly key: string;
  readonly names: readonly string[];
}

function sniFiles(text: string): SniFiles {
  const at = text.indexOf(':');
  const files = (at < 0 ? text : text.slice(0, at)).split(',');
  if (at === text.length - 1) throw new StartError('empty names list is not allowed');
  if (files.length !== 2 || files.includes(''))
    throw new StartError('expected comma separated certificate and key file paths');
  return {
    certificate: files[0]!,
    key: files[1]!,
    names:
      at < 0
        ? []
        : text
            .slice(at + 1)
            .split(',')
            .map((n) => n.trim()),
  };
}

async function readNamed(files: readonly SniFiles[]): Promise<NamedCertificate[]> {
  return Promise.all(
    files.map(async ({ certificate, key, names }) => {
      const pair = await readKeyPair('tls-sni-cert-key', certificate, 'tls-sni-cert-key', key);
      return { ...pair!, names };
    }),
  );
}

/**
 * Reads what the flags name; `fallback` serves where they name no certificate.
 * @throws {StartError}
 */
export async function readServingCertificates(
  flags: CertificateFiles,
  fallback: () => Promise<KeyPair>,
): Promise<ListenerCertificates> {
  const [given, clientCA, frontProxyCA, named] = await Promise.all([
    readKeyPair('tls-cert-file', flags.tlsCertFile, 'tls-private-key-file', flags.tlsPrivateKeyFile),
    readCertificates('client-ca-file', flags.clientCaFile),
    readCertificates('requestheader-client-ca-file', flags.requestheaderClientCaFile),
    readNamed(flags.tls.sniCertKeys.map(sniFiles)),
  ]);
  const pair = given ?? (await fallback());
  return {
    certificate: pair.certificate,
    key: pair.key,
    ...(clientCA === undefined ? {} : { clientCA }),
    ...(frontProxyCA === undefined ? {} : { frontProxyCA }),
    ...(named.length === 0 ? {} : { named }),
  };
}

/** Tells `update` of other certificates whenever the files hold such. Returns what ends it. */
export function followServingCertificates(
  flags: CertificateFiles,
  first: ListenerCertificates,
  update: (certificates: ListenerCertificates) => Promise<void>,
  env: Pick<ComponentEnvironment, 'logger'>,
): () => void {
  const { logger } = env;
  let current = JSON.stringify(first);
  let turn: Promise<void> = Promise.resolve();
  const look = async (): Promise<void> => {
    try {
      const pair = { certificate: first.certificate, key: first.key };
      const next = await readServingCertificates(flags, () => Promise.resolve(pair));
      const text = JSON.stringify(next);
      if (text === current) return;
      await update(next);
      current = text;
      logger.info('serving certificates and client authorities were read anew');
    } catch (error) {
      // Half of a pair may be written: the other half's event comes, too.
      logger.warn('changed certificates cannot be used; those before go on', { error });
    }
  };
  const files = new Set(
    [
      flags.tlsCertFile,
      flags.tlsPrivateKeyFile,
      flags.clientCaFile,
      flags.requestheaderClientCaFile,
      ...flags.tls.sniCertKeys.map(sniFiles).flatMap((f) => [f.certificate, f.key]),
    ].filter((f): f is string => f !== undefined && f !== ''),
  );
  const stops = [...files].map((file) =>
    watchFile(
      file,
      () => {
        turn = turn.then(look);
      },
      { onError: (error) => logger.warn('cannot follow a certificate', { file, error }) },
    ),
  );
  return () => {
    for (const stop of stops) stop();
  };
}
