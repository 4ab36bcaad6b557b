/**
 * EgressSelectorConfiguration (`--egress-selector-config-file`, apiserver.k8s.io v1beta1, v1alpha1): over which proxies the API server
 * reaches the control plane and the cluster. Decoding, and upstream's validation.
 */
import { duplicate, invalid, notSupported, required } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import { decodeConfig } from '../config-decode.ts';
import type { ConfigKind } from '../config-decode.ts';

/** Paths of PEM files. */
export interface EgressTls {
  readonly caBundle?: string;
  readonly clientKey?: string;
  readonly clientCert?: string;
  readonly tlsServerName?: string;
}

export interface EgressSelection {
  readonly name: string;
  readonly connection: {
    readonly proxyProtocol: string;
    readonly transport?: {
      readonly tcp?: { readonly url: string; readonly tlsConfig?: EgressTls };
      readonly uds?: { readonly udsName: string };
    };
  };
}

const kind: ConfigKind = {
  kind: 'EgressSelectorConfiguration',
  group: 'apiserver.k8s.io',
  versions: ['v1beta1', 'v1alpha1'],
  fields: {
    egressSelections: {
      list: {
        fields: {
          name: 'string',
          connection: {
            fields: {
              proxyProtocol: 'string',
              transport: {
                fields: {
                  tcp: {
                    fields: {
                      url: 'string',
                      tlsConfig: {
                        fields: {
                          caBundle: 'string',
                          clientKey: 'string',
                          clientCert: 'string',
                          tlsServerName: 'string',
                        },
                      },
                    },
                  },
                  uds: { fields: { udsName: 'string' } },
                },
              },
            },
          },
        },
      },
    },
  },
};

interface Given {
  readonly name?: string;
  readonly connection?: {
    readonly proxyProtocol?: string;
    readonly transport?: {
      readonly tcp?: { readonly url?: string; readonly tlsConfig?: EgressTls };
      readonly uds?: { readonly udsName?: string };
    };
  };
}

/** What the file holds (parsed YAML), not validated yet. @throws {Error} with upstream's text */
export function decodeEgressConfiguration(given: unknown): readonly EgressSelection[] {
  const { fields } = decodeConfig(given, kind);
  return ((fields['egressSelections'] ?? []) as readonly Given[]).map(({ name = '', connection = {} }) => {
    const { proxyProtocol = '', transport } = connection;
    if (transport === undefined) return { name, connection: { proxyProtocol } };
    const { tcp, uds } = transport;
    return {
      name,
      connection: {
        proxyProtocol,
        transport: {
          ...(tcp === undefined ? {} : { tcp: { ...tcp, url: tcp.url ?? '' } }),
          ...(uds === undefined ? {} : { uds: { udsName: uds.udsName ?? '' } }),
        },
      },
    };
  });
}

const at = 'service.connection';
const names = ['cluster', 'controlplane', 'etcd'];

function tlsErrors(tls: EgressTls | undefined, exists: (path: string) => boolean): FieldError[] {
  if (tls === undefined) return [required(`${at}.tlsConfig`, 'TLSConfig must be present when using HTTPS')];
  const { caBundle = '', clientCert = '', clientKey = '' } = tls;
  const errors: FieldError[] = [];
  const file = (field: string, path: string, missing: string, absent: string): void => {
    if (path === '') errors.push(invalid(`${at}.tlsConfig.${field}`, 'nil', missing));
    else if (!exists(path)) errors.push(invalid(`${at}.tlsConfig.${field}`, path, absent));
  };
  if (caBundle !== '') file('caBundle', caBundle, '', 'TLS config ca bundle does not exist');
  file('clientCert', clientCert, 'Using TLS requires clientCert', 'TLS client cert does not exist');
  file('clientKey', clientKey, 'Using TLS requires requires clientKey', 'TLS client key does not exist');
  return errors;
}

function connectionErrors(
  { proxyProtocol, transport }: EgressSelection['connection'],
  exists: (path: string) => boolean,
): FieldError[] {
  const udsErrors = (name: string): FieldError[] =>
    name === '' ? [invalid(`${at}.udsName`, 'nil', 'must be present for UDS connections')] : [];
  if (proxyProtocol === 'Direct')
    return transport === undefined
      ? []
      : [invalid(`${at}.transport`, 'direct', 'config must be absent for direct connect')];
  if (proxyProtocol === 'GRPC') {
    if (transport === undefined) return [required(`${at}.transport`, 'transport must be set for GRPC')];
    if (transport.uds === undefined) return [required(`${at}.uds`, 'UDS must be set with GRPC')];
    return udsErrors(transport.uds.udsName);
  }
  if (proxyProtocol !== 'HTTPConnect')
    return [notSupported(`${at}.protocol`, proxyProtocol, ['Direct', 'HTTPConnect', 'GRPC'])];
  if (transport === undefined) return [required(`${at}.transport`, 'transport must be set for HTTPConnect')];
  const { tcp, uds } = transport;
  if (tcp !== undefined && uds !== undefined) return [invalid(`${at}.tcp`, tcp, 'TCP and UDS cannot both be set')];
  if (uds !== undefined) return udsErrors(uds.udsName);
  if (tcp === undefined) return [required(`${at}.tcp`, 'One of TCP or UDS must be set')];
  if (tcp.url.startsWith('https://')) return tlsErrors(tcp.tlsConfig, exists);
  if (!tcp.url.startsWith('http://'))
    return [invalid(`${at}.url`, tcp.url, 'supported connection protocols are http:// and https://')];
  return tcp.tlsConfig === undefined
    ? []
    : [invalid(`${at}.tlsConfig`, 'nil', 'config must not be present when using HTTP')];
}

/** Upstream's check. `exists`: whether there is such a file. */
export function validateEgressSelections(
  selections: readonly EgressSelection[],
  exists: (path: string) => boolean,
): FieldError[] {
  const errors = selections.flatMap((s) => connectionErrors(s.connection, exists));
  const seen = new Set<string>();
  for (const [i, selection] of selections.entries()) {
    const name = selection.name.toLowerCase();
    if (seen.has(name)) errors.push(duplicate(`${at}[${i}]`, name));
    else if (!names.includes(name)) errors.push(notSupported(at, name, names));
    seen.add(name);
  }
  return errors;
}
