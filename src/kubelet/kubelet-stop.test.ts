/** A kubelet that is stopped in the middle of its start leaves nothing open. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { FakeApi } from '../client/fake-api.ts';
import { createClient } from '../client/typed-client.ts';
import { SimulatedHost } from './host/simulated/host.ts';
import { createKubelet } from './kubelet.ts';
import { SimulatedImages } from './runtime/simulated/images.ts';
import { SimulatedNetwork } from './runtime/simulated/network.ts';
import { SimulatedRuntime } from './runtime/simulated/runtime.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A simulated machine whose sockets are real, below a folder of this one, and whose files take their time as real ones do. */
function slowHost(host: SimulatedHost, folder: string): SimulatedHost {
  return new Proxy(host, {
    get: (target, name) => {
      if (name === 'socketAddress') return (path: string) => `unix:${folder}${path}`;
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const out: unknown = Reflect.apply(value, target, args);
        return out instanceof Promise ? turn().then(() => out as Promise<unknown>) : out;
      };
    },
  });
}

const rootDir = '/k';
const sockets = ['device-plugins', 'pod-resources'].map((d) => `${rootDir}/${d}`);

/** Stops after so many turns of the event loop. Says whether the start had ended by then, and which sockets still answer. */
async function stopped(turns: number): Promise<{ ended: boolean; open: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'knarr-stop-'));
  try {
    for (const d of sockets) mkdirSync(folder + d, { recursive: true });
    const clock = new VirtualClock();
    const random = new SeededRandom(7);
    const simulated = new SimulatedHost({
      hostname: 'n1',
      clock,
      network: new SimulatedNetwork(),
      addresses: ['192.0.2.1'],
      machine: { memoryBytes: 2 ** 33, diskBytes: 2 ** 30, cpuCores: 4 },
    });
    const host = slowHost(simulated, folder);
    const images = new SimulatedImages();
    const kubelet = createKubelet({
      nodeName: 'n1',
      client: createClient(new FakeApi(clock, random)),
      clock,
      random,
      logger: silentLogger,
      runtime: new SimulatedRuntime({ clock, random, host: simulated, images, addresses: ['192.0.2.1'] }),
      host,
      rootDir,
      podCidrs: ['10.244.1.0/24'],
      clusterDns: ['10.96.0.10'],
      configuration: {},
    });
    let ended = false;
    void kubelet.start().then(() => (ended = true));
    for (let i = 0; i < turns; i++) await turn();
    const before = ended;
    await kubelet.stop();
    // What the start still does once it has been stopped, it must not open.
    for (let i = 0; i < 50; i++) await turn();
    const open = sockets.map((d) => `${folder}${d}/kubelet.sock`).filter((p) => existsSync(p));
    return { ended: before, open };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('stopped at any moment of its start, a kubelet leaves no socket open', async () => {
  let turns = 0;
  for (; ; turns++) {
    const { ended, open } = await stopped(turns);
    assert.deepEqual(open, [], `stopped after ${turns} turns`);
    if (ended) break;
  }
  assert.ok(turns > 1, 'the start had ended before it could be stopped');
});
