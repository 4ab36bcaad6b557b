/**
 * The webhooks of all configurations of one kind, made ready for matching and in the order of their calls: configurations by
 * name, webhooks as they stand in them.
 */
import type { Selector, SelectorError } from '../../../api/selector.ts';
import type { MutatingWebhook, ValidatingWebhook } from '../../../api/types/admissionregistration-v1.gen.ts';
import type { WebhookClientConfig } from '../../connect/webhook-client.ts';
import type { Registries } from '../../registry.ts';
import { readSelector, type Rule } from '../matching.ts';

export interface MatchCondition {
  readonly name: string;
  readonly expression: string;
}

export interface Webhook {
  /** Unique among all: configuration, name, and which of that name. */
  readonly id: string;
  readonly configuration: string;
  readonly name: string;
  readonly client: WebhookClientConfig;
  readonly rules: readonly Rule[];
  readonly ignoresFailure: boolean;
  readonly equivalent: boolean;
  readonly namespaceSelector: Selector | SelectorError;
  readonly objectSelector: Selector | SelectorError;
  readonly sideEffects: string | undefined;
  readonly timeoutMs: number;
  readonly reviewVersions: readonly string[];
  readonly reinvocable: boolean;
  readonly matchConditions: readonly MatchCondition[];
}

const group = 'admissionregistration.k8s.io';
const defaultTimeoutSeconds = 10;

function readWebhooks(
  configuration: string,
  given: readonly Partial<MutatingWebhook & ValidatingWebhook>[],
): readonly Webhook[] {
  const names = new Map<string, number>();
  return given.map((w) => {
    const name = w.name ?? '';
    const same = names.get(name) ?? 0;
    names.set(name, same + 1);
    return {
      id: `${configuration}/${name}/${same}`,
      configuration,
      name,
      client: (w.clientConfig ?? {}) as WebhookClientConfig,
      rules: w.rules ?? [],
      ignoresFailure: w.failurePolicy === 'Ignore',
      equivalent: (w.matchPolicy ?? 'Equivalent') === 'Equivalent',
      namespaceSelector: readSelector(w.namespaceSelector ?? {}),
      objectSelector: readSelector(w.objectSelector ?? {}),
      sideEffects: w.sideEffects,
      timeoutMs: (w.timeoutSeconds ?? defaultTimeoutSeconds) * 1000,
      reviewVersions: w.admissionReviewVersions ?? [],
      reinvocable: w.reinvocationPolicy === 'IfNeeded',
      matchConditions: w.matchConditions ?? [],
    };
  });
}

export class Webhooks {
  readonly #registries: Registries;
  readonly #resource: string;
  readonly #configurations = new Map<string, readonly Webhook[]>();
  #all: readonly Webhook[] = [];
  #unfollow: (() => void) | undefined;

  /** `resource`: `mutatingwebhookconfigurations` or `validatingwebhookconfigurations`. */
  constructor(registries: Registries, resource: string) {
    this.#registries = registries;
    this.#resource = resource;
  }

  /** In the order of their calls. */
  get all(): readonly Webhook[] {
    return this.#all;
  }

  /** Reads what there is, then follows it. */
  async start(): Promise<void> {
    this.#unfollow = await this.#registries.follow(group, this.#resource, (type, committed) => {
      if (type === 'delete') this.#configurations.delete(committed.name);
      else this.#configurations.set(committed.name, readWebhooks(committed.name, webhooksIn(committed.object())));
      const sorted = [...this.#configurations].sort(([a], [b]) => (a < b ? -1 : 1));
      this.#all = sorted.flatMap(([, webhooks]) => webhooks);
    });
  }

  close(): void {
    this.#unfollow?.();
  }
}

function webhooksIn(object: Record<string, unknown>): readonly Partial<MutatingWebhook & ValidatingWebhook>[] {
  return (object['webhooks'] ?? []) as readonly Partial<MutatingWebhook & ValidatingWebhook>[];
}
