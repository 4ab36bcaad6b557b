/** Kubernetes' `find` and `findAll`. */
import type { Library } from '../declarations.ts';
import { member } from '../declarations.ts';
import { compilePattern } from '../pattern.ts';
import { intType, listType, stringType } from '../types.ts';

const text = [stringType, stringType];
const texts = listType(stringType);
const prefix = 'Illegal regex: ';

export const regexLibrary: Library = {
  name: 'kubernetes.regex',
  functions: {
    find: [
      member(
        'string_find_string',
        text,
        stringType,
        (a, context) => compilePattern(a[1] as string, context, prefix).find(a[0] as string) ?? '',
      ),
    ],
    findAll: [
      member('string_find_all_string', text, texts, (a, context) =>
        compilePattern(a[1] as string, context, prefix).findAll(a[0] as string, -1),
      ),
      member('string_find_all_string_int', [...text, intType], texts, (a, context) =>
        compilePattern(a[1] as string, context, prefix).findAll(a[0] as string, Number(a[2])),
      ),
    ],
  },
};
