/** Both webhook plugins with what they share: clients, metrics, the namespaces, and the configurations they follow. */
import type { Catalog } from '../../../api/catalog/catalog.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Random } from '../../../base/random.ts';
import type { ServiceResolver } from '../../connect/service-resolver.ts';
import type { Dial } from '../../egress/selector.ts';
import { createWebhookClients } from '../../connect/webhook-client.ts';
import type { WebhookClients, WebhookIdentityOf } from '../../connect/webhook-client.ts';
import type { AdmissionPlugin } from '../../context.ts';
import type { Dialer } from '../../dialer.ts';
import type { RegistriesImpl } from '../../registry/registries.ts';
import type { ResourceDirectory } from '../../resource-directory.ts';
import { EquivalentResources } from '../matching.ts';
import type { AdmissionMetrics } from '../metrics.ts';
import { Namespaces } from '../namespaces.ts';
import { ObjectVersions } from '../object-versions.ts';
import type { ConditionCompiler } from './call.ts';
import { mutatingAdmissionWebhook } from './mutating.ts';
import { validatingAdmissionWebhook } from './validating.ts';
import type { Transport } from '../../../client/transport.ts';
import type { RestClientMetrics } from '../../metrics/rest-client-metrics.ts';
import type { OutgoingTrace } from '../../tracing/outgoing.ts';
import { Webhooks } from './webhooks.ts';

/** What one of the two plugins is told. */
export interface WebhookAdmissionConfiguration {
  /** How the API server shows itself to webhooks. */
  readonly identityOf?: WebhookIdentityOf;
}

export interface WebhookAdmissionOptions {
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly dialer: Dialer;
  /** How the hosts of URLs are reached, where that is not by the dialer. */
  readonly dialUrl?: Dial | undefined;
  readonly services: ServiceResolver;
  /** For webhooks that the API server's own Service leads to. */
  readonly self?: (() => Pick<Transport, 'request'>) | undefined;
  readonly metrics: AdmissionMetrics;
  readonly conditions: ConditionCompiler;
  readonly trace?: OutgoingTrace | undefined;
  readonly clientMetrics?: RestClientMetrics | undefined;
  readonly mutating?: WebhookAdmissionConfiguration | undefined;
  readonly validating?: WebhookAdmissionConfiguration | undefined;
}

export interface WebhookAdmission {
  readonly plugins: readonly AdmissionPlugin[];
  /** For other webhooks that admission asks. */
  readonly clients: WebhookClients;
  /** Reads the configurations; before the first request. */
  start(): Promise<void>;
  close(): void;
}

export function createWebhookAdmission(options: WebhookAdmissionOptions): WebhookAdmission {
  const { registries, directory, random, logger, dialer, services, metrics, conditions } = options;
  const { dialUrl, trace } = options;
  const made: WebhookClients[] = [];
  const clientsOf = (identityOf?: WebhookIdentityOf): WebhookClients => {
    const one = createWebhookClients({
      dialer,
      dialUrl,
      services,
      self: options.self,
      identityOf,
      userAgent: 'kube-apiserver-admission',
      trace,
      metrics: options.clientMetrics,
    });
    made.push(one);
    return one;
  };
  const clients = clientsOf();
  const clientsFor = (configured: WebhookAdmissionConfiguration | undefined): WebhookClients =>
    configured?.identityOf === undefined ? clients : clientsOf(configured.identityOf);
  const mutating = new Webhooks(registries, 'mutatingwebhookconfigurations');
  const validating = new Webhooks(registries, 'validatingwebhookconfigurations');
  const deps = {
    random,
    metrics,
    logger,
    conditions,
    equivalents: new EquivalentResources(directory),
    namespaces: new Namespaces(registries),
    versions: new ObjectVersions(options),
  };
  return {
    clients,
    plugins: [
      mutatingAdmissionWebhook({ ...deps, clients: clientsFor(options.mutating), webhooks: mutating }),
      validatingAdmissionWebhook({ ...deps, clients: clientsFor(options.validating), webhooks: validating }),
    ],
    async start() {
      await Promise.all([mutating.start(), validating.start()]);
    },
    close() {
      mutating.close();
      validating.close();
      for (const one of made) one.close();
    },
  };
}
