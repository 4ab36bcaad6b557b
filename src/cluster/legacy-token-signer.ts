/** Tokens that Secrets of type kubernetes.io/service-account-token hold: the claims as upstream's token controller writes them. */
import { ServiceAccountKeys } from '../apiserver/authentication/service-account-keys.ts';
import type { ControllerOptions } from '../controllers/options.ts';

/** `key`: PEM of the signing key. */
export function legacyTokenSigner(key: string): NonNullable<ControllerOptions['signServiceAccountToken']> {
  const keys = new ServiceAccountKeys({ signingKey: key });
  return (c) =>
    Promise.resolve(
      keys.sign({
        iss: 'kubernetes/serviceaccount',
        'kubernetes.io/serviceaccount/namespace': c.namespace,
        'kubernetes.io/serviceaccount/secret.name': c.secretName,
        'kubernetes.io/serviceaccount/service-account.name': c.serviceAccountName,
        'kubernetes.io/serviceaccount/service-account.uid': c.serviceAccountUid,
        sub: `system:serviceaccount:${c.namespace}:${c.serviceAccountName}`,
      }),
    );
}
