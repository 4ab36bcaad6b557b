/** TLS settings in upstream's words (`--tls-min-version`, `--tls-cipher-suites`, curve ids) as Node's TLS wants them. */
import type { SecureVersion } from 'node:tls';
import { StartError } from './environment.ts';

const versions: Readonly<Record<string, SecureVersion>> = {
  VersionTLS10: 'TLSv1',
  VersionTLS11: 'TLSv1.1',
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
};

/** IANA's names and OpenSSL's. */
const suites: Readonly<Record<string, string>> = {
  TLS_AES_128_GCM_SHA256: 'TLS_AES_128_GCM_SHA256',
  TLS_AES_256_GCM_SHA384: 'TLS_AES_256_GCM_SHA384',
  TLS_CHACHA20_POLY1305_SHA256: 'TLS_CHACHA20_POLY1305_SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
};

/** Go's ids of curves (IANA's supported groups). */
const curves: Readonly<Record<number, string>> = {
  23: 'P-256',
  24: 'P-384',
  25: 'P-521',
  29: 'X25519',
  4588: 'X25519MLKEM768',
};

/** @throws StartError for what is not known */
export function tlsOptions(given: {
  readonly minVersion: string;
  readonly cipherSuites: readonly string[];
  readonly curves?: readonly number[];
}): { readonly minVersion: SecureVersion; readonly ciphers?: string; readonly ecdhCurve?: string } {
  const minVersion = given.minVersion === '' ? 'TLSv1.2' : versions[given.minVersion];
  if (minVersion === undefined) throw new StartError(`unknown tls version ${JSON.stringify(given.minVersion)}`);
  const ciphers = given.cipherSuites.map((name) => {
    const suite = suites[name];
    if (suite === undefined) throw new StartError(`Cipher suite ${name} not supported or doesn't exist`);
    return suite;
  });
  // Suites of TLS 1.3 cannot be chosen, in Go as little as here.
  const chosen = ciphers.filter((c) => !c.startsWith('TLS_'));
  const groups = (given.curves ?? []).map((id) => {
    const curve = curves[id];
    if (curve === undefined) throw new StartError(`unknown curve id ${id} in tlsCurvePreferences`);
    return curve;
  });
  return {
    minVersion,
    ...(chosen.length === 0
      ? {}
      : {
          ciphers: ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', ...chosen].join(
            ':',
          ),
        }),
    ...(groups.length === 0 ? {} : { ecdhCurve: groups.join(':') }),
  };
}
