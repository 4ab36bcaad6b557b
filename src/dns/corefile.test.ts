import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { FakeApi } from '../client/fake-api.ts';
import { createClient } from '../client/typed-client.ts';
import { Chain } from './chain.ts';
import { defaultCorefile } from './corefile/default.ts';
import { parseCorefile } from './corefile/parser.ts';
import { milliseconds } from './corefile/values.ts';
import { Metrics } from './metrics.ts';
import { RecordsPool } from './records-pool.ts';
import { Stamps } from './stamps.ts';
import { show, smallCluster } from './testing.ts';

test('server blocks, snippets, imports, quotes, comments and the environment', () => {
  const files: Record<string, string> = { 'custom/a.override': 'log\n', 'custom/b.override': 'errors # why\n' };
  const blocks = parseCorefile(
    `# first
     (common) {
       cache 30 {
         success 1024
       }
     }
     example.org:1053,
     dns://example.net {
       import common
       hosts {
         10.0.0.1 a.example.org   # an address
       }
       import custom/*.override
       log . "{name} \\"{type}\\" #1"
       forward . {$UPSTREAM}
     }
     . {
       rewrite stop {
         name regex (.*)\\.x {1}.y
         answer name (.*)\\.y {1}.x
       }
     }`,
    {
      file: 'Corefile',
      environment: { UPSTREAM: '192.0.2.1' },
      known: () => true,
      load: (pattern) =>
        Object.entries(files)
          .filter(([file]) => pattern === 'custom/*.override' && file.startsWith('custom/'))
          .map(([file, text]) => ({ file, text })),
    },
  );
  const words = (l: { name: string; args: readonly string[]; block?: readonly object[] | undefined }): unknown =>
    l.block === undefined
      ? [l.name, ...l.args].join(' ')
      : [[l.name, ...l.args].join(' '), ...l.block.map((b) => words(b as never))];
  assert.deepEqual(
    blocks.map((b) => [b.keys, b.directives.map(words)]),
    [
      [
        ['example.org:1053', 'dns://example.net'],
        [
          ['cache 30', 'success 1024'],
          ['hosts', '10.0.0.1 a.example.org'],
          'log',
          'errors',
          'log . {name} "{type}" #1',
          'forward . 192.0.2.1',
        ],
      ],
      [['.'], [['rewrite stop', 'name regex (.*)\\.x {1}.y', 'answer name (.*)\\.y {1}.x']]],
    ],
  );
  assert.deepEqual(
    [milliseconds('1h2m3.5s'), milliseconds('250ms'), milliseconds('0'), milliseconds('5')],
    [3_723_500, 250, 0, undefined],
  );
});

test('what is wrong with a Corefile is told with its line', async () => {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const client = createClient(new FakeApi(clock, random));
  const stamps = new Stamps();
  const shared = { client, clock, random, logger: silentLogger, stamps };
  const chain = (corefile: string): Chain =>
    new Chain({
      ...shared,
      corefile,
      file: 'Corefile',
      directory: '/etc/coredns',
      metrics: new Metrics(),
      records: new RecordsPool(shared),
    });
  const cases: [string, string][] = [
    ['.:53 {\n  erorrs\n}', "Corefile:2 - Error during parsing: Unknown directive 'erorrs'"],
    ['. {\n  dnssec\n}', "Corefile:2 - Error during parsing: directive 'dnssec' is not supported by knarr"],
    ['. {\n  cache 30\n', 'Corefile:2 - Error during parsing: Unexpected EOF: the block of line 1 is not closed'],
    ['. {\n}\n}', "Corefile:3 - Error during parsing: Unexpected '}' because no matching opening brace"],
    ['. {\n  import nothing\n}', 'Corefile:2 - Error during parsing: File to import not found: nothing'],
    [
      '(a) {\n  import a\n}\n. {\n  import a\n}',
      'Corefile:2 - Error during parsing: maximum snippet import depth (1000) exceeded',
    ],
    ['. {\n}\n. {\n}', 'Corefile:3 - Error during parsing: cannot serve dns://.:53 - it is already defined'],
    ['tls://. {\n}', "Corefile:1 - Error during parsing: 'tls://' is not supported by knarr: tls://."],
    [
      '. {\n  cache {\n    success many\n  }\n}',
      'Corefile:3 - Error during parsing: cache capacity: "many" is no number',
    ],
    ['. {\n  cache 0\n}', 'Corefile:2 - Error during parsing: cache TTL can not be zero or negative: 0'],
    [
      '. {\n  forward .\n}',
      "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after '.'",
    ],
    [
      '. {\n  forward . 192.0.2.1 {\n    policy best\n  }\n}',
      "Corefile:3 - Error during parsing: unknown policy 'best'",
    ],
    [
      '. {\n  forward . example.org\n}',
      'Corefile:2 - Error during parsing: plugin/forward: not an IP address or file: "example.org"',
    ],
    [
      '. {\n  forward . https://192.0.2.1\n}',
      "Corefile:2 - Error during parsing: plugin/forward: 'https' is not supported as a destination protocol in forward: https://192.0.2.1",
    ],
    [
      '. {\n  kubernetes cluster.local {\n    pods some\n  }\n}',
      'Corefile:3 - Error during parsing: wrong value for pods: some,  must be one of: disabled, verified, insecure',
    ],
    [
      '. {\n  kubernetes cluster.local {\n    labels a=(\n  }\n}',
      "Corefile:3 - Error during parsing: unable to parse label selector value: 'a=(': ",
    ],
    [
      '. {\n  kubernetes in-addr.arpa\n}',
      'Corefile:2 - Error during parsing: plugin/kubernetes: non-reverse zone name must be used',
    ],
    [
      '. {\n  kubernetes a.b\n  kubernetes c.d\n}',
      'Corefile:3 - Error during parsing: plugin/kubernetes: this plugin can only be used once per Server Block',
    ],
    ['. {\n  rewrite name regex ( x\n}', 'Corefile:2 - Error during parsing: invalid regex matching pattern: ('],
    [
      '. {\n  rewrite name regex (.*) {1}{2}\n}',
      'Corefile:2 - Error during parsing: the rewrite regex pattern ({1}{2}) uses more subexpressions than its corresponding matching regex pattern ((.*))',
    ],
    ['. {\n  rewrite type FOO A\n}', 'Corefile:2 - Error during parsing: invalid type "FOO"'],
    ['. {\n  health :http\n}', 'Corefile:2 - Error during parsing: address :http: missing port in address'],
    ['. {\n  reload 1s\n}', 'Corefile:2 - Error during parsing: interval value must be greater or equal to 2s'],
    [
      '. {\n  template IN A {\n    answer "{{ .Foo }}"\n  }\n}',
      "Corefile:3 - Error during parsing: plugin/template: '{{ .Foo }}' is not supported by knarr",
    ],
  ];
  for (const [text, message] of cases) {
    let error: unknown;
    try {
      await chain(text).stop();
    } catch (e) {
      error = e;
    }
    assert.ok(error instanceof Error, `${text} is taken`);
    assert.equal(error.message.slice(0, message.length), message);
  }
  await chain(defaultCorefile({ domain: 'cluster.local' })).stop();
  assert.equal(clock.pending, 0);
});

test('a changed Corefile is used, a wrong one is told once, without reload it waits', async (t) => {
  const base = (more: string): string => `. {\n  reload\n  ${more}\n  kubernetes cluster.local\n}\n`;
  const w = await smallCluster(t, {}, base('hosts {\n 192.0.2.1 one.example\n fallthrough\n }'));
  const ask = async (name: string): Promise<string> => show(await w.dns.query(name, 'A'));
  assert.equal(await ask('one.example'), 'NOERROR A 192.0.2.1');
  await w.edit(base('hosts {\n 192.0.2.2 two.example\n fallthrough\n }'));
  await w.clock.advance(0);
  assert.equal(await ask('two.example'), 'NOERROR A 192.0.2.2');
  assert.equal(await ask('one.example'), 'SERVFAIL');
  for (let i = 0; i < 2; i++) {
    await w.edit(base('nonsense'));
    await w.clock.advance(60_000);
  }
  assert.equal(await ask('two.example'), 'NOERROR A 192.0.2.2');
  assert.equal(await ask('web.default.svc.cluster.local'), 'NOERROR A 10.96.0.11');
  assert.deepEqual(
    w.logged.filter((r) => r.level === 'error').map((r) => r.message),
    ["DNS: Corefile changed but reload failed: Corefile:3 - Error during parsing: Unknown directive 'nonsense'"],
  );
  await w.edit('. {\n  kubernetes cluster.local\n}\n');
  await w.clock.advance(0);
  assert.equal(await ask('two.example'), 'SERVFAIL');
  await w.edit(base('any'));
  await w.clock.advance(0);
  assert.match(w.logged.at(-1)!.message, /takes effect with the next start/);
});

test('a cluster whose Corefile is wrong from the start has the default one', async (t) => {
  const w = await smallCluster(t, {}, '. {\n  nonsense\n}\n');
  assert.equal(show(await w.dns.query('web.default.svc.cluster.local', 'A')), 'NOERROR A 10.96.0.11');
  assert.match(w.logged.find((r) => r.level === 'error')!.message, /Corefile:2 .* Unknown directive 'nonsense'/);
});
