/**
 * The table of bad input: what is sent, and what upstream's API server answers to it, taken from its rules and wording. Each
 * part is a file of `bad-input/`.
 */
import { access } from './bad-input/access.ts';
import { bodies } from './bad-input/bodies.ts';
import type { Case } from './bad-input/case.ts';
import { changes } from './bad-input/changes.ts';
import { customResources } from './bad-input/custom-resources.ts';
import { deletion } from './bad-input/deletion.ts';
import { listing } from './bad-input/listing.ts';
import { objects } from './bad-input/objects.ts';
import { patches } from './bad-input/patches.ts';
import { policies } from './bad-input/policies.ts';
import { subresources } from './bad-input/subresources.ts';

export const badInput: readonly (readonly [part: string, cases: readonly Case[]])[] = [
  ['bodies', bodies],
  ['options and lists', listing],
  ['objects', objects],
  ['forbidden changes', changes],
  ['patches', patches],
  ['custom resources', customResources],
  ['access', access],
  ['subresources', subresources],
  ['policies', policies],
  ['deletion', deletion],
];
