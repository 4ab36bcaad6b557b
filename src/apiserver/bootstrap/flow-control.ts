/**
 * The FlowSchemas and PriorityLevelConfigurations that a server brings with it. Mandatory ones are always put back as they
 * were; suggested ones follow the release as long as their annotation, or that nobody has touched them, says so. They are
 * looked after a minute after anything about them changed, as often as upstream looks.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { parseBool } from '../../base/parse-bool.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import type { FlowSchema, PriorityLevelConfiguration } from '../../api/types/flowcontrol-v1.gen.ts';
import type { Registries } from '../registry.ts';
import flowControlJson from './flow-control.json' with { type: 'json' };
import { BootstrapWriter } from './writer.ts';

interface Entry {
  readonly name: string;
  readonly mandatory: boolean;
  readonly spec: Record<string, unknown>;
}

const group = 'flowcontrol.apiserver.k8s.io';
const apiVersion = `${group}/v1`;
const annotation = 'apf.kubernetes.io/autoupdate-spec';
const maintenancePeriod = 60_000;
const resources = ['prioritylevelconfigurations', 'flowschemas'] as const;
type Resource = (typeof resources)[number];

function entries(resource: Resource): readonly Entry[] {
  const { flowSchemas, priorityLevelConfigurations } = flowControlJson;
  return (resource === 'flowschemas' ? flowSchemas : priorityLevelConfigurations) as unknown as readonly Entry[];
}

function objectOf(resource: Resource, entry: Entry): KubeObject {
  return {
    apiVersion,
    kind: resource === 'flowschemas' ? 'FlowSchema' : 'PriorityLevelConfiguration',
    metadata: { name: entry.name, annotations: { [annotation]: 'true' } },
    spec: entry.spec,
  };
}

/** `exempt` and `catch-all`, in this order. */
export function mandatoryFlowSchemas(): readonly FlowSchema[] {
  return mandatory('flowschemas') as unknown as readonly FlowSchema[];
}

export function mandatoryPriorityLevels(): readonly PriorityLevelConfiguration[] {
  return mandatory('prioritylevelconfigurations') as unknown as readonly PriorityLevelConfiguration[];
}

function mandatory(resource: Resource): KubeObject[] {
  return entries(resource)
    .filter((e) => e.mandatory)
    .toSorted((a, b) => (a.name > b.name ? -1 : 1))
    .map((e) => objectOf(resource, e));
}

/** What the API server makes of such a spec: with its defaults. */
function sameSpec(name: string, resource: Resource, expected: unknown, actual: unknown): boolean {
  let wanted = expected as Record<string, unknown>;
  if (resource === 'prioritylevelconfigurations') {
    const limited = wanted['limited'] as Record<string, unknown> | undefined;
    if (limited !== undefined) wanted = { ...wanted, limited: { lendablePercent: 0, ...limited } };
    // How much the exempt level lends is the administrator's to say.
    if (name === 'exempt') {
      const exempt = (actual as Record<string, unknown> | undefined)?.['exempt'];
      if (exempt === undefined) return false;
      wanted = { ...wanted, exempt };
    }
  }
  return semanticEqual(wanted, actual);
}

/** What a bootstrap object becomes; the same one when nothing is to be done about it. */
function revised(resource: Resource, entry: Entry, current: KubeObject): KubeObject {
  const marked = parseBool(current.metadata.annotations?.[annotation] ?? '');
  const follows = entry.mandatory || (marked ?? current.metadata.generation === 1);
  const spec = follows && !sameSpec(entry.name, resource, entry.spec, current['spec']) ? entry.spec : undefined;
  if (spec === undefined && marked === follows) return current;
  return {
    ...current,
    metadata: {
      ...current.metadata,
      annotations: { ...current.metadata.annotations, [annotation]: String(follows) },
    },
    ...(spec === undefined ? {} : { spec }),
  };
}

async function ensure(writer: BootstrapWriter, resource: Resource, entry: Entry): Promise<void> {
  const object = objectOf(resource, entry);
  const current = writer.current(group, resource, object.metadata);
  if (current === undefined) {
    await writer.create(group, resource, object);
    return;
  }
  if (revised(resource, entry, current) === current) return;
  await writer.update(group, resource, object.metadata, (newest) => revised(resource, entry, newest));
}

/** Puts the objects where they belong; those of an older release that nobody has claimed go. */
export async function ensureFlowControl(registries: Registries): Promise<void> {
  const writer = new BootstrapWriter(registries);
  if (!resources.every((r) => writer.serves(group, r))) return;
  await Promise.all(resources.flatMap((r) => entries(r).map((e) => ensure(writer, r, e))));
  for (const resource of resources.toReversed()) {
    const wanted = new Set(entries(resource).map((e) => e.name));
    for (const found of registries.cached(group, resource)) {
      if (wanted.has(found.name)) continue;
      const { annotations } = found.object().metadata as KubeObject['metadata'];
      if (parseBool(annotations?.[annotation] ?? '') === true)
        await writer.delete(group, resource, { name: found.name });
    }
  }
}

/** Looks after the objects as long as the server runs. */
export class FlowControlMaintenance {
  readonly #registries: Registries;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #unfollow: (() => void)[] = [];
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: { readonly registries: Registries; readonly clock: Clock; readonly logger: Logger }) {
    this.#registries = options.registries;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  async start(): Promise<void> {
    for (const resource of resources) {
      let started = false;
      this.#unfollow.push(
        await this.#registries.follow(group, resource, () => {
          if (started) this.#soon();
        }),
      );
      started = true;
    }
  }

  #soon(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = this.#clock.setTimer(maintenancePeriod, () => {
      this.#timer = undefined;
      const work = ensureFlowControl(this.#registries).catch((error: unknown) => {
        if (this.#closed) return;
        if (!(error instanceof StatusError && error.code === 409))
          this.#logger.warn('flow control objects could not be looked after', { error });
        this.#soon();
      });
      void this.#clock.activity.track(work);
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const end of this.#unfollow) end();
  }
}
