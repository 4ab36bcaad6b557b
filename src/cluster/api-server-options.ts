/** What a cluster's options say of admission and security, as options of its API server. */
import { defaultPluginNames, optionalPluginNames } from '../apiserver/admission/plugins.ts';
import type { ApiServerOptions } from '../apiserver/options.ts';
import type { ClusterOptions, ClusterSecurity } from './cluster.ts';

/** The API server's options for what is asked of admission. */
export function admissionOptions(
  given: ClusterOptions['admission'],
): Pick<ApiServerOptions, 'enableAdmissionPlugins' | 'disableAdmissionPlugins' | 'admissionConfiguration'> {
  if (given === undefined) return {};
  const { enable, disable, configuration } = given;
  const known = new Set([...defaultPluginNames, ...optionalPluginNames]);
  for (const name of [...(enable ?? []), ...(disable ?? [])])
    if (!known.has(name)) throw new Error(`unknown admission plugin: ${name}`);
  return {
    ...(enable === undefined ? {} : { enableAdmissionPlugins: new Set(enable) }),
    ...(disable === undefined ? {} : { disableAdmissionPlugins: new Set(disable) }),
    ...(configuration === undefined ? {} : { admissionConfiguration: configuration }),
  };
}

export function securityOptions(
  security: ClusterSecurity | undefined,
): Pick<ApiServerOptions, 'security' | 'anonymous' | 'staticTokens' | 'serviceAccountIssuers'> {
  if (security === undefined) return {};
  const { anonymous, staticTokens, issuers = [] } = security;
  return {
    security,
    ...(anonymous === undefined ? {} : { anonymous }),
    ...(staticTokens === undefined ? {} : { staticTokens }),
    ...(issuers.length === 0 ? {} : { serviceAccountIssuers: issuers }),
  };
}
