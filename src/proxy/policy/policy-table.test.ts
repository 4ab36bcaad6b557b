import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkPolicy } from '../../api/types/index.gen.ts';
import { compilePolicy } from './compiled-policy.ts';
import type { PodFacts } from './facts.ts';
import { PolicyTable } from './policy-table.ts';

const pod = (name: string, address: string, labels: Record<string, string> = {}, node = 'n1'): PodFacts => ({
  ...{ key: `ns/${name}`, namespace: 'ns', node, labels },
  addresses: address === '' ? [] : [address],
  ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
});

function policy(name: string, spec: object): [string, ReturnType<typeof compilePolicy>] {
  const object = { metadata: { name, namespace: 'ns' }, spec } as NetworkPolicy;
  return [`ns/${name}`, compilePolicy(object)];
}

/** Rules of the policy's chain, and what else the transaction does. */
function rules(t: PolicyTable): string[] {
  const text = t.table.transaction();
  t.table.commit();
  return text
    .split('\n')
    .filter((l) => /^add rule \S+ \S+ (ingress|egress)-/.test(l))
    .map((l) => l.split(' ').slice(5).join(' '));
}

function isolated(): PolicyTable {
  const t = new PolicyTable('n1');
  t.setNamespace('ns', { name: 'ns' });
  t.setPod('ns/a', pod('a', '10.0.0.1', { app: 'a' }));
  t.setPod('ns/b', pod('b', '10.0.0.2', { app: 'b' }, 'n2'));
  return t;
}

test('types of a policy by what it has', () => {
  const types = (spec: object): string =>
    Object.entries(policy('p', spec)[1])
      .filter(([k, v]) => (k === 'ingress' || k === 'egress') && v !== undefined)
      .map(([k]) => k)
      .join();
  assert.equal(types({ podSelector: {} }), 'ingress');
  assert.equal(types({ podSelector: {}, egress: [] }), 'ingress,egress');
  assert.equal(types({ podSelector: {}, egress: [{}], policyTypes: ['Egress'] }), 'egress');
});

test('ranges of ports are merged, what cannot match writes nothing', () => {
  const t = isolated();
  t.setPolicy(
    ...policy('p', {
      podSelector: {},
      ingress: [
        { ports: [{ port: 90, endPort: 100 }, { port: 80 }, { port: 81, endPort: 95 }, { protocol: 'UDP', port: 5 }] },
        {
          from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16', 'fd00::/8'] } }],
          ports: [{ protocol: 'SCTP' }],
        },
        { from: [{ ipBlock: { cidr: '::/0' } }] },
        { from: [{ ipBlock: { cidr: 'nonsense; drop' } }] },
      ],
    }),
  );
  assert.deepEqual(rules(t), [
    'tcp dport { 80-100 } accept',
    'udp dport { 5 } accept',
    'ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 meta l4proto sctp accept',
    'meta nfproto ipv6 accept',
  ]);
});

test('sets are shared, filled by whom they mean, and gone with the last rule that refers to them', () => {
  const t = isolated();
  const peer = { podSelector: { matchLabels: { app: 'b' } } };
  t.setPolicy(...policy('p', { podSelector: {}, ingress: [{ from: [peer], ports: [{ port: 'http' }] }] }));
  t.setPolicy(...policy('q', { podSelector: {}, egress: [{ to: [peer] }], policyTypes: ['Egress'] }));
  const text = t.table.transaction();
  t.table.commit();
  assert.equal(text.match(/^ {2}set pods-/gm)!.length, 2, 'one a family');
  assert.match(text, /add element inet knarr-network-policy pods-\S+-4 \{ 10\.0\.0\.2 \}/);
  assert.match(
    text,
    /add element inet knarr-network-policy ports-\S+-4 \{ 10\.0\.0\.1 \. 8080, 10\.0\.0\.2 \. 8080 \}/,
  );
  assert.match(text, /ip daddr @pods-\S+-4 goto ingress/);
  assert.match(text, /add element inet knarr-network-policy self-4 \{ 10\.0\.0\.1 \. 10\.0\.0\.1 \}/);
  assert.doesNotMatch(
    text,
    /(ingress|egress)-pods-4 \{[^}]*10\.0\.0\.2/,
    'the pods of other nodes are their nodes’ matter',
  );

  t.setPod('ns/b', pod('b', '10.0.0.3', { app: 'b' }, 'n2'));
  const moved = t.table.transaction();
  assert.match(moved, /delete element \S+ \S+ pods-\S+-4 \{ 10\.0\.0\.2 \}/);
  assert.match(moved, /add element \S+ \S+ pods-\S+-4 \{ 10\.0\.0\.3 \}/);
  assert.doesNotMatch(moved, /rule|chain/);
  t.table.commit();
  t.setPod('ns/b', pod('b', '10.0.0.3', { app: 'b' }, 'n2'));
  assert.equal(t.table.changed, false, 'news without meaning');

  t.setPolicy('ns/q', undefined);
  assert.doesNotMatch(t.table.transaction(), /delete set \S+ \S+ pods-/);
  t.table.commit();
  t.setPolicy('ns/p', undefined);
  const gone = t.table.transaction();
  assert.equal(gone.match(/delete set/g)!.length, 4);
  assert.match(gone, /delete element \S+ \S+ ingress-pods-4 \{ 10\.0\.0\.1 \}/);
  assert.equal(t.size, 0);
  t.table.commit();
  assert.equal(t.table.leftovers().match(/delete chain/g)!.length, 4);
});

test('pods that the same policies select share a chain; one without an address waits for it', () => {
  const t = isolated();
  t.setPod('ns/c', pod('c', '', { app: 'a' }));
  t.setPolicy(...policy('p', { podSelector: { matchLabels: { app: 'a' } } }));
  assert.equal(t.size, 1);
  t.table.transaction();
  t.table.commit();
  t.setPod('ns/c', pod('c', '10.0.0.4', { app: 'a' }));
  const text = t.table.transaction();
  assert.match(text, /add element \S+ \S+ ingress-pods-4 \{ 10\.0\.0\.4 : goto pod-ingress-\S+ \}/);
  assert.doesNotMatch(text, /chain|rule/);
  t.table.commit();
  t.setPod('ns/c', undefined);
  t.setPod('ns/a', undefined);
  assert.equal(t.size, 0);
});
