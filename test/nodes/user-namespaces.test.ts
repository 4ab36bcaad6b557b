/**
 * Pods with user ids of their own (`hostUsers: false`), where the runtime has them: containerd 2.0 or newer (or CRI-O) with a runc of
 * 1.2 or newer or crun, and a kernel with ID-mapped mounts. Elsewhere the pod is refused, which is what is looked at then.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();
const own = { hostUsers: false };
const mounts = (...names: string[]) => ({ volumeMounts: names.map((name) => ({ name, mountPath: `/${name}` })) });

describe('user namespaces', { skip }, () => {
  let node: RealNode;
  let missing: string | undefined;

  before(async () => {
    node = await RealNode.start();
    const { runtimeHandlers } = await node.containerd.runtime.status();
    const { runtimeName, runtimeVersion } = await node.containerd.runtime.version();
    if (!runtimeHandlers.some((h) => h.features?.userNamespaces === true))
      missing = `${runtimeName} ${runtimeVersion} on this machine has no user namespaces`;
  });
  after(() => node?.stop());

  /** The first of the node's ids that a pod has. */
  async function firstId(name: string): Promise<number> {
    const map = /^\s*0\s+(\d+)\s+65536\n$/.exec(await node.exec(name, 'cat', '/proc/self/uid_map'));
    assert.ok(map, 'one range of 65536 ids from 0 on');
    assert.equal(await node.exec(name, 'cat', '/proc/self/gid_map'), map[0]);
    return Number(map[1]);
  }

  /** Who a container's processes are to the node. */
  function idsOnNode(mark: string): number[] {
    const out: number[] = [];
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark)) continue;
        out.push(Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]));
      } catch {
        // It has gone meanwhile.
      }
    }
    return out;
  }

  test('root of a pod is nobody on the node, and another nobody than that of the next pod', async (t) => {
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const mark = 'one-of-many-ids';
    await node.create('a', { ...own, containers: [shell(`: ${mark}; ${sleeper}`)] });
    await node.create('b', { ...own, containers: [shell(sleeper, { securityContext: { runAsUser: 1000 } })] });
    await node.phase('a', 'Running');
    await node.phase('b', 'Running');
    const [a, b] = [await firstId('a'), await firstId('b')];
    assert.equal(a % 65_536, 0);
    assert.ok(a >= 65_536 && b >= 65_536 && a !== b, `${a} and ${b}`);
    assert.equal((await node.exec('a', 'id', '-u')).trim(), '0');
    assert.deepEqual([...new Set(idsOnNode(mark))], [a]);
    assert.equal((await node.exec('b', 'id', '-u')).trim(), '1000');
    // The kubelet remembers who has what.
    await node.stopKubelet();
    await node.startKubelet();
    await node.create('c', { ...own, containers: [shell(sleeper)] });
    await node.phase('c', 'Running');
    const c = await firstId('c');
    assert.ok(c !== a && c !== b);
    assert.equal(await firstId('a'), a);
    assert.equal((await node.client.core.pods.get('a', 'default')).status?.containerStatuses?.[0]?.restartCount, 0);
    for (const name of ['a', 'b', 'c']) await node.delete(name);
  });

  test('volumes are the pod’s: ids on disk are those that the pod sees', async (t) => {
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const host = join(node.containerd.dir, 'shared');
    mkdirSync(host);
    writeFileSync(join(host, 'given'), 'by root\n', { mode: 0o600 });
    await node.client.core.configmaps.create({ metadata: { name: 'cm', namespace: 'default' }, data: { k: 'v' } });
    await node.client.core.secrets.create({
      metadata: { name: 's', namespace: 'default' },
      stringData: { k: 'secret' },
    } as never);
    await node.create('volumes', {
      ...own,
      securityContext: { fsGroup: 3000 },
      containers: [
        shell(
          `set -e; cat /host/given; touch /host/mine; chown 7:8 /host/mine; ls -ln /host/mine
echo x > /empty/f; ls -ln /empty/f; echo y > /memory/f; cat /cm/k; echo; cat /s/k; echo; id -G; cat /etc/hosts > /dev/null
head -c 2 /api/token; echo; ls /proc/1/root > /dev/null; ${sleeper}`,
          {
            ...mounts('host', 'empty', 'memory', 'cm', 's', 'api'),
          },
        ),
      ],
      volumes: [
        { name: 'host', hostPath: { path: host } },
        { name: 'empty', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory' } },
        { name: 'cm', configMap: { name: 'cm' } },
        { name: 's', secret: { secretName: 's', defaultMode: 0o400 } },
        { name: 'api', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } },
      ],
    });
    await node.phase('volumes', 'Running', 'Failed');
    const text = await node.until(async () => {
      const log = await node.log('volumes');
      return log.includes('ey') && log;
    }, 'what the pod saw');
    const lines = text.split('\n');
    assert.equal(lines[0], 'by root');
    assert.match(lines[1]!, /^-rw-r--r-- +1 7 +8 /);
    assert.match(lines[2]!, /^-rw-r--r-- +1 0 +3000 /);
    assert.deepEqual(lines.slice(3, 5), ['v', 'secret']);
    assert.match(lines[5]!, /\b3000\b/);
    const mine = statSync(join(host, 'mine'));
    assert.deepEqual([mine.uid, mine.gid], [7, 8]);
    await node.delete('volumes');
  });

  test('what only such pods may: an unmasked /proc', async (t) => {
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const masked = "grep -c ' /proc/' /proc/self/mounts; true";
    const usual = await node.script('usual', masked, own);
    const open = await node.script('unmasked', masked, own, { securityContext: { procMount: 'Unmasked' } });
    assert.equal(open, '0\n');
    assert.ok(Number(usual) > 0);
  });

  test('where the runtime has none, the pod is refused', async (t) => {
    if (missing === undefined) {
      t.skip('this runtime has them');
      return;
    }
    t.diagnostic(missing);
    await node.create('refused', { ...own, containers: [shell(sleeper)] });
    await node.until(
      async () =>
        (await node.events('refused')).some((e) =>
          e.includes("can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
        ),
      'the refusal',
    );
    await node.delete('refused');
  });
});
