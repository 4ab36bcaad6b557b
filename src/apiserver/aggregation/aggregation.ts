/**
 * The aggregation layer (kube-aggregator): APIServices of our own kept in place, the others watched, asked and passed on to.
 * Discovery and OpenAPI get what aggregated servers say from here.
 */
import type { OutgoingTrace } from '../tracing/outgoing.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Session } from '../connect/connect.ts';
import type { ServiceResolver } from '../connect/service-resolver.ts';
import type { Dialer } from '../dialer.ts';
import type { Family } from '../metrics/exposition.ts';
import type { ComputedApis } from '../computed.ts';
import type { Registries } from '../registry.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import { ApiServices } from './api-services.ts';
import { AutoRegister } from './auto-register.ts';
import { Availability } from './availability.ts';
import { createAggregationProxy, type AggregationProxy } from './proxy.ts';
import { RemoteDocuments } from './remote-documents.ts';
import type { Scope } from '../filters/scope.ts';

export interface AggregationOptions {
  readonly registries: Registries;
  readonly directory: ResourceDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dialer: Dialer;
  readonly services: ServiceResolver;
  /** PEM (`--proxy-client-cert-file`, `--proxy-client-key-file`). */
  readonly proxyClient: { readonly certificate: string; readonly key: string } | undefined;
  /** Served where no server of their own is registered. */
  readonly computed: ComputedApis;
  readonly sessionStarted: (session: Session, scope: Scope) => void;
  readonly trace?: OutgoingTrace | undefined;
  /** `--aggregator-reject-forwarding-redirect` */
  readonly rejectRedirects: boolean;
  readonly onUnavailable: (scope: Scope) => void;
}

export class Aggregation {
  readonly proxy: AggregationProxy;
  readonly documents: RemoteDocuments;
  readonly families: readonly Family[];
  readonly #services: ApiServices;
  readonly #availability: Availability;
  readonly #autoRegister: AutoRegister;

  constructor(options: AggregationOptions) {
    const { registries, directory, clock, logger } = options;
    const services = new ApiServices(options);
    this.#services = services;
    options.computed.follow(services);
    this.#autoRegister = new AutoRegister({ registries, directory, services, clock, logger });
    this.#availability = new Availability({ registries, services, clock, logger });
    this.documents = new RemoteDocuments({ services, clock, logger });
    this.proxy = createAggregationProxy({
      services,
      sessionStarted: options.sessionStarted,
      trace: options.trace,
      rejectRedirects: options.rejectRedirects,
      onUnavailable: options.onUnavailable,
    });
    this.families = this.#availability.families;
  }

  /** Knows which servers there are; before the first request. */
  start(): Promise<void> {
    return this.#services.start();
  }

  /** Registers what this server serves, then goes on by itself. Part of the bootstrap. */
  async register(): Promise<void> {
    await this.#autoRegister.registerBuiltIn();
    await Promise.all([this.#autoRegister.start(), this.#availability.start()]);
    this.documents.start();
  }

  close(): void {
    this.documents.close();
    this.#availability.close();
    this.#autoRegister.close();
    this.#services.close();
  }
}
