/** `knarr kube-controller-manager`: the controllers alone, each under its own service account where that is asked for. */
import { ioTimer } from '../../base/io-time.ts';
import { WorkQueueMetrics } from '../../client/work-queue-metrics.ts';
import { ControllerMetrics } from '../../controllers/metrics.ts';
import { createControllerManager, selectControllers } from '../../controllers/manager.ts';
import type { ControllerOptions } from '../../controllers/options.ts';
import { certificateSigner } from '../certificate-signer.ts';
import { legacyTokenSigner } from '../legacy-token-signer.ts';
import type { ControlPlaneFlags } from './control-plane-component.ts';
import { runControlPlaneComponent } from './control-plane-component.ts';
import type { ComponentEnvironment } from './environment.ts';
import { measured } from './environment.ts';
import { readCertificates, readKeyPair, readPrivateKey, StartError } from './environment.ts';
import type { ServiceAccountClients } from './service-account-clients.ts';
import { serviceAccountClients } from './service-account-clients.ts';

export type { ConcurrencyName, ControllerOptions as ControllerSettings } from '../../controllers/options.ts';

/** The signers as flags name them. */
const signerFlags = {
  'kubelet-serving': 'kubernetes.io/kubelet-serving',
  'kubelet-client': 'kubernetes.io/kube-apiserver-client-kubelet',
  'kube-apiserver-client': 'kubernetes.io/kube-apiserver-client',
  'legacy-unknown': 'kubernetes.io/legacy-unknown',
} as const;

export type SignerFlag = keyof typeof signerFlags;

export interface SignerFiles {
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

type Signer = NonNullable<ControllerOptions['certificateSigner']>;

/** One authority for all signers, or one for each of some. @throws {StartError} */
async function readSigner(
  flags: ControllerManagerFlags,
  { clock, random }: ComponentEnvironment,
): Promise<Signer | undefined> {
  const durationMs = flags.clusterSigningDurationMs;
  const all = await readKeyPair(
    'cluster-signing-cert-file',
    flags.clusterSigningCertFile,
    'cluster-signing-key-file',
    flags.clusterSigningKeyFile,
  );
  const single = new Map<string, Signer>();
  for (const [name, signerName] of Object.entries(signerFlags)) {
    const { cert, key } = flags.clusterSigningFiles[name as SignerFlag];
    const pair = await readKeyPair(`cluster-signing-${name}-cert-file`, cert, `cluster-signing-${name}-key-file`, key);
    if (pair !== undefined) single.set(signerName, certificateSigner({ ...pair, clock, random, durationMs }));
  }
  if (single.size === 0)
    return all === undefined ? undefined : certificateSigner({ ...all, clock, random, durationMs });
  if (all !== undefined)
    throw new StartError(
      'cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time',
    );
  return { signers: new Set(single.keys()), sign: (request) => single.get(request.signerName)!.sign(request) };
}

export interface ControllerManagerFlags extends ControlPlaneFlags {
  readonly controllers: readonly string[];
  readonly useServiceAccountCredentials: boolean;
  /** Between the starts of two controllers. */
  readonly startIntervalMs: number;
  /** How long controllers may take to end. */
  readonly shutdownTimeoutMs: number;
  readonly rootCaFile: string | undefined;
  readonly serviceAccountPrivateKeyFile: string | undefined;
  readonly clusterSigningCertFile: string | undefined;
  readonly clusterSigningKeyFile: string | undefined;
  /** Authorities of single signers (`--cluster-signing-kubelet-client-cert-file`, …), by the name in the flag. */
  readonly clusterSigningFiles: Readonly<Record<SignerFlag, SignerFiles>>;
  readonly clusterSigningDurationMs: number;
  /** Everything that is a setting of a controller. */
  readonly options: ControllerOptions;
}

/** False: it takes longer. */
function within(ms: number, work: Promise<void>): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(ms, () => resolve(false));
    work.then(() => resolve(true), reject).finally(cancel);
  });
}

/** What upstream's queues are called where the ones here have other names. */
const queueNames: Readonly<Record<string, string>> = {
  'clusterrole-aggregation': 'ClusterRoleAggregator',
  'csr-approving': 'certificate',
  'csr-signing': 'certificate',
  endpoints: 'endpoint',
  endpointslice: 'endpoint_slice',
  'endpointslice-mirroring': 'endpoint_slice_mirroring',
  'ephemeral-volume': 'ephemeral_volume',
  expand: 'volume_expand',
  'garbage-collector': 'garbage_collector_attempt_to_delete',
  'garbage-collector-orphan': 'garbage_collector_attempt_to_orphan',
  'node-lifecycle-pods': 'node_lifecycle_controller_pods',
  'node-lifecycle-taints': 'node_lifecycle_controller',
  'persistentvolume-binder': 'claims',
  'pv-protection': 'pvprotection',
  'pvc-protection': 'pvcprotection',
  replicationcontroller: 'replicationmanager',
  'root-ca-certificate-publisher': 'root_ca_cert_publisher',
  'serviceaccount-tokens-account': 'serviceaccount_tokens_service',
  'serviceaccount-tokens-secret': 'serviceaccount_tokens_secret',
  'taint-eviction': 'noexec_taint_pod',
  ttl: 'ttlcontroller',
  'vac-protection': 'vacprotection',
};

export async function runControllerManager(flags: ControllerManagerFlags, given: ComponentEnvironment): Promise<void> {
  const env = measured(given);
  const queueMetrics = new WorkQueueMetrics(queueNames);
  const metrics = new ControllerMetrics();
  const { clock, random, logger } = env;
  try {
    selectControllers(flags.controllers);
  } catch (error) {
    throw new StartError(`--controllers: ${(error as Error).message}`, { cause: error });
  }
  const [rootCA, tokenKey, signing] = await Promise.all([
    readCertificates('root-ca-file', flags.rootCaFile),
    readPrivateKey('service-account-private-key-file', flags.serviceAccountPrivateKeyFile),
    readSigner(flags, env),
  ]);
  const options: ControllerOptions = {
    ...flags.options,
    ...(rootCA === undefined ? {} : { rootCA }),
    ...(tokenKey === undefined ? {} : { signServiceAccountToken: legacyTokenSigner(tokenKey) }),
    ...(signing === undefined ? {} : { certificateSigner: signing }),
  };
  await runControlPlaneComponent({
    component: 'kube-controller-manager',
    flags,
    env,
    metrics: [...queueMetrics.families, ...metrics.families],
    make: (client, base) => {
      const accounts: ServiceAccountClients | undefined = flags.useServiceAccountCredentials
        ? serviceAccountClients({ component: 'kube-controller-manager', base, client, env })
        : undefined;
      const manager = createControllerManager({
        client,
        clientFor: (name) => accounts?.clientFor(name) ?? client,
        clock,
        random,
        logger,
        controllers: flags.controllers,
        startIntervalMs: flags.startIntervalMs,
        signal: env.signal,
        queueMetrics,
        metrics,
        options,
      });
      let starting: Promise<void> = Promise.resolve();
      return {
        start: () => (starting = manager.start()),
        async stop() {
          await starting.catch(() => {});
          if (!(await within(flags.shutdownTimeoutMs, manager.stop())))
            logger.warn('controllers did not end in time', { timeoutMs: flags.shutdownTimeoutMs });
          await accounts?.close();
        },
      };
    },
  });
}
