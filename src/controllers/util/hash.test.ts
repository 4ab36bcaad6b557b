/** Names that controllers give are upstream's: hashes that its own code has of the same pod templates, one with every field set. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { canonicalJson, computeHash, fnv32, safeEncode } from './hash.ts';

interface Golden {
  readonly name: string;
  readonly template: object;
  readonly collisionCount?: number;
  /** `pod-template-hash` of a Deployment's ReplicaSet. */
  readonly hash: string;
  /** The hash of a StatefulSet's revision, before the count of collisions. */
  readonly revision?: string;
}

const golden = JSON.parse(
  readFileSync(new URL('testdata/pod-templates.json', import.meta.url), 'utf8'),
) as readonly Golden[];

for (const { name, template, collisionCount, hash, revision } of golden)
  test(`hashes of a pod template: ${name}`, () => {
    assert.equal(computeHash(template, collisionCount), hash);
    if (revision === undefined) return;
    const patch = canonicalJson({ spec: { template: { ...template, $patch: 'replace' } } });
    assert.equal(safeEncode(String(fnv32(patch))), revision);
  });
