import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { checkRequest, readRequest, requestDer } from './certificate-request.ts';
import { generateKeyOfType } from './keys.ts';
import type { KeyType } from './keys.ts';
import { loadX509 } from './x509.ts';

async function signedWithSha1(): ReturnType<typeof generateKeyOfType> {
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-1' };
  const size = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
  return { keys: await webcrypto.subtle.generateKey({ ...algorithm, ...size }, true, ['sign', 'verify']), algorithm };
}

async function request(type: KeyType | 'RSA-SHA1'): Promise<Buffer> {
  const x509 = await loadX509();
  const { keys, algorithm } = await (type === 'RSA-SHA1' ? signedWithSha1() : generateKeyOfType(type));
  const made = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ O: ['a'] }, { O: ['b'] }, { CN: ['first'] }, { CN: ['last'] }],
      keys,
      signingAlgorithm: algorithm,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'n1' }])],
    },
    webcrypto,
  );
  return requestDer(Buffer.from(made.toString('pem')).toString('base64'));
}

for (const [type, fault] of [
  ['ECDSAP384', 'x509: ECDSA verification failure'],
  ['RSA3072', 'crypto/rsa: verification error'],
  ['RSA-SHA1', 'crypto/rsa: verification error'],
  ['ED25519', 'crypto/rsa: verification error'],
] as const)
  test(`a request with a key of type ${type} is read, and held against its signature`, async () => {
    const der = await request(type);
    const { commonName, organizations, dnsNames, ips } = await readRequest(der);
    assert.deepEqual(
      { commonName, organizations, dnsNames, ips },
      {
        commonName: 'last',
        organizations: ['a', 'b'],
        dnsNames: ['n1'],
        ips: [],
      },
    );
    assert.equal((await checkRequest(der)).error, undefined);
    const other = Buffer.from(der);
    other[der.indexOf('first')] = 'F'.charCodeAt(0);
    assert.equal((await checkRequest(other)).error, fault);
  });

test('what is no request is refused as upstream refuses it', async () => {
  assert.throws(
    () => requestDer(Buffer.from('x').toString('base64')),
    /^Error: PEM block type must be CERTIFICATE REQUEST$/,
  );
  for (const [bytes, why] of [
    ['', /^Error: asn1: syntax error: data truncated$/],
    ['3082010100', /^Error: asn1: syntax error: data truncated$/],
    ['3003020100', /^Error: asn1: structure error: tags do not match$/],
    [Buffer.from('hello').toString('hex'), /^Error: asn1: structure error: tags do not match$/],
  ] as const)
    await assert.rejects(readRequest(Buffer.from(bytes, 'hex')), why);
});
