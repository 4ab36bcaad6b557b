/** What an API server is made of: its flags, and what its process hands it. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { MetricChoice } from '../base/metric-choice.ts';
import type { Random } from '../base/random.ts';
import type { Catalog } from '../api/catalog/catalog.ts';
import type { EffectiveVersion } from '../api/features/emulation.ts';
import type { FeatureGates } from '../api/features/feature-gates.ts';
import type { KeyValueStore } from '../etcd/store.ts';
import type { RuntimeConfig } from './api-enablement.ts';
import type { AdmissionConfiguration } from './admission/plugins.ts';
import type { RequestHeaderOptions } from './authentication/request-header.ts';
import type { ServiceAccountKeyOptions } from './authentication/service-account-keys.ts';
import type { ComputedApi } from './computed.ts';
import type { AdmissionPlugin } from './context.ts';
import type { Dialer } from './dialer.ts';
import type { ComponentProbes } from './debug/component-statuses.ts';
import type { AuditOptions } from './filters/audit.ts';
import type { AuthorizationObserver } from './filters/authorization.ts';
import type { ListenerCertificates } from './http/listener.ts';
import type { BrowserHeaders } from './http/browsers.ts';
import type { TlsSettings } from './http/tls-settings.ts';
import type { UserInfo } from './request.ts';
import type { AuthorizationMode, SecurityConfiguration } from './security.ts';
import type { StorageMediaType } from './storage/media-type.ts';
import type { StorageOptions } from './storage/options.ts';
import type { Tracer } from './tracing/tracer.ts';

export interface ApiServerOptions {
  readonly store: KeyValueStore;
  /** The store is this process's own: its watch events come synchronously with the commit. */
  readonly embedded: boolean;
  /** `--storage-media-type`, default JSON. */
  readonly storageMediaType?: StorageMediaType;
  readonly storage?: StorageOptions;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Shared by the clusters of a process; loaded when left out. */
  readonly catalog?: Catalog;
  /** Needed to `listen`. PEM texts. */
  readonly certificates?: ListenerCertificates;
  /** `--tls-min-version` and the like. */
  readonly tls?: TlsSettings;
  /** `--goaway-chance`: which part of the requests ends its HTTP/2 connection. */
  readonly goawayChance?: number;
  /** PEM of the key that signs service account tokens, and further public keys that verify them. */
  readonly serviceAccountKeys: ServiceAccountKeyOptions;
  /** `--service-account-issuer` */
  readonly serviceAccountIssuers?: readonly string[];
  /** Default Node, RBAC. */
  readonly authorizationModes?: readonly AuthorizationMode[];
  /** Issuers and webhooks outside, authorization by configuration, what tokens may be. */
  readonly security?: SecurityConfiguration;
  /** `--anonymous-auth`, default true. */
  readonly anonymous?: boolean;
  /** `--token-auth-file`, parsed. */
  readonly staticTokens?: ReadonlyMap<string, UserInfo>;
  /** `--enable-bootstrap-token-auth`; default false. */
  readonly bootstrapTokens?: boolean;
  /** Kinds that nothing in this cluster acts upon, by `group/resource`: each write is answered with this warning. */
  readonly withoutEffect?: Readonly<Record<string, string>>;
  readonly dialer: Dialer;
  /** `--allow-privileged`, default true (upstream's flag: false). */
  readonly allowPrivileged?: boolean;
  /** `--default-not-ready-toleration-seconds`, `--default-unreachable-toleration-seconds`; default 300. */
  readonly tolerationSeconds?: { readonly notReady: number; readonly unreachable: number };
  /** `--kubelet-preferred-address-types`, default InternalIP, ExternalIP, Hostname. */
  readonly kubeletAddressTypes?: readonly string[];
  /** `--max-connection-bytes-per-sec`, of connections to nodes and pods; 0 or left out: no limit. */
  readonly connectionBytesPerSecond?: number;
  /** `--kubernetes-service-node-port`: the `kubernetes` Service has a node port. */
  readonly kubernetesNodePort?: number;
  /** `--endpoint-reconciler-type`: who keeps the addresses of the `kubernetes` Service; default lease. */
  readonly endpointReconciler?: EndpointReconciler;
  /** `--apiserver-count`: how many servers the reconciler master-count knows of; default 1. */
  readonly apiServerCount?: number;
  /** `--external-hostname`: what clients are told that this server is called. */
  readonly externalHost?: string;
  /** `--service-cluster-ip-range`, default 10.96.0.0/12. */
  readonly serviceClusterIPRanges?: readonly string[];
  /** `--service-node-port-range`, both ends included; default 30000–32767. */
  readonly serviceNodePortRange?: { readonly min: number; readonly max: number };
  /** `--advertise-address`; default the address listened on, or one of the host's when that is a loopback one. */
  readonly advertiseAddress?: string;
  /** Port under which the `kubernetes` Service reaches this server where it does not listen itself; default 6443. */
  readonly advertisePort?: number;
  /** `--runtime-config`: APIs switched on or off against the release's default. */
  readonly runtimeConfig?: RuntimeConfig;
  /** `--feature-gates`; the release's defaults when left out. */
  readonly features?: FeatureGates;
  /** `--emulated-version` and its like; this release when left out. */
  readonly effectiveVersion?: EffectiveVersion;
  /** `--requestheader-*`: whom `certificates.frontProxyCA` signs for may speak for others; default as kubeadm sets it up. */
  readonly requestHeader?: RequestHeaderOptions;
  /** `--proxy-client-cert-file` and `--proxy-client-key-file`, PEM: shown to aggregated API servers. */
  readonly proxyClientCertificate?: { readonly certificate: string; readonly key: string };
  /** `--enable-aggregator-routing`: Services are reached by their endpoints instead of their cluster IP; or whether they are just now. */
  readonly aggregatorRouting?: boolean | (() => boolean);
  /** `--aggregator-reject-forwarding-redirect`, default true: redirections of aggregated servers are refused. */
  readonly rejectRedirects?: boolean;
  /** `--enable-admission-plugins`: those that are off by default; NodeRestriction where nothing is said. */
  readonly enableAdmissionPlugins?: ReadonlySet<string>;
  readonly disableAdmissionPlugins?: ReadonlySet<string>;
  /** `--admission-control-config-file`, parsed, by plugin. */
  readonly admissionConfiguration?: AdmissionConfiguration;
  /** APIs that another component of this process answers for. */
  readonly computedApis?: readonly ComputedApi[];
  readonly extraAdmissionPlugins?: readonly AdmissionPlugin[];
  /** `--audit-policy-file` and where its events go; the server closes the backend. */
  readonly audit?: AuditOptions;
  /** Told of every authorization decision. */
  readonly onAuthorization?: AuthorizationObserver;
  readonly gitVersion?: string;
  /** Objects are frozen deeply (tests, and what goes to users). */
  readonly freeze?: boolean;
  readonly eventTtlSeconds?: number;
  readonly requestTimeoutMs?: number;
  readonly maxRequestsInFlight?: number;
  readonly maxMutatingRequestsInFlight?: number;
  /** `--enable-priority-and-fairness`, default true: the two limits together are the seats that its levels share. */
  readonly priorityAndFairness?: boolean;
  /** What ComponentStatuses ask; upstream's ports on this machine when left out. */
  readonly components?: ComponentProbes;
  readonly operations?: OperationsOptions;
  /** `--tracing-config-file`; the server closes it. */
  readonly tracer?: Tracer;
  /** Real milliseconds that requests get to finish when the server closes; default 5000. */
  readonly shutdownGraceMs?: number;
}

/** By records of all servers that expire, by this server alone, or by somebody else. */
export type EndpointReconciler = 'lease' | 'master-count' | 'none';

/** How the server is looked into and ended. */
export interface OperationsOptions {
  /** `--profiling`, default true. */
  readonly profiling?: boolean;
  /** What `/flagz` tells. */
  readonly flags?: Readonly<Record<string, string>>;
  /** `--livez-grace-period`: real milliseconds in which a start that is not finished is no failure of `/livez`. */
  readonly livezGraceMs?: number;
  /** `--shutdown-delay-duration`: real milliseconds between the end of readiness and that of serving. */
  readonly shutdownDelayMs?: number;
  readonly shutdownSendRetryAfter?: boolean;
  /** `--shutdown-watch-termination-grace-period`: real milliseconds within which watches end one after the other. */
  readonly shutdownWatchGraceMs?: number;
  /** `--min-request-timeout`, in seconds. */
  readonly minRequestTimeoutSeconds?: number;
  /** `--disabled-metrics`, `--allow-metric-labels` */
  readonly metrics?: MetricChoice;
  /** `--enable-logs-handler`: `/logs/` shows `/var/log`. */
  readonly logFiles?: boolean;
  /** `--send-retry-after-while-not-ready-once`: who comes before the server was ready for the first time is told to come again. */
  readonly retryUntilReady?: boolean;
  /** `-v=3` and more: a line of the log for each request. */
  readonly logRequests?: boolean;
  /** `--cors-allowed-origins`, `--strict-transport-security-directives`. */
  readonly browsers?: BrowserHeaders;
}
