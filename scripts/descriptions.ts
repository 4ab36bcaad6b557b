/**
 * Takes the API's descriptions out of a public package that ships them (the doc comments of the official JavaScript client)
 * and writes them for `kubectl explain` and the OpenAPI documents, at build time:
 *
 *     node scripts/descriptions.ts dist/descriptions.json
 *
 * The result is `{ definition: { "": text, field: text } }` and is not part of the sources.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCatalog } from '../src/api/catalog/catalog.ts';

const out = process.argv[2];
if (out === undefined) {
  console.error('usage: node scripts/descriptions.ts <file>');
  process.exit(2);
}
const models = join(import.meta.dirname, '..', 'node_modules/@kubernetes/client-node/dist/gen/models');
const capital = (s: string): string => s.charAt(0).toUpperCase() + s.slice(1);
const text = (comment: string): string =>
  comment
    .split('\n')
    .map((line) => line.replace(/^\s*\*? ?/, ''))
    .join('\n')
    .trim()
    // the client's generator folds paragraphs
    .replaceAll('  ', '\n\n')
    .replaceAll(/\\(['"\\])/g, '$1');

const catalog = loadCatalog();
const special = ['io.k8s.apimachinery.pkg.apis.meta.v1.Patch', 'io.k8s.apimachinery.pkg.version.Info'];
const result: Record<string, Record<string, string>> = {};
let missing = 0;
for (const definition of [...catalog.definitions(), ...special]) {
  const parts = definition.split('.');
  const [group, version, kind] = parts.slice(-3) as [string, string, string];
  const file = [
    `${capital(version)}${kind}`,
    `${capital(group)}${capital(version)}${kind}`,
    `${capital(version)}${capital(kind)}`,
  ]
    .map((name) => join(models, `${name}.d.ts`))
    .find((f) => existsSync(f));
  if (file === undefined) {
    missing++;
    continue;
  }
  const source = readFileSync(file, 'utf8');
  const about: Record<string, string> = {};
  const own = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*export declare class/.exec(source);
  if (own !== null) about[''] = text(own[1]!);
  const members = new Map<string, string>();
  for (const m of source.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*'([^']+)'\??:/g)) members.set(m[2]!, text(m[1]!));
  const fields =
    definition.endsWith('.version.Info') || definition.endsWith('.Patch')
      ? [...members.keys()]
      : [...catalog.schema(definition).fields.keys()];
  for (const field of fields) {
    const found = members.get(field) ?? members.get(`_${field}`) ?? members.get(field.replaceAll('-', '_'));
    if (found !== undefined && found !== '') about[field] = found;
  }
  if (Object.keys(about).length > 0) result[definition] = about;
}
// The client has no comment on members that are structs of their own. Those of metadata are looked for by tools; the others
// are told by their type.
const conventions = 'More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md';
const metadataTexts: Readonly<Record<string, string>> = {
  'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta': `Standard object's metadata. ${conventions}#metadata`,
  'io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta': `Standard list metadata. ${conventions}#types-kinds`,
};
for (const definition of catalog.definitions()) {
  for (const field of catalog.schema(definition).fields.values()) {
    const known = result[definition];
    if (known === undefined || known[field.name] !== undefined || field.schema.kind !== 'object') continue;
    const ofType =
      (field.name === 'metadata' ? metadataTexts[field.schema.name] : undefined) ?? result[field.schema.name]?.[''];
    if (ofType !== undefined) known[field.name] = ofType;
  }
}
writeFileSync(out, JSON.stringify(result));
console.log(`descriptions of ${Object.keys(result).length} definitions; ${missing} have none`);
