/** `serviceaccounts/token` (TokenRequest): a bound, expiring token for a service account. */
import type { Clock } from '../../base/clock.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { invalid, invalidStatus, type FieldError } from '../../api/field-error.ts';
import { badRequest, conflict, internalError } from '../../api/status.ts';
import { loopbackContext } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import type { KubeObjectLike } from '../request.ts';
import { timeText, type VirtualCreate } from '../virtual.ts';
import type { ServiceAccountTokens } from './service-account-token.ts';

/** The lifetime of tokens that the ServiceAccount admission plugin asks for; its odd value is how they are told apart. */
export const injectedTokenSeconds = 3607;
const extendedSeconds = 365 * 24 * 3600;
const group = 'authentication.k8s.io';

interface BoundObjectReference {
  kind?: string;
  apiVersion?: string;
  name?: string;
  uid?: string;
}

interface TokenRequestSpec {
  audiences?: string[];
  expirationSeconds?: number;
  boundObjectRef?: BoundObjectReference;
}

export interface TokenRequestOptions {
  readonly tokens: ServiceAccountTokens;
  readonly registries: Registries;
  readonly clock: Clock;
  readonly features: FeatureGates;
  /** `--service-account-extend-token-expiration`; upstream's default is true. */
  readonly extendExpiration: boolean;
  /** `--service-account-max-token-expiration` in seconds; 0 for no limit. */
  readonly maxExpirationSeconds: number;
  /** What extended ones live for at most, in seconds; default a year. */
  readonly maxExtendedSeconds?: number | undefined;
}

function specErrors(spec: TokenRequestSpec): FieldError[] {
  const seconds = spec.expirationSeconds ?? 0;
  const errors: FieldError[] = [];
  if (seconds < 600)
    errors.push(invalid('spec.expirationSeconds', seconds, 'may not specify a duration less than 10 minutes'));
  if (seconds > 2 ** 32)
    errors.push(invalid('spec.expirationSeconds', seconds, 'may not specify a duration larger than 2^32 seconds'));
  return errors;
}

export function createTokenRequestHandler(options: TokenRequestOptions): VirtualCreate {
  const { registries, tokens, clock, features } = options;
  const read = async (resource: string, namespace: string, name: string): Promise<KubeObjectLike> => {
    const registry = registries.registry('', resource)!;
    const ctx = loopbackContext({ verb: 'get', resource: registry.resource, namespace, name });
    return (await registry.get(ctx, namespace, name, '')).object();
  };
  return async (ctx, object, admit) => {
    const { namespace, name } = ctx.info;
    const metadata = object.metadata;
    if (metadata.name !== undefined && metadata.name !== '' && metadata.name !== name)
      throw invalidStatus(group, 'TokenRequest', name, [
        invalid('metadata.name', metadata.name, 'must match the service account name if specified'),
      ]);
    if (metadata.namespace !== undefined && metadata.namespace !== '' && metadata.namespace !== namespace)
      throw invalidStatus(group, 'TokenRequest', name, [
        invalid('metadata.namespace', metadata.namespace, 'must match the service account namespace if specified'),
      ]);
    const account = await read('serviceaccounts', namespace, name);
    const uid = String(account.metadata['uid'] ?? '');
    const asked = metadata.uid === undefined || metadata.uid === '' ? uid : metadata.uid;
    if (asked !== uid) {
      const gate = 'TokenRequestServiceAccountUIDValidation';
      const why = `the UID in the token request (${asked}) does not match the UID of the service account (${uid})`;
      if (features.enabled(gate)) throw conflict({ group, resource: 'TokenRequest' }, name, why);
      ctx.annotate('authentication.k8s.io/token-request-uid-mismatch', why);
      ctx.warn(`${why} but ${gate} is not enabled. In the future, this will return a conflict error`);
    }
    const given = (object['spec'] ?? {}) as TokenRequestSpec;
    const spec: TokenRequestSpec = {
      ...given,
      // null as well: an empty list of a kind that is not stored is written so.
      audiences: (given.audiences ?? []).length === 0 ? [...tokens.audiences] : given.audiences,
      expirationSeconds: given.expirationSeconds ?? 3600,
    };
    const now = clock.now();
    const request = {
      ...object,
      metadata: { ...metadata, name, namespace, uid: asked, creationTimestamp: timeText(now) },
      spec,
    };
    delete (request as Record<string, unknown>)['status'];
    const errors = specErrors(spec);
    if (errors.length > 0) throw invalidStatus(group, 'TokenRequest', '', errors);
    await admit(request);

    let pod: { name: string; uid: string } | undefined;
    let node: { name: string; uid: string } | undefined;
    let secret: { name: string; uid: string } | undefined;
    const ref = spec.boundObjectRef ?? undefined;
    if (ref !== undefined) {
      const target = ref.name ?? '';
      let boundUid: string;
      if (ref.apiVersion === 'v1' && ref.kind === 'Pod') {
        const found = await read('pods', namespace, target);
        const podSpec = (found['spec'] ?? {}) as { serviceAccountName?: string; nodeName?: string };
        if (podSpec.serviceAccountName !== name)
          throw badRequest(
            `cannot bind token for serviceaccount "${name}" to pod running with different serviceaccount name.`,
          );
        boundUid = String(found.metadata['uid']);
        pod = { name: target, uid: boundUid };
        if (podSpec.nodeName !== undefined && podSpec.nodeName !== '') {
          const running = registries.cachedGet('', 'nodes', '', podSpec.nodeName);
          node = { name: podSpec.nodeName, uid: String(running?.object().metadata['uid'] ?? '') };
        }
      } else if (ref.apiVersion === 'v1' && ref.kind === 'Node') {
        boundUid = String((await read('nodes', '', target)).metadata['uid']);
        node = { name: target, uid: boundUid };
      } else if (ref.apiVersion === 'v1' && ref.kind === 'Secret') {
        boundUid = String((await read('secrets', namespace, target)).metadata['uid']);
        secret = { name: target, uid: boundUid };
      } else {
        const gv = (ref.apiVersion ?? '').split('/');
        const [g, v] = gv.length === 2 ? gv : ['', gv[0]];
        throw badRequest(`cannot bind token to object of type ${g}/${v}, Kind=${ref.kind ?? ''}`);
      }
      if (ref.uid !== undefined && ref.uid !== '' && ref.uid !== boundUid)
        throw conflict(
          { group: '', resource: ref.kind },
          target,
          `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
        );
    }
    const max = options.maxExpirationSeconds;
    if (max > 0 && spec.expirationSeconds! > max) {
      ctx.warn(`requested expiration of ${spec.expirationSeconds} seconds shortened to ${max} seconds`);
      spec.expirationSeconds = max;
    }
    let lifetime = spec.expirationSeconds!;
    let warnAfterSeconds = 0;
    // Clients that never read their token file again keep working for a year; later use is remarked on.
    if (
      options.extendExpiration &&
      pod !== undefined &&
      lifetime === injectedTokenSeconds &&
      spec.audiences!.every((a) => tokens.audiences.includes(a))
    ) {
      warnAfterSeconds = lifetime;
      lifetime = options.maxExtendedSeconds ?? extendedSeconds;
    }
    let issued: { readonly token: string; readonly id: string };
    try {
      issued = await tokens.issue({
        namespace,
        serviceAccount: { name, uid },
        ...(pod === undefined ? {} : { pod }),
        ...(secret === undefined ? {} : { secret }),
        ...(node === undefined ? {} : { node }),
        audiences: spec.audiences!,
        expirationSeconds: lifetime,
        warnAfterSeconds,
      });
    } catch (error) {
      throw internalError(new Error(`failed to generate token: ${(error as Error).message}`, { cause: error }));
    }
    const { token, id } = issued;
    ctx.annotate('authentication.kubernetes.io/issued-credential-id', `JTI=${id}`);
    return {
      ...request,
      status: { token, expirationTimestamp: timeText(now + spec.expirationSeconds! * 1000) },
    };
  };
}
