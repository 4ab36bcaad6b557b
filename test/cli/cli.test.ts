/** The command itself: what it says of wrong use, what it leaves untouched then, and the life of a cluster from `up` to `reset`. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { httpsText } from '../support/https.ts';
import { bundle, startKnarr } from '../support/knarr.ts';
import type { Ended } from '../support/run.ts';
import { knarr, Running } from '../support/processes.ts';

const commands = [
  'up',
  'down',
  'status',
  'kubeconfig',
  'reset',
  'version',
  'kube-apiserver',
  'etcd',
  'kube-scheduler',
  'kube-controller-manager',
  'cloud-controller-manager',
  'kubelet',
  'kube-proxy',
  'dns',
  'certificates',
  'addons',
];

/** A home of its own: default paths lead into it. */
let home = '';
let env: Record<string, string> = {};
let busy: Server;
let busyPort = 0;

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'knarr-cli-'));
  env = {
    HOME: home,
    XDG_DATA_HOME: join(home, 'data'),
    // Compiled code is nobody's data.
    XDG_CACHE_HOME: process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
    KUBECONFIG: '',
  };
  busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
  busyPort = (busy.address() as AddressInfo).port;
});
after(() => {
  busy.close();
  rmSync(home, { recursive: true, force: true });
});

function run(...args: string[]): Promise<Ended> {
  return knarr(args, { env, cwd: home });
}

/** Everything below a folder, to see that nothing changed. */
function tree(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir, { recursive: true }).map(String).sort() : [];
}

/** It ends with `code`, says one line that matches, and changes nothing in the home folder. */
async function refuses(args: string[], code: 1 | 2, pattern: RegExp): Promise<void> {
  const before = tree(home);
  const r = await run(...args);
  const what = `knarr ${args.join(' ')}\n${r.stdout}${r.stderr}`;
  assert.equal(r.code, code, what);
  assert.match(r.stderr, pattern, what);
  assert.equal(r.stderr.trimEnd().split('\n').length, 1, what);
  assert.match(r.stderr, /^knarr: /, what);
  assert.deepEqual(tree(home), before, what);
}

describe('help and version', () => {
  test('every command explains itself, with examples where it has flags of its own', async () => {
    const main = await run('--help');
    assert.equal(main.code, 0);
    for (const name of commands) assert.match(main.stdout, new RegExp(`^  ${name} `, 'm'));
    for (const name of commands) {
      const r = await run(name, '--help');
      assert.equal(r.code, 0, name);
      assert.match(r.stdout, new RegExp(`^Usage: knarr ${name} `));
      assert.equal(r.stderr, '');
      if (name.startsWith('kube-') || name === 'up' || name === 'etcd') assert.match(r.stdout, /^Examples:$/m);
    }
  });

  test('version is told in words and in JSON', async () => {
    assert.match(
      (await run('version')).stdout,
      /^knarr \d+\.\d+\.\d+ \(Kubernetes v1\.36\.\d+, Node v\d+\.\d+\.\d+\)\n$/,
    );
    const json = JSON.parse((await run('version', '-o', 'json')).stdout) as { gitVersion: string };
    assert.match(json.gitVersion, /^v1\.36\.\d+\+knarr\.\d+$/);
    assert.match((await run('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
    const { gitVersion } = json;
    assert.equal((await run('kubelet', '--version')).stdout, `Kubernetes ${gitVersion}\n`);
    assert.match(
      (await run('kube-scheduler', '--version=raw')).stdout,
      /^version\.Info\{Major:"1", Minor:"36", GitVersion:/,
    );
    await refuses(
      ['kube-proxy', '--version=v1.2.3'],
      1,
      /version "v1\.2\.3" must match major\/minor\/patch of default version "v1\.36/,
    );
  });
});

describe('what is wrong is said in one line, and nothing is changed', () => {
  test('wrong flags', async () => {
    await refuses(['up', '--nope'], 2, /unknown option '--nope'.*knarr up --help/);
    await refuses(['upp'], 2, /unknown command 'upp'/);
    await refuses(['up', '--port', 'x'], 2, /invalid argument "x" for "--port": it is a whole number/);
    await refuses(['up', '--port', '70000'], 2, /between 0 and 65535/);
    await refuses(['up', '--nodes=-1'], 2, /between 0 and 5000/);
    await refuses(['up', '--disable', 'kube-apiserver'], 2, /kube-apiserver is none of kube-scheduler/);
    await refuses(['up', '--log-format', 'xml'], 2, /one of text, json/);
    await refuses(['up', 'extra'], 2, /too many arguments/);
    await refuses(['kube-scheduler', '--leader-elect=maybe'], 2, /true or false/);
    await refuses(['kube-controller-manager', '--node-monitor-period', '5'], 2, /a duration such as/);
    await refuses(['kube-apiserver', '--kubelet-https'], 2, /unknown option '--kubelet-https'.*kube-apiserver --help/);
    await refuses(['kube-apiserver', '--authorization-mode', 'RBAC,Magic'], 2, /Magic is none of AlwaysAllow/);
    await refuses(['kube-scheduler', '--leader-elect-lease-duration=5s'], 2, /must be longer than/);
    await refuses(['certificates'], 2, /--data-dir DIR is needed/);
    await refuses(['kube-apiserver', '', 'x'], 2, /"kube-apiserver" does not take any arguments, got \["" "x"\]/);
    await refuses(['kubelet', ''], 2, /unknown command /);
    // Empty arguments are none, but for the kubelet: it is the flag that is complained about.
    await refuses(['kube-scheduler', '', '--leader-elect-lease-duration=5s', ''], 2, /must be longer than/);
  });

  test('what a real node lacks', async () => {
    const nowhere = ['up', '--port', '0', '--data-dir', join(home, 'r'), '--runtime', 'containerd'];
    if (process.platform === 'linux' && process.getuid?.() === 0) {
      const socket = ['--container-runtime-endpoint', join(home, 'none.sock'), '--root-dir', join(home, 'kubelet')];
      await refuses([...nowhere, ...socket], 1, /no container runtime can be used at .*none\.sock/);
    } else await refuses(nowhere, 1, /real nodes need (Linux|root)/);
    await refuses([...nowhere, '--nodes', '3'], 1, /simulated nodes: this machine is one real node/);
    await refuses(['kube-proxy', '--proxy-mode', 'ipvs'], 1, /say nftables, or simulated/);
    await refuses(['kubelet'], 1, /no API server is named: give --kubeconfig FILE/);
  });

  test('a port in use', async () => {
    await refuses(['up', '--port', String(busyPort)], 1, new RegExp(`port ${busyPort} on 127.0.0.1 is in use.*--port`));
    await refuses(
      ['etcd', '--data-dir', join(home, 'e'), '--listen-client-urls', `http://127.0.0.1:${busyPort}`],
      1,
      new RegExp(`127.0.0.1:${busyPort} is in use.*--listen-client-urls`),
    );
    await refuses(['up', '--port', '0', '--bind-address', '192.0.2.77'], 1, /192\.0\.2\.77/);
  });

  test('an etcd that does not answer', async () => {
    await refuses(
      ['up', '--port', '0', '--etcd-servers', 'http://127.0.0.1:1'],
      1,
      /cannot reach etcd at http:\/\/127\.0\.0\.1:1 \(connect ECONNREFUSED 127\.0\.0\.1:1\): start it, or name another/,
    );
    const file = join(home, 'missing.crt');
    await refuses(['up', '--port', '0', '--etcd-cafile', file], 2, /need --etcd-servers/);
    const secure = ['up', '--port', '0', '--etcd-servers', 'https://127.0.0.1:1'];
    await refuses([...secure, '--etcd-certfile', file], 2, /go together/);
    await refuses([...secure, '--etcd-cafile', file], 1, /there is no .*missing\.crt, named by --etcd-cafile/);
  });

  test('a data directory that cannot be one', async () => {
    const file = join(home, 'file');
    writeFileSync(file, '');
    await refuses(['up', '--port', '0', '--data-dir', join(file, 'x')], 1, /is not a directory.*--data-dir/);
    if (process.getuid?.() !== 0) {
      const shut = join(home, 'shut');
      mkdirSync(shut);
      chmodSync(shut, 0o500);
      await refuses(['up', '--port', '0', '--data-dir', join(shut, 'x')], 1, /cannot be written to.*--data-dir/);
    }
    if (process.platform === 'linux') {
      const nowhere = /(\/proc can hold no directories|cannot be written to).*--data-dir/;
      await refuses(['up', '--port', '0', '--data-dir', '/proc/x'], 1, nowhere);
      await refuses(['up', '--port', '0', '--data-dir', '/proc/x/y', '--detach'], 1, nowhere);
      await refuses(['etcd', '--data-dir', '/proc/x'], 1, /cannot use the data directory \/proc\/x.*\/proc/);
      await refuses(['certificates', '--data-dir', '/proc/x'], 1, /cannot write to \/proc\/x: .*--data-dir/);
    }
    await refuses(
      ['reset', '--data-dir', home],
      1,
      /does not look like a data directory of knarr; nothing was deleted/,
    );
  });

  test('a broken kubeconfig', async () => {
    mkdirSync(join(home, '.kube'), { recursive: true });
    const file = join(home, '.kube/config');
    for (const text of ['{', 'just words', 'kind: Pod', 'clusters: 1']) {
      writeFileSync(file, text);
      await refuses(['up', '--port', '0'], 1, /\.kube\/config is no kubeconfig .*--kubeconfig FILE/);
      assert.equal(readFileSync(file, 'utf8'), text);
    }
    await refuses(['kube-scheduler', '--kubeconfig', file], 1, /cannot use the kubeconfig/);
    writeFileSync(file, 'kind: Config\ncurrent-context: gone\n');
    await refuses(['kube-scheduler', '--kubeconfig', file], 1, /context "gone" does not exist in the kubeconfig/);
    await refuses(['kube-scheduler', '--kubeconfig', 'missing'], 1, /missing \(--kubeconfig\): there is no such file/);
    await refuses(['kube-controller-manager'], 1, /no API server is named: give --kubeconfig FILE/);
    rmSync(join(home, '.kube'), { recursive: true });
  });

  test('files that components are given', async () => {
    const text = join(home, 'text');
    writeFileSync(text, 'no certificate');
    const api = ['kube-apiserver', '--etcd-servers', 'http://127.0.0.1:1'];
    await refuses(['kube-apiserver'], 1, /--etcd-servers must be specified/);
    await refuses(api, 1, /--service-account-issuer is a required flag/);
    const tokens = [...api, '--service-account-issuer=https://x'];
    await refuses([...tokens], 1, /--service-account-signing-key-file is a required flag/);
    const key = ['--service-account-signing-key-file', text];
    await refuses([...tokens, ...key], 1, /text \(--service-account-signing-key-file\) holds no private key/);
    const good = join(home, 'sa.key');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(good, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    key[1] = good;
    await refuses(
      [...tokens, ...key, '--client-ca-file', text],
      1,
      /text \(--client-ca-file\) holds no PEM certificate/,
    );
    await refuses(
      [...tokens, ...key, '--tls-cert-file', 'gone'],
      1,
      /cannot read gone \(--tls-cert-file\): there is no/,
    );
    await refuses([...tokens, ...key, '--enable-admission-plugins=Nope'], 1, /plugin "Nope" is unknown/);
    await refuses(
      [...tokens, ...key, '--runtime-config=apps/v7=true'],
      1,
      /group version apps\/v7 that has not been registered/,
    );
    await refuses(
      ['kube-controller-manager', '--controllers=nope'],
      1,
      /"nope" is not in the list of known controllers/,
    );
  });
});

function get(url: string, kubeconfig: string): Promise<{ status: number; body: string }> {
  const text = readFileSync(kubeconfig, 'utf8');
  const pem = (member: string): Buffer => Buffer.from(new RegExp(`${member}: (\\S+)`).exec(text)![1]!, 'base64');
  return httpsText(url, {
    ca: pem('certificate-authority-data'),
    cert: pem('client-certificate-data'),
    key: pem('client-key-data'),
  });
}

interface Named {
  metadata: { name: string; uid: string; resourceVersion: string };
}

async function namespaces(url: string, kubeconfig: string): Promise<Named['metadata'][]> {
  const { body } = await get(`${url}/api/v1/namespaces`, kubeconfig);
  return (JSON.parse(body) as { items: Named[] }).items.map((i) => i.metadata);
}

describe('a cluster from the command line', () => {
  test('Ctrl-C ends it with 0; started again it is the same cluster', async () => {
    const first = await startKnarr();
    const certificate = readFileSync(join(first.dataDir, 'pki/apiserver.crt'), 'utf8');
    const before = await namespaces(first.url, first.kubeconfig);
    assert.deepEqual(before.map((m) => m.name).sort(), ['default', 'kube-node-lease', 'kube-public', 'kube-system']);
    first.process.kill('SIGINT');
    assert.equal(await first.stop(), 0, first.output());

    const second = await startKnarr({ dir: first.dir });
    try {
      assert.equal(readFileSync(join(first.dataDir, 'pki/apiserver.crt'), 'utf8'), certificate);
      assert.deepEqual(await namespaces(second.url, second.kubeconfig), before);
      const third = await knarr(['up', '--port', '0', '--data-dir', second.dataDir, '--kubeconfig', join(home, 'k')], {
        env,
      });
      assert.equal(third.code, 1);
      assert.match(third.stderr, /^knarr: .* is in use by a running cluster \(process \d+, https:.*"knarr down".*\n$/);
      assert.equal(existsSync(join(home, 'k')), false);
      second.process.kill('SIGKILL');
      await second.stop();
      const fourth = await startKnarr({ dir: first.dir });
      assert.deepEqual(await namespaces(fourth.url, fourth.kubeconfig), before);
      assert.equal(await fourth.stop(), 0);
    } finally {
      await second.dispose();
    }
  });

  test('--detach leaves it running; status, kubeconfig, down and reset find it', async () => {
    const dataDir = join(home, 'cluster');
    const on = ['--data-dir', dataDir];
    assert.equal((await run('status', ...on)).code, 1);
    assert.match((await run('kubeconfig', ...on)).stderr, /start one with "knarr up"/);
    assert.match((await run('down', ...on)).stdout, /no cluster is running/);
    const up = await run('up', ...on, '--port', '0', '--detach');
    assert.equal(up.code, 0, up.stderr);
    const url = /^ready: (\S+) \(process (\d+)/.exec(up.stdout)?.[1];
    assert.ok(url, up.stdout);
    try {
      const status = JSON.parse((await run('status', ...on, '-o', 'json')).stdout) as { url: string; ready: boolean };
      assert.equal(status.url, url);
      assert.equal(status.ready, true);
      assert.match((await run('status', ...on)).stdout, /^running {4}process \d+/);
      const config = join(home, '.kube/config');
      assert.match(readFileSync(config, 'utf8'), /^current-context: knarr$/m);
      assert.match((await run('kubeconfig', ...on)).stdout, /^kind: Config$/m);
      assert.equal((await get(`${url}/readyz`, config)).body, 'ok');
      const again = await run('up', ...on, '--port', '0', '--detach');
      assert.equal(again.code, 1);
      assert.match(again.stderr, /is in use by a running cluster/);
    } finally {
      assert.equal((await run('down', ...on)).stdout, 'stopped\n');
    }
    assert.equal((await run('status', ...on)).code, 1);
    assert.ok(existsSync(join(dataDir, 'etcd')));
    const reset = await run('reset', ...on);
    assert.equal(reset.stdout, `deleted ${dataDir}\n`, reset.stderr);
    assert.equal(existsSync(dataDir), false);
    assert.doesNotMatch(readFileSync(join(home, '.kube/config'), 'utf8'), /knarr/);
    rmSync(join(home, '.kube'), { recursive: true });
  });

  test('a detached cluster that cannot start says why', async () => {
    const r = await run('up', '--data-dir', join(home, 'no'), '--port', String(busyPort), '--detach');
    assert.equal(r.code, 1);
    assert.match(r.stderr, /is in use/);
    assert.equal(existsSync(join(home, 'no')), false);
  });
});

describe('components that wait', () => {
  test('an etcd data directory serves one process', async () => {
    const dir = join(home, 'etcd');
    const args = ['etcd', '--data-dir', dir, '--listen-client-urls', 'http://127.0.0.1:0'];
    const first = new Running('etcd', process.execPath, [bundle, ...args], home);
    try {
      await first.printed(/serving on http:/);
      await refuses(args, 1, /data directory .*etcd is in use by process \d+/);
    } finally {
      assert.equal(await first.stop('SIGINT'), 0, first.output);
    }
    rmSync(dir, { recursive: true });
  });

  test('an API server that is not there yet is waited for; a signal ends that with 0', async () => {
    const made = await run('certificates', '--data-dir', join(home, 'c'), '--server', 'https://127.0.0.1:1');
    assert.equal(made.code, 0, made.stderr);
    for (const args of [
      ['kube-scheduler', '--kubeconfig', 'c/scheduler.conf', '--secure-port=0'],
      ['kube-controller-manager', '--kubeconfig', 'c/controller-manager.conf', '--secure-port=0', '--log-format=json'],
    ]) {
      const waiting = new Running(args[0]!, process.execPath, [bundle, ...args], home);
      await waiting.printed(/cannot reach the API server; trying again/);
      assert.equal(await waiting.stop(), 0, waiting.output);
      if (args.includes('--log-format=json'))
        assert.equal((JSON.parse(waiting.output.split('\n')[0]!) as { level: string }).level, 'warn');
    }
    rmSync(join(home, 'c'), { recursive: true });
  });
});
