/** The libraries that Kubernetes 1.36 enables, and those that environments add. */
import type { Library } from './declarations.ts';
import { authzLibrary } from './library/authz.ts';
import { formatLibrary } from './library/formats.ts';
import { jsonPatchLibrary } from './library/jsonpatch.ts';
import { kubernetesListsLibrary, listsLibrary, setsLibrary } from './library/lists.ts';
import { cidrLibrary, ipLibrary } from './library/network.ts';
import { bindingsLibrary, optionalLibrary, twoVariableLibrary } from './library/optional.ts';
import { quantityLibrary } from './library/quantity.ts';
import { regexLibrary } from './library/regex.ts';
import { semverLibrary } from './library/semver.ts';
import { standardLibrary } from './library/standard.ts';
import { stringsLibrary } from './library/strings.ts';
import { urlsLibrary } from './library/urls.ts';

/** What some environments add: MutatingAdmissionPolicies their JSON patches; `cel.bind` none of Kubernetes'. */
export const extraLibraries = {
  bindings: bindingsLibrary,
  jsonPatch: jsonPatchLibrary,
  strings: stringsLibrary,
} as const;

/** In the order of apiserver's base environment. */
export const kubernetesLibraries: readonly Library[] = [
  standardLibrary,
  urlsLibrary,
  regexLibrary,
  kubernetesListsLibrary,
  authzLibrary,
  optionalLibrary,
  quantityLibrary,
  stringsLibrary(2),
  setsLibrary,
  ipLibrary,
  cidrLibrary,
  formatLibrary,
  twoVariableLibrary,
  semverLibrary,
  listsLibrary,
];
