/** Images on a real containerd: archives without a registry, pulls with and without credentials, what can go wrong. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { RuntimeError } from '../../src/kubelet/runtime/container-runtime.ts';
import {
  archivedNames,
  ensureSandboxImage,
  loadImageArchive,
  sandboxImageName,
} from '../../src/kubelet/runtime/cri/load.ts';
import { ociArchive, tarArchive } from '../../src/kubelet/runtime/cri/oci-archive.ts';
import { busyboxImage } from './images/busybox.ts';
import { nodeImage } from './images/node.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { eventually, exited, runContainer, runPod } from './support/pods.ts';
import { startRegistry } from './support/registry.ts';

const skip = ownNamespaces();

const isCode = (code: string, what: RegExp) => (e: unknown) =>
  e instanceof RuntimeError && e.code === code && what.test(e.message);

describe('images of a real runtime', { skip, timeout: 120_000 }, () => {
  let c: Containerd;
  const file = (name: string) => join(c.dir, name);
  before(async () => {
    c = await Containerd.start({ sandboxImage: 'registry.k8s.io/pause:3.9' });
  });
  after(() => c?.stop());

  test('the pause image stands under the name that the runtime is set to', async () => {
    assert.equal(await sandboxImageName(c.runtime), 'registry.k8s.io/pause:3.9');
    const image = await c.runtime.imageStatus({ image: 'registry.k8s.io/pause:3.9' });
    assert.ok(image !== undefined && image.size < 10_000);
    assert.equal(await ensureSandboxImage(c.runtime), 'registry.k8s.io/pause:3.9');
    const pod = await runPod(c, 'paused');
    const running = (): string => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' });
    await eventually(() => (/^\/pause$/m.test(running()) ? true : undefined), 'the pause program');
    const began = performance.now();
    await c.runtime.stopPodSandbox(pod.sandboxId);
    console.error(`sandbox stopped in ${(performance.now() - began).toFixed(0)} ms`);
    await c.runtime.removePodSandbox(pod.sandboxId);
  });

  test('archives: OCI, Docker, compressed, and what is none', async () => {
    const image = busyboxImage({ User: '1000' });
    writeFileSync(file('oci.tar'), ociArchive(image, ['docker.io/library/first:1', 'local.test/second:v2']));
    const began = performance.now();
    assert.deepEqual(await loadImageArchive(c.runtime, file('oci.tar')), [
      'docker.io/library/first:1',
      'local.test/second:v2',
    ]);
    console.error(`busybox image loaded in ${(performance.now() - began).toFixed(0)} ms`);
    const status = await c.runtime.imageStatus({ image: 'first:1' });
    assert.equal(status?.id, image.configDigest);
    assert.deepEqual([...status!.repoTags].sort(), ['docker.io/library/first:1', 'local.test/second:v2']);
    assert.deepEqual([status!.uid, status!.username], [1000, undefined]);
    // What `docker save` writes.
    const other = busyboxImage({ User: 'www' });
    const [layer, config] = [...other.blobs.entries()];
    const docker = tarArchive([
      { path: 'abc/layer.tar', data: layer![1] },
      { path: 'config.json', data: config![1] },
      {
        path: 'manifest.json',
        data: JSON.stringify([{ Config: 'config.json', RepoTags: ['saved:latest'], Layers: ['abc/layer.tar'] }]),
      },
    ]);
    writeFileSync(file('docker.tar.gz'), gzipSync(docker));
    assert.deepEqual(await archivedNames(file('docker.tar.gz')), ['docker.io/library/saved:latest']);
    await loadImageArchive(c.runtime, file('docker.tar.gz'));
    const saved = await c.runtime.imageStatus({ image: 'saved' });
    assert.deepEqual([saved?.id, saved?.uid, saved?.username], [other.configDigest, undefined, 'www']);
    writeFileSync(file('none.tar'), tarArchive([{ path: 'readme', data: 'x' }]));
    await assert.rejects(loadImageArchive(c.runtime, file('none.tar')), /not an image archive/);
    writeFileSync(file('text.tar'), 'x'.repeat(2000));
    await assert.rejects(loadImageArchive(c.runtime, file('text.tar')), /not an image archive/);
    await assert.rejects(loadImageArchive(c.runtime, file('absent.tar')), /ENOENT/);

    const all = await c.runtime.listImages();
    assert.ok(all.length >= 3);
    await c.runtime.removeImage({ image: 'saved' });
    assert.equal(await c.runtime.imageStatus({ image: 'saved' }), undefined);
    const fs = await c.runtime.imageFsInfo();
    assert.match(fs.imageFilesystems[0]!.mountpoint, /overlayfs/);
  });

  test('an image of Node runs a script', async () => {
    const began = performance.now();
    await c.load(
      nodeImage({}, [{ path: 'hello.js', data: 'console.log(`node ${process.version}`)' }]),
      'local.test/node:1',
    );
    console.error(`node image loaded in ${(performance.now() - began).toFixed(0)} ms`);
    const pod = await runPod(c, 'node');
    const ended = await exited(
      c,
      await runContainer(c, pod, { image: 'local.test/node:1', command: ['node', '/hello.js'] }),
    );
    assert.match(readFileSync(ended.logPath, 'utf8'), new RegExp(`stdout F node ${process.version}`));
  });

  test('pulls: open, basic, bearer; wrong password, unknown image, nobody there', async () => {
    const image = busyboxImage();
    const secret = { username: 'me', password: 's3cret' };
    for (const auth of [undefined, 'basic', 'bearer'] as const) {
      const registry = await startRegistry(auth === undefined ? {} : { auth, ...secret });
      registry.push('team/app', 'v1', image);
      const name = `${registry.host}/team/app:v1`;
      if (auth !== undefined) {
        await assert.rejects(
          c.runtime.pullImage({ image: name }),
          isCode('Unknown', /401|unauthorized|authorization failed/i),
        );
        await assert.rejects(c.runtime.pullImage({ image: name }, { ...secret, password: 'wrong' }), RuntimeError);
      }
      const ref = await c.runtime.pullImage({ image: name }, auth === undefined ? undefined : secret);
      assert.match(ref, /sha256:[0-9a-f]{64}$/);
      assert.equal((await c.runtime.imageStatus({ image: name }))?.id, image.configDigest);
      await assert.rejects(
        c.runtime.pullImage({ image: `${registry.host}/team/none:v1` }, auth === undefined ? undefined : secret),
        isCode('NotFound', /not found/),
      );
      const pod = await runPod(c, `pulled-${auth ?? 'open'}`);
      const ended = await exited(c, await runContainer(c, pod, { image: name, command: ['true'] }));
      assert.equal(ended.exitCode, 0);
      await registry.close();
      await assert.rejects(c.runtime.pullImage({ image: `${registry.host}/team/other:v1` }), /connection refused/);
      await c.runtime.stopPodSandbox(pod.sandboxId);
      await c.runtime.removePodSandbox(pod.sandboxId);
    }
  });
});
