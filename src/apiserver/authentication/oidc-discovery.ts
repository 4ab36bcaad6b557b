/** What lets others verify service account tokens: the OpenID discovery document and the key set. */
import type { TokenKeys } from './service-account-keys.ts';

export interface OidcDocument {
  readonly path: string;
  readonly contentType: string;
  cacheControl(): string;
  /** Made when it is asked for: where clients reach the server may be known only then. */
  body(): Buffer;
}

/**
 * The two documents (`/.well-known/openid-configuration`, `/openid/v1/jwks`). `jwksUri`: full URL of the key set as clients
 * outside reach it (upstream: `https://<advertised address>/openid/v1/jwks`). None for an issuer that is no https URL: nobody
 * could discover it.
 */
export function oidcDocuments(options: {
  readonly keys: TokenKeys;
  readonly issuer: string;
  readonly jwksUri: () => string;
}): readonly OidcDocument[] {
  if (!URL.canParse(options.issuer) || !options.issuer.startsWith('https://')) return [];
  const { keys } = options;
  let made = { generation: -1, keySet: Buffer.alloc(0), algorithms: [] as readonly string[] };
  const current = (): typeof made => {
    if (made.generation === keys.generation) return made;
    const set = keys.jwks();
    made = {
      generation: keys.generation,
      keySet: Buffer.from(JSON.stringify({ keys: set.keys })),
      algorithms: set.algorithms,
    };
    return made;
  };
  const configuration = () => ({
    issuer: options.issuer,
    jwks_uri: options.jwksUri(),
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: current().algorithms,
  });
  const cacheControl = (): string => `public, max-age=${keys.maxAgeSeconds()}`;
  return [
    {
      path: '/.well-known/openid-configuration',
      contentType: 'application/json',
      cacheControl,
      body: () => Buffer.from(JSON.stringify(configuration())),
    },
    {
      path: '/openid/v1/jwks',
      contentType: 'application/jwk-set+json',
      cacheControl,
      body: () => current().keySet,
    },
  ];
}
