/**
 * Enforces NetworkPolicies for the pods of one node. Nothing is written and no pod is watched while there is no policy in the cluster;
 * from the first one on, pods, namespaces and policies are followed and the table with them, change by change.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Namespace, NetworkPolicy, Pod } from '../../api/types/index.gen.ts';
import { dropManagedFields, Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ProxyHost } from '../host/proxy-host.ts';
import { NftTable } from '../nft/table.ts';
import { compilePolicy } from './compiled-policy.ts';
import { canonicalAddresses, podFacts, trimPod } from './facts.ts';
import { PolicyTable, policyTableName } from './policy-table.ts';

/** Everything is written again so often, in case somebody else has changed the rules. */
const fullSyncPeriodMs = 3_600_000;
const retryMs = 1000;
const maxRetryMs = 30_000;
const leftoversAfterMs = 1000;
/** Pods whose address was announced and whose status has not told it yet. */
const maxAnnounced = 1000;

export interface NetworkPolicyOptions {
  /** Lists and watches networkpolicies, pods and namespaces: see `networkPolicyRules`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly host: ProxyHost;
  readonly nodeName: string;
}

export interface NetworkPolicyEnforcer {
  /** Resolves when the policies that there are now are enforced. */
  start(): Promise<void>;
  /** Leaves the rules as they are: `cleanUpPolicies` removes them. */
  stop(): Promise<void>;
  /**
   * A pod of this node has got its addresses: resolves when its policies hold for them. To be called before its containers start, which
   * would otherwise be reachable until the pod's status has come back from the API server.
   */
  announce(namespace: string, name: string, addresses: readonly string[]): Promise<void>;
  /** Resolves when everything that has arrived so far is in place. */
  settled(): Promise<void>;
  /** How many pods of this node are isolated. */
  readonly isolated: number;
}

/** What whoever enforces policies must be allowed to read, as rules of a ClusterRole. */
export const networkPolicyRules: readonly {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}[] = [
  { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: ['list', 'watch'] },
  { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['list', 'watch'] },
];

class Enforcer implements NetworkPolicyEnforcer {
  readonly #o: NetworkPolicyOptions;
  readonly #policies: Informer<NetworkPolicy>;
  readonly #pods: Informer<Pod>;
  readonly #namespaces: Informer<Namespace>;
  readonly #table: PolicyTable;
  readonly #announced = new Map<string, readonly string[]>();
  #following: Promise<void> | undefined;
  #ready = false;
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #leftovers: Timer | undefined;
  #fullSync: Timer | undefined;
  #failures = 0;
  #stopped = false;
  /** False when there is no table of ours: none is needed. At the start there may be one of an earlier run. */
  #written = true;

  constructor(options: NetworkPolicyOptions) {
    this.#o = options;
    const { client, clock, random, logger, nodeName } = options;
    this.#table = new PolicyTable(nodeName);
    const shared = { clock, random, logger };
    this.#policies = new Informer<NetworkPolicy>({
      ...shared,
      client: client.networking.networkpolicies,
      transform: dropManagedFields,
    });
    this.#pods = new Informer<Pod>({ ...shared, client: client.core.pods, transform: trimPod });
    this.#namespaces = new Informer<Namespace>({
      ...shared,
      client: client.core.namespaces,
      transform: dropManagedFields,
    });
    this.#policies.addHandler({
      onAdd: (p) => this.#policyChanged(p),
      onUpdate: (_, p) => this.#policyChanged(p),
      onDelete: (p) => {
        this.#table.setPolicy(keyOf(p), undefined);
        this.#sync();
      },
    });
    this.#pods.addHandler({
      onAdd: (p) => this.#podChanged(p),
      onUpdate: (_, p) => this.#podChanged(p),
      onDelete: (p) => {
        this.#announced.delete(keyOf(p));
        this.#table.setPod(keyOf(p), undefined);
        this.#sync();
      },
    });
    this.#namespaces.addHandler({
      onAdd: (n) => this.#namespaceChanged(n),
      onUpdate: (_, n) => this.#namespaceChanged(n),
      onDelete: (n) => {
        this.#table.setNamespace(n.metadata.name ?? '', undefined);
        this.#sync();
      },
    });
  }

  get isolated(): number {
    return this.#table.size;
  }

  #policyChanged(policy: NetworkPolicy): void {
    this.#table.setPolicy(keyOf(policy), compilePolicy(policy));
    void this.#follow();
    this.#sync();
  }

  #podChanged(pod: Pod): void {
    const key = keyOf(pod);
    const facts = podFacts(pod, this.#announced.get(key));
    if ((pod.status?.podIPs ?? []).length > 0) this.#announced.delete(key);
    this.#table.setPod(key, facts);
    this.#sync();
  }

  #namespaceChanged(namespace: Namespace): void {
    const name = namespace.metadata.name ?? '';
    // Upstream's API server gives every namespace this label; policies count on it.
    this.#table.setNamespace(name, { 'kubernetes.io/metadata.name': name, ...namespace.metadata.labels });
    this.#sync();
  }

  async start(): Promise<void> {
    this.#policies.start();
    await this.#policies.synced;
    if (this.#stopped) return;
    if (this.#following === undefined) {
      // Rules of an earlier run, when there were policies.
      await this.#attempt('old rules of network policies could not be removed', async () => {
        await cleanUpPolicies(this.#o.host);
        this.#written = false;
      });
      return;
    }
    await this.#following;
    await this.settled();
  }

  /** Starts to watch what policies speak of. */
  #follow(): Promise<void> {
    this.#following ??= (async () => {
      await this.#bridges();
      if (this.#stopped) return;
      this.#pods.start();
      this.#namespaces.start();
      await Promise.all([this.#pods.synced, this.#namespaces.synced]);
      this.#ready = true;
      if (!this.#stopped)
        this.#fullSync = this.#o.clock.setTicker(fullSyncPeriodMs, () => {
          this.#table.table.forget();
          this.#sync();
        });
      this.#sync();
    })().catch((error: unknown) => {
      if (!this.#stopped) this.#o.logger.error('network policies are not enforced', { error });
    });
    return this.#following;
  }

  /** Packets between pods on one bridge come by the rules only when the kernel is told so. */
  async #bridges(): Promise<void> {
    const { host, logger } = this.#o;
    for (const name of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'])
      await this.#attempt('network policies may not hold between pods on one bridge', async () => {
        const path = `net/bridge/${name}`;
        if ((await host.sysctl(path)) === undefined) await host.loadModule('br_netfilter');
        const value = await host.sysctl(path);
        if (value === undefined) logger.info('the kernel has no br_netfilter: no policy holds inside of a bridge');
        else if (value !== '1') await host.setSysctl(path, '1');
      });
  }

  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#o.logger.warn(what, { error });
    }
  }

  #sync(): void {
    if (!this.#ready || this.#stopped || this.#running !== undefined || this.#timer !== undefined) return;
    this.#running = this.#o.clock.activity.track(this.#pass()).finally(() => {
      this.#running = undefined;
      if (this.#stopped) return;
      if (this.#failures > 0)
        this.#timer = this.#o.clock.setTimer(Math.min(retryMs * 2 ** (this.#failures - 1), maxRetryMs), () => {
          this.#timer = undefined;
          this.#sync();
        });
      else if (this.#pending) this.#sync();
    });
  }

  get #pending(): boolean {
    const wanted = this.#table.size > 0;
    return wanted !== this.#written || (wanted && this.#table.table.changed);
  }

  async #pass(): Promise<void> {
    // Events that come together are written together.
    await Promise.resolve();
    const { host, logger } = this.#o;
    const { table } = this.#table;
    try {
      if (this.#table.size === 0) {
        // Whether there was one or not.
        await host.nft(table.removal());
        this.#written = false;
        table.forget();
      } else {
        const text = table.transaction();
        // What changes while nft runs belongs to the next transaction.
        table.commit();
        if (text !== '') {
          await host.nft(text);
          this.#leftoversLater();
        }
        this.#written = true;
      }
      this.#failures = 0;
    } catch (error) {
      table.forget();
      if (this.#failures++ === 0) logger.error('could not update the rules of network policies, will retry', { error });
    }
  }

  #leftoversLater(): void {
    if (this.#stopped || this.#leftovers !== undefined) return;
    this.#leftovers = this.#o.clock.setTimer(leftoversAfterMs, () => {
      this.#leftovers = undefined;
      if (this.#running !== undefined || this.#timer !== undefined) {
        this.#leftoversLater();
        return;
      }
      const text = this.#table.table.leftovers();
      if (text === '' || !this.#written) return;
      this.#running = this.#o.host
        .nft(text)
        .then(() => this.#table.table.leftoversGone())
        .catch((error: unknown) =>
          this.#o.logger.debug('chains of former policies could not be deleted yet', { error }),
        )
        .finally(() => {
          this.#running = undefined;
          if (this.#pending) this.#sync();
        });
    });
  }

  async announce(namespace: string, name: string, addresses: readonly string[]): Promise<void> {
    if (this.#following === undefined) return;
    const key = `${namespace}/${name}`;
    const pod = this.#ready ? this.#pods.lister.get(name, namespace) : undefined;
    this.#announced.set(key, canonicalAddresses(addresses));
    if (this.#announced.size > maxAnnounced) this.#announced.delete(this.#announced.keys().next().value!);
    if (pod !== undefined) this.#podChanged(pod);
    await this.settled();
  }

  async settled(): Promise<void> {
    await this.#following;
    while (this.#ready && !this.#stopped && (this.#running !== undefined || this.#pending)) {
      this.#sync();
      await (this.#running ?? this.#o.clock.sleep(1));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#leftovers?.cancel();
    this.#fullSync?.cancel();
    await Promise.all([this.#policies.stop(), this.#pods.stop(), this.#namespaces.stop()]);
    await this.#following;
    await this.#running;
  }
}

export function createNetworkPolicyEnforcer(options: NetworkPolicyOptions): NetworkPolicyEnforcer {
  return new Enforcer(options);
}

/** Removes every rule of network policies; other tables stay as they are. */
export async function cleanUpPolicies(host: ProxyHost): Promise<void> {
  await host.nft(new NftTable('inet', policyTableName).removal());
}
