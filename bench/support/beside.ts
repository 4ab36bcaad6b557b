/**
 * What every benchmark measures beside its own figure, in one way: how late the server's event loop is, and how long a small
 * write takes meanwhile, a Lease that is renewed every 20 ms as a node's heartbeat is.
 */
import type { Cluster } from '../../src/index.ts';
import type { BenchResult } from '../run.ts';
import type { LoopMeter } from './loop-delay.ts';
import { ownLoop } from './loop-delay.ts';
import { median, percentile } from './median.ts';
import type { BenchServer } from './server.ts';

const everyMs = 20;

export interface ProbeLease {
  metadata: { name: string; namespace: string; resourceVersion?: string };
  spec: { holderIdentity: string; renewTime?: string };
}

/** Whom to measure. */
export interface Target {
  /** Undefined: the server is none of Node's. */
  readonly loop: LoopMeter | undefined;
  /**
   * The server is this process. Then a timer that comes late has been held up by it, and a write is timed from when it was due;
   * from outside it is timed from when it was sent, because lateness there is the prober's own.
   */
  readonly own: boolean;
  create(lease: ProbeLease): Promise<ProbeLease>;
  update(lease: ProbeLease): Promise<ProbeLease>;
  remove(name: string): Promise<void>;
}

/** Milliseconds. */
export interface Beside {
  readonly leaseP50: number;
  readonly leaseP99: number;
  readonly loopP99: number;
  readonly loopMax: number;
}

const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases';

export function serverTarget(server: BenchServer): Target {
  return {
    loop: server.loop,
    own: false,
    create: (lease) => server.json('POST', path, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', ...lease }),
    update: (lease) => server.json('PUT', `${path}/${lease.metadata.name}`, lease),
    remove: async (name) => void (await server.json('DELETE', `${path}/${name}`)),
  };
}

export function clusterTarget(cluster: Cluster): Target {
  const leases = cluster.client.coordination.leases;
  return {
    loop: ownLoop(),
    own: true,
    create: async (lease) => (await leases.create(lease)) as ProbeLease,
    update: async (lease) => (await leases.update(lease)) as ProbeLease,
    remove: async (name) => void (await leases.delete(name, 'default')),
  };
}

export interface RunningProbe {
  stop(): Promise<Beside>;
}

/** Starts measuring. */
export async function beside(target: Target): Promise<RunningProbe> {
  const latencies: number[] = [];
  let running = true;
  const name = `probe-${process.hrtime.bigint().toString(36)}`;
  let lease = await target.create({ metadata: { name, namespace: 'default' }, spec: { holderIdentity: 'bench' } });
  await target.loop?.reset();
  const loop = (async () => {
    while (running) {
      const due = performance.now() + everyMs;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
      const from = target.own ? due : performance.now();
      lease = await target.update({
        ...lease,
        spec: { ...lease.spec, renewTime: new Date().toISOString().replace('Z', '000Z') },
      });
      latencies.push(performance.now() - from);
    }
  })();
  // Told by `stop`.
  loop.catch(() => {});
  return {
    async stop() {
      running = false;
      const { p99, max } = (await target.loop?.read()) ?? { p99: Number.NaN, max: Number.NaN };
      await loop;
      await target.remove(name);
      return { leaseP50: percentile(latencies, 50), leaseP99: percentile(latencies, 99), loopP99: p99, loopMax: max };
    },
  };
}

/** The rows of the table; the medians when there were several runs. */
export function besideRows(name: string, runs: readonly Beside[]): BenchResult[] {
  const m = (of: (b: Beside) => number): number => median(runs.map(of));
  return [
    { name: `${name}: Lease update beside it, p50`, value: m((b) => b.leaseP50), unit: 'ms' },
    { name: `${name}: Lease update beside it, p99`, value: m((b) => b.leaseP99), unit: 'ms', goal: 'under 50' },
    { name: `${name}: event-loop delay, p99`, value: m((b) => b.loopP99), unit: 'ms' },
  ];
}
