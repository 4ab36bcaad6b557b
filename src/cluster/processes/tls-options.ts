/** TLS settings in upstream's words (`--tls-min-version`, `--tls-cipher-suites`, curve ids) as Node's TLS wants them. */
import type { SecureVersion } from 'node:tls';
import { tlsSettings } from '../../apiserver/http/tls-settings.ts';
import { StartError } from './environment.ts';

/** @throws StartError for what is not known */
export function tlsOptions(given: {
  readonly minVersion: string;
  readonly cipherSuites: readonly string[];
  readonly curves?: readonly number[];
}): { readonly minVersion: SecureVersion; readonly ciphers?: string; readonly ecdhCurve?: string } {
  try {
    const { minVersion, ciphers, curves } = tlsSettings({
      minVersion: given.minVersion,
      cipherSuites: given.cipherSuites,
      curves: (given.curves ?? []).map(String),
      http2: true,
    });
    return {
      minVersion,
      ...(ciphers === undefined ? {} : { ciphers }),
      ...(curves === undefined ? {} : { ecdhCurve: curves }),
    };
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
}
