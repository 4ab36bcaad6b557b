/** Which credentials in Docker's files are for which images. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entriesFor, imageMatches, parseDockerConfig } from './docker-config.ts';

test('patterns of images', () => {
  const cases: [string, string, boolean][] = [
    ['registry.io', 'registry.io/team/app', true],
    ['*.registry.io', 'eu.registry.io/app', true],
    ['*.registry.io', 'a.eu.registry.io/app', false],
    ['*.dkr.ecr.*.amazonaws.com', '1.dkr.ecr.eu-1.amazonaws.com/app', true],
    ['registry.io:8080', 'registry.io/app', false],
    ['registry.io:8080/team', 'registry.io:8080/team/app', true],
    ['registry.io/team', 'registry.io/other', false],
    ['reg*.io', 'registry.io/app', true],
  ];
  for (const [pattern, image, yes] of cases) assert.equal(imageMatches(pattern, image), yes, `${pattern} ${image}`);
});

const auth = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') });

test('entries for an image, the most exact first', () => {
  const config = {
    auths: {
      'https://index.docker.io/v1/': auth('hub:1'),
      'registry.io': auth('whole:a:b'),
      'registry.io/team': { username: 'overruled', ...auth('team:2') },
      'https://registry.io/v2/team/app': { username: 'app', password: '3' },
      '*.registry.io': auth('star:4'),
      'registry.io:5000': null,
    },
  };
  const entries = parseDockerConfig(JSON.stringify(config), 'config.json');
  const users = (repository: string): unknown[] => entriesFor(entries, repository).map((e) => e.auth.username);
  assert.deepEqual(users('registry.io/team/app'), ['app', 'team', 'whole']);
  assert.equal(entriesFor(entries, 'registry.io/other')[0]?.auth.password, 'a:b');
  assert.deepEqual(users('eu.registry.io/app'), ['star']);
  assert.deepEqual(users('registry.io:5000/app'), [undefined]);
  assert.deepEqual(users('docker.io/library/nginx'), ['hub']);
  assert.deepEqual(users('other.io/app'), []);
  assert.deepEqual(parseDockerConfig('{"registry.io":{"auth":""}}', '.dockercfg')[0]?.registry, 'registry.io');
  assert.deepEqual(parseDockerConfig('{}', 'config.json'), []);
});

test('what is wrong is told without what stands there', () => {
  const wrong: [unknown, RegExp][] = [
    [{ a: { auth: '!secret' } }, /^illegal base64 data at input byte 0$/],
    [
      { a: { auth: Buffer.from('secret').toString('base64') } },
      /^unable to parse auth field, must be formatted as base64\(username:password\)$/,
    ],
    [{ a: 'secret' }, /^json: (?!.*secret)/],
    [{ a: { username: 1 } }, /^json: /],
    [[], /^json: /],
  ];
  for (const [auths, message] of wrong)
    assert.throws(() => parseDockerConfig(JSON.stringify({ auths }), 'config.json'), { message });
  assert.throws(() => parseDockerConfig('secret', 'config.json'), { message: /^json: (?!.*secret)/ });
});
