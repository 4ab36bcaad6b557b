/**
 * Makes what the parts of one kubelet share, out of its options and its configuration: managers of pods' state, images and cgroups, the
 * recorder of events, and how fast each of them may ask.
 */
import { TokenBucket } from '../base/token-bucket.ts';
import type { Logger } from '../base/logger.ts';
import { FeatureGates } from '../api/features/feature-gates.ts';
import type { KubeObject } from '../api/object.ts';
import { parseDuration } from '../api/time.ts';
import type { Node } from '../api/types/index.gen.ts';
import { EventRecorder } from '../client/event-recorder.ts';
import { Backoff } from './backoff.ts';
import { CgroupManager } from './cgroup-manager.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import { containerSettings } from './containers/container-settings.ts';
import type { KubeletContext, KubeletEvents, ServiceSource } from './context.ts';
import { ImageManager } from './images/image-manager.ts';
import { PullLimits } from './images/pull-limits.ts';
import { PullRecords } from './images/pull-records.ts';
import type { KubeletOptions } from './kubelet-options.ts';
import type { KubeletMetrics } from './metrics/kubelet-metrics.ts';
import type { NodeStatusManager } from './node-status.ts';
import { ObjectCache } from './object-cache.ts';
import { ProbeMetrics } from './probes/probe-metrics.ts';
import type { ContainerRuntime } from './runtime/container-runtime.ts';
import { serviceSource } from './service-source.ts';
import { ShapeCache } from './shapes.ts';
import { StatusManager } from './status-manager.ts';
import { UserNamespaces } from './user-namespaces.ts';
import { VolumeManager } from './volumes/volume-manager.ts';
import { WriteGate } from './write-gate.ts';

/** What the kubelet itself has, or will have by the time it is asked for. */
interface Own {
  /** Undefined: a node without a configuration. */
  readonly configuration: KubeletConfiguration | undefined;
  readonly metrics: KubeletMetrics | undefined;
  /** The options' own, with its calls counted. */
  readonly runtime: ContainerRuntime;
  readonly logger: Logger;
  readonly maxPods: number;
  node(): Node | undefined;
  nodeIps(): readonly string[];
  nodeStatus(): NodeStatusManager;
}

interface Shared {
  readonly ctx: KubeletContext;
  /** The source of Services and the recorder, where the options bring none: they start and stop with the kubelet. */
  readonly ownServices: (ServiceSource & { start(): void; stop(): Promise<void> }) | undefined;
  readonly recorder: EventRecorder | undefined;
}

/** The longest wait before a container is started again. */
function restartMs(c: KubeletConfiguration | undefined): number {
  return c === undefined ? 300_000 : parseDuration(c.crashLoopBackOff.maxContainerRestartPeriod);
}

const podRef = { group: '', version: 'v1', kind: 'Pod' };

/** Events of a kubelet through a recorder. */
function recorderEvents(recorder: EventRecorder, nodeName: string): KubeletEvents {
  return {
    pod: (pod, type, reason, message, fieldPath) =>
      recorder.event(
        podRef,
        pod as unknown as KubeObject,
        type,
        reason,
        message,
        fieldPath === undefined ? undefined : { fieldPath },
      ),
    node: (type, reason, message) =>
      recorder.eventFor({ kind: 'Node', name: nodeName, uid: nodeName, apiVersion: 'v1' }, type, reason, message),
  };
}

export function createContext(o: KubeletOptions, own: Own): Shared {
  const { client, clock, random } = o;
  const { configuration, metrics, runtime, logger, maxPods, node, nodeIps, nodeStatus } = own;
  const gate = o.writeGate ?? new WriteGate(clock);
  const settings = containerSettings(configuration);
  const bucket =
    configuration === undefined
      ? undefined
      : new TokenBucket(configuration.eventRecordQPS || 5, configuration.eventBurst || 10, () => clock.monotonic());
  const slow = (): Promise<void> | undefined =>
    bucket === undefined || bucket.tryTake() ? undefined : clock.sleep(bucket.waitMs);
  const ownServices = o.services === undefined ? serviceSource({ client, clock, random, logger }) : undefined;
  const recorder =
    o.events === undefined
      ? new EventRecorder({
          client,
          clock,
          random,
          logger,
          component: 'kubelet',
          host: o.nodeName,
          hold: () => gate.wait() ?? slow(),
        })
      : undefined;
  const events = o.events ?? recorderEvents(recorder!, o.nodeName);
  const objects = new ObjectCache({ client, clock, random, logger });
  const ctx: Omit<KubeletContext, 'volumes'> & { volumes?: VolumeManager } = {
    nodeName: o.nodeName,
    onPodAddresses: o.onPodAddresses,
    client,
    clock,
    random,
    logger,
    runtime,
    host: o.host,
    events,
    services: o.services ?? ownServices!,
    objects,
    statuses: new StatusManager({ client, clock, logger, gate, metrics }),
    images: new ImageManager({
      runtime,
      clock,
      metrics,
      events,
      objects,
      limits: new PullLimits(configuration, () => clock.monotonic()),
      credentials: o.imageCredentials,
      records: new PullRecords({
        configuration,
        host: o.host,
        rootDir: o.rootDir ?? '/var/lib/kubelet',
        clock,
        logger,
      }),
    }),
    shapes: o.shapes ?? new ShapeCache(),
    cgroups: new CgroupManager({
      cgroups: o.host.cgroups,
      logger,
      events,
      settings,
      podPidsLimit: Math.max(configuration?.podPidsLimit ?? 0, 0),
      ...(metrics === undefined
        ? {}
        : {
            timed: (operation, ms) => metrics.observe('cgroup_manager_duration_seconds', ms / 1000, [operation]),
            now: () => clock.monotonic(),
          }),
      enforceAllocatable: configuration?.enforceNodeAllocatable.includes('pods') ?? true,
      hasExclusiveCpus: (pod) => ctx.resources?.podHasExclusiveCpus(pod) === true,
    }),
    settings,
    features: o.features ?? new FeatureGates(configuration?.featureGates),
    probeMetrics: new ProbeMetrics(),
    metrics,
    userNamespaces: new UserNamespaces({
      runtime,
      host: o.host,
      rootDir: o.rootDir ?? '/var/lib/kubelet',
      maxPods,
      idsPerPod: configuration?.userNamespaces.idsPerPod ?? 65_536,
    }),
    resources: undefined,
    serviceVariables: o.services?.variables ?? new Map(),
    crashLoop: new Backoff(10_000, o.crashLoopBackoffMaxMs ?? restartMs(configuration), () => clock.now()),
    rootDir: o.rootDir ?? '/var/lib/kubelet',
    podLogsDir: o.podLogsDir ?? configuration?.podLogsDir ?? '/var/log/pods',
    runtimeName: 'unknown',
    clusterDns: o.clusterDns ?? [],
    clusterDomain: o.clusterDomain ?? 'cluster.local',
    masterServiceNamespace: 'default',
    node,
    nodeIps,
    runtimeHandlers: () => nodeStatus().runtimeHandlers,
    networkError: () => nodeStatus().networkError,
  };
  ctx.volumes = new VolumeManager(ctx as KubeletContext);
  return { ctx: ctx as KubeletContext, ownServices, recorder };
}
