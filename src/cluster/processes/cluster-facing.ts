/** What the API server's flags about the cluster around it come to. */
import type { ApiServerOptions, EndpointReconciler } from '../../apiserver/options.ts';
import { StartError } from './environment.ts';

export interface ClusterFacingFlags {
  readonly allowPrivileged: boolean;
  readonly notReadyTolerationSeconds: number;
  readonly unreachableTolerationSeconds: number;
  readonly kubeletAddressTypes: readonly string[];
  /** Undefined: the usual. */
  readonly kubeletTimeoutMs: number | undefined;
  /** 0: no limit. */
  readonly connectionBytesPerSecond: number;
  /** 0: none. */
  readonly kubernetesNodePort: number;
  readonly endpointReconciler: string;
  readonly apiServerCount: number;
  readonly externalHostname: string | undefined;
}

const reconcilers: readonly EndpointReconciler[] = ['master-count', 'lease', 'none'];

/** @throws {StartError} */
export function clusterFacing(
  flags: ClusterFacingFlags,
  nodePorts: { readonly min: number; readonly max: number },
): Partial<ApiServerOptions> {
  const port = flags.kubernetesNodePort;
  if (port < 0 || port > 65_535)
    throw new StartError(
      `--kubernetes-service-node-port ${port} must be between 0 and 65535, inclusive. If 0, the Kubernetes master service will be of type ClusterIP`,
    );
  if (port > 0 && (port < nodePorts.min || port > nodePorts.max))
    throw new StartError(
      `kubernetes service node port range ${nodePorts.min}-${nodePorts.max} doesn't contain ${port}`,
    );
  const reconciler = flags.endpointReconciler === '' ? 'lease' : flags.endpointReconciler;
  const endpointReconciler = reconcilers.find((r) => r === reconciler);
  if (endpointReconciler === undefined) throw new StartError(`Reconciler not implemented: ${reconciler}`);
  if (flags.apiServerCount <= 0)
    throw new StartError(`--apiserver-count should be a positive number, but value '${flags.apiServerCount}' provided`);
  const host = flags.externalHostname ?? '';
  return {
    allowPrivileged: flags.allowPrivileged,
    tolerationSeconds: { notReady: flags.notReadyTolerationSeconds, unreachable: flags.unreachableTolerationSeconds },
    kubeletAddressTypes: flags.kubeletAddressTypes,
    connectionBytesPerSecond: flags.connectionBytesPerSecond,
    endpointReconciler,
    apiServerCount: flags.apiServerCount,
    ...(port === 0 ? {} : { kubernetesNodePort: port }),
    ...(host === '' ? {} : { externalHost: host }),
  };
}
