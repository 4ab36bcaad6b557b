/** Programs that know the credentials of registries: asked about what they are for, believed as long as they say. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLogger } from '../../base/logger.ts';
import { VirtualClock } from '../../base/clock.ts';
import { openCredentialProviders } from './credential-providers.ts';

test('a program is asked by CredentialProviderRequest, and its answer kept', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-providers-'));
  try {
    const clock = new VirtualClock();
    const lines: string[] = [];
    const env = {
      clock,
      logger: createLogger({ level: 'info', now: () => clock.now(), sink: (r) => lines.push(r.message) }),
    };
    const program = join(dir, 'vault');
    writeFileSync(
      program,
      `#!/bin/sh
cat >> ${dir}/asked
echo >> ${dir}/asked
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","cacheDuration":"1h","auth":{"*.example.com":{"username":"all","password":"'$SECRET'"},"eu.example.com/team":{"username":"team","password":"x"}}}'
`,
    );
    chmodSync(program, 0o755);
    const config = join(dir, 'config.yaml');
    const write = (provider: object): void =>
      writeFileSync(
        config,
        JSON.stringify({
          apiVersion: 'kubelet.config.k8s.io/v1',
          kind: 'CredentialProviderConfig',
          providers: [
            {
              name: 'vault',
              matchImages: ['*.example.com'],
              defaultCacheDuration: '0s',
              apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
              env: [{ name: 'SECRET', value: 'hush' }],
              ...provider,
            },
          ],
        }),
      );
    write({});
    const open = (): ReturnType<typeof openCredentialProviders> =>
      openCredentialProviders({ config, binDir: dir }, env);
    const of = (await open())!;
    const asked = (): number => readFileSync(join(dir, 'asked'), 'utf8').trim().split('\n').length;
    assert.deepEqual(await of('eu.example.com/team/app'), [
      { username: 'team', password: 'x' },
      { username: 'all', password: 'hush' },
    ]);
    assert.deepEqual(JSON.parse(readFileSync(join(dir, 'asked'), 'utf8')), {
      kind: 'CredentialProviderRequest',
      apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
      image: 'eu.example.com/team/app',
    });
    // The same registry, then another one, then nobody's.
    assert.equal((await of('eu.example.com/other')).length, 1);
    assert.equal(asked(), 1);
    await of('us.example.com/app');
    assert.equal(asked(), 2);
    assert.deepEqual(await of('docker.io/library/nginx'), []);
    await clock.advance(3_600_001);
    await of('eu.example.com/team/app');
    assert.equal(asked(), 3);

    writeFileSync(program, '#!/bin/sh\necho no >&2\nexit 3\n');
    assert.deepEqual(await (await open())!('eu.example.com/app'), []);
    assert.deepEqual(lines, ['Failed getting credential from external registry credential provider']);
    write({ name: 'gone' });
    await assert.rejects(open(), /gone did not exist or cannot be run/);
    write({ matchImages: [] });
    await assert.rejects(open(), /providers\[0\]\.matchImages: Required value/);
    await assert.rejects(openCredentialProviders({ config, binDir: '' }, env), /are given together or not at all/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
