/** `knarr kube-apiserver`: the API server alone, over an etcd cluster and the network. */
import { joinHostPort } from '../../base/host-port.ts';
import { loadCatalog, type Catalog } from '../../api/catalog/catalog.ts';
import { defaultPluginNames, optionalPluginNames, type PluginChoice } from '../../apiserver/admission/plugins.ts';
import type { ApiServer } from '../../apiserver/server.ts';
import { firstServiceIP } from '../../apiserver/advertised.ts';
import { createApiServer } from '../../apiserver/server.ts';
import { storageMediaType, type StorageMediaType } from '../../apiserver/storage/media-type.ts';
import { openRemoteStore } from '../../etcd/remote-store.ts';
import { storagePrefix } from '../../apiserver/storage/prefixed-store.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { Logger } from '../../base/logger.ts';
import { readApiChoice, type ApiChoice } from '../api-choice.ts';
import { networkDialer } from '../network-dialer.ts';
import { gitVersion } from '../version.ts';
import { readAdmissionConfiguration } from './admission-configuration.ts';
import { operationsOf, type OperationFlags } from './api-server-extras.ts';
import { ApiServerStores, checkStorage, type StorageFlags } from './api-server-storage.ts';
import { createAudit, type AuditFlags } from './audit.ts';
import { certificateOfDirectory, type FoundCertificate } from './certificate-directory.ts';
import { clusterFacing, type ClusterFacingFlags } from './cluster-facing.ts';
import { openDebugSocket } from './debug-socket.ts';
import { createEncryption, type EncryptionFlags } from './encryption.ts';
import type { ComponentEnvironment, KeyPair } from './environment.ts';
import { parseIp } from '../../base/ip.ts';
import { ClusterRangeError, serviceFamily } from '../ranges.ts';
import {
  aborted,
  defaultAddress,
  isWildcard,
  ownAddress,
  listenError,
  probeAddress,
  readCertificates,
  readKeyPair,
  readPrivateKey,
  StartError,
} from './environment.ts';
import { checkSigning, openSigner, type Signer } from './external-signer.ts';
import { readMetricChoice, type MetricFlags } from './metric-choice.ts';
import { readSecurity, type SecurityFlags } from './security.ts';
import { selfSigned } from './self-signed.ts';
import { createTracer } from './tracing.ts';
import {
  followServingCertificates,
  readServingCertificates,
  readTlsSettings,
  type TlsFlags,
} from './serving-certificates.ts';

const defaultCertDir = '/var/run/kubernetes';

/** Named and defaulted as upstream's flags. */
export interface ApiServerFlags {
  readonly etcdServers: readonly string[];
  readonly enableBootstrapTokenAuth: boolean;
  readonly etcdCaFile: string | undefined;
  readonly etcdCertFile: string | undefined;
  readonly etcdKeyFile: string | undefined;
  readonly storage: StorageFlags;
  readonly storageMediaType: string;
  readonly bindAddress: string;
  readonly securePort: number;
  readonly advertiseAddress: string | undefined;
  readonly tlsCertFile: string | undefined;
  readonly tlsPrivateKeyFile: string | undefined;
  /** Undefined: /var/run/kubernetes, where that can be used. */
  readonly certDir: string | undefined;
  readonly permitPortSharing: boolean;
  readonly clientCaFile: string | undefined;
  readonly requestheaderClientCaFile: string | undefined;
  readonly requestheaderAllowedNames: readonly string[];
  readonly requestheaderUsernameHeaders: readonly string[];
  readonly requestheaderUidHeaders: readonly string[];
  readonly requestheaderGroupHeaders: readonly string[];
  readonly requestheaderExtraHeadersPrefix: readonly string[];
  readonly proxyClientCertFile: string | undefined;
  readonly proxyClientKeyFile: string | undefined;
  readonly serviceAccountSigningKeyFile: string | undefined;
  readonly serviceAccountSigningEndpoint: string | undefined;
  readonly serviceClusterIpRange: readonly string[];
  /** `30000-32767` */
  readonly serviceNodePortRange: string;
  /** All plugins there are to be; undefined: those by default, and what the other two flags say. */
  readonly admissionControl: readonly string[] | undefined;
  readonly enableAdmissionPlugins: readonly string[];
  readonly disableAdmissionPlugins: readonly string[];
  readonly admissionControlConfigFile: string | undefined;
  readonly enableAggregatorRouting: boolean;
  readonly rejectRedirects: boolean;
  readonly kubeletClientCertificate: string | undefined;
  readonly kubeletClientKey: string | undefined;
  readonly kubeletCertificateAuthority: string | undefined;
  readonly apis: ApiChoice;
  readonly eventTtlMs: number;
  readonly requestTimeoutMs: number;
  readonly maxRequestsInflight: number;
  readonly maxMutatingRequestsInflight: number;
  readonly priorityAndFairness: boolean;
  readonly tls: TlsFlags;
  readonly operations: OperationFlags;
  readonly metrics: MetricFlags;
  readonly clusterFacing: ClusterFacingFlags;
  readonly debugSocketPath: string | undefined;
  readonly tracingConfigFile: string | undefined;
  readonly audit: AuditFlags;
  readonly security: SecurityFlags;
  readonly encryption: EncryptionFlags;
}

function chooseApis(choice: ApiChoice, catalog: Catalog, logger: Logger): ReturnType<typeof readApiChoice> {
  try {
    const apis = readApiChoice(choice, catalog);
    for (const warning of apis.features.warnings) logger.warn(warning);
    return apis;
  } catch (error) {
    throw new StartError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function chooseMediaType(text: string): StorageMediaType {
  try {
    return storageMediaType(text);
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
}

/** Which plugins `--enable-admission-plugins` and `--disable-admission-plugins` ask for, or `--admission-control` alone. */
function pluginChoice(flags: ApiServerFlags): PluginChoice {
  const known = [...defaultPluginNames, ...optionalPluginNames];
  const only = flags.admissionControl;
  if (only !== undefined) {
    if (flags.enableAdmissionPlugins.length > 0 || flags.disableAdmissionPlugins.length > 0)
      throw new StartError(
        'admission-control and enable-admission-plugins/disable-admission-plugins flags are mutually exclusive',
      );
    for (const name of only)
      if (!known.includes(name)) throw new StartError(`admission-control plugin "${name}" is unknown`);
    return { enable: new Set(only), disable: new Set(known.filter((name) => !only.includes(name))) };
  }
  for (const [flag, names] of [
    ['enable-admission-plugins', flags.enableAdmissionPlugins],
    ['disable-admission-plugins', flags.disableAdmissionPlugins],
  ] as const)
    for (const name of names)
      if (!known.includes(name))
        throw new StartError(`--${flag}: plugin "${name}" is unknown; known are ${known.sort().join(', ')}`);
  const enable = new Set(flags.enableAdmissionPlugins);
  for (const name of flags.disableAdmissionPlugins)
    if (enable.has(name)) throw new StartError(`plugin "${name}" is both enabled and disabled`);
  return { enable, disable: new Set(flags.disableAdmissionPlugins) };
}

function portRange(text: string): { min: number; max: number } {
  const m = /^(\d+)(?:-(\d+)|\+(\d+))?$/.exec(text);
  const min = Number(m?.[1]);
  const max = m?.[2] !== undefined ? Number(m[2]) : m?.[3] !== undefined ? min + Number(m[3]) : min;
  if (m === null || min < 1 || max > 65_535 || max < min)
    throw new StartError(`--service-node-port-range ${text}: it is a range such as 30000-32767`);
  return { min, max };
}

/** The certificates of a bundle, each as its base64. */
function certificateBlocks(pem: string): string[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((b) => b.replace(/-----[A-Z ]+-----|\s/g, ''));
}

/**
 * What the `kubernetes` Service leads to: of the family of its address, which is that of the first range. Undefined: the address listened
 * on, or one of the machine's.
 */
function advertisedAddress(flags: ApiServerFlags): string | undefined {
  let family: 4 | 6;
  try {
    family = serviceFamily(flags.serviceClusterIpRange);
  } catch (error) {
    if (error instanceof ClusterRangeError) throw new StartError(error.message, { cause: error });
    throw error;
  }
  const given = flags.advertiseAddress;
  if (given === undefined) return isWildcard(flags.bindAddress) && family === 6 ? ownAddress(6) : undefined;
  if (parseIp(given)?.family !== family)
    throw new StartError(
      `service IP family "${flags.serviceClusterIpRange[0]}" must match public address family "${given}"`,
    );
  return given;
}

/** Names of headers that aggregated API servers could not be asked with. */
function checkRequestHeaders(flags: ApiServerFlags): void {
  const lists = {
    'requestheader-username-headers': flags.requestheaderUsernameHeaders,
    'requestheader-group-headers': flags.requestheaderGroupHeaders,
    'requestheader-extra-headers-prefix': flags.requestheaderExtraHeadersPrefix,
    'requestheader-allowed-names': flags.requestheaderAllowedNames,
    'requestheader-uid-headers': flags.requestheaderUidHeaders,
  };
  for (const [flag, names] of Object.entries(lists))
    if (names.some((name) => name.trim() === '')) throw new StartError(`empty value in "${flag}"`);
  const uids = flags.requestheaderUidHeaders;
  if (uids.length > 0 && !uids.some((name) => name.toLowerCase() === 'x-remote-uid'))
    throw new StartError(
      '--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work',
    );
}

export async function runApiServer(flags: ApiServerFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, signal, logger } = env;
  checkRequestHeaders(flags);
  if (flags.etcdServers.length === 0)
    throw new StartError('--etcd-servers must be specified, such as https://127.0.0.1:2379 ("knarr etcd" is one)');
  if (flags.security.serviceAccountIssuer.length === 0)
    throw new StartError('--service-account-issuer is a required flag, such as https://kubernetes.default.svc');
  const signing = {
    signingKeyFile: flags.serviceAccountSigningKeyFile === '' ? undefined : flags.serviceAccountSigningKeyFile,
    signingEndpoint: flags.serviceAccountSigningEndpoint,
  };
  checkSigning(signing, flags.security.serviceAccountKeyFile);
  const catalog = loadCatalog();
  const apis = chooseApis(flags.apis, catalog, logger);
  const mediaType = chooseMediaType(flags.storageMediaType);
  const plugins = pluginChoice(flags);
  const admissionConfiguration = await readAdmissionConfiguration(flags.admissionControlConfigFile, env.clock);
  const nodePorts = portRange(flags.serviceNodePortRange);
  const facing = clusterFacing(flags.clusterFacing, nodePorts);
  checkStorage(flags.storage);
  const metrics = await readMetricChoice(flags.metrics);
  const advertise = advertisedAddress(flags);
  const security = await readSecurity(flags.security, ['AlwaysAllow'], env);
  const audit = await createAudit(flags.audit, env);
  const encryption = await createEncryption(
    flags.encryption,
    catalog,
    env,
    apis.features,
    storagePrefix(flags.storage.etcdPrefix),
  );
  const tls = readTlsSettings(flags.tls);
  const operations = operationsOf(flags.operations);
  const tracer = await createTracer(flags.tracingConfigFile, env);
  const host = flags.bindAddress;
  let own: FoundCertificate | undefined;
  const certificates = await readServingCertificates(flags, async () => {
    const directory = { dir: flags.certDir ?? defaultCertDir, chosen: flags.certDir !== undefined, name: 'apiserver' };
    const make = (): Promise<KeyPair> =>
      selfSigned(env, [
        'localhost',
        '127.0.0.1',
        ...(isWildcard(host) ? [defaultAddress()] : [host]),
        ...(advertise === undefined ? [] : [advertise]),
        firstServiceIP(flags.serviceClusterIpRange[0]!),
        'kubernetes.default.svc',
        'kubernetes.default',
        'kubernetes',
      ]);
    own = await certificateOfDirectory(directory, make, env);
    return own.pair;
  });
  const servingFiles = own?.files;
  const { clientCA, frontProxyCA } = certificates;
  const [etcdCa, etcdPair, signingKey, kubeletPair, kubeletCA, proxyPair] = await Promise.all([
    readCertificates('etcd-cafile', flags.etcdCaFile),
    readKeyPair('etcd-certfile', flags.etcdCertFile, 'etcd-keyfile', flags.etcdKeyFile),
    readPrivateKey('service-account-signing-key-file', signing.signingKeyFile),
    readKeyPair(
      'kubelet-client-certificate',
      flags.kubeletClientCertificate,
      'kubelet-client-key',
      flags.kubeletClientKey,
    ),
    readCertificates('kubelet-certificate-authority', flags.kubeletCertificateAuthority),
    readKeyPair('proxy-client-cert-file', flags.proxyClientCertFile, 'proxy-client-key-file', flags.proxyClientKeyFile),
  ]);
  if (clientCA !== undefined && frontProxyCA !== undefined && flags.requestheaderAllowedNames.length === 0) {
    const clients = new Set(certificateBlocks(clientCA));
    if (certificateBlocks(frontProxyCA).some((c) => clients.has(c)))
      throw new StartError(
        '--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; --requestheader-allowed-names must be specified to ensure regular client certificates cannot set authenticating proxy headers for arbitrary users',
      );
  }
  await probeAddress(host, flags.securePort, '--secure-port', flags.permitPortSharing);
  if (security.note !== undefined) logger.warn(security.note);
  if (own !== undefined && servingFiles === undefined)
    logger.info('no --tls-cert-file: serving with a certificate signed by itself');
  const dial = (endpoints: readonly string[]): Promise<KeyValueStore> =>
    openRemoteStore({
      endpoints,
      dial: security.security.egress?.dial('etcd'),
      traceparent: tracer === undefined ? undefined : () => tracer.traceparent(),
      logger,
      random,
      ...(etcdCa === undefined && etcdPair === undefined
        ? {}
        : {
            tls: {
              ...(etcdCa === undefined ? {} : { ca: etcdCa }),
              ...(etcdPair === undefined ? {} : { cert: etcdPair.certificate, key: etcdPair.key }),
            },
          }),
    });
  const stores = await ApiServerStores.open(
    flags.storage,
    flags.etcdServers,
    dial,
    (store) => encryption?.wrap(store) ?? store,
  );
  let signer: Signer | undefined;
  let apiServer: ApiServer | undefined;
  let closeDebugSocket: (() => Promise<void>) | undefined;
  let unfollow: (() => void) | undefined;
  try {
    if (!(await stores.answering(env))) return;
    signer = await openSigner(signing, flags.security, security.security, env);
    apiServer = await createApiServer({
      store: stores.main,
      storage: stores.options,
      ...facing,
      embedded: false,
      storageMediaType: mediaType,
      clock,
      random,
      logger,
      catalog,
      certificates,
      tls,
      goawayChance: flags.tls.goawayChance,
      operations: metrics === undefined ? operations : { ...operations, metrics },
      ...(tracer === undefined ? {} : { tracer }),
      requestHeader: {
        allowedNames: flags.requestheaderAllowedNames,
        usernameHeaders: flags.requestheaderUsernameHeaders,
        uidHeaders: flags.requestheaderUidHeaders,
        groupHeaders: flags.requestheaderGroupHeaders,
        extraHeaderPrefixes: flags.requestheaderExtraHeadersPrefix,
      },
      ...(proxyPair === undefined ? {} : { proxyClientCertificate: proxyPair }),
      serviceAccountKeys: {
        ...(signer === undefined ? {} : { external: signer.keys }),
        ...(signingKey === undefined ? {} : { signingKey }),
        ...(security.verifyKeys.length === 0 ? {} : { verifyKeys: security.verifyKeys }),
      },
      serviceAccountIssuers: flags.security.serviceAccountIssuer,
      security: signer?.security ?? security.security,
      anonymous: security.anonymous,
      bootstrapTokens: flags.enableBootstrapTokenAuth,
      ...(security.staticTokens === undefined ? {} : { staticTokens: security.staticTokens }),
      dialer: networkDialer({
        ...(kubeletPair === undefined
          ? {}
          : { clientCertificate: kubeletPair.certificate, clientKey: kubeletPair.key }),
        ...(kubeletCA === undefined ? {} : { kubeletCA }),
        dial: security.security.egress?.dial('cluster'),
        kubeletTimeoutMs: flags.clusterFacing.kubeletTimeoutMs,
      }),
      serviceClusterIPRanges: flags.serviceClusterIpRange,
      serviceNodePortRange: nodePorts,
      ...(advertise === undefined ? {} : { advertiseAddress: advertise }),
      ...(flags.securePort === 0 ? {} : { advertisePort: flags.securePort }),
      ...apis,
      aggregatorRouting: flags.enableAggregatorRouting,
      rejectRedirects: flags.rejectRedirects,
      enableAdmissionPlugins: plugins.enable,
      disableAdmissionPlugins: plugins.disable,
      admissionConfiguration,
      gitVersion: env.version ?? gitVersion,
      eventTtlSeconds: Math.ceil(flags.eventTtlMs / 1000),
      requestTimeoutMs: flags.requestTimeoutMs,
      shutdownGraceMs: flags.requestTimeoutMs,
      maxRequestsInFlight: flags.maxRequestsInflight,
      maxMutatingRequestsInFlight: flags.maxMutatingRequestsInflight,
      priorityAndFairness: flags.priorityAndFairness,
      ...(audit === undefined ? {} : { audit }),
    });
    encryption?.install(apiServer);
    stores.installChecks(apiServer.health);
    signer?.install(apiServer);
    let listening;
    try {
      listening = await apiServer.listen({ host, port: flags.securePort, shared: flags.permitPortSharing });
    } catch (error) {
      throw listenError(error, host, flags.securePort, '--secure-port or --bind-address');
    }
    stores.startCompaction(env);
    if ((flags.debugSocketPath ?? '') !== '')
      closeDebugSocket = await openDebugSocket(flags.debugSocketPath!, apiServer, logger);
    await apiServer.ready();
    const serving = apiServer;
    const followed =
      servingFiles === undefined
        ? flags
        : { ...flags, tlsCertFile: servingFiles.certificate, tlsPrivateKeyFile: servingFiles.key };
    unfollow = followServingCertificates(followed, certificates, (next) => serving.updateCertificates(next), env);
    const reachable = isWildcard(listening.address) ? '127.0.0.1' : listening.address;
    env.say(`kube-apiserver: serving on https://${joinHostPort(reachable, listening.port)}`);
    await aborted(signal);
  } finally {
    stores.stopCompaction();
    unfollow?.();
    await closeDebugSocket?.();
    await apiServer?.close();
    if (apiServer === undefined) await audit?.backend.close();
    encryption?.close();
    signer?.close();
    await stores.close();
  }
}
