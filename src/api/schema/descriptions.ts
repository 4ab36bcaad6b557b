/**
 * Descriptions of the API's types and members, from the file that the build makes (`scripts/descriptions.ts`). Read when the
 * first document needs them; without the file there are none, and documents are complete but for their prose.
 */
import { readFileSync } from 'node:fs';
import type { Describe } from './openapi.ts';

type Texts = Record<string, Record<string, string>>;

/** Types with an encoding of their own are not in the file; they say so in our words. */
const own: Texts = {
  'io.k8s.apimachinery.pkg.api.resource.Quantity': {
    '': 'A fixed-point number, written as decimal digits with an SI suffix (500m, 2k, 1.5G), a binary one (64Mi, 2Gi) or a decimal exponent (12e6). It is kept in its canonical form.',
  },
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': {
    '': 'A 32-bit integer or a string, written as the one or the other.',
  },
  'io.k8s.apimachinery.pkg.apis.meta.v1.Time': { '': 'A point in time in RFC 3339 format, to the second.' },
  'io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime': { '': 'A point in time in RFC 3339 format, to the microsecond.' },
  'io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1': {
    '': 'A set of fields as a tree: f:NAME is a member of a struct or map, k:KEYS a list item by its keys, v:VALUE a list item by its value, i:INDEX one by its position.',
  },
  'io.k8s.apimachinery.pkg.runtime.RawExtension': { '': 'Any object, with its own apiVersion and kind.' },
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON': { '': 'Any JSON value.' },
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray': {
    '': 'A schema, or a list of schemas.',
  },
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool': { '': 'A schema, or a boolean.' },
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray': {
    '': 'A schema, or a list of strings.',
  },
};

export function describeFrom(texts: Texts): Describe {
  return (definition, field = '') => texts[definition]?.[field] ?? own[definition]?.[field];
}

/** The descriptions beside the bundle, or in `dist/` when running from the sources. */
export function loadDescriptions(): Describe {
  for (const place of ['./descriptions.json', '../../../dist/descriptions.json']) {
    let file: string;
    try {
      file = readFileSync(new URL(place, import.meta.url), 'utf8');
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw e;
    }
    return describeFrom(JSON.parse(file) as Texts);
  }
  return describeFrom({});
}
