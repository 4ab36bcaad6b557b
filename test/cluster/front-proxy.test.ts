/** `knarr kube-apiserver` behind an authenticating proxy: whose word counts, and for what, by `--requestheader-*`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemRandom } from '../../src/base/random.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { Api } from '../support/api.ts';

type Headers = Readonly<Record<string, string>>;

async function whoami(api: Api, headers: Headers = {}): Promise<{ status: number; user: unknown; message: unknown }> {
  const { status, body } = await api.request(
    'POST',
    '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    headers,
  );
  return { status, user: body.status?.userInfo, message: body.message };
}

test('an authenticating proxy speaks for users', async () => {
  const work = await createWorkspace();
  const fronts = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: ['gateway', 'stranger'].map((name) => ({
      name,
      ca: 'front-proxy-ca' as const,
      commonName: name,
      usages: ['client' as const],
    })),
  });
  for (const [name, text] of fronts) if (/gateway|stranger/.test(name)) work.pki.set(name, text);
  await using store = await startStore();
  try {
    await assert.rejects(
      startApiServer(work, store, ['--requestheader-uid-headers=X-Uid']),
      /--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header/,
    );
    await assert.rejects(
      startApiServer(work, store, ['--requestheader-group-headers=X-Group, ']),
      /empty value in "requestheader-group-headers"/,
    );
    await using server = await startApiServer(work, store, [
      `--requestheader-client-ca-file=${work.write('front-proxy-ca.crt', fronts.get('front-proxy-ca.crt')!)}`,
      '--requestheader-allowed-names=gateway',
      '--requestheader-username-headers=X-User,X-Remote-User',
      '--requestheader-uid-headers=X-Uid,X-Remote-Uid',
      '--requestheader-group-headers=X-Group',
      '--requestheader-extra-headers-prefix=X-Extra-',
      `--token-auth-file=${work.write('tokens.csv', 'joes-token,joe,17,"dev"\n')}`,
    ]);
    const gateway = server.as('gateway');
    const jane: Headers = {
      'X-Remote-User': 'jane',
      'X-Uid': '42',
      'X-Group': 'staff',
      'X-Extra-Example.com%2fTenant': 'blue',
      'X-Remote-Group': 'system:masters',
    };
    assert.deepEqual((await whoami(gateway, jane)).user, {
      username: 'jane',
      uid: '42',
      groups: ['staff', 'system:authenticated'],
      extra: { 'example.com/tenant': ['blue'] },
    });
    // The first of the headers that says something counts.
    assert.deepEqual((await whoami(gateway, { ...jane, 'X-User': 'ann', 'X-Extra-Example.com%2fTenant': '' })).user, {
      username: 'ann',
      uid: '42',
      groups: ['staff', 'system:authenticated'],
      extra: { 'example.com/tenant': [''] },
    });
    // Who is no proxy is nobody else.
    const alice = server.as('alice');
    const { user } = await whoami(alice, jane);
    assert.equal((user as { username: string }).username, 'alice');
    assert.deepEqual(user, (await whoami(alice)).user);
    const refused = await whoami(server.as('stranger'), jane);
    assert.deepEqual([refused.status, refused.message], [401, 'Unauthorized']);
    // A proxy that names nobody may bring a token.
    const joe = await whoami(gateway, { authorization: 'Bearer joes-token' });
    assert.deepEqual(joe.user, { username: 'joe', uid: '17', groups: ['dev', 'system:authenticated'] });
    assert.equal((await whoami(gateway)).status, 401);
  } finally {
    work.dispose();
  }
});

test('one authority for clients and proxies: headers count by the names that are allowed, everybody else is himself', async () => {
  const work = await createWorkspace();
  await using store = await startStore();
  try {
    const flag = `--requestheader-client-ca-file=${work.path('pki/ca.crt')}`;
    await assert.rejects(
      startApiServer(work, store, [flag, '--requestheader-allowed-names=']),
      /overlapping certificates/,
    );
    await using server = await startApiServer(work, store, [
      flag,
      '--requestheader-allowed-names=alice',
      '--requestheader-username-headers=X-Remote-User',
    ]);
    const named: Headers = { 'X-Remote-User': 'jane' };
    const name = async (who: string, headers?: Headers): Promise<string> =>
      ((await whoami(server.as(who), headers)).user as { username: string }).username;
    // Each twice: what is known of a connection must not answer for its next request.
    for (let i = 0; i < 2; i++) {
      assert.equal(await name('alice', named), 'jane');
      assert.equal(await name('alice'), 'alice');
      assert.equal(await name('admin', named), 'admin');
    }
  } finally {
    work.dispose();
  }
});
