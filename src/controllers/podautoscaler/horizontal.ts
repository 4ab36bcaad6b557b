/**
 * The HorizontalPodAutoscaler controller: every 15 seconds it compares what the pods of a target use with what they should use, and
 * scales the target through its scale subresource. Metrics come from the metrics APIs, when somebody serves them.
 */
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import {
  formatQuantity,
  newMilliQuantity,
  parseQuantity,
  quantityMilli,
  quantityToNumber,
} from '../../api/quantity.ts';
import type { Selector } from '../../api/selector.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import { parseLabelSelector } from '../../api/selector-parser.ts';
import { formatTime } from '../../api/time.ts';
import type {
  HorizontalPodAutoscaler,
  HorizontalPodAutoscalerCondition,
  HorizontalPodAutoscalerStatus,
  MetricSpec,
  MetricStatus,
  MetricTarget,
  MetricValueStatus,
  Pod,
} from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import type { DiscoveredResource } from '../../client/discovery.ts';
import type { EventRecorder, EventType } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import { retryOnConflict } from '../../client/retry.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { LastWritten } from '../util/last-written.ts';
import type { Scale } from '../util/scales.ts';
import { Scales } from '../util/scales.ts';
import { selectorText } from '../util/selector-text.ts';
import { Stabilizer } from './behavior.ts';
import { MetricsReader } from './metrics.ts';
import type { Moment, Proposal, Tolerances } from './replicas.ts';
import { byShare, byTotal, byUsage, byUtilization } from './replicas.ts';

const ref = resources.autoscaling.horizontalpodautoscalers;
const defaultSyncMs = 15_000;
const defaultDownscaleMs = 5 * 60_000;
const defaultTolerance = 0.1;

/** An autoscaler in work: its status as it is to become. */
interface Work {
  readonly autoscaler: HorizontalPodAutoscaler;
  readonly key: string;
  readonly now: number;
  conditions: HorizontalPodAutoscalerCondition[];
  metrics: MetricStatus[];
}

/** What one metric calls for. */
interface Computed {
  readonly replicas: number;
  readonly name: string;
  readonly status: MetricStatus;
}

/** A metric that could not be had, with the condition's reason and message. */
class MetricError extends Error {
  readonly reason: string;
  readonly conditionMessage: string;

  constructor(prefix: string, reason: string, cause: Error) {
    super(`${prefix}${cause.message}`, { cause });
    this.reason = reason;
    this.conditionMessage = `the HPA was unable to compute the replica count: ${cause.message}`;
  }
}

class HorizontalPodAutoscalerController implements RunningController {
  readonly #c: ControllerContext;
  readonly #autoscalers: Informer<HorizontalPodAutoscaler>;
  readonly #pods: Informer<Pod>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #scales: Scales;
  readonly #metrics: MetricsReader;
  readonly #stabilizer: Stabilizer;
  readonly #controller: Controller;
  readonly #syncMs: number;
  readonly #written = new LastWritten<HorizontalPodAutoscaler>();
  /** Selectors of all autoscalers' targets, by key, to find pods that two of them scale. */
  readonly #selectors = new Map<string, Selector>();

  constructor(context: ControllerContext) {
    this.#c = context;
    const { clock, logger, informers, options } = context;
    this.#client = context.clientFor('horizontal-pod-autoscaler');
    this.#recorder = context.recorder('horizontal-pod-autoscaler', this.#client);
    this.#scales = new Scales(this.#client, clock);
    this.#metrics = new MetricsReader(this.#client, this.#scales);
    this.#stabilizer = new Stabilizer(options.horizontalPodAutoscalerDownscaleStabilizationMs ?? defaultDownscaleMs);
    this.#syncMs = options.horizontalPodAutoscalerSyncPeriodMs ?? defaultSyncMs;
    this.#autoscalers = informers.informer(ref);
    this.#pods = informers.informer(resources.core.pods);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'horizontalpodautoscaler',
      workers: context.options.concurrency?.['horizontal-pod-autoscaler'],
      clock,
      logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#autoscalers.addHandler({
      onAdd: (autoscaler) => this.#controller.queue.add(keyOf(autoscaler)),
      onUpdate: (_, autoscaler) => this.#controller.queue.addAfter(keyOf(autoscaler), this.#syncMs),
      onDelete: (autoscaler) => {
        const key = keyOf(autoscaler);
        this.#stabilizer.forget(key);
        this.#selectors.delete(key);
        this.#written.forget(autoscaler.metadata.uid);
      },
    });
    this.#controller.start(this.#autoscalers.synced, this.#pods.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #event(work: Work, type: EventType, reason: string, message: string): void {
    this.#recorder.event(ref, work.autoscaler, type, reason, message);
  }

  #condition(work: Work, type: string, status: 'True' | 'False', reason: string, message: string): void {
    const at = work.conditions.findIndex((c) => c.type === type);
    const old = work.conditions[at];
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : formatTime(work.now);
    const condition: HorizontalPodAutoscalerCondition = {
      type,
      status,
      ...(lastTransitionTime === undefined ? {} : { lastTransitionTime }),
      reason,
      message,
    };
    work.conditions = at === -1 ? [...work.conditions, condition] : work.conditions.with(at, condition);
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#autoscalers.lister.get(name, namespace);
    if (cached === undefined) return;
    const autoscaler = this.#written.newest(cached);
    const work: Work = {
      autoscaler,
      key,
      now: this.#c.clock.now(),
      conditions: autoscaler.status?.conditions ?? [],
      metrics: [],
    };
    try {
      await this.#sync(work);
    } catch (error) {
      // Told by event and condition; the next look comes anyway.
      this.#c.logger.debug('autoscaling failed', { key, error });
    }
    this.#controller.queue.addAfter(key, this.#syncMs);
  }

  async #sync(work: Work): Promise<void> {
    const { autoscaler, key, now } = work;
    const { scaleTargetRef: target, maxReplicas } = autoscaler.spec;
    const namespace = autoscaler.metadata.namespace;
    let resource: DiscoveredResource;
    let scale: Scale;
    try {
      resource = await this.#scales.resource(target.apiVersion ?? 'v1', target.kind);
      scale = await this.#scales.get(resource, target.name, namespace);
    } catch (error) {
      const { message } = error as Error;
      this.#event(work, 'Warning', 'FailedGetScale', message);
      const text = `the HPA controller was unable to get the target's current scale: ${message}`;
      this.#condition(work, 'AbleToScale', 'False', 'FailedGetScale', text);
      await this.#writeConditions(work);
      throw error;
    }
    this.#condition(
      work,
      'AbleToScale',
      'True',
      'SucceededGetScale',
      "the HPA controller was able to get the target's current scale",
    );
    const current = scale.spec?.replicas ?? 0;
    this.#stabilizer.begin(key, current, now);
    const minReplicas = autoscaler.spec.minReplicas ?? 1;
    let desired = current;
    let reason = '';
    let failure: unknown;
    if (current === 0) {
      const message = 'scaling is disabled since the replica count of the target is zero';
      this.#condition(work, 'ScalingActive', 'False', 'ScalingDisabled', message);
    } else if (current > maxReplicas) {
      desired = maxReplicas;
      reason = 'Current number of replicas above Spec.MaxReplicas';
    } else if (current < minReplicas) {
      desired = minReplicas;
      reason = 'Current number of replicas below Spec.MinReplicas';
    } else {
      const outcome = await this.#fromMetrics(work, scale);
      failure = outcome.failure;
      if (outcome.replicas === undefined) {
        await this.#writeStatus(work, current, autoscaler.status?.desiredReplicas ?? 0, false);
        this.#event(work, 'Warning', 'FailedComputeMetricsReplicas', (failure as Error).message);
        throw failure;
      }
      if (outcome.replicas > current) reason = `${outcome.name} above target`;
      if (outcome.replicas < current) reason = 'All metrics below target';
      const input = { autoscaler, key, current, desired: outcome.replicas, minReplicas, now };
      const { replicas, ableToScale, limited } = this.#stabilizer.normalize(input);
      this.#condition(work, 'AbleToScale', 'True', ableToScale[0], ableToScale[1]);
      this.#condition(work, 'ScalingLimited', limited[0] ? 'True' : 'False', limited[1], limited[2]);
      desired = replicas;
    }
    const rescale = desired !== current;
    if (rescale) await this.#rescale(work, resource, scale, desired, reason);
    await this.#writeStatus(work, current, desired, rescale);
    if (failure !== undefined) throw failure;
  }

  async #rescale(
    work: Work,
    resource: DiscoveredResource,
    scale: Scale,
    desired: number,
    reason: string,
  ): Promise<void> {
    const { autoscaler, key } = work;
    const current = scale.spec?.replicas ?? 0;
    try {
      let latest = scale;
      await retryOnConflict({ clock: this.#c.clock, random: this.#c.random }, async (attempt) => {
        if (attempt > 0) latest = await this.#scales.get(resource, scale.metadata.name!, scale.metadata.namespace);
        await this.#scales.update(resource, { ...latest, spec: { ...latest.spec, replicas: desired } });
      });
    } catch (error) {
      const { message } = error as Error;
      this.#event(work, 'Warning', 'FailedRescale', `New size: ${desired}; reason: ${reason}; error: ${message}`);
      const text = `the HPA controller was unable to update the target scale: ${message}`;
      this.#condition(work, 'AbleToScale', 'False', 'FailedUpdateScale', text);
      await this.#writeStatus(work, current, autoscaler.status?.desiredReplicas ?? 0, false);
      throw error;
    }
    const text = `the HPA controller was able to update the target scale to ${desired}`;
    this.#condition(work, 'AbleToScale', 'True', 'SucceededRescale', text);
    this.#event(work, 'Normal', 'SuccessfulRescale', `New size: ${desired}; reason: ${reason}`);
    this.#stabilizer.scaled(key, current, desired, work.now);
  }

  /** The greatest of what the metrics call for; without replicas when too little is known. */
  async #fromMetrics(
    work: Work,
    scale: Scale,
  ): Promise<{ replicas: number | undefined; name: string; failure: unknown }> {
    const specs = work.autoscaler.spec.metrics ?? [];
    const current = scale.spec?.replicas ?? 0;
    let pods: Pod[];
    let selector: Selector;
    try {
      ({ pods, selector } = this.#target(work, scale.status?.selector ?? ''));
    } catch (error) {
      return { replicas: undefined, name: '', failure: error };
    }
    let best: Computed | undefined;
    let first: MetricError | undefined;
    let invalid = 0;
    for (const spec of specs) {
      try {
        const computed = await this.#fromMetric(work, spec, scale, pods, selector);
        work.metrics.push(computed.status);
        if (best === undefined || best.replicas === 0 || computed.replicas > best.replicas) best = computed;
      } catch (error) {
        if (!(error instanceof MetricError)) throw error;
        this.#event(work, 'Warning', error.reason, (error.cause as Error).message);
        work.metrics.push({ type: '' });
        first ??= error;
        invalid++;
      }
    }
    const failure =
      first === undefined
        ? undefined
        : new Error(`invalid metrics (${invalid} invalid out of ${specs.length}), first error is: ${first.message}`, {
            cause: first,
          });
    if (best === undefined || (invalid > 0 && best.replicas < current)) {
      if (first !== undefined) this.#condition(work, 'ScalingActive', 'False', first.reason, first.conditionMessage);
      return { replicas: undefined, name: '', failure: failure ?? new Error('no metrics to scale by') };
    }
    const text = `the HPA was able to successfully calculate a replica count from ${best.name}`;
    this.#condition(work, 'ScalingActive', 'True', 'ValidMetricFound', text);
    return { replicas: best.replicas, name: best.name, failure };
  }

  /** The pods of the target, unless another autoscaler scales some of them. */
  #target(work: Work, text: string): { pods: Pod[]; selector: Selector } {
    const { key, autoscaler } = work;
    const refuse = (event: string, condition: string, message: string, conditionMessage = message): never => {
      this.#event(work, 'Warning', event, message);
      this.#condition(work, 'ScalingActive', 'False', condition, conditionMessage);
      throw new Error(message);
    };
    if (text === '')
      refuse(
        'SelectorRequired',
        'InvalidSelector',
        'selector is required',
        "the HPA target's scale is missing a selector",
      );
    let selector: Selector;
    try {
      selector = parseLabelSelector(text);
    } catch (error) {
      return refuse(
        'InvalidSelector',
        'InvalidSelector',
        `couldn't convert selector into a corresponding internal selector object: ${(error as Error).message}`,
      );
    }
    this.#selectors.set(key, selector);
    const { namespace } = autoscaler.metadata;
    const pods: Pod[] = [];
    for (const pod of this.#pods.lister.list(namespace)) if (selector.matches(pod.metadata.labels)) pods.push(pod);
    const others = [...this.#selectors].filter(
      ([other, s]) =>
        splitKey(other).namespace === namespace && pods.some((p) => other === key || s.matches(p.metadata.labels)),
    );
    if (others.length > 1) {
      const list = others.map(([other]) => other).join(' ');
      refuse(
        'AmbiguousSelector',
        'AmbiguousSelector',
        `pods by selector ${text} are controlled by multiple HPAs: [${list}]`,
      );
    }
    return { pods, selector };
  }

  #moment(now: number): Moment {
    const { options } = this.#c;
    return {
      now,
      cpuInitializationMs: options.horizontalPodAutoscalerCpuInitializationPeriodMs ?? 5 * 60_000,
      initialReadinessMs: options.horizontalPodAutoscalerInitialReadinessDelayMs ?? 30_000,
    };
  }

  #tolerances(autoscaler: HorizontalPodAutoscaler): Tolerances {
    const usual = this.#c.options.horizontalPodAutoscalerTolerance ?? defaultTolerance;
    const of = (text: string | undefined): number =>
      text === undefined ? usual : quantityToNumber(parseQuantity(text));
    const { behavior } = autoscaler.spec;
    return { down: of(behavior?.scaleDown?.tolerance), up: of(behavior?.scaleUp?.tolerance) };
  }

  async #fromMetric(
    work: Work,
    spec: MetricSpec,
    scale: Scale,
    pods: readonly Pod[],
    selector: Selector,
  ): Promise<Computed> {
    const { autoscaler, now } = work;
    const namespace = autoscaler.metadata.namespace ?? '';
    const tolerances = this.#tolerances(autoscaler);
    const current = scale.spec?.replicas ?? 0;
    const statusReplicas = scale.status?.replicas ?? 0;
    const failed = (prefix: string, reason: string, error: unknown): MetricError =>
      new MetricError(prefix, reason, error as Error);
    const { type } = spec;
    if (type === 'Resource' && spec.resource !== undefined) {
      const { name, target } = spec.resource;
      try {
        const { replicas, value, label } = await this.#resource(work, name, target, '', pods, selector, current);
        return { replicas, name: label, status: { type, resource: { name, current: value } } };
      } catch (error) {
        throw failed(`failed to get ${name} resource metric value: `, 'FailedGetResourceMetric', error);
      }
    }
    if (type === 'ContainerResource' && spec.containerResource !== undefined) {
      const { name, target, container } = spec.containerResource;
      try {
        const { replicas, value, label } = await this.#resource(work, name, target, container, pods, selector, current);
        return { replicas, name: label, status: { type, containerResource: { name, container, current: value } } };
      } catch (error) {
        throw failed(`failed to get ${container} container metric value: `, 'FailedGetContainerResourceMetric', error);
      }
    }
    if (type === 'Pods' && spec.pods !== undefined) {
      const { metric, target } = spec.pods;
      try {
        const metrics = await named(`unable to get metric ${metric.name}`, () =>
          this.#metrics.pods(metric.name, namespace, selector, metricSelector(metric.selector)),
        );
        const p = byUsage(pods, metrics, current, milliOf(target.averageValue), '', tolerances, this.#moment(now));
        const status: MetricStatus = { type, pods: { metric, current: { averageValue: decimal(p.usage) } } };
        return { replicas: p.replicas, name: `pods metric ${metric.name}`, status };
      } catch (error) {
        throw failed('failed to get pods metric value: ', 'FailedGetPodsMetric', error);
      }
    }
    if (type === 'Object' && spec.object !== undefined) {
      const { metric, target, describedObject } = spec.object;
      try {
        if (target.value === undefined && target.averageValue === undefined)
          throw new Error('invalid object metric source: neither a value target nor an average value target was set');
        const where = `on ${describedObject.kind} ${namespace}/${describedObject.name}`;
        const usage = await named(
          `unable to get metric ${metric.name}`,
          () => this.#metrics.object(metric.name, namespace, describedObject, metricSelector(metric.selector)),
          where,
        );
        const p = fromTotal(usage, target, pods, current, statusReplicas, tolerances);
        const label =
          target.value === undefined
            ? `external metric ${metric.name}(${selectorText(metric.selector)})`
            : `${describedObject.kind} metric ${metric.name}`;
        const status: MetricStatus = { type, object: { metric, describedObject, current: totalStatus(target, p) } };
        return { replicas: p.replicas, name: label, status };
      } catch (error) {
        throw failed('failed to get object metric value: ', 'FailedGetObjectMetric', error);
      }
    }
    if (type === 'External' && spec.external !== undefined) {
      const { metric, target } = spec.external;
      try {
        if (target.value === undefined && target.averageValue === undefined)
          throw new Error('invalid external metric source: neither a value target nor an average value target was set');
        const what = `${namespace}/${metric.name}/${selectorText(metric.selector)}`;
        const values = await named(`unable to get external metric ${what}`, () =>
          this.#metrics.external(metric.name, namespace, metricSelector(metric.selector)),
        );
        const usage = values.reduce((a, b) => a + b, 0);
        const p = fromTotal(usage, target, pods, current, statusReplicas, tolerances);
        const status: MetricStatus = { type, external: { metric, current: totalStatus(target, p) } };
        return {
          replicas: p.replicas,
          name: `external metric ${metric.name}(${selectorText(metric.selector)})`,
          status,
        };
      } catch (error) {
        throw failed(`failed to get ${metric.name} external metric value: `, 'FailedGetExternalMetric', error);
      }
    }
    throw failed('', 'InvalidMetricSourceType', new Error(`unknown metric source type "${type}"`));
  }

  async #resource(
    work: Work,
    name: string,
    target: MetricTarget,
    container: string,
    pods: readonly Pod[],
    selector: Selector,
    current: number,
  ): Promise<{ replicas: number; value: MetricValueStatus; label: string }> {
    const { autoscaler, now } = work;
    const tolerances = this.#tolerances(autoscaler);
    const read = () =>
      named(`unable to get metrics for resource ${name}`, () =>
        this.#metrics.resource(name, autoscaler.metadata.namespace ?? '', selector, container),
      );
    const format = name === 'memory' ? 'BinarySI' : 'DecimalSI';
    const average = (usage: number): string => formatQuantity(newMilliQuantity(usage, format));
    if (target.averageValue !== undefined) {
      const wanted = milliOf(target.averageValue);
      const p = await named(`failed to get ${name} usage`, async () =>
        byUsage(pods, await read(), current, wanted, name, tolerances, this.#moment(now)),
      );
      return { replicas: p.replicas, value: { averageValue: average(p.usage) }, label: `${name} resource` };
    }
    const wanted = target.averageUtilization;
    if (wanted === undefined)
      throw new Error(
        'invalid resource metric source: neither an average utilization target nor an average value (usage) target was set',
      );
    const p = await named(`failed to get ${name} utilization`, async () =>
      byUtilization(pods, await read(), current, wanted, name, container, tolerances, this.#moment(now)),
    );
    const kind = container === '' ? 'resource' : 'container resource';
    return {
      replicas: p.replicas,
      value: { averageUtilization: p.utilization ?? 0, averageValue: average(p.usage) },
      label: `${name} ${kind} utilization (percentage of request)`,
    };
  }

  async #writeConditions(work: Work): Promise<void> {
    const { status } = work.autoscaler;
    await this.#write(work, {
      ...status,
      desiredReplicas: status?.desiredReplicas ?? 0,
      conditions: work.conditions,
    });
  }

  async #writeStatus(work: Work, current: number, desired: number, rescaled: boolean): Promise<void> {
    const old = work.autoscaler.status;
    const lastScaleTime = rescaled ? formatTime(work.now) : old?.lastScaleTime;
    await this.#write(work, {
      ...(old?.observedGeneration === undefined ? {} : { observedGeneration: old.observedGeneration }),
      ...(lastScaleTime === undefined ? {} : { lastScaleTime }),
      currentReplicas: current,
      desiredReplicas: desired,
      ...(work.metrics.length === 0 ? {} : { currentMetrics: work.metrics }),
      conditions: work.conditions,
    });
  }

  async #write(work: Work, status: HorizontalPodAutoscalerStatus): Promise<void> {
    const { autoscaler } = work;
    if (semanticEqual(autoscaler.status, status)) return;
    try {
      const client = this.#client.autoscaling.horizontalpodautoscalers;
      this.#written.wrote(await client.updateStatus({ ...autoscaler, status }));
    } catch (error) {
      this.#event(work, 'Warning', 'FailedUpdateStatus', (error as Error).message);
      throw error;
    }
  }
}

const decimal = (milli: number): string => formatQuantity(newMilliQuantity(milli, 'DecimalSI'));
const milliOf = (text: string | undefined): number => quantityMilli(parseQuantity(text ?? '0'));

/** No selector means every series of the metric. */
const metricSelector = (selector: MetricSelectorSource): Selector => compileLabelSelector(selector ?? {});
type MetricSelectorSource = Parameters<typeof compileLabelSelector>[0];

/** Errors get what was being done put before them. */
async function named<T>(what: string, fn: () => Promise<T>, where?: string): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${what}: ${message}${where === undefined ? '' : ` ${where}`}`, { cause: error });
  }
}

function fromTotal(
  usage: number,
  target: MetricTarget,
  pods: readonly Pod[],
  current: number,
  statusReplicas: number,
  tolerances: Tolerances,
): Proposal {
  return target.value === undefined
    ? byShare(usage, statusReplicas, milliOf(target.averageValue), tolerances)
    : byTotal(pods, usage, current, milliOf(target.value), tolerances);
}

function totalStatus(target: MetricTarget, p: Proposal): MetricValueStatus {
  return target.value === undefined ? { averageValue: decimal(p.usage) } : { value: decimal(p.usage) };
}

export const horizontalPodAutoscalerController: ControllerDescriptor = {
  name: 'horizontal-pod-autoscaler-controller',
  aliases: ['horizontalpodautoscaling'],
  start: (context) => new HorizontalPodAutoscalerController(context),
};
