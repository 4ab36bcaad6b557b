/** The process behind `bench/nodes.ts`: measures pods on a containerd and a `knarr up` of its own, and prints rows as JSON. */
import { ioNow } from '../../src/base/io-time.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { Pod } from '../../src/api/types/index.gen.ts';
import { HttpTransport } from '../../src/client/http-transport.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';
import { createClient } from '../../src/client/typed-client.ts';
import type { Containerd } from '../../test/nodes/support/containerd.ts';
import { container, Machines, skipMachines } from '../../test/nodes/support/machines.ts';
import { runContainer, runPod } from '../../test/nodes/support/pods.ts';
import type { BenchResult } from '../run.ts';
import { median } from './median.ts';
import { cpuSecondsOf, memoryOf } from './memory.ts';

const skip = skipMachines();
const idleSeconds = Number(process.argv[2]);
const runs = Number(process.argv[3]);
/** In each of so many turns. */
const rounds = 3;
const many = 60;
const kept = 50;
const sleep = ['sleep', '100000'];

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const names = (prefix: string, n: number): string[] => Array.from({ length: n }, (_, i) => `${prefix}-${i}`);

/** The runtime by itself on the node of a cluster that is stopped: sandbox and container, nothing around them. */
class Bare {
  readonly #c: Containerd;

  constructor(containerd: Containerd) {
    this.#c = containerd;
  }

  async run(name: string): Promise<void> {
    const pod = await runPod(this.#c, name);
    await runContainer(this.#c, pod, { name: 'c', command: sleep });
  }

  async removeAll(): Promise<void> {
    const { runtime } = this.#c;
    await Promise.all(
      (await runtime.listPodSandbox()).map(async (s) => {
        await runtime.stopPodSandbox(s.id);
        await runtime.removePodSandbox(s.id);
      }),
    );
  }
}

const podOf = (name: string): Pod => ({
  metadata: { name, namespace: 'default' },
  spec: { terminationGracePeriodSeconds: 0, containers: [container('', { command: sleep })] },
});

/** Follows pods; resolves `running(name)` when a watch has told so. */
class Followed {
  readonly #waiting = new Map<string, () => void>();
  readonly #gone = new Map<string, () => void>();
  readonly #client: TypedClient;
  #close: (() => void) | undefined;

  constructor(client: TypedClient) {
    this.#client = client;
  }

  async start(): Promise<void> {
    const watch = await this.#client.core.pods.watch({ namespace: 'default' });
    this.#close = () => watch.close();
    const read = async (): Promise<void> => {
      for await (const events of watch)
        for (const e of events) {
          if (e.type === 'ERROR' || e.type === 'BOOKMARK') continue;
          const name = e.object.metadata.name!;
          if (e.type === 'DELETED') this.#gone.get(name)?.();
          else if (e.object.status?.phase === 'Running') this.#waiting.get(name)?.();
        }
    };
    void read();
  }

  /** Creates it and resolves when it runs. */
  async run(name: string): Promise<void> {
    const running = new Promise<void>((resolve) => this.#waiting.set(name, resolve));
    await this.#client.core.pods.create(podOf(name));
    await running;
  }

  async remove(name: string): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#gone.set(name, resolve));
    await this.#client.core.pods.delete(name, 'default');
    await gone;
  }

  stop(): void {
    this.#close?.();
  }
}

/** CPU of a process while nothing happens, in per cent of a core; and its memory then. */
async function idle(pid: number): Promise<{ readonly cpu: number; readonly memory: number }> {
  // Half of the time to come to rest, half to be measured.
  await pause(idleSeconds / 2);
  const [cpu, t] = [cpuSecondsOf(pid), ioNow()];
  await pause(idleSeconds / 2);
  return { cpu: ((cpuSecondsOf(pid) - cpu) / (ioNow() - t)) * 100_000, memory: memoryOf(pid).anonymous };
}

/** A client that follows pods, for as long as `work` takes. */
async function following<T>(m: Machines, work: (pods: Followed) => Promise<T>): Promise<T> {
  const transport = new HttpTransport(await loadKubeconfig(m.knarr.kubeconfig, { clock: new SystemClock() }), {
    random: new SystemRandom(),
  });
  const pods = new Followed(createClient(transport));
  await pods.start();
  try {
    return await work(pods);
  } finally {
    pods.stop();
    await transport.close();
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const t = ioNow();
  await work();
  return ioNow() - t;
}

async function main(): Promise<BenchResult[]> {
  if (skip !== false) return [{ name: 'nodes', value: Number.NaN, unit: '', failed: skip }];
  const m = await Machines.start();
  try {
    const bare = new Bare(m.first);
    const single: number[] = [];
    const bareSingle: number[] = [];
    const all: number[] = [];
    const bareAll: number[] = [];
    // In turns, since machines have neighbours.
    for (let round = 0; round < rounds; round++) {
      await following(m, async (pods) => {
        await pods.run('warm');
        for (const name of names('single', Math.ceil(runs / rounds))) {
          single.push(await timed(() => pods.run(name)));
          await pods.remove(name);
        }
        await pods.remove('warm');
        const group = names('many', many);
        all.push(await timed(() => Promise.all(group.map((name) => pods.run(name)))));
        await Promise.all(group.map((name) => pods.remove(name)));
      });
      await m.knarr.stop();
      await bare.removeAll();
      await bare.run('warm');
      for (const name of names('single', Math.ceil(runs / rounds))) {
        bareSingle.push(await timed(() => bare.run(name)));
        await bare.removeAll();
      }
      bareAll.push(await timed(() => Promise.all(names('many', many).map((name) => bare.run(name)))));
      await bare.removeAll();
      await m.up();
    }
    await following(m, (pods) => Promise.all(names('kept', kept).map((name) => pods.run(name))));

    // The process that has started them, and a control plane alone with the same objects.
    const whole = await idle(m.knarr.process.pid!);
    await m.knarr.stop();
    await m.up('--disable', 'kubelet,kube-proxy');
    const alone = await idle(m.knarr.process.pid!);
    return [
      {
        name: `the runtime alone: sandbox and container, median of ${runs}`,
        value: median(bareSingle),
        unit: 'ms',
      },
      { name: `pod created → Running seen, median of ${runs}`, value: median(single), unit: 'ms' },
      {
        name: '… over the runtime',
        value: median(single) - median(bareSingle),
        unit: 'ms',
        goal: '< 150 ms',
      },
      { name: `the runtime alone: ${many} at once`, value: median(bareAll), unit: 'ms' },
      { name: `${many} pods created at once → all Running`, value: median(all), unit: 'ms' },
      { name: '… the runtime’s own time', value: median(all) / median(bareAll), unit: '×', goal: '< 1.3 ×' },
      { name: `knarr up with ${kept} pods, ${idleSeconds} s idle: memory`, value: whole.memory, unit: 'MiB' },
      {
        name: '… over the control plane alone with the same objects',
        value: whole.memory - alone.memory,
        unit: 'MiB',
        goal: '< 60 MiB',
      },
      { name: '… CPU while idle, all of it', value: whole.cpu, unit: '% of a core' },
      {
        name: '… CPU over the control plane alone',
        value: whole.cpu - alone.cpu,
        unit: '% of a core',
        goal: '< 2 %',
      },
    ];
  } finally {
    await m.stop();
  }
}

const rows = await main();
console.log(`rows ${JSON.stringify(rows)}`);
process.exit(0);
