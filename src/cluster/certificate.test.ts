import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { newKeyPair } from '../base/keys.ts';
import { SystemRandom } from '../base/random.ts';
import { issuerOf, makeAuthority, makeLeaf } from './certificate.ts';

const random = new SystemRandom();
const day = 86_400_000;
const now = Date.parse('2026-01-02T03:04:05Z');

for (const type of ['ec', 'rsa'] as const)
  test(`a leaf is what its authority, with a key of type ${type}, has signed`, async () => {
    const authority = type === 'ec' ? newKeyPair() : generateKeyPairSync('rsa', { modulusLength: 2048 });
    const validity = { notBefore: now, notAfter: now + 36_500 * day };
    const { certificate } = await makeAuthority(
      { subject: { commonName: 'kubernetes' }, ...validity },
      authority,
      random,
    );
    const made = await makeLeaf(
      {
        subject: { commonName: 'system:node:ü', organizations: ['system:nodes', 'b'] },
        ...validity,
        publicKey: newKeyPair().publicKey,
        usages: ['server', 'client'],
        dnsNames: ['kubernetes.default.svc'],
        addresses: ['10.96.0.1', 'fd00::1'],
      },
      await issuerOf(certificate, authority.privateKey),
      random,
    );
    const leaf = new X509Certificate(made);
    const parent = new X509Certificate(certificate);
    assert.ok(leaf.verify(authority.publicKey));
    assert.ok(leaf.checkIssued(parent));
    assert.ok(parent.verify(authority.publicKey));
    assert.ok(parent.ca && !leaf.ca);
    assert.equal(leaf.subject, 'O=system:nodes\nO=b\nCN=system:node:ü');
    assert.equal(
      leaf.subjectAltName,
      'DNS:kubernetes.default.svc, IP Address:10.96.0.1, IP Address:FD00:0:0:0:0:0:0:1',
    );
    assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.equal(leaf.validFromDate.getTime(), now);
    // Beyond 2049 the year has four digits.
    assert.equal(leaf.validToDate.getTime(), now + 36_500 * day);
  });
