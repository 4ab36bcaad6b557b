/**
 * The `Available` condition of APIServices (upstream's availability controllers): local ones always are; of the others the
 * Service, its port and its endpoints are looked at, and the server is asked for its discovery document.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { StatusError } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import type { APIService, APIServiceCondition } from '../../api/types/apiregistration-v1.gen.ts';
import type { Service } from '../../api/types/core-v1.gen.ts';
import type { EndpointSlice } from '../../api/types/discovery-v1.gen.ts';
import { joinHostPort } from '../../base/host-port.ts';
import { loopbackContext, loopbackUpdateOptions } from '../loopback.ts';
import { computed, Vector, type Family } from '../metrics/exposition.ts';
import type { Registries } from '../registry.ts';
import { apiServiceGroup, apiServiceResource, isAvailable } from './api-services.ts';
import type { ApiServices, RemoteService } from './api-services.ts';
import { PendingNames } from './pending-names.ts';
import { fetchDocument } from './remote-request.ts';

/** Cluster time between two looks at the same server. */
const resyncMs = 30_000;
const firstRetryMs = 5;
const maxRetryMs = 30_000;
/** Real time that a server may take for its discovery document. */
const checkTimeoutMs = 5000;
const attempts = 5;

export interface AvailabilityOptions {
  readonly registries: Registries;
  readonly services: ApiServices;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Verdict = Pick<APIServiceCondition, 'status' | 'reason' | 'message'>;

const local: Verdict = { status: 'True', reason: 'Local', message: 'Local APIServices are always available' };
const passed: Verdict = { status: 'True', reason: 'Passed', message: 'all checks passed' };
const no = (reason: string, message: string): Verdict => ({ status: 'False', reason, message });

export class Availability {
  readonly #o: AvailabilityOptions;
  readonly #pending: PendingNames;
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, Timer>();
  readonly #unfollow: (() => void)[] = [];
  readonly #changes = new Vector(
    'counter',
    'aggregator_unavailable_apiservice_total',
    'Counter of APIServices which are marked as unavailable broken down by APIService name and reason.',
  );
  readonly families: readonly Family[];
  #resync: Timer | undefined;
  #closed = false;

  constructor(options: AvailabilityOptions) {
    this.#o = options;
    this.#pending = new PendingNames(options.clock, (name) => this.#sync(name));
    this.families = [
      this.#changes,
      computed(
        'gauge',
        'aggregator_unavailable_apiservice',
        'Gauge of APIServices which are marked as unavailable broken down by APIService name.',
        () => [...options.services.all()].map((s) => [{ name: s.metadata.name! }, isAvailable(s) ? 0 : 1] as const),
      ),
    ];
    options.services.onChange((name, service) => {
      if (service === undefined) this.#forget(name);
      else this.#enqueue(name);
    });
  }

  async start(): Promise<void> {
    const { registries, clock } = this.#o;
    const ofService = (namespace: string, name: string): void => {
      for (const remote of this.#o.services.remotes())
        if (remote.namespace === namespace && remote.service === name) this.#enqueue(remote.name);
    };
    this.#unfollow.push(
      await registries.follow('', 'services', (_type, committed) => ofService(committed.namespace, committed.name)),
      await registries.follow('discovery.k8s.io', 'endpointslices', (_type, committed) => {
        if ([...this.#o.services.remotes()].length === 0) return;
        const labels = committed.object().metadata['labels'] as Record<string, string> | undefined;
        ofService(committed.namespace, labels?.['kubernetes.io/service-name'] ?? '');
      }),
    );
    this.#resync = clock.setTicker(resyncMs, () => {
      for (const remote of this.#o.services.remotes()) this.#enqueue(remote.name);
    });
  }

  close(): void {
    this.#closed = true;
    this.#pending.close();
    this.#resync?.cancel();
    for (const unfollow of this.#unfollow) unfollow();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #forget(name: string): void {
    this.#pending.delete(name);
    this.#failures.delete(name);
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
  }

  #enqueue(name: string): void {
    if (this.#closed) return;
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    this.#pending.add(name);
  }

  async #sync(name: string): Promise<void> {
    try {
      const settled = await this.#check(name);
      if (settled) this.#failures.delete(name);
      else this.#retry(name);
    } catch (error) {
      if (this.#closed) return;
      this.#o.logger.warn('checking an APIService failed', { name, error });
      this.#retry(name);
    }
  }

  #retry(name: string): void {
    if (this.#closed || this.#o.services.get(name) === undefined) return;
    const failures = this.#failures.get(name) ?? 0;
    this.#failures.set(name, failures + 1);
    const timer = this.#o.clock.setTimer(Math.min(firstRetryMs * 2 ** failures, maxRetryMs), () => {
      if (this.#timers.get(name) === timer) this.#timers.delete(name);
      this.#enqueue(name);
    });
    this.#timers.get(name)?.cancel();
    this.#timers.set(name, timer);
  }

  /** False when it is to be looked at again soon. */
  async #check(name: string): Promise<boolean> {
    const service = this.#o.services.get(name);
    if (service === undefined) return true;
    const remote = this.#o.services.remote(service.spec?.group ?? '', service.spec?.version ?? '');
    if (service.spec?.service === undefined || remote === undefined) {
      await this.#write(service, local);
      return true;
    }
    const found = this.#look(remote);
    const verdict = found ?? (await this.#ask(remote));
    await this.#write(service, verdict);
    return verdict.status === 'True' || found !== undefined;
  }

  /** What can be seen without asking the server; undefined: nothing is wrong so far. */
  #look(remote: RemoteService): Verdict | undefined {
    const { registries } = this.#o;
    const { namespace, service: name, port } = remote;
    const where = `service/${name} in ${JSON.stringify(namespace)}`;
    const service = registries.cachedGet('', 'services', namespace, name)?.object() as unknown as Service | undefined;
    if (service === undefined) return no('ServiceNotFound', `${where} is not present`);
    if ((service.spec?.type ?? 'ClusterIP') !== 'ClusterIP') return undefined;
    const found = service.spec?.ports?.find((p) => p.port === port);
    if (found === undefined) return no('ServicePortError', `${where} is not listening on port ${port}`);
    const slices: EndpointSlice[] = [];
    for (const committed of registries.cached('discovery.k8s.io', 'endpointslices', namespace)) {
      const slice = committed.object() as unknown as EndpointSlice;
      if (slice.metadata?.labels?.['kubernetes.io/service-name'] === name) slices.push(slice);
    }
    if (slices.length === 0) return no('EndpointsNotFound', `cannot find endpointslices for ${where}`);
    const portName = found.name ?? '';
    const active = slices.some(
      (s) =>
        (s.endpoints ?? []).some((e) => e.conditions?.ready !== false) &&
        (s.ports ?? []).some((p) => (p.name ?? '') === portName && p.port !== undefined),
    );
    return active
      ? undefined
      : no(
          'MissingEndpoints',
          `endpointslices for ${where} have no addresses with port name ${JSON.stringify(portName)}`,
        );
  }

  /** Asks for the document that every aggregated server has; one good answer of several is enough. */
  async #ask(remote: RemoteService): Promise<Verdict> {
    const path = remote.name === 'v1.' ? `/api/${remote.version}` : `/apis/${remote.group}/${remote.version}`;
    const once = async (): Promise<string | undefined> => {
      let url = path;
      try {
        const to = remote.resolve();
        url = `https://${joinHostPort(to.host, to.port)}${path}`;
      } catch (error) {
        return (error as Error).message;
      }
      try {
        const { status } = await fetchDocument(remote, path, { timeoutMs: checkTimeoutMs });
        if (status >= 200 && status < 300) return undefined;
        return `failing or missing response from ${url}: bad status from ${url}: ${status}`;
      } catch (error) {
        const why = (error as Error).message;
        return `failing or missing response from ${url}: Get ${JSON.stringify(url)}: ${why}`;
      }
    };
    const first = await once();
    if (first === undefined) return passed;
    const others = await Promise.all(Array.from({ length: attempts - 1 }, once));
    if (others.includes(undefined)) return passed;
    return no('FailedDiscoveryCheck', others.at(-1) ?? first);
  }

  async #write(service: APIService, verdict: Verdict): Promise<void> {
    const { registries, clock } = this.#o;
    const before = service.status?.conditions?.find((c) => c.type === 'Available');
    const wanted = (conditions: readonly APIServiceCondition[]): APIServiceCondition[] => {
      const old = conditions.find((c) => c.type === 'Available');
      const next: APIServiceCondition = {
        type: 'Available',
        status: verdict.status,
        lastTransitionTime:
          old?.status === verdict.status && old.lastTransitionTime !== undefined
            ? old.lastTransitionTime
            : formatTime(clock.now()),
        ...(verdict.reason === undefined ? {} : { reason: verdict.reason }),
        ...(verdict.message === undefined ? {} : { message: verdict.message }),
      };
      return old === undefined ? [...conditions, next] : conditions.map((c) => (c === old ? next : c));
    };
    const have = service.status?.conditions ?? [];
    if (semanticEqual(wanted(have), have)) return;
    const name = service.metadata.name!;
    const registry = registries.registry(apiServiceGroup, apiServiceResource)!;
    const context = loopbackContext({ verb: 'update', resource: registry.resource, name, subresource: 'status' });
    try {
      await registry.update(
        context,
        '',
        name,
        (current) => {
          if (current === undefined || current.metadata.uid !== service.metadata.uid)
            throw new StatusError(404, 'NotFound', `apiservices.${apiServiceGroup} "${name}" not found`);
          const status = (current['status'] ?? {}) as NonNullable<APIService['status']>;
          return { ...current, status: { ...status, conditions: wanted(status.conditions ?? []) } };
        },
        loopbackUpdateOptions('status'),
      );
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return;
      throw error;
    }
    if (before?.status === 'True' && verdict.status !== 'True') {
      const reason = verdict.reason ?? 'UnknownReason';
      this.#changes.series(`${name} ${reason}`, () => ({ name, reason })).inc();
    }
  }
}
