/** Kubernetes' `find` and `findAll`. */
import type { Impl, Library } from '../declarations.ts';
import { member } from '../declarations.ts';
import type { Pattern } from '../pattern.ts';
import { compilePattern, constantPattern } from '../pattern.ts';
import { intType, listType, stringType } from '../types.ts';

const text = [stringType, stringType];
const texts = listType(stringType);

type Run = (pattern: Pattern, args: readonly unknown[]) => unknown;

const find: Run = (pattern, args) => pattern.find(args[0] as string) ?? '';
const findAll: Run = (pattern, args) =>
  pattern.findAll(args[0] as string, args[2] === undefined ? -1 : Number(args[2]));

const dynamic =
  (run: Run): Impl =>
  (args, context) =>
    run(compilePattern(args[1] as string, context, 'Illegal regex: '), args);

const prepared =
  (run: Run) =>
  (pattern: unknown): Impl => {
    const compiled = constantPattern(pattern);
    return (args) => run(compiled, args);
  };

export const regexLibrary: Library = {
  name: 'kubernetes.regex',
  functions: {
    find: [{ ...member('string_find_string', text, stringType, dynamic(find)), prepared: prepared(find) }],
    findAll: [
      { ...member('string_find_all_string', text, texts, dynamic(findAll)), prepared: prepared(findAll) },
      {
        ...member('string_find_all_string_int', [...text, intType], texts, dynamic(findAll)),
        prepared: prepared(findAll),
      },
    ],
  },
};
