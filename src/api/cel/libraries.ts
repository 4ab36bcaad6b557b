/** The libraries by name, and the set that Kubernetes 1.36 enables. */
import type { Library } from './declarations.ts';
import { kubernetesListsLibrary, listsLibrary, setsLibrary } from './library/lists.ts';
import { bindingsLibrary, optionalLibrary, twoVariableLibrary } from './library/optional.ts';
import { regexLibrary } from './library/regex.ts';
import { standardLibrary } from './library/standard.ts';
import { stringsLibrary } from './library/strings.ts';

export const libraries = {
  standard: standardLibrary,
  optional: optionalLibrary,
  twoVarComprehensions: twoVariableLibrary,
  bindings: bindingsLibrary,
  strings: stringsLibrary,
  lists: listsLibrary,
  sets: setsLibrary,
  kubernetesLists: kubernetesListsLibrary,
  regex: regexLibrary,
} as const;

/** In the order of apiserver's base environment. */
export const kubernetesLibraries: readonly Library[] = [
  standardLibrary,
  regexLibrary,
  kubernetesListsLibrary,
  optionalLibrary,
  stringsLibrary(2),
  setsLibrary,
  twoVariableLibrary,
  listsLibrary,
];
