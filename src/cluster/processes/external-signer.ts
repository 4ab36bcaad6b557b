/** `--service-account-signing-endpoint`: the signer of service account tokens that is somebody else. */
import type { TokenKeys } from '../../apiserver/authentication/service-account-keys.ts';
import type { SecurityConfiguration } from '../../apiserver/security.ts';
import type { ApiServer } from '../../apiserver/server.ts';
import { formatDuration } from '../../api/time.ts';
import type { SecurityFlags } from './security.ts';
import { StartError, type ComponentEnvironment } from './environment.ts';

export interface SigningFlags {
  readonly signingKeyFile: string | undefined;
  readonly signingEndpoint: string | undefined;
}

export interface Signer {
  readonly keys: TokenKeys;
  /** With what the signer lets tokens live for. */
  readonly security: SecurityConfiguration;
  install(server: ApiServer): void;
  close(): void;
}

const abstractName = /^@([a-zA-Z0-9_-]+\.)*[a-zA-Z0-9_-]+$/;
const year = 365 * 24 * 3600;

/** Refuses what does not fit together, before anything is started. @throws {StartError} */
export function checkSigning(flags: SigningFlags, keyFiles: readonly string[]): void {
  const { signingEndpoint: endpoint = '', signingKeyFile } = flags;
  if (endpoint === '') {
    if (signingKeyFile === undefined)
      throw new StartError(
        '--service-account-signing-key-file is a required flag ("knarr certificates" makes pki/sa.key)',
      );
    return;
  }
  if (signingKeyFile !== undefined)
    throw new StartError(
      'service-account-signing-key-file and service-account-signing-endpoint are mutually exclusive and cannot be set at the same time',
    );
  if (keyFiles.length > 0)
    throw new StartError(
      "can't set `--service-account-signing-key-file` and/or `--service-account-key-file` with `--service-account-signing-endpoint` (They are mutually exclusive)",
    );
  if (endpoint.startsWith('@') && !abstractName.test(endpoint))
    throw new StartError(
      `invalid value ${JSON.stringify(endpoint)} passed for \`--service-account-signing-endpoint\`, when prefixed with @ must be a valid abstract socket name`,
    );
}

/** Undefined where tokens are signed by a key of our own. @throws {StartError} */
export async function openSigner(
  flags: SigningFlags,
  accounts: Pick<SecurityFlags, 'serviceAccountMaxTokenExpirationMs' | 'serviceAccountExtendTokenExpiration'>,
  security: SecurityConfiguration,
  env: Pick<ComponentEnvironment, 'clock' | 'logger'>,
): Promise<Signer | undefined> {
  const { signingEndpoint: endpoint = '' } = flags;
  if (endpoint === '') return undefined;
  const { ExternalSigner } = await import('../../apiserver/authentication/external-signer.ts');
  const { clock, logger } = env;
  const signer = new ExternalSigner({ endpoint, clock, logger });
  try {
    await signer.start();
  } catch (error) {
    signer.close();
    throw new StartError(`while setting up external-jwt-signer: ${(error as Error).message}`, { cause: error });
  }
  const most = signer.maxTokenSeconds;
  const asked = Math.floor((accounts.serviceAccountMaxTokenExpirationMs ?? 0) / 1000);
  if (asked > most) {
    signer.close();
    throw new StartError(
      `service-account-max-token-expiration cannot be set longer than the token expiration supported by service-account-signing-endpoint: ${formatDuration(asked * 1000)} > ${formatDuration(most * 1000)}`,
    );
  }
  const max = asked === 0 ? most : asked;
  if (accounts.serviceAccountExtendTokenExpiration && asked === 0) {
    if (max < 3607)
      logger.warn(
        `service-account-extend-token-expiration is true, in order to correctly trigger safe transition logic, token lifetime supported by external-jwt-signer must be longer than 3607 seconds (currently ${formatDuration(max * 1000)})`,
      );
    if (max < year)
      logger.warn(
        `service-account-extend-token-expiration is true, tokens validity will be caped at the smaller of ${year} seconds and maximum token lifetime supported by external-jwt-signer (${formatDuration(max * 1000)})`,
      );
  }
  return {
    keys: signer,
    security: { ...security, maxTokenExpirationSeconds: max, maxExtendedExpirationSeconds: Math.min(year, most) },
    install: (server) => server.metrics.register(...signer.families),
    close: () => signer.close(),
  };
}
