/** For tests of the kubelet: an API, a virtual clock, and one simulated node whose pods are run, deleted and looked at. */
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { Container, Event, Pod, PodSpec } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { resources } from '../client/resources.ts';
import { createClient } from '../client/typed-client.ts';
import { SimulatedHost } from './host/simulated/host.ts';
import { createKubelet } from './kubelet.ts';
import { SimulatedImages } from './runtime/simulated/images.ts';
import { SimulatedNetwork } from './runtime/simulated/network.ts';
import { SimulatedRuntime } from './runtime/simulated/runtime.ts';

/** The node `n1`; its kubelet is stopped after the test. */
export async function cluster(t: { after(fn: () => unknown): void }, options: { cpu?: string } = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(7);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  const network = new SimulatedNetwork();
  const host = new SimulatedHost({ hostname: 'n1', clock, network, addresses: ['192.0.2.1'] });
  const images = new SimulatedImages();
  const runtime = new SimulatedRuntime({ clock, random, host, images, addresses: ['192.0.2.1'] });
  const make = () =>
    createKubelet({
      nodeName: 'n1',
      client,
      clock,
      random,
      logger: silentLogger,
      runtime,
      host,
      podCidrs: ['10.244.1.0/24'],
      clusterDns: ['10.96.0.10'],
      capacity: options.cpu === undefined ? {} : { cpu: options.cpu },
    });
  const kubelet = make();
  await kubelet.start();
  await clock.advance(0);
  t.after(() => kubelet.stop());
  const run = async (
    name: string,
    spec: Partial<PodSpec> | Partial<Container>,
    extra: Partial<Pod['metadata']> = {},
  ) => {
    const podSpec: PodSpec =
      'containers' in spec
        ? (spec as PodSpec)
        : { containers: [{ name: 'c', image: 'nginx', ...(spec as Partial<Container>) }] };
    await client.core.pods.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', generation: 1, finalizers: ['test/grace'], ...extra },
      spec: {
        nodeName: 'n1',
        restartPolicy: 'Always',
        terminationGracePeriodSeconds: 30,
        enableServiceLinks: true,
        ...podSpec,
      },
      status: { phase: 'Pending' },
    });
    await clock.advance(0);
  };
  const pod = (name: string) => client.core.pods.get(name, 'default');
  const events = (name: string) =>
    api
      .all<Event & { metadata: object }>(resources.core.events)
      .filter((e) => e.involvedObject.name === name)
      .map((e) => `${e.reason}: ${e.message}${(e.count ?? 1) > 1 ? ` x${e.count}` : ''}`);
  const state = async (name: string) => (await pod(name)).status?.containerStatuses?.[0];
  /** Asks for deletion; lets go of the finalizer that stands for the grace period once the kubelet has deleted the pod. */
  const remove = async (name: string, grace: number) => {
    const deletes = () =>
      api.requests.filter(
        (r) => r.method === 'DELETE' && r.path.endsWith(`/${name}`) && JSON.stringify(r.body).includes('uid'),
      ).length;
    await client.core.pods.delete(name, 'default');
    await client.core.pods.patch(name, 'default', 'merge', { metadata: { deletionGracePeriodSeconds: grace } });
    await clock.advance(0);
    if (deletes() > 0) await client.core.pods.patch(name, 'default', 'merge', { metadata: { finalizers: null } });
    await clock.advance(0);
  };
  return { remove, clock, api, client, host, images, runtime, network, kubelet, make, run, pod, events, state };
}
