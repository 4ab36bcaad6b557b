/** The kubectl suite on the cluster that `knarr up` starts in one process. */
import { after, before, describe, test } from 'node:test';
import type { RunningKnarr } from '../support/knarr.ts';
import { startKnarr } from '../support/knarr.ts';
import { Kubectl } from '../support/kubectl.ts';
import { findPeer, requirePeer } from '../support/peers.ts';
import { cases } from './suite.ts';

describe('kubectl on one process', () => {
  let knarr: RunningKnarr | undefined;
  let k: Kubectl | undefined;
  before(async () => {
    const file = findPeer('kubectl');
    if (file === undefined) return;
    knarr = await startKnarr();
    k = new Kubectl(file, knarr.kubeconfig, knarr.dir);
  });
  after(async () => knarr?.dispose());
  for (const [name, run] of cases)
    test(name, async (t) => {
      if (requirePeer(t, 'kubectl') !== undefined) await run({ k: k!, metrics: true }, t);
    });
});
