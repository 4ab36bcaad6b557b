/** What MutatingAdmissionPolicies have beside the rest: escaping of JSON patch paths. */
import type { Library } from '../declarations.ts';
import { global } from '../declarations.ts';
import { stringType } from '../types.ts';

export const jsonPatchLibrary: Library = {
  name: 'kubernetes.jsonpatch',
  functions: {
    'jsonpatch.escapeKey': [
      global('string_jsonpatch_escapeKey_string', [stringType], stringType, ([s]) =>
        (s as string).replace(/[/~]/g, (c) => (c === '/' ? '~1' : '~0')),
      ),
    ],
  },
};
