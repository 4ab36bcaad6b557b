/**
 * The fields of a KubeletConfiguration (kubelet.config.k8s.io/v1beta1): their forms and upstream's defaults as data, and the strict
 * reading of a file or of flags by that data.
 */
import { canonicalDuration, parseDuration } from '../../api/time.ts';

type Form =
  | 'bool'
  | 'int32'
  | 'int64'
  | 'float64'
  | 'string'
  | 'path'
  | 'duration'
  | 'strings'
  | 'int32s'
  | 'map'
  | 'bools'
  | 'headers'
  | 'objects'
  | 'object';

/** `zero`: what is empty or 0 in a file counts as not given. */
interface Field {
  readonly form: Form;
  readonly default?: unknown;
  readonly zero?: true;
}

interface Struct {
  readonly [name: string]: Field | Struct;
}

const given = (form: Form, value?: unknown): Field => (value === undefined ? { form } : { form, default: value });
const set = (form: Form, value: unknown): Field => ({ form, default: value, zero: true });

export const configurationFields: Struct = {
  enableServer: given('bool', true),
  staticPodPath: set('path', ''),
  podLogsDir: set('string', '/var/log/pods'),
  syncFrequency: set('duration', '1m0s'),
  fileCheckFrequency: set('duration', '20s'),
  httpCheckFrequency: set('duration', '20s'),
  staticPodURL: set('string', ''),
  staticPodURLHeader: given('headers', {}),
  address: set('string', '0.0.0.0'),
  port: set('int32', 10_250),
  readOnlyPort: set('int32', 0),
  tlsCertFile: set('path', ''),
  tlsPrivateKeyFile: set('path', ''),
  tlsCipherSuites: given('strings', []),
  tlsCurvePreferences: given('int32s', []),
  tlsMinVersion: set('string', ''),
  rotateCertificates: set('bool', false),
  serverTLSBootstrap: set('bool', false),
  authentication: {
    x509: { clientCAFile: set('path', '') },
    webhook: { enabled: given('bool', true), cacheTTL: set('duration', '2m0s') },
    anonymous: { enabled: given('bool', false) },
  },
  authorization: {
    mode: set('string', 'Webhook'),
    webhook: { cacheAuthorizedTTL: set('duration', '5m0s'), cacheUnauthorizedTTL: set('duration', '30s') },
  },
  registryPullQPS: given('int32', 5),
  registryBurst: set('int32', 10),
  imagePullCredentialsVerificationPolicy: set('string', 'NeverVerifyPreloadedImages'),
  preloadedImagesVerificationAllowlist: given('strings', []),
  eventRecordQPS: given('int32', 50),
  eventBurst: set('int32', 100),
  enableDebuggingHandlers: given('bool', true),
  enableContentionProfiling: set('bool', false),
  healthzPort: given('int32', 10_248),
  healthzBindAddress: set('string', '127.0.0.1'),
  oomScoreAdj: given('int32', -999),
  clusterDomain: set('string', ''),
  clusterDNS: given('strings', []),
  streamingConnectionIdleTimeout: set('duration', '4h0m0s'),
  nodeStatusUpdateFrequency: set('duration', '10s'),
  nodeStatusReportFrequency: set('duration', '5m0s'),
  nodeLeaseDurationSeconds: set('int32', 40),
  imageMinimumGCAge: set('duration', '2m0s'),
  imageMaximumGCAge: set('duration', '0s'),
  imageGCHighThresholdPercent: given('int32', 85),
  imageGCLowThresholdPercent: given('int32', 80),
  volumeStatsAggPeriod: set('duration', '1m0s'),
  kubeletCgroups: set('string', ''),
  systemCgroups: set('string', ''),
  cgroupRoot: set('string', ''),
  cgroupsPerQOS: given('bool', true),
  cgroupDriver: set('string', 'cgroupfs'),
  cpuManagerPolicy: set('string', 'none'),
  singleProcessOOMKill: given('bool'),
  cpuManagerPolicyOptions: given('map', {}),
  cpuManagerReconcilePeriod: set('duration', '10s'),
  memoryManagerPolicy: set('string', 'None'),
  topologyManagerPolicy: set('string', 'none'),
  topologyManagerScope: set('string', 'container'),
  topologyManagerPolicyOptions: given('map', {}),
  qosReserved: given('map', {}),
  runtimeRequestTimeout: set('duration', '2m0s'),
  hairpinMode: set('string', 'promiscuous-bridge'),
  maxPods: set('int32', 110),
  podCIDR: set('string', ''),
  podPidsLimit: given('int64', -1),
  resolvConf: given('path', '/etc/resolv.conf'),
  runOnce: set('bool', false),
  cpuCFSQuota: given('bool', true),
  cpuCFSQuotaPeriod: given('duration', '100ms'),
  nodeStatusMaxImages: given('int32', 50),
  maxOpenFiles: set('int64', 1_000_000),
  contentType: set('string', 'application/vnd.kubernetes.protobuf'),
  kubeAPIQPS: given('int32', 50),
  kubeAPIBurst: set('int32', 100),
  serializeImagePulls: given('bool'),
  maxParallelImagePulls: given('int32'),
  evictionHard: given('map'),
  evictionSoft: given('map', {}),
  evictionSoftGracePeriod: given('map', {}),
  evictionPressureTransitionPeriod: set('duration', '5m0s'),
  evictionMaxPodGracePeriod: set('int32', 0),
  evictionMinimumReclaim: given('map', {}),
  mergeDefaultEvictionSettings: given('bool', false),
  podsPerCore: set('int32', 0),
  enableControllerAttachDetach: given('bool', true),
  protectKernelDefaults: set('bool', false),
  makeIPTablesUtilChains: given('bool', true),
  iptablesMasqueradeBit: given('int32', 14),
  iptablesDropBit: given('int32', 15),
  featureGates: given('bools', {}),
  failSwapOn: given('bool', true),
  memorySwap: { swapBehavior: set('string', '') },
  containerLogMaxSize: set('string', '10Mi'),
  containerLogMaxFiles: given('int32', 5),
  containerLogMaxWorkers: given('int32', 1),
  containerLogMonitorInterval: given('duration', '10s'),
  configMapAndSecretChangeDetectionStrategy: set('string', 'Watch'),
  systemReserved: given('map', {}),
  kubeReserved: given('map', {}),
  reservedSystemCPUs: set('string', ''),
  showHiddenMetricsForVersion: set('string', ''),
  systemReservedCgroup: set('string', ''),
  kubeReservedCgroup: set('string', ''),
  enforceNodeAllocatable: given('strings', ['pods']),
  allowedUnsafeSysctls: given('strings', []),
  volumePluginDir: set('string', '/usr/libexec/kubernetes/kubelet-plugins/volume/exec/'),
  providerID: set('string', ''),
  kernelMemcgNotification: set('bool', false),
  logging: given('object', {}),
  enableSystemLogHandler: given('bool', true),
  enableSystemLogQuery: given('bool', false),
  shutdownGracePeriod: set('duration', '0s'),
  shutdownGracePeriodCriticalPods: set('duration', '0s'),
  shutdownGracePeriodByPodPriority: given('objects'),
  crashLoopBackOff: { maxContainerRestartPeriod: given('duration', '5m0s') },
  reservedMemory: given('objects', []),
  enableProfilingHandler: given('bool', true),
  enableDebugFlagsHandler: given('bool', true),
  seccompDefault: given('bool', false),
  memoryThrottlingFactor: given('float64', 0.9),
  memoryReservationPolicy: set('string', 'None'),
  registerWithTaints: given('objects', []),
  registerNode: given('bool', true),
  tracing: given('object'),
  localStorageCapacityIsolation: given('bool', true),
  containerRuntimeEndpoint: set('string', 'unix:///run/containerd/containerd.sock'),
  imageServiceEndpoint: set('string', ''),
  failCgroupV1: given('bool', true),
  userNamespaces: { idsPerPod: given('int64') },
};

export type PlainObject = Readonly<Record<string, unknown>>;

const isObject = (v: unknown): v is PlainObject => typeof v === 'object' && v !== null && !Array.isArray(v);
const isField = (f: Field | Struct): f is Field => typeof (f as Field).form === 'string';

/** As Go's encoding/json names a value's kind. */
function kindOf(v: unknown): string {
  if (typeof v === 'string') return 'string';
  if (typeof v === 'number') return 'number';
  if (typeof v === 'boolean') return 'bool';
  return Array.isArray(v) ? 'array' : 'object';
}

const goTypes: Readonly<Record<Form, string>> = {
  bool: 'bool',
  int32: 'int32',
  int64: 'int64',
  float64: 'float64',
  string: 'string',
  path: 'string',
  duration: 'string',
  strings: '[]string',
  int32s: '[]int32',
  map: 'map[string]string',
  bools: 'map[string]bool',
  headers: 'map[string][]string',
  objects: '[]object',
  object: 'object',
};

function wrongType(value: unknown, path: string, form: Form): Error {
  return new Error(
    `json: cannot unmarshal ${kindOf(value)} into Go struct field KubeletConfiguration.${path} of type ${goTypes[form]}`,
  );
}

const strings = (v: unknown): v is string[] => Array.isArray(v) && v.every((x) => typeof x === 'string');
const integer = (v: unknown, bits: 32 | 64): boolean =>
  Number.isInteger(v) && (bits === 64 || Math.abs(v as number) < 2 ** 31);

/** The value in its canonical form. @throws one line */
function readField(form: Form, value: unknown, path: string): unknown {
  const all = (test: (x: unknown) => boolean): boolean => isObject(value) && Object.values(value).every(test);
  const fits: Readonly<Record<Form, () => boolean>> = {
    bool: () => typeof value === 'boolean',
    int32: () => integer(value, 32),
    int64: () => integer(value, 64),
    float64: () => typeof value === 'number',
    string: () => typeof value === 'string',
    path: () => typeof value === 'string',
    duration: () => typeof value === 'string',
    strings: () => strings(value),
    int32s: () => Array.isArray(value) && value.every((x) => integer(x, 32)),
    map: () => all((x) => typeof x === 'string'),
    bools: () => all((x) => typeof x === 'boolean'),
    headers: () => all(strings),
    objects: () => Array.isArray(value) && value.every(isObject),
    object: () => isObject(value),
  };
  if (!fits[form]()) throw wrongType(value, path, form);
  if (form !== 'duration') return value;
  try {
    parseDuration(value as string);
  } catch (error) {
    throw new Error(`time: invalid duration ${JSON.stringify(value)}`, { cause: error });
  }
  return canonicalDuration(value as string);
}

/**
 * The fields that an object gives. Throws for what is no field and for values of a wrong form, each with upstream's text.
 * `resolve`: makes a relative path absolute.
 */
export function readConfiguration(root: PlainObject, resolve: (path: string) => string = (p) => p): PlainObject {
  const unknown: string[] = [];
  const walk = (object: PlainObject, fields: Struct, prefix: string): PlainObject => {
    const out: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(object)) {
      const path = `${prefix}${name}`;
      if (prefix === '' && (name === 'kind' || name === 'apiVersion')) continue;
      const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (field === undefined) {
        unknown.push(`unknown field ${JSON.stringify(path)}`);
        continue;
      }
      if (value === null || value === undefined) continue;
      if (!isField(field)) {
        if (!isObject(value)) throw wrongType(value, path, 'object');
        out[name] = walk(value, field, `${path}.`);
        continue;
      }
      const read = readField(field.form, value, path);
      out[name] = field.form === 'path' && read !== '' ? resolve(read as string) : read;
    }
    return out;
  };
  const out = walk(root, configurationFields, '');
  if (unknown.length > 0) throw new Error(`strict decoding error: ${unknown.join(', ')}`);
  return out;
}

const isZero = (v: unknown): boolean => v === '' || v === 0 || v === false || v === '0s';

/** What was given with upstream's defaults for the rest. */
export function withDefaults(root: PlainObject): PlainObject {
  const walk = (object: PlainObject, fields: Struct): PlainObject => {
    const out: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(fields)) {
      const value = object[name];
      if (!isField(field)) {
        out[name] = walk(isObject(value) ? value : {}, field);
        continue;
      }
      const absent = value === undefined || value === null || (field.zero === true && isZero(value));
      const chosen = absent ? field.default : value;
      if (chosen !== undefined) out[name] = chosen;
    }
    return out;
  };
  return walk(root, configurationFields);
}

/** Lays one object of fields over another (RFC 7396, as upstream merges drop-in files). */
export function mergeConfiguration(base: PlainObject, over: PlainObject): PlainObject {
  const out: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(over)) {
    if (value === null) delete out[name];
    else if (isObject(value)) out[name] = mergeConfiguration(isObject(out[name]) ? out[name] : {}, value);
    else out[name] = value;
  }
  return out;
}
